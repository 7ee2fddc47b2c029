"""``firstlight-hub serve``: the composition root; the only place that names concrete parts."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import ipaddress
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import Any

import uvicorn

from firstlight.core.model import parse_endpoint
from firstlight.errors import StateError, UsageError
from firstlight_hub.access_log import AccessLog
from firstlight_hub.api.app import build_app
from firstlight_hub.api.parts import Parts, Site
from firstlight_hub.broker_settings import bad, broker_warnings, check_broker, unlisted_warning
from firstlight_hub.bundle import ensure_bundles
from firstlight_hub.cli.broker import Broker, addresses, make_broker
from firstlight_hub.client_certificate import FromProxies, accept_devices
from firstlight_hub.connection import HubProtocol, raise_file_limit
from firstlight_hub.folder import HubFolder
from firstlight_hub.issuer import Issuer
from firstlight_hub.moves import Moves
from firstlight_hub.notify import notify, watchdog_s
from firstlight_hub.offline import DAY_S, OfflinePayloads
from firstlight_hub.renewal import RENEWED, clock_warning, ending_warning, keep_certificate_fresh
from firstlight_hub.service.access import Access
from firstlight_hub.service.beats import Beats
from firstlight_hub.service.credentials import Credentials
from firstlight_hub.service.devices import Devices
from firstlight_hub.service.enrolling import Enrolling
from firstlight_hub.service.issuing import Issuing
from firstlight_hub.service.offering import Offering
from firstlight_hub.service.receipts import Receipts
from firstlight_hub.service.secrets import BrokerSecrets
from firstlight_hub.settings import Settings
from firstlight_hub.store.sqlite import SqliteStore

STOP_WITHIN_S = 10
IDLE_CUT_S = 0.3
GC_THRESHOLD = 50_000
WARM = 8  # database connections that are open before the first box comes

KeepFresh = Callable[[ssl.SSLContext, Callable[[str], None]], Coroutine[Any, Any, None]]


def serve(arguments: argparse.Namespace) -> None:
    """Serves until SIGTERM or SIGINT; beats that came in are on disk when it ends."""
    folder = HubFolder(arguments.dir)
    settings = _with_arguments(folder.settings(), arguments)
    with folder.serving():
        _serve(folder, settings, arguments)


def _serve(folder: HubFolder, settings: Settings, arguments: argparse.Namespace) -> None:
    is_plain = settings.behind_proxy or arguments.plain_http_on_loopback
    listening = _listen(settings.listen, settings.port, is_plain)
    raise_file_limit()
    # A beat makes some hundred short-lived objects and no cycles; looking for cycles every 700 of them is wasted time.
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    store = folder.store()
    broker = Broker()
    try:
        store.warm(WARM)
        site = _site(folder, settings, arguments.plain_http_on_loopback, listening)
        hosts = _certified(settings, site, is_plain)
        now = datetime.now(timezone.utc)
        known = folder.authorities()
        unlisted = unlisted_warning(settings, known, now)
        of_broker = broker_warnings(settings, os.geteuid() == 0)
        for warning in (clock_warning(site.ca_pem, now), ending_warning(known, folder.path, now), unlisted, *of_broker):
            if warning:
                print(f"Warning: {warning}", file=sys.stderr, flush=True)
        if hosts and folder.renew_certificate(hosts, datetime.now(timezone.utc)):
            print(RENEWED, flush=True)
        # Without a CA of ours no box could believe a move.
        moves = Moves(folder, site.url) if site.ca_pem else None
        offering = Offering(store, _clock, site.bundles, settings.online_window_s)
        parts, broker = _parts(store, settings, folder, site, moves, offering)
        app = build_app(parts, store.write_beats)
        app.router.routes[:0] = broker.routes
        checked = FromProxies(app, folder.authorities, settings.trusted_proxies, settings.client_certificate_header)
        answering = AccessLog(checked, lambda line: print(line, flush=True)) if settings.access_log else checked
        how = "plain HTTP, behind a proxy" if settings.behind_proxy else "plain HTTP" if is_plain else "HTTPS"
        announce = _announcer(folder, site, listening, how, arguments.ready_fd)
        config = _config(answering, settings, None if is_plain else folder)
        config.load()
        if config.ssl is not None:
            accept_devices(config.ssl, folder.authorities())
        broker.start()
        attend = partial(broker.attend, parts.beats, app.state.commits)
        watches = [partial(one.watch, parts.beats.have_news) for one in (moves, offering) if one]
        server = _Server(config, announce, partial(keep_certificate_fresh, folder, hosts), broker, attend, watches)
        # uvicorn ends on these and then raises them again: a stop that was asked for is not a failure.
        for asked in (signal.SIGTERM, signal.SIGINT):
            signal.signal(asked, lambda *_: setattr(server, "should_exit", True))
        server.run(sockets=[listening])
    finally:
        broker.stop()
        store.close()
        (folder.path / "hub.json").unlink(missing_ok=True)


def _with_arguments(settings: Settings, arguments: argparse.Namespace) -> Settings:
    if arguments.public_url:
        settings = settings._replace(public_url=parse_endpoint(arguments.public_url).url)
    is_plain = settings.behind_proxy or arguments.plain_http_on_loopback
    wanted = settings.listen
    if is_plain and wanted == Settings._field_defaults["listen"]:
        wanted = "127.0.0.1"  # nobody chose the default: without TLS it can only mean this machine itself
    listen = arguments.host or wanted
    port = settings.port if arguments.port is None else arguments.port
    if arguments.mqtt and settings.mqtt not in ("off", "mosquitto"):
        raise bad(f'serve --mqtt starts a mosquitto, but mqtt is "{settings.mqtt}"', "Leave out --mqtt.")
    settings = settings._replace(listen=listen, port=port, mqtt="mosquitto" if arguments.mqtt else settings.mqtt)
    check_broker(settings, is_plain)
    return settings


def _listen(host: str, port: int, is_plain: bool) -> socket.socket:
    try:
        if not 0 <= port <= 65_535:  # getaddrinfo would go round
            raise OverflowError
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, OverflowError):
        raise UsageError("settings_invalid", f"{host!r} port {port} is not an address to listen on.") from None
    if is_plain and not ipaddress.ip_address(address[0]).is_loopback:
        raise UsageError("listen_insecure", f"Plain HTTP on {host} would not be encrypted on its way.")
    listening = socket.socket(family, kind)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise UsageError("address_in_use", f"The hub cannot listen on {host} port {port}: {error.strerror}.") from None
    return listening


def _site(folder: HubFolder, settings: Settings, plain_on_loopback: bool, listening: socket.socket) -> Site:
    host, port = (listening.getsockname()[0], listening.getsockname()[1])
    if settings.public_url:
        url = settings.public_url
    elif plain_on_loopback:
        url = f"http://{_bracketed(host)}:{port}"
    else:
        url = f"https://{_bracketed(settings.hosts[0])}:{port}"
    keys = folder.release_keys(settings)
    try:
        bundles = ensure_bundles(folder.bundles, keys)
    except OSError as error:
        raise StateError("state_unwritable", f"{folder.bundles} cannot be written: {error.strerror}.") from None
    has_own_tls = not (settings.behind_proxy or plain_on_loopback)
    brokers = addresses(settings)
    return Site(
        url=url,
        pin=folder.pin() if has_own_tls else None,
        # The broker speaks TLS also where plain HTTP is spoken on the loopback.
        ca_pem=folder.ca_pem() if has_own_tls or (brokers and plain_on_loopback) else "",
        bundles=bundles,
        release_keys=keys.public,
        brokers=brokers,
    )


def _certified(settings: Settings, site: Site, is_plain: bool) -> tuple[str, ...]:
    """What the server's certificate must cover: the hub's names and the broker's; nothing where nobody shows it."""
    if is_plain and not site.brokers:
        return ()
    of_broker = (settings.mqtt_host,) if settings.mqtt_host else ()
    return (*settings.hosts, parse_endpoint(site.url).host.strip("[]"), *of_broker)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _clock() -> int:
    return time.time_ns() // 1_000_000


