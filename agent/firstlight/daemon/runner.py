"""The loop of the beating process: event -> ``lifecycle.step`` -> actions, the last of which brings the next event.

What to do is decided in ``core/lifecycle.py``; this is where its actions meet the outside, through the seams.
"""

from __future__ import annotations

from firstlight.core import lifecycle
from firstlight.core.lifecycle import (
    Accepted,
    AskBack,
    Due,
    Failed,
    Keep,
    Quit,
    Refused,
    Retire,
    SendBeat,
    StopAsked,
    Wait,
)
from firstlight.core.model import Beat, MissedBeat
from firstlight.daemon.report import Report
from firstlight.daemon.stop import StopNow
from firstlight.errors import FirstlightError, StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import NamedTuple

    from firstlight.core.interfaces import Clock, DevicePlatform, Notifier, Sensor, Session, Spool, Store
    from firstlight.core.lifecycle import Action, Event
    from firstlight.core.model import Facts, Registration
else:
    from firstlight.core.record import NamedTuple

CALL_DEADLINE_S = 20.0
MAX_MISSED = 32
UNREADABLE = frozenset({"request_malformed", "request_too_large"})


class Parts(NamedTuple):
    """What the runner is made of.

    Args:
        registration: what enrolling left.
        platform: the device half of the dialect.
        session, store, spool, sensor, clock, notifier: the seams of ``core.interfaces``.
        stop: context in which a stop breaks off what is under way, by raising ``StopNow``.
        facts_hash: 16 hex digits of facts.
        chance: random numbers in [0, 1), for jitter.
        log: writes one line, with a priority as in syslog.
        publish: takes the status object.
        saw_time: takes the platform's clock, seconds since 1970, whenever it was told.
        agent_version: for the beats.
    """

    registration: Registration
    platform: DevicePlatform
    session: Session
    store: Store
    spool: Spool
    sensor: Sensor
    clock: Clock
    notifier: Notifier
    stop: AbstractContextManager[None]
    facts_hash: Callable[[Facts], str]
    chance: Callable[[], float]
    log: Callable[[int, str], None]
    publish: Callable[[dict[str, object]], None]
    saw_time: Callable[[float], None]
    agent_version: str


