"""``firstlight-hub serve`` with RabbitMQ, set up by the steps of packaging/rabbitmq/README.md."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from firstlight.wire import topics
from firstlight_hub.rabbitmq.auth import broker_token
from firstlight_hub.tls import key_pem
from tests.e2e.conftest import wait_until
from tests.hub.hub_world import JSON
from tests.hub.hub_world import Box as Keys
from tests.hub.served import Served, change, make
from tests.system.rabbit import Rabbit, free_ports
from tests.system.rabbit_hub import Box

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]
BAD_LOGIN = 134


class Scene(NamedTuple):
    """A hub as its operator starts it, its RabbitMQ, and the folder of both."""

    hub: Served
    rabbit: Rabbit
    folder: Path


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """The hub starts first, RabbitMQ after it: they find each other, and what comes meanwhile waits."""
    with tempfile.TemporaryDirectory(prefix="flr-") as scratch:
        folder = Path(scratch)
        (folder / "node").mkdir()
        key = make(folder / "hub")
        (folder / "password").write_text("the-password-of-the-hub-itself\n")
        (port,) = free_ports(1)
        token = broker_token(folder / "hub/broker.token").reveal()
        rabbit = Rabbit(folder / "node", f"https://localhost:{port}", token, folder / "hub")
        change(
            folder / "hub",
            port=port,
            mqtt="rabbitmq",
            mqtt_port=rabbit.mqtt_port,
            mqtt_certificate_port=rabbit.mqtt_port,
            mqtt_websocket_port=rabbit.websocket_port,
            mqtt_websocket_certificate_port=rabbit.websocket_port,
            broker_url=rabbit.amqp_url,
            broker_password_file=str(folder / "password"),
            broker_management_url=rabbit.management_url,
        )
        with Served(folder / "hub", key) as hub, rabbit:
            yield Scene(hub, rabbit, folder)


def status(scene: Scene, device_id: str) -> str:
    """What the operator's list says."""
    headers = {"Authorization": f"Bearer {scene.hub.key}"}
    return str(scene.hub.client.get(f"/demo/devices/v2/{device_id}", headers=headers).json()["status"])


@pytest.mark.parametrize("credential", ["secret", "certificate"])
def test_from_install_id_to_revoked(scene: Scene, credential: str) -> None:
    """A device redeems, beats over RabbitMQ, is answered, is online, and after its removal it is out for good."""
    keys = Keys()
    device_id, install_id, _ = scene.hub.create()
    body = keys.redeem_body(transport="mqtt", credential=credential)
    answer = scene.hub.client.post(f"/devices/v2/{install_id}/redeem", content=body, headers=JSON)
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert told["broker"] == f"mqtts://127.0.0.1:{scene.rabbit.mqtt_port}"
    if credential == "certificate":
        pem, key = scene.folder / "device.pem", scene.folder / "device.key"
        pem.write_text(told["certificatePem"])
        key.write_bytes(key_pem(keys.private))
        login: dict[str, Any] = {"certificate": (pem, key)}
    else:
        login = {"login": (device_id, told["key"])}
    one = Box(scene.rabbit, device_id, **login)
    assert one.next("connected") == 0
    one.client.subscribe(topics.answers("demo", device_id), 1)
    one.next("subscribed")
    sequence = one.beat(asks=True)
    assert one.next("message")[0] == topics.answer("demo", device_id, sequence)
    wait_until("it is online", lambda: status(scene, device_id) == "online")
    headers = {"Authorization": f"Bearer {scene.hub.key}"}
    assert scene.hub.client.delete(f"/demo/devices/v2/{device_id}", headers=headers).status_code < 300
    one.next("lost", within_s=15)
    again = Box(scene.rabbit, device_id, **login)
    assert again.next("connected") == BAD_LOGIN
    for each in (one, again):
        each.close()
