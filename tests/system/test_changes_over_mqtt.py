"""Rotations and the end of the hub's CA, seen from a running agent that beats over MQTT through a real mosquitto."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from firstlight.core.model import Registration, Trust
from firstlight.platforms.hub import management
from firstlight.system.store import StateDirectory
from firstlight.transports.http_calls import HttpCalls
from firstlight_hub.folder import HubFolder
from tests.e2e.conftest import BIN, Box, Hub, wait_until

pytestmark = pytest.mark.system
PATIENCE_S = 60.0


def free_port() -> int:
    """One that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub with mosquitto as its child."""
    one = Hub(tmp_path, is_served=False, heartbeat_interval_s=1, online_window_s=3)
    one.configure(mqtt="mosquitto", mqtt_port=free_port(), mqtt_certificate_port=free_port())
    one.serve()
    yield one
    one.stop()


@pytest.fixture(params=["secret", "certificate"])
def box(request: pytest.FixtureRequest, tmp_path: Path, hub: Hub) -> Iterator[Box]:
    """A box whose agent beats over MQTT."""
    (tmp_path / "box").mkdir()
    one = Box(tmp_path / "box", hub)
    one.enroll(hub.create().install_id.reveal(), "--credential", request.param, "--transport", "mqtt")
    one.run()
    wait_until("it beats", lambda: is_online(one), PATIENCE_S)
    yield one
    for process in one.processes:
        process.terminate()
        process.communicate(timeout=20)


def is_online(box: Box) -> bool:
    """Whether the broker itself takes its beats."""
    status = box.status()
    return status["state"] == "online" and not status.get("brokerRefuses") and not status.get("brokerOutOfReach")


def registration(box: Box) -> Registration:
    """The one on the box's disk."""
    found = StateDirectory(str(box.state_dir)).load_registration()
    assert found is not None
    return found


def test_rotations_at_the_box_and_at_the_desk(hub: Hub, box: Box) -> None:
    """Both end with another key, the broker takes the next credential, and the process is the same one."""
    before = registration(box)
    box.cli("rotate", "--state-dir", str(box.state_dir))
    second = registration(box)
    assert second.key_fingerprint != before.key_fingerprint and second.transport == "mqtt"
    wait_until("the broker takes it", lambda: is_online(box), PATIENCE_S)

    with HttpCalls(Trust(pins=(hub.pin,))) as calls:
        assert calls.exchange(management.rotate(hub.place, before.device_id), 10).status == 202
    wait_until("another key", lambda: registration(box).key_fingerprint != second.key_fingerprint, PATIENCE_S)
    wait_until("the broker takes it", lambda: is_online(box), PATIENCE_S)

    assert box.status()["pid"] == box.processes[0].pid
    assert hub.status(before.device_id) == "online"


def test_the_hubs_ca_ends(hub: Hub, box: Box) -> None:
    """The agent follows to the next CA over its own broker, and is online there after the switch, and can rotate."""
    before = registration(box)
    for verb in ("new", "switch"):
        subprocess.run([str(BIN / "firstlight-hub"), "ca", verb, "--dir", str(hub.folder)], check=True, timeout=30)
        hub.stop()
        hub.serve()
        wait_until("it trusts the next CA", lambda: registration(box).trust != before.trust, PATIENCE_S)
    assert registration(box).trust == Trust(HubFolder(hub.folder).authorities().present.pem)

    wait_until("the broker takes it", lambda: hub.status(before.device_id) == "online" and is_online(box), PATIENCE_S)
    box.cli("rotate", "--state-dir", str(box.state_dir))
    wait_until("the broker takes it", lambda: is_online(box), PATIENCE_S)
