"""The seams as Protocols: what the runner and the verbs ask of the outside, and nothing more.

Imported for type checking only; at run time no room needs this module.
"""

from __future__ import annotations

from typing import Protocol

from firstlight.core.exchange import Call, HttpCall, HttpReply, MqttCall, MqttLogin, MqttMessage, Reply, Token
from firstlight.core.lifecycle import Accepted, Desired, Event, Failed, Told
from firstlight.core.model import (
    Beat,
    Endpoint,
    Facts,
    Invitation,
    Metrics,
    MissedBeat,
    Moment,
    Registration,
    Upgraded,
)


class DevicePlatform(Protocol):
    """The device half of a platform's dialect: pure, our types to calls and replies to events.

    ``platforms/plain.py`` has the usual answers, for a ``device.py`` to take what it has nothing of its own to say to.
    """

    def probe(self, endpoint: Endpoint) -> HttpCall | None:
        """A call that spends nothing and shows whether name, route, TLS and platform are right; None without one."""
        ...

    def read_probe(self, reply: HttpReply) -> float:
        """The platform's clock, seconds since 1970; raises UnreachableError when something else answered."""
        ...

    def finished(self, invitation: Invitation, attempt: Attempt, now_s: float) -> Registration:
        """The registration that an invitation with the road "finished" is already: no call at all.

        Raises InvitationError where something in it is wrong, or there is no such road (``road_unsupported``).
        """
        ...

    def redeem(self, invitation: Invitation, attempt: Attempt, facts: Facts, moment: Moment) -> Call:
        """The call that trades the invitation for a registration; over MQTT one with a topic for the answer.

        Raises InvitationError where there is no such road (``road_unsupported``).
        """
        ...

    def redeem_login(self, invitation: Invitation, moment: Moment, *, knows_time: bool) -> MqttLogin | None:
        """How the session begins that carries ``redeem`` over MQTT; None where that goes over HTTP."""
        ...

    def read_redeemed(self, invitation: Invitation, attempt: Attempt, reply: Reply) -> Registration:
        """Raises RefusedError for a named no, UnreachableError for everything that may pass."""
        ...

    def login(self, registration: Registration, moment: Moment, *, knows_time: bool) -> MqttLogin | None:
        """How a session over MQTT begins, made anew for each connection; None for a registration without MQTT.

        Args:
            registration: its interval the one that counts by now.
            moment: now, by this box's clock.
            knows_time: whether that clock was set by somebody who knows.
        """
        ...

    def token_call(self, registration: Registration, moment: Moment, *, knows_time: bool) -> HttpCall | None:
        """The call that trades the credential for a token, None where beats need none; arguments as for ``login``."""
        ...

    def read_token(self, registration: Registration, reply: HttpReply) -> Token:
        """Raises RefusedError for a named no, UnreachableError for everything that may pass."""
        ...

    def beat(self, registration: Registration, beat: Beat, token: str = "") -> Call:
        """The call that carries one beat, over the registration's transport; ``token`` where there is one."""
        ...

    def also(self, registration: Registration, beat: Beat) -> tuple[MqttCall, ...]:
        """What goes on the same connection after an accepted beat."""
        ...

    def heard(self, registration: Registration, message: MqttMessage, moment: Moment) -> Told | None:
        """What the platform said unasked; None for what cannot be read."""
        ...

    def judge(self, registration: Registration, failed: Failed) -> Event:
        """What a failure of broker or transport means on this platform: itself, or a refusal."""
        ...

    def appeal(self, registration: Registration, beat: Beat) -> HttpCall | None:
        """The beat over HTTP: asked where a broker refuses without a reason. None where there is no such call."""
        ...

    def read_beat(self, registration: Registration, reply: Reply) -> Event:
        """What the reply to a beat (or to ``take_back``) means."""
        ...

    def take_back(self, registration: Registration) -> Call | None:
        """The call by which a device asks a platform that has lost it to take it back, or None where there is none."""
        ...