class Runner:
    """Beats until it is told to stop, or the device was removed."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._report = Report(parts)
        self._state = lifecycle.State(lifecycle.BEATING, parts.registration.interval_s, spooled=len(parts.spool))
        # Milliseconds since boot at the start, then one more a beat: never repeats within a boot, and costs no write.
        self._sequence = int(parts.clock.moment().monotonic_s * 1000)
        self._due: MissedBeat | None = None  # the beat of this turn, as it would be kept
        self._carried = 0  # kept beats that travel with it
        self._carries = True  # False after the platform could not read kept beats, until it accepts one without
        self._told_hash = ""  # of the facts that the platform was told on this connection
        self._told_on = -1  # the connection they were told on

    def run(self) -> int:
        """The whole life of the process; returns its exit status."""
        parts = self._parts
        self._report.started(self._state)
        event: Event = Due()
        while True:
            self._state, actions = lifecycle.step(self._state, event, parts.chance())
            for action in actions:
                if isinstance(action, Quit):
                    self._report.ended(self._state)
                    parts.session.close()
                    return action.exit_status
                brought = self._perform(action, event)
                event = event if brought is None else brought  # not "or": an event without fields is an empty tuple
            parts.notifier.alive()

    def _perform(self, action: Action, cause: Event) -> Event | None:
        """Does one action; the next event, if it brings one."""
        if isinstance(action, (SendBeat, AskBack)):
            return self._exchange(action)
        if isinstance(action, Wait):
            return self._wait(action.seconds)
        if isinstance(action, Keep):
            self._keep(cause)
        elif isinstance(action, Retire):
            self._retire()
        elif isinstance(action, lifecycle.Announce):
            self._report.changed(self._state, action)
        return None

    # -- calls -------------------------------------------------------------------------------------------------------
    def _exchange(self, action: SendBeat | AskBack) -> Event:
        parts = self._parts
        moment = parts.clock.moment()
        self._sequence += 1
        self._due = MissedBeat(self._sequence, moment, parts.sensor.metrics(), "")
        self._carried = 0
        parts.notifier.alive()
        try:
            with parts.stop:
                event = self._ask_back() if isinstance(action, AskBack) else self._send(self._due)
        except StopNow:
            event = StopAsked()
        except FirstlightError as error:
            event = Failed(error.code, error.message, getattr(error, "retry_after_s", None))
        parts.notifier.alive()
        return self._settled(event)

    def _send(self, due: MissedBeat) -> Event:
        parts = self._parts
        facts = parts.sensor.facts()
        hashed = parts.facts_hash(facts)
        is_told = hashed == self._told_hash and parts.session.connections == self._told_on
        missed = parts.spool.peek(MAX_MISSED) if self._carries and len(parts.spool) else ()
        self._carried = len(missed)
        beat = Beat(
            due.sequence, due.moment, due.metrics, parts.agent_version, None if is_told else facts, hashed, missed
        )
        reply = parts.session.exchange(parts.platform.beat(parts.registration, beat), self._deadline_s())
        event = parts.platform.read_beat(parts.registration, reply)
        if isinstance(event, Accepted) and not is_told:
            self._told_hash, self._told_on = hashed, parts.session.connections
        return event

    def _ask_back(self) -> Event:
        parts = self._parts
        call = parts.platform.take_back(parts.registration)
        if call is None:
            return Refused(self._state.reason, "The platform does not know this device, and takes none back.")
        return parts.platform.read_beat(parts.registration, parts.session.exchange(call, self._deadline_s()))

    def _deadline_s(self) -> float:
        watchdog_s = self._parts.notifier.watchdog_s
        return CALL_DEADLINE_S if watchdog_s is None else min(CALL_DEADLINE_S, watchdog_s / 2)

    def _settled(self, event: Event) -> Event:
        """The event with its consequences for what is kept."""
        if isinstance(event, Accepted):
            return self._accepted(event)
        if isinstance(event, Refused) and event.code in UNREADABLE and self._carried:
            # Most likely one of the kept beats is what it cannot read: without them the next beat shows it.
            self._parts.spool.set_aside(self._carried)
            self._parts.log(4, f"{self._carried} kept beats were set aside: the platform cannot read them.")
            self._carries = False
            return Failed(event.code, event.message)
        return event

    def _accepted(self, event: Accepted) -> Accepted:
        parts = self._parts
        parts.spool.drop(self._carried)
        self._due = None
        self._carries = True
        if event.facts_wanted:
            self._told_hash = ""
        if event.server_time_s is not None:
            parts.saw_time(event.server_time_s)
        self._report.accepted(event)
        return event._replace(spooled=len(parts.spool))

    # -- the other actions -------------------------------------------------------------------------------------------
    def _wait(self, seconds: float) -> Event:
        """Sleeps in one piece, or in pieces of half a watchdog where the watchdog is shorter than the wait."""
        parts = self._parts
        self._report.waits(self._state, seconds)
        piece_s = parts.notifier.watchdog_s / 2 if parts.notifier.watchdog_s else seconds
        while seconds > piece_s:
            if parts.clock.wait(piece_s):
                return StopAsked()
            parts.notifier.alive()
            seconds -= piece_s
        return StopAsked() if parts.clock.wait(seconds) else Due()

    def _keep(self, cause: Event) -> None:
        due, self._due = self._due, None
        if due is not None:
            self._parts.spool.add(due._replace(reason=getattr(cause, "code", "stopped")[:64] or "unknown"))

    def _retire(self) -> None:
        store = self._parts.store
        try:
            found = store.load_registration()
            if found is not None and found.key_fingerprint != self._parts.registration.key_fingerprint:
                # The box was enrolled anew meanwhile; the tombstone is not about that key.
                self._parts.log(4, "The box has another registration by now; it was left as it is.")
                return
            store.retire("device_removed")
        except StateError as error:
            # The next start asks again, gets the same answer, and tries again.
            self._parts.log(3, f"The registration could not be set aside: {error}")
