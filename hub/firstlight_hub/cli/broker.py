"""The one place where the kind of MQTT broker is chosen: none, the hub's own mosquitto, another mosquitto, RabbitMQ."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import secrets
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from starlette.routing import BaseRoute

from firstlight.core.model import Secret, parse_broker
from firstlight.errors import StateError
from firstlight_hub.broker_settings import PORTS, bad, check_signs_lists, read_file, where_told
from firstlight_hub.folder import HubFolder
from firstlight_hub.ingest.group_commit import GroupCommit
from firstlight_hub.ingest.mqtt_ingest import MqttIngest
from firstlight_hub.issuer import Issuer
from firstlight_hub.mqtt import mosquitto
from firstlight_hub.mqtt.door import Door, trust
from firstlight_hub.mqtt.files import Files, Listener, Source, configuration
from firstlight_hub.mqtt.link import PROBE, MosquittoLink, OthersMosquitto
from firstlight_hub.mqtt.ports import check_free
from firstlight_hub.service.beats import Beats
from firstlight_hub.service.broker import BrokerLink, NoBroker
from firstlight_hub.service.secrets import BrokerSecrets
from firstlight_hub.settings import Settings
from firstlight_hub.store import Store

FOLDER = "mosquitto"
READY_S, OTHERS_READY_S = 10.0, 2.0  # another broker may come later: the hub serves over HTTP meanwhile
KEPT_S = 31_536_000  # the hub's child waits for the hub for a year
SHARED_S = 86_400  # of several hubs, one that is away gathers its part for a day only
SHARE = "firstlight-hub"
SETTLE_S = (15.0, 1.0, 3.0, 10.0, 60.0)  # until the next look whether all is settled: as usual, and after failures


def addresses(settings: Settings) -> Mapping[str, str]:
    """Where boxes find the broker, as ``Site.brokers``; empty without MQTT."""
    if settings.mqtt == "off":
        return {}
    host = settings.mqtt_host or settings.hosts[0]
    host = f"[{host}]" if ":" in host else host
    path = "/ws" if settings.mqtt == "rabbitmq" else "/mqtt"  # mosquitto takes any
    ports = {
        "secret": ("mqtts", settings.mqtt_port, ""),
        "certificate": ("mqtts", settings.mqtt_certificate_port, ""),
        "secretWebsocket": ("wss", settings.mqtt_websocket_port, path),
        "certificateWebsocket": ("wss", settings.mqtt_websocket_certificate_port, path),
    }
    return {kind: f"{scheme}://{host}:{port}{end}" for kind, (scheme, port, end) in ports.items() if port}


class Broker:
    """A hub without MQTT; the others fill in what they need."""

    link: BrokerLink = NoBroker()
    routes: Sequence[BaseRoute] = ()  # where the broker asks this hub
    shows_certificate = False  # the hub's, which must then be kept fresh also where the hub itself speaks without TLS

    def start(self) -> None:
        """Before the hub listens. Raises StateError or UsageError."""

    async def attend(self, beats: Beats, commits: GroupCommit) -> None:
        """Begins to take beats, in the loop; returns when they come in, or after some seconds."""

    def refresh(self) -> None:
        """The hub's certificates have changed; called in a worker thread."""

    async def leave(self) -> None:
        """Takes no more; returns when what was taken is on disk and acknowledged."""

    def stop(self) -> None:
        """After the hub has ended."""


class _Mosquitto(Broker):
    shows_certificate = True

    def __init__(self, store: Store, door: Door, files: Files, client_id: str, reload: Callable[[Files], bool]) -> None:
        self._door = door
        self._files = files
        self._client_id = client_id
        self._share, self._expiry_s, self._ready_s = "", KEPT_S, READY_S
        self._ingest: MqttIngest | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self.link = self._mosquitto = MosquittoLink(files, reload, door, self._tell, store)

    def _tell(self, topic: str, body: bytes) -> None:
        if self._ingest is not None:
            self._ingest.tell(topic, body)

    def refresh(self) -> None:
        self._mosquitto.refresh()

    def _ready(self, is_fresh: bool) -> None:
        self._tasks.append(asyncio.create_task(asyncio.to_thread(self._mosquitto.settle)))

    async def attend(self, beats: Beats, commits: GroupCommit) -> None:
        self._ingest = MqttIngest(
            beats,
            commits,
            self._door,
            self._client_id,
            expiry_s=self._expiry_s,
            share=self._share,
            on_ready=self._ready,
        )
        self._tasks.append(asyncio.create_task(self._ingest.run()))
        self._tasks.append(asyncio.create_task(self._keep_settled()))
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._ingest.subscribed.wait(), self._ready_s)

    async def _keep_settled(self) -> None:
        failures = 0
        while True:
            await asyncio.sleep(SETTLE_S[failures])
            is_settled = await asyncio.to_thread(self._mosquitto.settle)
            failures = 0 if is_settled else min(failures + 1, len(SETTLE_S) - 1)

    async def leave(self) -> None:
        if self._ingest is not None:
            await self._ingest.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class OwnMosquitto(_Mosquitto):
    """mosquitto as the hub's child."""

    def __init__(self, settings: Settings, folder: HubFolder, source: Source, store: Store) -> None:
        place = folder.path.resolve() / FOLDER
        user, password = f"hub.{_unguessable(folder, 'user')}", Secret(secrets.token_urlsafe(32))
        files = Files(place, source, (user, password))
        door, session = Door(user, password, folder=place), f"hub.{_unguessable(folder, 'session')}"
        self._settings = settings
        self._child = child = mosquitto.Mosquitto(mosquitto.find(), place)
        super().__init__(store, door, files, session, lambda _: child.reload() and door.visit(PROBE))

    def refresh(self) -> None:
        """As ``Broker.refresh``."""
        super().refresh()
        if self._settings.mqtt_websocket_port:
            self._child.restart()  # on a WebSocket it reads certificates only when it starts

    def start(self) -> None:
        """As ``Broker.start``."""
        listeners = (
            Listener(self._settings.mqtt_port),
            Listener(self._settings.mqtt_certificate_port, has_certificates=True),
            Listener(self._settings.mqtt_websocket_port, is_websocket=True),
        )
        wanted = [one for one in listeners if one.port]
        check_free(self._settings.listen, {one: getattr(self._settings, one) for one in PORTS})
        self._files.write(conf=configuration(self._files.folder, self._settings.listen, wanted))
        self._child.start()

    def _ready(self, is_fresh: bool) -> None:
        if is_fresh:
            self._child.save()
        super()._ready(is_fresh)

    async def attend(self, beats: Beats, commits: GroupCommit) -> None:
        """As ``Broker.attend``."""
        self._tasks.append(asyncio.create_task(self._child.keep()))
        await super().attend(beats, commits)

    def stop(self) -> None:
        """As ``Broker.stop``."""
        self._child.stop()