class Attempt(Protocol):
    """What the device made and fsynced before the first request."""

    @property
    def attempt_id(self) -> str:
        """32 hex digits, new for each installId."""
        ...

    @property
    def csr_pem(self) -> str:
        """PKCS#10 request signed by the device's key."""
        ...

    @property
    def key_fingerprint(self) -> str:
        """``sha256:`` and the hex SHA-256 of its SubjectPublicKeyInfo."""
        ...


class KeyMaterial(Protocol):
    """One of the device's keys, seen from outside."""

    @property
    def csr_pem(self) -> str:
        """PKCS#10 request signed by the key."""
        ...

    @property
    def key_fingerprint(self) -> str:
        """``sha256:`` and the hex SHA-256 of its SubjectPublicKeyInfo."""
        ...

    def sign(self, statement: bytes) -> bytes:
        """ECDSA with SHA-256 over ``statement``, DER."""
        ...

    @property
    def public_der(self) -> bytes:
        """Its SubjectPublicKeyInfo."""
        ...


class TextStore(Protocol):
    """Where a key storage keeps its text: the key itself, or the handle of one that a chip holds."""

    def read_text(self, name: str) -> str | None:
        """The text, None where there is none. Raises StateError."""
        ...

    def write_text(self, name: str, text: str) -> None:
        """Private and on disk when it returns. Raises StateError."""
        ...


class KeyStore(Protocol):
    """Where the device's private key lives: a file now, a TPM or a PKCS#11 token behind the same seam."""

    def make_or_load(self, store: TextStore) -> KeyMaterial:
        """The first key of this box; made, and durable, when there was none. Raises StateError."""
        ...

    def make_next(self, store: TextStore) -> KeyMaterial:
        """A new key beside the others, durable. Raises StateError."""
        ...

    def load(self, store: TextStore, fingerprint: str) -> KeyMaterial:
        """The key with that fingerprint. Raises StateError where there is none."""
        ...


class Session(Protocol):
    """The long-lived connection that carries beats."""

    def exchange(self, call: Call, deadline_s: float) -> Reply:
        """Sends one call and waits for its reply, at most ``deadline_s`` seconds in all.

        Raises:
            UnreachableError: with the code of what went wrong; the session connects anew at the next call.
        """
        ...

    def close(self) -> None:
        """Ends the connection, if there is one."""
        ...

    def send(self, calls: tuple[MqttCall, ...], deadline_s: float) -> None:
        """Publishes, in this order, on the connection that stands; nothing to do for none.

        Raises:
            UnreachableError: it did not arrive; the next call connects anew.
        """
        ...

    def fileno(self) -> int:
        """What a wait listens to for words that come unasked; -1 where the session has none to listen to."""
        ...

    def heard(self) -> tuple[MqttMessage, ...]:
        """What the platform said unasked, oldest first; never waits.

        Raises:
            UnreachableError: the connection has ended, with the code of why; the next call connects anew.
        """
        ...

    def rest_s(self) -> float:
        """Seconds until ``heard`` is to be called even if nothing has come, for ever where that is not needed."""
        ...

    @property
    def connections(self) -> int:
        """How many connections were opened so far: facts are sent on the first beat of each."""
        ...


class Caller(Protocol):
    """One-off calls: enrolling, management, downloads."""

    def exchange(self, call: HttpCall, deadline_s: float) -> HttpReply:
        """As ``Session.exchange``."""
        ...


class Clock(Protocol):
    """Time and waiting."""

    def moment(self) -> Moment:
        """Now, by all three clocks."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        ...

    def wait(self, seconds: float, ear: int = -1) -> bool:
        """Sleeps that long, or less when a stop is asked for (True then) or the descriptor ``ear`` becomes readable."""
        ...


class Sensor(Protocol):
    """How the machine is and what it is."""

    def metrics(self) -> Metrics:
        """Never raises: what cannot be read is None."""
        ...

    def facts(self) -> Facts:
        """Never raises: what cannot be read is None."""
        ...


class Notifier(Protocol):
    """The service manager's ear."""

    def ready(self, status: str) -> None:
        """The service is up; ``status`` is shown by systemctl."""
        ...

    def status(self, status: str) -> None:
        """One line for systemctl."""
        ...

    def alive(self) -> None:
        """Feeds the watchdog; nothing when there is none."""
        ...

    def stopping(self) -> None:
        """The service is going down on purpose."""
        ...

    @property
    def watchdog_s(self) -> float | None:
        """Longest time between two calls of ``alive``, or None without a watchdog."""
        ...


