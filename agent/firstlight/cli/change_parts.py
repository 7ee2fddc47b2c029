"""What a rotation or a move is made of, as seams: ``cli/change_now.py`` fills them, ``cli/changing.py`` uses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from firstlight.core.change import Notes, Situation
from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.interfaces import Attempt, Clock, DevicePlatform, KeyMaterial, KeyStore, Session
from firstlight.core.model import Facts, Registration
from firstlight.system import changes
from firstlight.system.store import CANDIDATE, StateDirectory

CALL_DEADLINE_S = 20.0


class RenewalPlatform(Protocol):
    """A platform that lets a device replace its own credential: pure."""

    def renew(self, registration: Registration, attempt: Attempt, present: KeyMaterial, boot_id: str) -> HttpCall:
        """The call that asks for a candidate; needs the present key and nothing else of the device."""
        ...

    def read_renewed(self, registration: Registration, attempt: Attempt, reply: HttpReply) -> Registration:
        """The candidate. Raises RefusedError for a named no, UnreachableError for everything that may pass."""
        ...


class NextKey(NamedTuple):
    """What is on disk before the first request: see ``core.interfaces.Attempt``."""

    attempt_id: str
    csr_pem: str
    key_fingerprint: str


class Parts(NamedTuple):
    """What changing is made of.

    Args:
        store: the state directory; its lock ``running`` is held.
        keys: where the device's keys live.
        dialect, renewal: the halves of the platform's dialect; None where it has no renewal.
        open_plain: opens a session over HTTP that shows no client certificate.
        open_proving: opens the session for a registration's beats, over the transport that it names.
        fingerprint_of: the key that a certificate is for.
        renew_at_s: when a certificate is due for renewal, from its text, the platform's time and a random number.
        clock, chance: time, and random numbers in [0, 1).
        facts: what this machine is.
        make_attempt_id: 32 random hex digits.
        saw_time: takes the platform's clock, seconds since 1970, whenever it was told.
        alive: feeds the watchdog; called between calls.
        log: writes one line, with a priority as in syslog.
        deadline_s: for one call.
    """

    store: StateDirectory
    keys: KeyStore
    dialect: DevicePlatform
    renewal: RenewalPlatform | None
    open_plain: Callable[[Registration], Session]
    open_proving: Callable[[Registration], Session]
    fingerprint_of: Callable[[str], str]
    renew_at_s: Callable[[str, float, float], float]
    clock: Clock
    chance: Callable[[], float]
    facts: Facts
    make_attempt_id: Callable[[], str]
    saw_time: Callable[[float], None]
    alive: Callable[[], None]
    log: Callable[[int, str], None]
    deadline_s: float = CALL_DEADLINE_S


def situation(store: StateDirectory, registration: Registration, clock: Clock, notes: Notes) -> Situation:
    """What a start knows: the trouble is the one that the beating process could not get over."""
    moment = clock.moment()
    return Situation(
        notes=notes,
        has_candidate=store.has(CANDIDATE),
        has_wish=bool(changes.wish_of(store)),
        renew_at_s=registration.renew_at_s,
        platform_s=store.seen_s(),
        trouble=notes.trouble,
        boot_id=moment.boot_id,
        now_s=moment.monotonic_s,
    )
