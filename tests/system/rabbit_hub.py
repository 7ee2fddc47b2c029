"""A hub's half of RabbitMQ in this process: it answers RabbitMQ's questions, takes beats and ends sessions.

The real parts on a real database and a real TLS port; a test can stop and start it while RabbitMQ goes on.
"""

from __future__ import annotations

import asyncio
import queue
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

import paho.mqtt.client as mqtt
import uvicorn
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from starlette.applications import Starlette

from firstlight.core.model import Beat, Metrics, Moment, Secret
from firstlight.wire import topics
from firstlight.wire.heartbeat import encode_beat
from firstlight_hub import tls
from firstlight_hub.api.broker import make_route
from firstlight_hub.ingest.group_commit import GroupCommit
from firstlight_hub.ingest.intake import Intake
from firstlight_hub.model import Certificate, Device, Tombstone, certificate_hash, digest
from firstlight_hub.rabbitmq.auth import Logins
from firstlight_hub.rabbitmq.link import RabbitLink, read_place
from firstlight_hub.service.beats import Beats
from firstlight_hub.settings import Settings
from firstlight_hub.store.sqlite import SqliteStore
from tests.system.rabbit import Rabbit, free_ports

TOKEN = "0f" * 32
PATIENCE_S = 30.0
BOOT = "0123456789abcdef" * 2
HASH = "0123456789abcdef"


def now_ms() -> int:
    """The hub's clock."""
    return round(datetime.now(timezone.utc).timestamp() * 1000)


class Files:
    """A CA, a server certificate for this machine, and certificates for devices, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._now = datetime.now(timezone.utc)
        self._ca_key = tls.make_key()
        self._ca = tls.make_ca(self._ca_key, self._now)
        key = tls.make_key()
        leaf = tls.make_leaf(self._ca, self._ca_key, key.public_key(), ["localhost"], self._now)
        self._write("ca.pem", tls.certificate_pem(self._ca))
        self._write("server.pem", tls.certificate_pem(leaf))
        self._write("server.key", tls.key_pem(key))
        self._write("password", b"the-password-of-the-hub-itself")

    def _write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def certify(self, device_id: str, generation: int = 1, name: str = "", *, ended: bool = False) -> tuple[Path, Path]:
        """A device's certificate and its key; ``ended`` makes one whose time is over."""
        key = tls.make_key()
        begins = self._now - timedelta(days=60) if ended else self._now
        ends = self._now + timedelta(days=-1 if ended else 9)
        subject = ("demo", device_id, generation)
        made = tls.make_device_certificate(self._ca, self._ca_key, key.public_key(), subject, ends, begins)
        stem = f"{name or device_id}-{generation}"
        return self._write(f"{stem}.pem", tls.certificate_pem(made)), self._write(f"{stem}.key", tls.key_pem(key))


