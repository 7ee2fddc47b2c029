"""What the hub says between two beats reaches the running agent at once, over each way to the broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firstlight.core.model import Registration, Trust
from firstlight.platforms.hub import management
from firstlight.system.store import StateDirectory
from firstlight.transports.http_calls import HttpCalls
from tests.e2e.conftest import Box, Hub, wait_until
from tests.system.brokers import hub_with
from tests.system.mosquitto_site import free_port

pytestmark = pytest.mark.system

INTERVAL_S = 1800  # so that no beat can have brought it
WAYS = [
    ("mosquitto", "mqtt", "secret"),
    ("mosquitto", "mqtt", "certificate"),
    ("mosquitto", "websocket", "secret"),
    ("rabbitmq", "mqtt", "certificate"),
]


@pytest.fixture(scope="module")
def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with one kind of broker, whose devices beat every half hour."""
    with hub_with(request.param, tmp_path_factory.mktemp(request.param), INTERVAL_S, 2 * INTERVAL_S) as one:
        if request.param == "mosquitto":
            one.stop()
            one.configure(mqtt_websocket_port=free_port())
            one.serve()
        yield one


@pytest.fixture
def box(tmp_path: Path, hub: Hub) -> Iterator[Box]:
    """A box; its agent is ended afterwards."""
    one = Box(tmp_path, hub)
    yield one
    for process in one.processes:
        process.terminate()
        process.communicate(timeout=20)


def registration(box: Box) -> Registration:
    """The one on the box's disk."""
    found = StateDirectory(str(box.state_dir)).load_registration()
    assert found is not None
    return found


every_way = pytest.mark.parametrize(
    ("hub", "way", "credential"),
    [pytest.param(broker, way, kind, id=f"{broker}-{way}-{kind}") for broker, way, kind in WAYS],
    indirect=["hub"],
    scope="module",
)


def started(hub: Hub, box: Box, way: str, credential: str) -> Registration:
    """Enrolls the box and starts its agent, which is online over the broker itself; its registration."""
    box.enroll(hub.create(way).install_id.reveal(), "--transport", way, "--credential", credential)
    found = registration(box)
    assert found.broker is not None and found.broker.scheme == ("wss" if way == "websocket" else "mqtts")
    box.run()
    wait_until("the broker takes its beats", over_broker(box), 30)
    is_rabbit = hub.folder.parent.name.startswith("rabbitmq")
    assert box.status()["protocol"] == ("MQTT 3.1.1" if is_rabbit else "MQTT 5"), "RabbitMQ 3.10 knows no 5"
    return found


def over_broker(box: Box) -> Callable[[], bool]:
    """Whether the broker itself took the last beat."""

    def is_so() -> bool:
        found = box.status()
        return found["state"] == "online" and not found.get("brokerRefuses") and not found.get("brokerOutOfReach")

    return is_so


@every_way
def test_rotate_now(hub: Hub, box: Box, way: str, credential: str) -> None:
    """The operator's word makes another key within seconds, and the box is online with it."""
    before = started(hub, box, way, credential)
    began_s = time.monotonic()
    with HttpCalls(Trust(pins=(hub.pin,))) as calls:
        assert calls.exchange(management.rotate(hub.place, before.device_id), 10).status == 202
    wait_until("another key", lambda: registration(box).key_fingerprint != before.key_fingerprint, 15)
    assert time.monotonic() - began_s < 15
    wait_until("online with it", over_broker(box), 30)


@pytest.mark.parametrize("hub", ["mosquitto"], indirect=True, scope="module")
def test_a_way_that_this_hub_has_not(hub: Hub, box: Box) -> None:
    """Certificates on a WebSocket are not offered with mosquitto: refused by name, and the installId is not spent."""
    install_id = hub.create("web").install_id.reveal()
    wish = ("--transport", "websocket", "--credential", "certificate")
    refused = box.enroll(install_id, *wish, check=False)
    assert refused.returncode != 0 and "[transport_unavailable]" in refused.stderr
    box.enroll(install_id, "--transport", "websocket", "--credential", "secret")


@every_way
def test_revoked(hub: Hub, box: Box, way: str, credential: str) -> None:
    """A credential that the operator ends is out of the broker within seconds, and the agent learns why."""
    found = started(hub, box, way, credential)
    with HttpCalls(Trust(pins=(hub.pin,))) as calls:
        assert calls.exchange(management.revoke(hub.place, found.device_id), 10).status == 204
    wait_until("the session has ended", lambda: box.status()["state"] != "online", 10)


@every_way
def test_last_will(hub: Hub, box: Box, way: str, credential: str) -> None:
    """An agent that is killed leaves its last will beside a status that stays; a farewell leaves none."""
    found = started(hub, box, way, credential)
    assert "last_will_at" not in hub.devices()[found.device_id]
    box.processes[0].terminate()
    box.processes[0].communicate(timeout=20)
    box.run()
    wait_until("it is back", lambda: box.status().get("pid") == box.processes[1].pid and over_broker(box)(), 30)
    assert "last_will_at" not in hub.devices()[found.device_id], "it said goodbye"

    box.processes[1].kill()
    wait_until("the last will is shown", lambda: hub.devices()[found.device_id].get("last_will_at"))
    assert hub.status(found.device_id) == "online"
    box.run()
    wait_until("it is gone with the next beat", lambda: "last_will_at" not in hub.devices()[found.device_id], 30)
