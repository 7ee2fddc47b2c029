"""Roboflow's own SDK and command line, as they are published, create, list and get devices on our hub.

The slim edition, locked by hash, in an environment of its own; only its settings name another address and another CA.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import BIN, Box, Hub, wait_until
from tests.system.vendors import environment

pytestmark = pytest.mark.system

SDK = """
import json, sys
from roboflow import Roboflow
from roboflow.adapters import devicesapi

space = Roboflow().workspace()
made = space.create_device("SDK cam", device_type="edge", tags=["roof", "roof", " yard "])
again = space.create_device("SDK cam 2", source_device_id=made["deviceId"])
device = space.device(made["deviceId"])
found = {"space": space.url, "made": made, "again": again, "tags": device.tags, "status": device.status}
found["listed"] = sorted(one.name for one in space.devices())
found["refreshed"] = device.refresh().status
for name in ("config", "streams", "logs", "telemetry", "events"):
    try:
        getattr(device, name)()
    except devicesapi.DeviceNotFoundError as error:
        found[name] = error.status_code
print("FOUND " + json.dumps(found))
"""


class Client:
    """The vendor's programs, pointed at a hub."""

    def __init__(self, folder: Path, hub: Hub) -> None:
        self.bin = environment("roboflow")
        self.hub = hub
        self.env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "API_URL": hub.url,
            "REQUESTS_CA_BUNDLE": str(hub.folder / "ca.pem"),
            "ROBOFLOW_API_KEY": hub.key.reveal(),
        }

    def cli(self, *words: str, key: str = "", workspace: str = "demo") -> tuple[int, Any]:
        """``roboflow --json device WORDS``: exit status, and what it printed."""
        line = [str(self.bin / "roboflow"), "--json", *(["--workspace", workspace] if workspace else []), "device"]
        env = {**self.env, **({"ROBOFLOW_API_KEY": key} if key else {})}
        done = subprocess.run([*line, *words], capture_output=True, text=True, env=env, timeout=60, check=False)
        assert "Traceback" not in done.stderr
        return done.returncode, json.loads(done.stdout or done.stderr)

    def sdk(self, code: str) -> dict[str, Any]:
        """What a program with the SDK finds."""
        line = [str(self.bin / "python"), "-c", code]
        done = subprocess.run(line, capture_output=True, text=True, env=self.env, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout.partition("FOUND ")[2])
        return found


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A hub that beats every second, and the vendor's programs."""
    folder = tmp_path_factory.mktemp("hub")
    hub = Hub(folder, heartbeat_interval_s=1, online_window_s=3)
    try:
        yield Client(folder, hub)
    finally:
        hub.stop()


def test_the_command_line_creates_lists_and_gets(client: Client, tmp_path: Path) -> None:
    """A device of its making gets a box, and is unknown, then online, as the command line tells it."""
    status, made = client.cli("create", "Dock cam", "--type", "edge", "--tags", "roof,yard,roof")
    assert status == 0
    assert set(made) >= {"deviceId", "installId"}
    device_id = made["deviceId"]

    # Without --workspace it asks whose key this is.
    status, listed = client.cli("list", workspace="")
    status, shown = client.cli("get", device_id)
    assert status == 0
    assert shown in listed["data"]
    assert (shown["status"], shown["last_heartbeat"], shown["tags"]) == ("unknown", None, ["roof", "yard"])

    (tmp_path / "box").mkdir()
    box = Box(tmp_path / "box", client.hub)
    box.enroll(made["installId"])
    agent = box.run()
    try:
        wait_until("it is online", lambda: client.cli("get", device_id)[1]["status"] == "online", 60)
        status, shown = client.cli("get", device_id)
        assert (status, shown["platform"]) == (0, "Linux")
        assert shown["hardware"]["total_memory_mb"] > 0
    finally:
        agent.terminate()
        agent.communicate(timeout=20)


def test_the_command_line_reads_every_no(client: Client, tmp_path: Path) -> None:
    """Its exit statuses: 1 for a bad request, 2 for a key that may not, 3 for what is not there."""
    line = [str(BIN / "firstlight-hub"), "key", "create", "--dir", str(client.hub.folder), "--workspace", "demo"]
    line += ["--scope", "device:read", "--key-file", str(tmp_path / "reads.key")]
    subprocess.run(line, check=True, capture_output=True, timeout=30)
    reads = (tmp_path / "reads.key").read_text().strip()
    assert client.cli("create", "x", "--type", "edge", "--offline-mode")[0] == 1
    assert client.cli("list", key="flk_wrong")[0] == 2
    assert client.cli("create", "x", key=reads)[0] == 2
    assert client.cli("list", key=reads)[0] == 0
    assert client.cli("get", "nothing")[0] == 3
    assert client.cli("list", workspace="other")[0] == 3
    status, said = client.cli("create", "x", "--source-device-id", "nothing")
    assert status == 3
    assert said["error"]["message"]


def test_an_ai1_without_a_network_is_created(client: Client) -> None:
    """The offline payload is in the answer, under the name that Roboflow gave it."""
    status, made = client.cli("create", "Dam cam", "--type", "ai1", "--offline-mode")
    assert status == 0
    assert made["offlineProvisioningQrPayload"].startswith("FL1:")


def test_the_sdk_creates_lists_and_gets(client: Client) -> None:
    """From the key alone: workspace, devices, a copy of one; what a hub does not have is not found, by name."""
    found = client.sdk(SDK)
    assert found["space"] == "demo"
    assert set(found["made"]) >= {"deviceId", "installId"}
    assert found["again"]["deviceId"] != found["made"]["deviceId"]
    assert {"SDK cam", "SDK cam 2"} <= set(found["listed"])
    assert (found["tags"], found["status"], found["refreshed"]) == (["roof", "yard"], "unknown", "unknown")
    assert {found[name] for name in ("config", "streams", "logs", "telemetry", "events")} == {404}