def _parts(
    store: SqliteStore, settings: Settings, folder: HubFolder, site: Site, moves: Moves | None, offering: Offering
) -> tuple[Parts, Broker]:
    clock = _clock
    shows_certificates = site.pin is not None or settings.trusted_proxies
    signer = Issuer(folder.authorities, settings.certificate_days) if shows_certificates else None
    issuing = Issuing(clock, folder.secret(), signer, site.brokers, settings.transport, settings.credential)
    broker = make_broker(settings, folder, BrokerSecrets(store, clock, issuing), store)
    link = broker.link
    told = (lambda beat: moves.text()) if moves else (lambda beat: "")
    offer = offering.for_beat
    beats = Beats(store, clock, settings.heartbeat_interval_s, settings.history_days, link, told, offer)
    payloads = OfflinePayloads(folder.release_keys(settings), site.url, site.pin, settings.offline_payload_days)
    lives_s = (settings.install_id_ttl_s, settings.offline_redeem_days * DAY_S)
    parts = Parts(
        devices=Devices(store, clock, settings.workspaces, lives_s[0], payloads, link, lives_s[1]),
        access=Access(store, clock, settings.workspaces),
        enrolling=Enrolling(store, clock, issuing, settings.take_back, link),
        credentials=Credentials(store, clock, issuing, beats, link),
        beats=beats,
        receipts=Receipts(store, clock, frozenset(settings.workspaces), link),
        site=site,
        now_ms=clock,
        window_s=settings.online_window_s,
    )
    return parts, broker


