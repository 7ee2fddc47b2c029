"""Whom RabbitMQ is told to let in, in the very words in which 3.10 asks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from starlette.applications import Starlette

from firstlight.core.model import Secret
from firstlight.errors import StateError
from firstlight_hub.api.broker import make_route
from firstlight_hub.model import Device, Tombstone, certificate_hash, digest
from firstlight_hub.rabbitmq.auth import ALLOW, DENY, HubLogin, Logins, broker_token, read_form, subject_name
from firstlight_hub.store.sqlite import SqliteStore

HUB = HubLogin("firstlight-hub", Secret("a password of the hub"))
KEY, NEXT, ENDED, TOKEN = "1.key-of-cam", "2.next-key-of-cam", "1.ended", "ab" * 32
CERTIFIED = subject_name("demo", "dock", 3)


def device(name: str, **more: object) -> Device:
    """A device's record."""
    plain = Device(0, "demo", name, name, None, None, (), False, 1)
    return plain._replace(**more)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """A store with a device of each kind."""
    one = SqliteStore(tmp_path / "hub.sqlite3")
    dock = certificate_hash("sha256:dock"), certificate_hash("sha256:next")
    with one.writing() as transaction:
        transaction.add_device(device("cam", key_hash=digest(KEY), candidate_hash=digest(NEXT), key_generation=1))
        transaction.add_device(
            device("dock", key_fingerprint="sha256:dock", key_hash=dock[0], key_generation=3)._replace(
                candidate_fingerprint="sha256:next", candidate_hash=dock[1], candidate_generation=4
            )
        )
        transaction.add_device(device("ended", key_hash=digest(ENDED), revoked_at_ms=5))
        transaction.add_device(device("new"))
    yield one
    one.close()


@pytest.fixture
def logins(store: SqliteStore) -> Logins:
    """The hub's answers."""
    return Logins(store, HUB)


def login(logins: Logins, name: str, password: str | None) -> str:
    """The question for a user; over MQTT a password comes with vhost and client id."""
    form = {"username": name}
    if password is not None:
        form |= {"password": password, "vhost": "/", "client_id": name}
    return logins.decide("user", form)


@pytest.mark.parametrize("key", [KEY, NEXT])
def test_key_lets_in(logins: Logins, key: str) -> None:
    """A device comes in with its key and with its candidate."""
    assert login(logins, "cam", key) == ALLOW


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("cam", "1.another"),
        ("cam", ""),
        ("cam", None),
        ("dock", ""),
        ("dock", None),
        ("dock", KEY),
        ("ended", ENDED),
        ("new", ""),
        ("new", None),
        ("nobody", KEY),
        ("", ""),
        ("/:cam", KEY),
        ("cam\n", KEY),
        (CERTIFIED, ""),
        (CERTIFIED, "x"),
    ],
)
def test_wrong_password_is_refused(logins: Logins, name: str, password: str | None) -> None:
    """No password, an empty one and a wrong one are refused, and so is a certificate's subject that was typed."""
    assert login(logins, name, password) == DENY


@pytest.mark.parametrize(
    ("subject", "told"),
    [
        (subject_name("demo", "dock", 3), ALLOW),
        (subject_name("demo", "dock", 4), ALLOW),  # the candidate
        (subject_name("demo", "dock", 2), DENY),  # the former one
        (subject_name("demo", "dock", 0), DENY),
        (subject_name("plain", "dock", 3), DENY),
        (subject_name("demo", "cam", 1), DENY),  # has a secret
        (subject_name("demo", "new", 0), DENY),
        ("CN=dock,O=demo", DENY),
        ("CN=Firstlight hub", DENY),
        ("OU=x," + CERTIFIED, DENY),
    ],
)
def test_certificate(logins: Logins, subject: str, told: str) -> None:
    """A certificate counts by workspace, device and generation together, so a former one is refused."""
    assert login(logins, subject, None) == told


def test_hub_itself(logins: Logins) -> None:
    """The hub's own user comes in with its password only, as one who may end sessions."""
    assert login(logins, HUB.user, HUB.password.reveal()) == "allow administrator"
    assert login(logins, HUB.user, "") == login(logins, HUB.user, None) == login(logins, HUB.user, "x") == DENY
    assert logins.decide("vhost", {"username": HUB.user, "vhost": "/"}) == ALLOW
    assert logins.decide("vhost", {"username": HUB.user, "vhost": "other"}) == DENY


@pytest.mark.parametrize(
    ("name", "client_id", "vhost", "told"),
    [
        ("cam", "cam", "/", ALLOW),
        (CERTIFIED, "dock", "/", ALLOW),
        ("cam", "dock", "/", DENY),
        (CERTIFIED, "cam", "/", DENY),
        (CERTIFIED, CERTIFIED, "/", DENY),
        ("cam", "cam", "other", DENY),
        ("cam", None, "/", DENY),  # AMQP has no client id
        ("ended", "ended", "/", DENY),
    ],
)
def test_client_id(logins: Logins, name: str, client_id: str | None, vhost: str, told: str) -> None:
    """A device comes in under its own client id and in the one virtual host only."""
    form = {"username": name, "vhost": vhost, "ip": "127.0.0.1", "tags": ""}
    assert logins.decide("vhost", form if client_id is None else form | {"client_id": client_id}) == told


