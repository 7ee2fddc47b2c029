"""Every pairing from installId to online to renewed to revoked: {HTTP, MQTT} x {secret, certificate} x every broker.

One contract, the real programs, real brokers. What ends is judged by delivery: nothing of a revoked device reaches the
list any more, whatever a broker may have answered.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.conftest import Box, Hub, wait_until
from tests.system.brokers import BROKERS, hub_with

pytestmark = pytest.mark.system

WINDOW_S, INTERVAL_S = 3, 1


class Road(NamedTuple):
    """One pairing."""

    transport: str
    credential: str
    broker: str

    @property
    def words(self) -> tuple[str, ...]:
        """What the operator says of it when the device is created."""
        return ("--transport", self.transport, "--credential", self.credential)


ROADS = [
    Road("http", "secret", "mosquitto"),
    Road("http", "certificate", "mosquitto"),
    *(Road("mqtt", credential, broker) for broker in BROKERS for credential in ("secret", "certificate")),
]


@pytest.fixture(scope="module")
def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with one kind of broker; started once for all roads that use it."""
    kind = str(request.param)
    with hub_with(kind, tmp_path_factory.mktemp(kind), INTERVAL_S, WINDOW_S) as one:
        yield one


every_road = pytest.mark.parametrize(
    ("hub", "road"),
    [pytest.param(road.broker, road, id=f"{road.transport}-{road.credential}-{road.broker}") for road in ROADS],
    indirect=["hub"],
    scope="module",
)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[Hub, str], Box]]:
    """Makes boxes by name, and ends their agents."""
    boxes: list[Box] = []

    def made(hub: Hub, name: str) -> Box:
        (tmp_path / name).mkdir()
        boxes.append(Box(tmp_path / name, hub))
        return boxes[-1]

    yield made
    for box in boxes:
        for process in box.processes:
            if process.poll() is None:
                process.terminate()
            process.communicate(timeout=20)


def desk(hub: Hub, box: Box, *words: str) -> str:
    """A desk verb of ``firstlight``."""
    to = ("--hub", hub.url, "--pin", hub.pin, "--workspace", "demo", "--api-key-file", str(hub.key_file))
    return box.cli("device", *words, *to).stdout


def last_beat(hub: Hub, device_id: str) -> str:
    """When the hub last heard of the device, as the list says it."""
    return str(hub.devices()[device_id]["last_heartbeat"])


def beats_again(hub: Hub, device_id: str) -> None:
    """The hub hears of the device once more from now on."""
    seen = last_beat(hub, device_id)
    wait_until("another beat is in the list", lambda: last_beat(hub, device_id) > seen)


@every_road
def test_from_install_id_to_revoked(hub: Hub, road: Road, make: Callable[[Hub, str], Box]) -> None:
    """Created, enrolled, online, its credential replaced while it beats, revoked, and never heard of again."""
    box = make(hub, "box")
    invited = json.loads(desk(hub, box, "create", "box", "--json", *road.words))
    device_id = str(invited["deviceId"])

    enrolled = box.enroll(str(invited["installId"]), "--patience", "20")
    assert "first heartbeat accepted" in enrolled.stdout
    assert hub.status(device_id) == "online"

    agent = box.run()
    wait_until("the agent is online", lambda: box.status()["state"] == "online")
    found = box.status()
    assert (found["transport"], found["credential"]) == (road.transport, road.credential)
    beats_again(hub, device_id)

    box.cli("rotate", "--state-dir", str(box.state_dir))
    wait_until("the agent is online again", lambda: box.status()["state"] == "online")
    renewed = box.status()
    assert renewed["keyFingerprint"] != found["keyFingerprint"]
    assert renewed["deviceId"] == device_id
    beats_again(hub, device_id)

    thief = make(hub, "thief")
    shutil.copytree(box.state_dir, thief.state_dir, ignore=shutil.ignore_patterns("running", "status.json"))
    desk(hub, box, "revoke", device_id)
    wait_until("the agent knows", lambda: box.status().get("reason") == "credential_revoked")
    agent.terminate()
    agent.communicate(timeout=20)
    seen = last_beat(hub, device_id)
    thief.run()
    wait_until("the thief was refused", lambda: thief.status().get("reason") == "credential_revoked")
    wait_until("the device is offline", lambda: hub.status(device_id) == "offline")
    assert last_beat(hub, device_id) == seen


@every_road
def test_removed_device_is_retired(hub: Hub, road: Road, make: Callable[[Hub, str], Box]) -> None:
    """A removed device is thrown out while it beats, learns why, and sets its registration aside."""
    box = make(hub, "box")
    invited = json.loads(desk(hub, box, "create", "box", "--json", *road.words))
    device_id = str(invited["deviceId"])
    box.enroll(str(invited["installId"]), "--patience", "20")
    agent = box.run()
    wait_until("the agent is online", lambda: box.status()["state"] == "online")

    desk(hub, box, "remove", device_id)

    wait_until("the agent has ended", lambda: agent.poll() is not None)
    assert agent.returncode == 78
    assert box.status()["state"] == "retired"
    assert device_id not in hub.devices()