def _config(app: Any, settings: Settings, tls_from: HubFolder | None) -> uvicorn.Config:
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s", level=logging.WARNING)
    return uvicorn.Config(
        app,
        loop="firstlight_hub.connection:HubLoop",
        http=HubProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        # Longer than two intervals, so that a device beats over one kept connection even if one beat is late.
        timeout_keep_alive=2 * settings.heartbeat_interval_s + 15,
        timeout_graceful_shutdown=STOP_WITHIN_S,
        ssl_certfile=tls_from.server_certificate if tls_from else None,
        ssl_keyfile=tls_from.server_key if tls_from else None,
    )


def _announcer(
    folder: HubFolder, site: Site, listening: socket.socket, how: str, ready_fd: int | None
) -> Callable[[], None]:
    host, port = listening.getsockname()[:2]
    where = f"listening on {_bracketed(host)}:{port} ({how}); boxes reach it at {site.url}"

    def announce() -> None:
        told = folder.announce(site.url, site.pin, port)
        print(where, flush=True)
        if ready_fd is not None:
            with os.fdopen(ready_fd, "wb") as ready:
                ready.write(told + b"\n")
        notify(f"READY=1\nSTATUS=Listening on {site.url}")

    return announce


class _Server(uvicorn.Server):
    """uvicorn, which says when it listens and keeps systemd's watchdog quiet."""

    def __init__(
        self,
        config: uvicorn.Config,
        announce: Callable[[], None],
        keep_fresh: KeepFresh,
        broker: Broker,
        attend: Callable[[], Coroutine[Any, Any, None]],
        watches: Sequence[Callable[[], Coroutine[Any, Any, None]]],
    ) -> None:
        super().__init__(config)
        self._keep_fresh = keep_fresh
        self._announce = announce
        self._broker = broker
        self._attend = attend
        self._watches = watches
        self._tasks: list[asyncio.Task[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, then tells."""
        await super().startup(sockets)
        if self.should_exit:
            return
        await self._attend()
        self._announce()
        self._tasks.extend(asyncio.create_task(watch()) for watch in self._watches)
        if self.config.ssl is not None or self._broker.shows_certificate:
            context = self.config.ssl or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tasks.append(asyncio.create_task(self._keep_fresh(context, self._renewed)))
        if span_s := watchdog_s():
            self._tasks.append(asyncio.create_task(_feed(span_s / 3)))

    def _renewed(self, line: str) -> None:
        print(line, flush=True)
        self._tasks.append(asyncio.create_task(asyncio.to_thread(self._broker.refresh)))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops."""
        notify("STOPPING=1")
        for task in self._tasks:
            task.cancel()
        await self._broker.leave()
        cutting = asyncio.create_task(self._cut_idle())
        await super().shutdown(sockets)
        cutting.cancel()

    async def _cut_idle(self) -> None:
        """Closing TLS waits for the other side's goodbye, and an idle box sends none: the stop would take seconds."""
        while True:
            await asyncio.sleep(IDLE_CUT_S)
            if not self.server_state.tasks:
                for connection in list(self.server_state.connections):
                    connection.transport.abort()


async def _feed(every_s: float) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            notify("WATCHDOG=1")
            await asyncio.sleep(every_s)
