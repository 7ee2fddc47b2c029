"""RabbitMQ as a ``BrokerLink``: it asks the hub about credentials, so only sessions have to be ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit

import httpx
import pika
from cryptography import x509
from cryptography.x509.oid import NameOID

from firstlight.core.model import Secret
from firstlight.errors import StateError, UsageError
from firstlight.wire import topics
from firstlight_hub.broker_settings import read_file
from firstlight_hub.ingest.intake import Intake, Publish
from firstlight_hub.rabbitmq.auth import HubLogin, subject_name
from firstlight_hub.rabbitmq.consumer import HEARTBEAT_S, Consumer
from firstlight_hub.settings import Settings
from firstlight_hub.store import Store

# RabbitMQ lists a session a moment after it let it in: one that was just being let in is met by the later rounds.
ROUNDS_S = (0.0, 2.0, 8.0)
CALL_S = 10.0
ATTEND_S = 5.0
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0

LOG = logging.getLogger(__name__)


class Place(NamedTuple):
    """Where RabbitMQ is and how the hub logs in.

    Args:
        amqp: for pika.
        management_url: ``http(s)://HOST:PORT``.
        login: the hub's own.
        tls: what is trusted there.
    """

    amqp: pika.ConnectionParameters
    management_url: str
    login: HubLogin
    tls: ssl.SSLContext


def read_place(settings: Settings, own_ca_pem: str) -> Place:
    """What ``hub.toml`` says about RabbitMQ.

    Raises:
        UsageError: ``settings_invalid``.
        StateError: ``settings_unreadable``: the password's or the CA's file.
    """
    url = _address("broker_url", settings.broker_url, ("amqps", "amqp"))
    _address("broker_management_url", settings.broker_management_url, ("https", "http"))
    vhost = unquote(url.path[1:]) or "/"
    password = Secret(read_file(settings, "broker_password_file"))
    if len(password.reveal()) < 16:
        raise UsageError("settings_invalid", "hub.toml: broker_password_file holds fewer than 16 characters.")
    trust = read_file(settings, "broker_ca_file") if settings.broker_ca_file else own_ca_pem
    try:
        context = ssl.create_default_context(cadata=trust or None)
    except (ssl.SSLError, ValueError):
        raise UsageError("settings_invalid", "hub.toml: broker_ca_file is not PEM.") from None
    host = str(url.hostname)
    parameters = pika.ConnectionParameters(
        host=host,
        port=url.port or (5671 if url.scheme == "amqps" else 5672),
        virtual_host=vhost,
        credentials=pika.PlainCredentials(settings.broker_user, password.reveal()),
        ssl_options=pika.SSLOptions(context, host) if url.scheme == "amqps" else None,
        heartbeat=HEARTBEAT_S,
    )
    login = HubLogin(settings.broker_user, password, vhost)
    return Place(parameters, settings.broker_management_url.rstrip("/"), login, context)


def _address(name: str, text: str, schemes: tuple[str, str]) -> SplitResult:
    try:
        found = urlsplit(text)
        if found.scheme not in schemes or not found.hostname or found.username is not None or found.port == 0:
            raise ValueError
    except ValueError:  # also a port that is none, and a bracket that does not close
        raise UsageError("settings_invalid", f"hub.toml: {name} is not {schemes[0]}://HOST:PORT.") from None
    if found.scheme == schemes[1] and found.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise UsageError("settings_invalid", f"hub.toml: {name} would not be encrypted on its way.")
    return found


class RabbitLink:
    """RabbitMQ, seen from the use cases: implements ``BrokerLink``.

    Args:
        place: where it is.
        store: names the certificates that a device had.
    """

    def __init__(self, place: Place, store: Store) -> None:
        self._place = place
        self._store = store
        self._consumer: Consumer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._endings: set[asyncio.Task[None]] = set()
        self._ending: set[int] = set()  # the store's numbers
        self._expelling: set[str] = set()

    async def attend(self, make_intake: Callable[[Publish], Intake], within_s: float = ATTEND_S) -> None:
        """Begins to take beats, in this loop; returns when they come in, or after some seconds: it goes on trying.

        The hub must be listening: RabbitMQ asks it about its own login too.

        Args:
            make_intake: given how answers are published, makes what takes the messages.
            within_s: how long to wait.
        """
        self._loop = asyncio.get_running_loop()
        self._consumer = Consumer(self._place.amqp, make_intake)
        self._consumer.start()
        self._start_ending()  # what the hub before could not
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._consumer.subscribed.wait(), within_s)

    async def leave(self) -> None:
        """Takes no more; returns when what was taken is on disk and acknowledged."""
        for task in self._endings:
            task.cancel()
        if self._consumer is not None:
            await self._consumer.stop()
        self._loop = self._consumer = None

    def issued(self, device_id: str) -> None:
        """Nothing to do: RabbitMQ asks the hub at each login."""

    def ended(self, device_id: str) -> None:
        """Ends the device's sessions within seconds; a login since the commit is refused already."""
        self._in_loop(self._start_ending)

    def expel(self, device_id: str) -> None:
        """As ``BrokerLink.expel``: RabbitMQ lists a session late, so within ten seconds."""
        names = self._names(device_id)
        self._in_loop(lambda: self._start(self._expel(device_id, names)))

    def tell(self, workspace: str, device_id: str, body: bytes) -> None:
        """Publishes to the device's own topic."""
        topic = topics.answer(workspace, device_id)
        self._in_loop(lambda: self._consumer.publish(topic, body) if self._consumer else None)

    def _in_loop(self, call: Callable[[], None]) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(call)

    def _names(self, device_id: str) -> list[str]:
        """Every user name that a session of this device can have."""
        with self._store.reading() as view:
            certificates = view.certificates(device_id)
        names = [device_id]
        for one in certificates:
            subject = x509.load_pem_x509_certificate(one.pem.encode()).subject
            kinds = (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME, NameOID.SERIAL_NUMBER)
            workspace, named, generation = (str(subject.get_attributes_for_oid(kind)[0].value) for kind in kinds)
            names.append(subject_name(workspace, named, int(generation)))
        return names

    def _start_ending(self) -> None:
        self._start(self._end())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    def _owed(self) -> dict[int, list[str]]:
        """The number of each session that is to end, and the names it can have."""
        with self._store.reading() as view:
            owed = view.ended_sessions()
        return {number: self._names(device_id) for number, device_id in owed}

    def _forget(self, numbers: Sequence[int]) -> None:
        with self._store.writing() as transaction:
            transaction.forget_ended_sessions(numbers)

    async def _end(self) -> None:
        """Ends what the store says and nobody is at yet; what is cut off by a stop is done after the next start."""
        wait_s = FIRST_WAIT_S
        while True:
            mine: dict[int, list[str]] = {}
            try:
                owed = await asyncio.to_thread(self._owed)
                mine = {number: names for number, names in owed.items() if number not in self._ending}
                if mine:
                    self._ending.update(mine)
                    await self._end_sessions([name for names in mine.values() for name in names])
                    await asyncio.to_thread(self._forget, list(mine))
                return
            except StateError as error:
                LOG.warning("Sessions whose credential has ended are ended later. %s", error.message)
            finally:
                self._ending.difference_update(mine)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    async def _expel(self, device_id: str, names: Sequence[str]) -> None:
        if device_id in self._expelling:
            return
        self._expelling.add(device_id)
        try:
            await self._end_sessions(names, "it floods")
        finally:
            self._expelling.discard(device_id)

    async def _end_sessions(self, names: Sequence[str], why: str = "this credential has ended") -> None:
        auth = httpx.BasicAuth(self._place.login.user, self._place.login.password.reveal())
        headers = {"X-Reason": why}
        async with httpx.AsyncClient(
            base_url=self._place.management_url, auth=auth, verify=self._place.tls, timeout=CALL_S, trust_env=False
        ) as client:
            for wait_s in ROUNDS_S:
                await asyncio.sleep(wait_s)
                for name in names:
                    await _delete(client, f"/api/connections/username/{quote(name, safe='')}", headers)


async def _delete(client: httpx.AsyncClient, path: str, headers: dict[str, str]) -> None:
    """Asks until RabbitMQ did it: a session that should have ended is not forgotten."""
    wait_s = FIRST_WAIT_S
    while True:
        try:
            status = (await client.delete(path, headers=headers)).status_code
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
        else:
            if status in (200, 204, 404):
                return
            why = f"status {status}"
        LOG.warning("RabbitMQ's management API did not end a session, next try in %g s: %s", wait_s, why)
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)