class Spool(Protocol):
    """Beats kept on disk while the platform is out of reach: bounded, oldest first."""

    def add(self, missed: MissedBeat) -> None:
        """Keeps one; drops the oldest when full. Never raises on a full disk: it counts what it dropped."""
        ...

    def peek(self, count: int) -> tuple[MissedBeat, ...]:
        """The oldest ``count``, left in place."""
        ...

    def drop(self, count: int) -> None:
        """Removes the oldest ``count``: call it after the platform has said they are on disk there."""
        ...

    def set_aside(self, count: int) -> None:
        """Moves the oldest ``count``, which the platform cannot read, out of the way without deleting them."""
        ...

    @property
    def dropped(self) -> int:
        """Beats lost since the start of the process: to the bound, to a full disk, to damage."""
        ...

    def __len__(self) -> int: ...


class Changes(Protocol):
    """Rotations and moves that are asked for or due; a richer process makes them, in whose favour this one ends."""

    def note(self, event: Accepted | Told) -> None:
        """Keeps what the platform asked for (``rotate``, ``move``). Never raises: a disk that refuses is logged."""
        ...

    def is_due(self, trouble: str, *, is_asked: bool = False) -> bool:
        """Whether to give way now.

        Args:
            trouble: code of the last failure or refusal, "" while beats are accepted.
            is_asked: somebody on this box wants it tried, however often it was begun without an end.
        """
        ...


class Upgrades(Protocol):
    """Releases that the platform offers: handed on as a wish, never followed by the process that beats."""

    def note(self, event: Accepted | Told) -> None:
        """Keeps an offer that is news. Never raises: a disk that refuses is logged."""
        ...

    def result(self, *, is_first: bool) -> Upgraded | None:
        """How the last upgrade ended, for the beat that is due; None where there is nothing to say, or it was told.

        Args:
            is_first: it is the first beat of a connection, which tells it again.
        """
        ...

    def told(self) -> None:
        """The beat that ``result`` went into was accepted."""
        ...


class Hooks(Protocol):
    """What an integrator wants to hear of: left for root's half, which runs the executables."""

    def leave(self, kind: str, about: dict[str, object]) -> None:
        """Leaves one event, by one of the kinds of ``system/hooks.py`` and without secrets; never raises."""
        ...


class Stop(Protocol):
    """What the signals ask for; as a context it breaks off what is under way when that is a stop."""

    def takes_hangup(self) -> bool:
        """Forgets a SIGHUP, so that the next wait sleeps; False where a stop is asked for."""
        ...

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


class Store(Protocol):
    """The state directory: crash-safe, bounded, private."""

    def load_registration(self) -> Registration | None:
        """Raises StateError (``state_corrupt``, ``state_newer``)."""
        ...

    def save_registration(self, registration: Registration) -> None:
        """On disk (fsynced) when it returns. Raises StateError (``state_unwritable``)."""
        ...

    def retire(self, reason: str) -> None:
        """Sets registration and key aside in ``retired/``; nothing is deleted."""
        ...

    def merge_desired(self, desired: Desired) -> dict[str, object] | None:
        """Keeps how the operator wants this box to be, on disk when it returns.

        Returns:
            all that is desired now, ``{service: {property: value}}``; None where it was so already.

        Raises:
            StateError: ``state_unwritable``, ``desired_unusable``; what was kept before stays.
        """
        ...

    def write_status(self, status: dict[str, object]) -> None:
        """Publishes what ``firstlight status`` shows: not fsynced, never a secret in it. Raises StateError."""
        ...
