"""A hub with a real mosquitto, the devices it let in, and connections that behave or misbehave as a test asks."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import ssl
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import ClassVar, NamedTuple

import paho.mqtt.client as mqtt
from cryptography.hazmat.primitives import serialization
from paho.mqtt.enums import CallbackAPIVersion

from firstlight.wire import topics
from firstlight_hub.service.binding import owned, revoke
from firstlight_hub.store.sqlite import SqliteStore
from tests.hub.hub_world import JSON, Box
from tests.hub.served import Served, change, make

PATIENCE_S = 15.0
WHERE = "127.0.0.1"


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as taken:
        taken.bind((WHERE, 0))
        port: int = taken.getsockname()[1]
        return port


class Member(NamedTuple):
    """A device that the hub let in: ``key``, or ``certificate`` (a PEM file with its private key), and its box."""

    id: str
    key: str
    certificate: Path | None
    box: Box


class Site:
    """A hub with mosquitto.

    Args:
        folder: made here.
        settings: of hub.toml, beside the ports.
    """

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.key = make(folder)
        self.secret_port, self.certificate_port, self.websocket_port = free_port(), free_port(), free_port()
        ports = {"mqtt_port": self.secret_port, "mqtt_certificate_port": self.certificate_port}
        ports["mqtt_websocket_port"] = self.websocket_port
        change(folder, heartbeat_interval_s=2, **{**ports, **settings})
        self.words = () if "mqtt" in settings else ("--mqtt",)
        self.hub = Served(folder, self.key, *self.words)

    def start(self) -> None:
        """Starts the hub again, after its end."""
        self.hub.client.close()
        self.hub = Served(self.folder, self.key, *self.words)

    def end(self) -> str:
        """Stops hub and broker -> what they printed."""
        self.hub.client.close()
        return self.hub.stop()[1]

    def enroll(self, credential: str = "secret") -> Member:
        """A device whose way is MQTT."""
        device_id, install_id, _ = self.hub.create()
        box = Box()
        body = box.redeem_body(transport="mqtt", credential=credential)
        answer = self.hub.client.post(f"/devices/v2/{install_id}/redeem", content=body, headers=JSON)
        assert answer.status_code == 201, answer.text
        told = answer.json()
        port = self.certificate_port if credential == "certificate" else self.secret_port
        assert told["broker"] == f"mqtts://{WHERE}:{port}"
        if credential == "secret":
            return Member(device_id, told["key"], None, box)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path = self.folder.with_name(f"{device_id}.pem")
        path.write_bytes(told["certificatePem"].encode() + box.private.private_bytes(*form))
        return Member(device_id, "", path, box)

    def desk(self, method: str, path: str) -> int:
        """A call of the operator about a device -> status."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return self.hub.client.request(method, f"/demo/devices/v2/{path}", headers=headers).status_code

    def device(self, device_id: str) -> dict[str, object]:
        """A device as the operator sees it."""
        headers = {"Authorization": f"Bearer {self.key}"}
        found: dict[str, object] = self.hub.client.get(f"/demo/devices/v2/{device_id}", headers=headers).json()
        return found

    def stored(self, device_id: str) -> list[int]:
        """The sequence numbers of a device's beats on disk."""
        question = "SELECT sequence FROM beat JOIN device ON device.number = device WHERE id = ? ORDER BY sequence"
        with closing(sqlite3.connect(self.folder / "hub.sqlite3")) as database:
            return [row[0] for row in database.execute(question, (device_id,))]

    def revoke_and_die(self, device_id: str) -> None:
        """The hub commits that a credential has ended, and is killed before it has told the broker."""
        self.hub.client.close()
        self.hub.kill()
        store = SqliteStore(self.folder / "hub.sqlite3")
        with store.writing() as transaction:
            revoke(transaction, owned(transaction, "demo", device_id), time.time_ns() // 1_000_000)
        store.close()

    def invite(self, device_id: str, transport: str, credential: str) -> int:
        """Invites a device anew and redeems with another box -> status."""
        told = self.hub.client.post(
            f"/demo/devices/v2/{device_id}/install-ids", headers={"Authorization": f"Bearer {self.key}"}
        ).json()
        body = Box().redeem_body(transport=transport, credential=credential)
        return self.hub.client.post(f"/devices/v2/{told['installId']}/redeem", content=body, headers=JSON).status_code

    def broker_pid(self) -> int:
        """The process id of the hub's mosquitto."""
        children = Path(f"/proc/{self.hub.process.pid}/task").glob("*/children")
        found = [pid for file in children for pid in file.read_text().split()]
        return next(int(pid) for pid in found if Path(f"/proc/{pid}/comm").read_text() == "mosquitto\n")


class _Tidy(ssl.SSLSocket):
    """Closes itself when its handshake fails: paho would leave that to chance."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


class Link:
    """One MQTT connection of somebody, driven by ``until``.

    Args:
        site: whose broker.
        client_id: as which it comes.
        user: user name, "" = none.
        password: for it.
        certificate: a PEM file to show.
        port: of the listener, by default the one for what it shows.
        will: topic of its last will.
        clean: False asks for the session that was there before.
        transport: "tcp" or "websockets".
        keepalive_s: in the CONNECT.
    """

    made: ClassVar[list[Link]] = []  # kept, so that no connection ends when the garbage is collected

    def __init__(
        self,
        site: Site,
        client_id: str,
        user: str = "",
        password: str | None = None,
        *,
        certificate: Path | None = None,
        port: int = 0,
        will: str = "",
        clean: bool = True,
        transport: str = "tcp",
        keepalive_s: int = 60,
    ) -> None:
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=clean,
            protocol=mqtt.MQTTv311,
            transport=transport,  # type: ignore[arg-type]
            reconnect_on_failure=False,
        )
        if user:
            self.client.username_pw_set(user, password)
        trust = ssl.create_default_context(cafile=site.folder / "ca.pem")
        trust.sslsocket_class = _Tidy
        if certificate is not None:
            trust.load_cert_chain(certificate)
        self.client.tls_set_context(trust)
        if will:
            self.client.will_set(will, b'{"bootId": "0"}', 1)
        Link.made.append(self)
        self.answers: list[tuple[str, dict[str, object]]] = []
        self.acknowledged: set[int] = set()
        self.verdict = ""
        self.subscribed = False
        self.lost = False
        self.client.on_connect = self._connected
        self.client.on_subscribe = lambda *_: setattr(self, "subscribed", True)
        self.client.on_publish = lambda _, __, mid, *___: self.acknowledged.add(mid)
        self.client.on_message = lambda _, __, m: self.answers.append((m.topic, json.loads(m.payload)))
        self.client.on_disconnect = lambda *_: setattr(self, "lost", True)
        default = site.certificate_port if certificate else site.secret_port
        try:
            self.client.connect(WHERE, port or default, keepalive_s)
        except (OSError, mqtt.WebsocketConnectionError) as error:
            self.verdict, self.lost = f"{type(error).__name__}", True

    def _connected(self, _: object, __: object, ___: object, reason: object, ____: object) -> None:
        self.verdict = str(reason)

    def until(self, done: Callable[[], object], patience_s: float = PATIENCE_S) -> bool:
        """Drives the connection until something holds, or it is lost, or patience ends -> whether it holds."""
        ends_s = time.monotonic() + patience_s
        while not done() and time.monotonic() < ends_s:
            if self.client.loop(0.05) != mqtt.MQTT_ERR_SUCCESS:
                self.lost = True
                break
        return bool(done())

    @property
    def is_in(self) -> bool:
        """Whether the broker let it in."""
        self.until(lambda: self.verdict or self.lost)
        return self.verdict == "Success"

    def hears(self, filter: str) -> None:
        """Subscribes, whatever the broker says to it."""
        self.subscribed = False
        self.client.subscribe(filter, 1)
        self.until(lambda: self.subscribed or self.lost)

    def publishes(self, topic: str, body: bytes) -> bool:
        """Publishes with QoS 1 -> whether the broker acknowledged (mosquitto does so even where it drops it)."""
        told = self.client.publish(topic, body, 1)
        return self.until(lambda: told.mid in self.acknowledged or self.lost) and not self.lost

    def beats(self, member: Member, sequence: int, asks: bool = False) -> bool:
        """Sends a beat of a device."""
        return self.publishes(topics.heartbeat("demo", member.id), member.box.beat_body(sequence=sequence, asks=asks))

    def asks(self, member: Member, sequence: int, patience_s: float = PATIENCE_S) -> dict[str, object]:
        """Sends a beat that wants an answer -> the answer; empty without one."""
        where = topics.answer("demo", member.id, sequence)
        self.beats(member, sequence, asks=True)
        self.until(lambda: where in dict(self.answers), patience_s)
        return dict(self.answers).get(where, {})

    def close(self) -> None:
        """Goes without a word."""
        if (connected := self.client.socket()) is not None:
            connected.close()


def close_links() -> None:
    """Closes every connection that was made."""
    for one in Link.made:
        one.close()
    Link.made.clear()


def link(site: Site, member: Member, **more: object) -> Link:
    """The device's own connection, subscribed to its answers."""
    made = Link(site, member.id, member.id if member.key else "", member.key, certificate=member.certificate, **more)  # type: ignore[arg-type]
    assert made.is_in, made.verdict
    made.hears(topics.answers("demo", member.id))
    return made


def eventually(done: Callable[[], object], patience_s: float = PATIENCE_S) -> bool:
    """Whether something outside this process holds before patience ends."""
    ends_s = time.monotonic() + patience_s
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nothing:
        nothing.bind((WHERE, 0))
        nothing.settimeout(0.05)
        while not done():
            if time.monotonic() > ends_s:
                return False
            try:
                nothing.recv(1)
            except TimeoutError:
                continue
    return True


def lines(text: str, pattern: str) -> list[str]:
    """The lines in which a pattern is found."""
    return [line for line in text.splitlines() if re.search(pattern, line)]