class HubHalf:
    """The hub's parts that RabbitMQ works with, in an event loop of their own thread.

    Args:
        files: trust and server certificate.
        database: the hub's; several halves can share it.
        port: to answer RabbitMQ on, or 0 for a second hub that RabbitMQ does not ask.
        settings: how to reach RabbitMQ.
    """

    def __init__(self, files: Files, database: Path, port: int, settings: Settings) -> None:
        self._files = files
        self._port = port
        self.store = SqliteStore(database)
        self.place = read_place(settings, (files.folder / "ca.pem").read_text())
        self.asked: Counter[str] = Counter()
        self.stored = 0
        self.failing = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> HubHalf:
        """Listens and consumes; returns when it listens."""
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live(ready)), daemon=True)
        self._thread.start()
        assert ready.wait(PATIENCE_S)
        return self

    async def _live(self, ready: threading.Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        commits = GroupCommit(self._write)
        self.beats = Beats(self.store, now_ms, 60, 7)
        self.link = RabbitLink(self.place, self.store)
        serving, server = None, self._server()
        if self._port:
            serving = asyncio.create_task(server.serve())
            await server.listens.wait()
        await self.link.attend(lambda publish: Intake(self.beats, commits, publish))
        ready.set()
        await self._stopping.wait()
        await self.link.leave()
        await commits.close()
        if serving is not None:
            server.should_exit = server.force_exit = True
            await serving

    def _server(self) -> _Server:
        app = Starlette(routes=[make_route(_Counted(self.store, self), Secret(TOKEN))])
        return _Server(
            uvicorn.Config(
                app,
                port=self._port,
                log_config=None,
                lifespan="off",
                ssl_certfile=self._files.folder / "server.pem",
                ssl_keyfile=self._files.folder / "server.key",
            )
        )

    def _write(self, rows: Any) -> frozenset[int]:
        if self.failing:
            raise OSError("the disk is full")
        refused = self.store.write_beats(rows)
        self.stored += len(rows) - len(refused)
        return refused

    def stop(self) -> None:
        """Stops all of it."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(PATIENCE_S)
            assert not self._thread.is_alive()
            self._loop = None

    def __enter__(self) -> HubHalf:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        self.store.close()

    # ---- devices ----

    def add(self, device_id: str, key: str = "", certificate: tuple[Path, Path] | None = None) -> None:
        """A registered device with a key or a certificate of generation 1."""
        fingerprint = "sha256:" + device_id
        hashed = digest(key) if key else certificate_hash(fingerprint)
        plain = Device(0, "demo", device_id, device_id, None, None, (), False, now_ms())
        with self.store.writing() as transaction:
            transaction.add_device(
                plain._replace(key_fingerprint=fingerprint, key_hash=hashed, key_generation=1, transport="mqtt")
            )
            if certificate is not None:
                pem = certificate[0].read_text()
                ends_ms = now_ms() + 86_400_000
                transaction.add_certificate(Certificate(device_id.encode().hex(), device_id, fingerprint, pem, ends_ms))

    def remove(self, device_id: str) -> None:
        """The operator removes a device."""
        with self.store.writing() as transaction:
            transaction.remove_device(Tombstone("demo", device_id, None, None, now_ms()))
        self.beats.forget(device_id)
        self.link.ended(device_id)

    def last_beat_ms(self, device_id: str) -> int | None:
        """When the hub last heard of a device."""
        with self.store.reading() as view:
            found = view.device(device_id)
        return found.last_heartbeat_at_ms if found else None


class _Server(uvicorn.Server):
    """uvicorn, which says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As the base."""
        await super().startup(sockets)
        self.listens.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Not in this thread."""
        yield


class _Counted(Logins):
    def __init__(self, store: SqliteStore, half: HubHalf) -> None:
        super().__init__(store, half.place.login)
        self._half = half

    def decide(self, question: str, form: Any) -> str:
        """As ``Logins.decide``; counts."""
        self._half.asked[question] += 1
        return super().decide(question, form)


def hub_settings(rabbit: Rabbit, files: Files) -> Settings:
    """What ``hub.toml`` would say."""
    return Settings(
        hosts=("localhost",),
        port=0,
        workspaces={"demo": frozenset()},
        mqtt="rabbitmq",
        broker_url=rabbit.amqp_url.replace("127.0.0.1", "localhost"),
        broker_password_file=str(files.folder / "password"),
        broker_management_url=rabbit.management_url,
    )


class Site:
    """RabbitMQ and a hub; a context manager.

    Args:
        folder: an empty folder of a short name.
    """

    def __init__(self, folder: Path) -> None:
        (folder / "tls").mkdir()
        (folder / "node").mkdir()
        self.files = Files(folder / "tls")
        self.database = folder / "hub.sqlite3"
        (self._port,) = free_ports(1)
        self.rabbit = Rabbit(folder / "node", f"https://localhost:{self._port}", TOKEN, self.files.folder)

    def half(self, port: int | None = None) -> HubHalf:
        """Another hub on the same database."""
        settings = hub_settings(self.rabbit, self.files)
        return HubHalf(self.files, self.database, self._port if port is None else port, settings)

    def __enter__(self) -> Site:
        self.rabbit.start()
        self.hub = self.half().start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.hub.__exit__(kind, error, at)
        self.rabbit.stop()


class Box:
    """A device over MQTT 3.1.1, driven by hand; every event ends up in ``events``.

    Args:
        rabbit: the broker.
        client_id: as it says.
        login: user name and password, or None.
        certificate: with its key, or None.
        more: ``clean``, ``will`` (a topic) and ``websocket``.
    """

    def __init__(
        self,
        rabbit: Rabbit,
        client_id: str,
        login: tuple[str, str | None] | None = None,
        certificate: tuple[Path, Path] | None = None,
        *,
        clean: bool = True,
        will: str = "",
        websocket: bool = False,
        version: int = 4,
    ) -> None:
        self.events: queue.Queue[tuple[str, Any]] = queue.Queue()
        transport: Any = "websockets" if websocket else "tcp"
        self.client = client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=clean if version == 4 else None,
            protocol=MQTTProtocolVersion(version),
            transport=transport,
            reconnect_on_failure=False,
        )
        context = ssl.create_default_context(cafile=rabbit.folder / "ca.pem")
        if certificate is not None:
            context.load_cert_chain(*certificate)
        client.tls_set_context(context)
        if login is not None:
            client.username_pw_set(*login)
        if websocket:
            client.ws_set_options("/ws")
        if will:
            client.will_set(will, b'{"bootId": "%s"}' % BOOT.encode(), 1)
        client.on_connect = lambda _, __, ___, reason, ____: self.events.put(("connected", reason.value))
        client.on_disconnect = lambda _, __, ___, reason, ____: self.events.put(("lost", reason.value))
        client.on_publish = lambda _, __, mid, *___: self.events.put(("taken", mid))
        client.on_subscribe = lambda _, __, mid, *___: self.events.put(("subscribed", mid))
        client.on_message = lambda _, __, message: self.events.put(("message", (message.topic, message.payload)))
        self._id = client_id
        self._sequence = 0
        port = rabbit.websocket_port if websocket else rabbit.mqtt_port
        client.connect("localhost", port, 60)
        client.loop_start()

    def next(self, *kinds: str, within_s: float = PATIENCE_S) -> Any:
        """What the next event of one of these kinds holds; "lost" and "connected" are never passed over."""
        while True:
            kind, what = self.events.get(timeout=within_s)
            if kind in kinds:
                return what
            assert kind not in ("lost", "connected"), (kind, what)

    def silent(self, kind: str, within_s: float) -> bool:
        """Whether no such event comes for that long."""
        try:
            self.next(kind, within_s=within_s)
        except queue.Empty:
            return True
        return False

    def beat_body(self, asks: bool = False) -> bytes:
        """The next beat."""
        self._sequence += 1
        moment = Moment(BOOT, 60.0 * self._sequence, now_ms() / 1000)
        return encode_beat(Beat(self._sequence, moment, Metrics(), "0.1.0", None, HASH, (), asks))

    def beat(self, asks: bool = False) -> int:
        """Publishes the next beat; returns its sequence number, when the broker took it."""
        body = self.beat_body(asks)
        self.client.publish(topics.heartbeat("demo", self._id), body, 1)
        self.next("taken")
        return self._sequence

    def close(self) -> None:
        """Goes, with a goodbye."""
        self.client.disconnect()
        self.client.loop_stop()

    def cut(self) -> None:
        """Goes without a word."""
        connection = self.client.socket()
        assert connection is not None
        self.client.loop_stop()
        connection.close()