class OtherMosquitto(_Mosquitto):
    """A mosquitto of the operator; packaging/mosquitto shows how it is set up."""

    def __init__(self, settings: Settings, folder: HubFolder, source: Source, store: Store) -> None:
        broker = parse_broker(settings.broker_url)  # ``check_broker`` has looked at it
        password = Secret(read_file(settings, "broker_password_file"))
        user = f"{settings.broker_user}.{_unguessable(folder, 'user')}"
        door = Door(user, password, broker=broker, tls=_trusted(settings, folder) if broker.is_secure else None)
        files = Files(Path(settings.broker_files), source, (user, password), mode=0o640)
        # Each hub keeps its own queue there: two hubs on one broker must not take each other's connection over.
        session = f"{settings.broker_user}.{_unguessable(folder, f'session {folder.pin()}')}"
        other = OthersMosquitto(Path(settings.broker_pid_file) if settings.broker_pid_file else None, door)
        super().__init__(store, door, files, session, other.reload)
        self._settings = settings
        self._was_out = False
        self._share, self._expiry_s, self._ready_s = SHARE, SHARED_S, OTHERS_READY_S

    def _ready(self, is_fresh: bool) -> None:
        if self._was_out:
            print("The broker is back.", flush=True)
        self._was_out = True  # until the next time
        super()._ready(is_fresh)

    async def attend(self, beats: Beats, commits: GroupCommit) -> None:
        """As ``Broker.attend``."""
        await super().attend(beats, commits)
        self._was_out = True  # also where it has not come yet

    def start(self) -> None:
        """As ``Broker.start``."""
        if not self._files.folder.is_dir():
            said = f"hub.toml: broker_files: there is no folder {self._files.folder}."
            raise StateError("state_unwritable", said, where_told(self._settings))
        self._mosquitto.refresh()


def _unguessable(folder: HubFolder, what: str) -> str:
    """128 bits that nobody else knows and that stay: a name for the hub itself at the broker.

    mosquitto knows a certificate by its common name only, and gives a session to whoever has its client id. So no other
    certificate may have the hub's name, and no device its client id. Derived as device keys are, with another form.
    """
    return hmac.new(folder.secret(), f"broker|{what}".encode(), hashlib.sha256).hexdigest()[:32]


def _trusted(settings: Settings, folder: HubFolder) -> ssl.SSLContext:
    if not settings.broker_ca_file:
        return trust(folder.authorities().trust_pem())
    try:
        return trust(read_file(settings, "broker_ca_file"))
    except (ssl.SSLError, ValueError):
        raise bad(f"broker_ca_file: {settings.broker_ca_file} is not a certificate in PEM") from None


def make_broker(settings: Settings, folder: HubFolder, known: BrokerSecrets, store: Store) -> Broker:
    """The broker that the settings ask for, not started yet.

    Args:
        settings: checked, also together.
        folder: the hub's.
        known: what a broker must be told of devices.
        store: what a broker is answered from that asks about them.

    Raises:
        UsageError: ``settings_invalid``.
        StateError: ``broker_missing``, ``settings_unreadable``.
    """
    if settings.mqtt == "off":
        return Broker()
    check_signs_lists(settings, folder.authorities().present)
    issuer = Issuer(folder.authorities, settings.certificate_days)

    def crl(at: datetime) -> bytes:
        return issuer.crl(known.revoked_certificates(), round(at.timestamp() * 1000))

    source = Source(
        secret=known.one,
        secrets=known.all,
        crl=crl,
        trust_pem=lambda: folder.authorities().trust_pem(),
        server_certificate=folder.server_certificate,
        server_key=folder.server_key,
    )
    if settings.mqtt == "mosquitto":
        return OwnMosquitto(settings, folder, source, store)
    if settings.mqtt == "external":
        return OtherMosquitto(settings, folder, source, store)
    from firstlight_hub.cli.rabbit import RabbitMq  # most hubs never need pika

    return RabbitMq(settings, folder, store)
