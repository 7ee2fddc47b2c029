"""A hub with each kind of broker, as an operator sets it up: its own mosquitto, another mosquitto, RabbitMQ."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from firstlight_hub.rabbitmq.auth import broker_token
from tests.e2e.conftest import Hub
from tests.system.mosquitto_site import free_port
from tests.system.rabbit import Rabbit
from tests.system.test_mosquitto_external import Theirs

BROKERS = ("mosquitto", "external", "rabbitmq")


@contextmanager
def hub_with(kind: str, folder: Path, interval_s: int, window_s: int) -> Iterator[Hub]:
    """A hub that serves; gone with its broker at the end."""
    hub = Hub(folder, is_served=False, heartbeat_interval_s=interval_s, online_window_s=window_s)
    try:
        with {"mosquitto": _own, "external": _external, "rabbitmq": _rabbit}[kind](hub):
            yield hub
    finally:
        hub.stop()


@contextmanager
def _own(hub: Hub) -> Iterator[None]:
    hub.configure(mqtt="mosquitto", mqtt_port=free_port(), mqtt_certificate_port=free_port())
    hub.serve()
    yield


@contextmanager
def _external(hub: Hub) -> Iterator[None]:
    folder = hub.folder.parent / "broker"
    folder.mkdir()
    broker = Theirs(folder)
    secret_port, certificate_port = free_port(), free_port()
    hub.configure(mqtt_port=secret_port, mqtt_certificate_port=certificate_port, **broker.settings())
    hub.serve()  # it makes the broker's files
    broker.start(secret_port, certificate_port)
    hub.stop()
    hub.serve()  # and takes beats when this returns: otherwise some seconds may pass until it tries the broker again
    try:
        yield
    finally:
        hub.stop()
        broker.end()


@contextmanager
def _rabbit(hub: Hub) -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="flp-") as scratch:  # Erlang wants short paths
        node, password = Path(scratch) / "node", Path(scratch) / "password"
        node.mkdir()
        password.write_text("the-password-of-the-hub-itself\n")
        token = broker_token(hub.folder / "broker.token").reveal()
        rabbit = Rabbit(node, f"https://localhost:{hub.port}", token, hub.folder)
        hub.configure(
            mqtt="rabbitmq",
            mqtt_port=rabbit.mqtt_port,
            mqtt_certificate_port=rabbit.mqtt_port,
            broker_url=rabbit.amqp_url,
            broker_password_file=str(password),
            broker_management_url=rabbit.management_url,
        )
        with rabbit:
            hub.serve()
            yield