@pytest.mark.parametrize(
    ("kind", "name", "permission", "told"),
    [
        ("queue", "mqtt-subscription-camqos1", "configure", ALLOW),
        ("queue", "mqtt-subscription-camqos0", "read", ALLOW),
        ("queue", "mqtt-subscription-camqos2", "read", DENY),
        ("queue", "mqtt-subscription-dockqos1", "read", DENY),
        ("queue", "mqtt-subscription-dockqos1", "configure", DENY),
        ("queue", "firstlight-hub", "read", DENY),
        ("exchange", "amq.topic", "write", ALLOW),
        ("exchange", "amq.topic", "read", ALLOW),
        ("exchange", "amq.topic", "configure", DENY),
        ("exchange", "firstlight-answers", "write", DENY),
        ("topic", "amq.topic", "write", DENY),
    ],
)
def test_resources(logins: Logins, kind: str, name: str, permission: str, told: str) -> None:
    """A device has its own subscription's queues and the one exchange, nothing else."""
    form = {"username": "cam", "vhost": "/", "resource": kind, "name": name, "permission": permission}
    assert logins.decide("resource", form) == told


@pytest.mark.parametrize(
    ("permission", "key", "told"),
    [
        ("write", "firstlight.demo.cam.heartbeat", ALLOW),
        ("write", "firstlight.demo.cam.gone", ALLOW),
        ("write", "firstlight.demo.dock.heartbeat", DENY),
        ("write", "firstlight.demo.dock.gone", DENY),
        ("write", "firstlight.plain.cam.heartbeat", DENY),
        ("write", "firstlight.demo.cam.answer.1", DENY),
        ("write", "firstlight/demo/cam/heartbeat", DENY),
        ("write", "firstlight.demo.cam.heartbeat.x", DENY),
        ("write", "", DENY),
        ("read", "firstlight.demo.cam.answer.*", ALLOW),
        ("read", "firstlight.demo.cam.answer.17", ALLOW),
        ("read", "firstlight.demo.cam.answer.#", DENY),
        ("read", "firstlight.demo.*.answer.*", DENY),
        ("read", "firstlight.demo.dock.answer.*", DENY),
        ("read", "firstlight.demo.cam.heartbeat", DENY),
        ("read", "#", DENY),
        ("configure", "firstlight.demo.cam.heartbeat", DENY),
    ],
)
def test_topics(logins: Logins, permission: str, key: str, told: str) -> None:
    """A device writes its beats and its last will, and reads its answers."""
    form = {"username": "cam", "vhost": "/", "resource": "topic", "name": "amq.topic", "permission": permission}
    assert logins.decide("topic", form | {"routing_key": key}) == told


def test_removed_device_is_refused_at_once(logins: Logins, store: SqliteStore) -> None:
    """A removed device is refused from the commit on, with all it held."""
    assert login(logins, "cam", KEY) == login(logins, CERTIFIED, None) == ALLOW
    with store.writing() as transaction:
        for name in ("cam", "dock"):
            transaction.remove_device(Tombstone("demo", name, None, None, 9))
    assert login(logins, "cam", KEY) == login(logins, CERTIFIED, None) == DENY


@pytest.mark.parametrize("body", [b"", b"username=a&username=b", b"username", b"a=%FF", b"a=1&" * 20, b"\xff"])
def test_odd_question_is_not_read(body: bytes) -> None:
    """What RabbitMQ does not send is no question."""
    assert not read_form(body)


def test_routes(logins: Logins) -> None:
    """The questions are answered at the address with the token, and nothing is there for anybody else."""
    app = Starlette(routes=[make_route(logins, Secret(TOKEN))])
    right = urlencode({"username": "cam", "password": KEY})
    asked = {
        ("POST", f"/broker/{TOKEN}/user", right): ALLOW,
        ("POST", f"/broker/{TOKEN}/user", "username=cam&password="): DENY,
        ("POST", f"/broker/{TOKEN}/user", "username=" + "a" * 9000): DENY,
        ("POST", f"/broker/{'cd' * 32}/user", right): "404",
        ("POST", f"/broker/{TOKEN}x/user", right): "404",
        ("POST", "/broker/%FF/user", right): "404",
        ("POST", f"/broker/{TOKEN}/other", right): "404",
        ("GET", f"/broker/{TOKEN}/user", ""): "404",
    }

    async def ask() -> dict[tuple[str, str, str], str]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://hub.example") as client:
            answers = {one: await client.request(one[0], one[1], content=one[2]) for one in asked}
        return {one: got.text if got.status_code == 200 else str(got.status_code) for one, got in answers.items()}

    assert asyncio.run(ask()) == asked


def test_token_is_made_once(tmp_path: Path) -> None:
    """The token is made once, for the hub's user only, and a damaged one is not used."""
    path = tmp_path / "broker.token"
    token = broker_token(path).reveal()
    assert len(token) == 64 and broker_token(path).reveal() == token
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("short")
    with pytest.raises(StateError):
        broker_token(path)
