"""The seams as Protocols: what the runner and the verbs ask of the outside, and nothing more.

Imported for type checking only; at run time no room needs this module.
"""

from __future__ import annotations

from typing import Protocol

from firstlight.core.exchange import Call, HttpCall, HttpReply, Reply
from firstlight.core.lifecycle import Event
from firstlight.core.model import Beat, Endpoint, Facts, Invitation, Metrics, MissedBeat, Moment, Registration


class DevicePlatform(Protocol):
    """The device half of a platform's dialect: pure, our types to calls and replies to events."""

    def probe(self, endpoint: Endpoint) -> HttpCall:
        """A call that spends nothing and shows whether name, route, TLS and platform are right."""
        ...

    def read_probe(self, reply: HttpReply) -> float:
        """The platform's clock, seconds since 1970; raises UnreachableError when something else answered."""
        ...

    def redeem(self, invitation: Invitation, attempt: Attempt, facts: Facts, moment: Moment) -> HttpCall:
        """The call that trades the invitation for a registration."""
        ...

    def read_redeemed(self, invitation: Invitation, attempt: Attempt, reply: HttpReply) -> Registration:
        """Raises RefusedError for a named no, UnreachableError for everything that may pass."""
        ...

    def beat(self, registration: Registration, beat: Beat) -> Call:
        """The call that carries one beat."""
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
    """The device's key, seen from outside."""

    @property
    def csr_pem(self) -> str:
        """PKCS#10 request signed by the key."""
        ...

    @property
    def key_fingerprint(self) -> str:
        """``sha256:`` and the hex SHA-256 of its SubjectPublicKeyInfo."""
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
        """The key of this box; made, and durable, when there was none. Raises StateError."""
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

    def wait(self, seconds: float) -> bool:
        """Sleeps that long, or less when a stop is asked for: True then."""
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

    def write_status(self, status: dict[str, object]) -> None:
        """Publishes what ``firstlight status`` shows: not fsynced, never a secret in it. Raises StateError."""
        ...
