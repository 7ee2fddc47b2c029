"""Two boxes with one copied disk, as two real agents: noticed, named everywhere, the first one not locked out."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from firstlight.core.model import Registration
from firstlight.system.clock import BOOT_ID_FILE
from firstlight.system.store import StateDirectory
from tests.e2e.conftest import BIN, Box, Hub, wait_until
from tests.system.brokers import hub_with

pytestmark = pytest.mark.system

PATIENCE_S = 40.0
ROADS = [
    ("http", "secret", "mosquitto"),
    ("http", "certificate", "mosquitto"),
    ("mqtt", "secret", "mosquitto"),
    ("mqtt", "certificate", "mosquitto"),
    ("mqtt", "certificate", "rabbitmq"),
]


@pytest.fixture(scope="module")
def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with one kind of broker."""
    with hub_with(request.param, tmp_path_factory.mktemp(request.param), 1, 3) as one:
        yield one


class OtherMachine(Box):
    """A box on a machine with a boot id of its own."""

    def run(self) -> subprocess.Popen[str]:
        """Starts the agent where another boot id stands in /proc."""
        boot_id = self.state_dir.with_name("boot_id")
        boot_id.write_text("0f1e2d3c-4b5a-4697-8879-6a5b4c3d2e1f\n")
        script = f'mount --bind "$1" {BOOT_ID_FILE} && exec "$2" run --state-dir "$3"'
        words = (str(boot_id), str(BIN / "firstlight"), str(self.state_dir))
        line = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *words]
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.env)
        self.processes.append(process)
        return process


@pytest.fixture
def pair(hub: Hub, tmp_path: Path) -> Iterator[tuple[Box, Box]]:
    """The box that was first, and the one that its disk is copied to."""
    boxes = []
    for name, kind in (("first", Box), ("second", OtherMachine)):
        (tmp_path / name).mkdir()
        boxes.append(kind(tmp_path / name, hub))
    yield boxes[0], boxes[1]
    for box in boxes:
        for process in box.processes:
            process.terminate()
            process.communicate(timeout=20)


def registration(box: Box) -> Registration:
    """The one on the box's disk."""
    found = StateDirectory(str(box.state_dir)).load_registration()
    assert found is not None
    return found


def accepted_again(box: Box) -> Callable[[], bool]:
    """Whether another beat of this very box was accepted from now on."""
    before = box.status().get("lastAcceptedAt")
    return lambda: box.status().get("lastAcceptedAt") not in (None, before)


def names_a_clone(box: Box) -> bool:
    """Whether the box's own status says that there is another."""
    return box.status().get("clone") is True


@pytest.mark.parametrize(
    ("hub", "transport", "credential"),
    [pytest.param(broker, way, kind, id=f"{way}-{kind}-{broker}") for way, kind, broker in ROADS],
    indirect=["hub"],
    scope="module",
)
def test_two_boxes_with_one_disk(hub: Hub, pair: tuple[Box, Box], transport: str, credential: str) -> None:
    """Named at the desk and in both boxes; neither may renew; both beat on; the first one stays when the copy goes."""
    first, second = pair
    first.enroll(hub.create("twin").install_id.reveal(), "--transport", transport, "--credential", credential)
    device_id = registration(first).device_id
    first.run()
    wait_until("the first one is online", lambda: first.status()["state"] == "online")
    assert "clone" not in hub.devices()[device_id] and not first.status().get("clone")
    shutil.copytree(first.state_dir, second.state_dir, ignore=shutil.ignore_patterns("running", "status.json"))
    copy = second.run()

    wait_until("the hub has noticed", lambda: hub.devices()[device_id].get("clone") is True, PATIENCE_S)
    for box in pair:
        wait_until("the box knows", partial(names_a_clone, box), PATIENCE_S)
        said = box.cli("status", check=False).stdout
        assert "Two boxes beat with this device's identity. [clone_suspected]" in said
    to = ("--hub", hub.url, "--pin", hub.pin, "--workspace", "demo", "--api-key-file", str(hub.key_file))
    listed = first.cli("device", "list", *to).stdout
    assert f"warning: two boxes beat as {device_id}." in listed and "[clone_suspected]" in listed
    assert json.loads(first.cli("device", "show", device_id, *to).stdout)["clone"] is True

    before = registration(first)
    for box in (second, first):
        refused = box.cli("rotate", "--state-dir", str(box.state_dir), check=False)
        assert refused.returncode != 0 and "clone_suspected" in refused.stderr, refused.stdout + refused.stderr
    assert registration(first) == before and registration(second).key_fingerprint == before.key_fingerprint
    for box in pair:
        wait_until("it beats on", accepted_again(box), PATIENCE_S)

    copy.terminate()
    copy.communicate(timeout=20)
    wait_until("the first one beats on", accepted_again(first), PATIENCE_S)
    wait_until("and stays online", lambda: first.status()["state"] == "online", PATIENCE_S)
    assert hub.status(device_id) == "online" and registration(first) == before
    assert first.status()["pid"] == first.processes[0].pid
