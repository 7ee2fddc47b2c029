"""The loop of the beating process: event -> ``lifecycle.step`` -> actions, the last of which brings the next event.

What to do is decided in ``core/lifecycle.py``; this is where its actions meet the outside, through the seams.
"""

from __future__ import annotations

from firstlight.core import lifecycle
from firstlight.core.lifecycle import (
    Accepted,
    AskBack,
    ChangeDue,
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
from firstlight.core.model import MissedBeat
from firstlight.daemon.carrier import CALL_DEADLINE_S, MENDABLE, Carrier, failed, told_by, unspoken
from firstlight.daemon.report import Report
from firstlight.daemon.stop import StopNow
from firstlight.errors import FirstlightError, StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.core.exchange import MqttCall
    from firstlight.core.lifecycle import Action, Desired, Event, Told
    from firstlight.daemon.parts import Parts

MAX_MISSED = 32
UNREADABLE = frozenset({"request_malformed", "request_too_large"})
RECONNECT_S = PARKED_WAIT_S = 60.0
MAX_WORDS = 8  # early ends of a wait; whoever talks more between two beats is not listened to until the next
ROUNDING = 0.02
SHORTEST_REST_S = 0.01


class Runner:
    """Beats until it is told to stop, or the device was removed."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._report = Report(parts)
        self._carrier = Carrier(parts, self._report)
        self._state = lifecycle.State(lifecycle.BEATING, parts.registration.interval_s, spooled=len(parts.spool))
        # Milliseconds since boot at the start, then one more a beat: never repeats within a boot, and costs no write.
        self._sequence = int(parts.clock.moment().monotonic_s * 1000)
        self._due: MissedBeat | None = None  # the beat of this turn, as it would be kept
        self._carried = 0  # kept beats that travel with it
        self._carries = True  # False after the platform could not read kept beats, until it accepts one without
        self._words = 0  # early ends of the waits since the last beat

    @property
    def interval_s(self) -> float:
        """Seconds between beats, as the platform asked for last."""
        return self._state.interval_s

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
            if isinstance(cause, Refused):
                self._leave("refused", code=action.code, message=action.message)
        return None

    # -- calls -------------------------------------------------------------------------------------------------------
    def _exchange(self, action: SendBeat | AskBack) -> Event:
        parts = self._parts
        moment = parts.clock.moment()
        self._sequence += 1
        self._due = MissedBeat(self._sequence, moment, parts.sensor.metrics(), "")
        self._carried = self._words = 0
        parts.notifier.alive()
        try:
            with parts.stop:
                is_lost = isinstance(action, AskBack)
                event = self._carrier.ask_back(self._state) if is_lost else self._send(self._due)
        except StopNow:
            event = StopAsked()
        except FirstlightError as error:
            event = told_by(error)
        parts.notifier.alive()
        return self._settled(unspoken(event, parts.registration))

    def _send(self, due: MissedBeat) -> Event:
        parts = self._parts
        missed = parts.spool.peek(MAX_MISSED) if self._carries and len(parts.spool) else ()
        self._carried = len(missed)
        return self._carrier.send(due, missed, self._state.interval_s)

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
        if self._is_outdated(event):
            self._parts.log(4, "The box has another registration by now; the agent starts anew with that one.")
            return ChangeDue()
        return event

    def _is_outdated(self, event: Event) -> bool:
        """Whether a no is about a registration that is not the one on disk any more."""
        if not self._parts.gives_way or isinstance(event, StopAsked):
            return False
        if isinstance(event, Failed) and event.code not in MENDABLE:
            return False
        try:
            found = self._parts.store.load_registration()
        except StateError:
            return False
        mine = self._parts.registration
        return found is not None and (found.key_fingerprint, found.endpoint, found.trust, found.credential) != (
            mine.key_fingerprint,
            mine.endpoint,
            mine.trust,
            mine.credential,
        )

    def _accepted(self, event: Accepted) -> Accepted:
        parts = self._parts
        if event.is_confirmed:
            parts.spool.drop(self._carried)
            self._carries = True
        self._due = None
        self._learn(event)
        self._report.accepted(event)
        return event._replace(spooled=len(parts.spool))

    def _learn(self, event: Accepted | Told) -> None:
        """What an answer says beside the interval."""
        parts = self._parts
        if event.facts_wanted:
            self._carrier.tell_facts()
        if event.server_time_s is not None:
            parts.saw_time(event.server_time_s)
        parts.changes.note(event)
        parts.upgrades.note(event)

    # -- the other actions -------------------------------------------------------------------------------------------
    def _wait(self, seconds: float) -> Event:
        """Sleeps in one piece, or in pieces of half a watchdog where the watchdog is shorter than the wait.

        Ends early when the platform says something, when the connection breaks, and when a signal comes.
        """
        parts = self._parts
        if parts.gives_way and parts.changes.is_due(self._state.reason):
            return ChangeDue()
        if self._state.phase == lifecycle.PARKED and seconds > PARKED_WAIT_S:
            parts.session.close()  # nobody holds a connection for hours for nothing
        self._report.waits(self._state, seconds)
        piece_s = parts.notifier.watchdog_s / 2 if parts.notifier.watchdog_s else seconds
        left_s = seconds
        while (event := self._listen(left_s)) is None and left_s > ROUNDING * seconds:
            rest_s = max(parts.session.rest_s(), SHORTEST_REST_S)
            length_s, began_s = min(piece_s, left_s, rest_s), parts.clock.monotonic_s()
            ear = parts.session.fileno() if self._words < MAX_WORDS else -1
            if parts.clock.wait(length_s, ear):
                if (asked := self._asked()) is not None:
                    return asked
                length_s = max(parts.clock.monotonic_s() - began_s, 0.0)
            elif ear >= 0 and (slept_s := parts.clock.monotonic_s() - began_s) < length_s * (1 - ROUNDING):
                self._words += 1
                length_s = max(slept_s, 0.0)
            elif length_s == rest_s:
                self._words = 0  # as long as it lasts, the connection is listened to: the answer to a ping is a word
            left_s -= length_s
            if left_s > ROUNDING * seconds:
                parts.notifier.alive()
        return Due() if event is None else event

    def _asked(self) -> Event | None:
        """What a signal asks for; None for a SIGHUP while nothing is due: however many come, the beats go on."""
        parts = self._parts
        if not parts.stop.takes_hangup():
            return StopAsked()
        is_due = parts.gives_way and parts.changes.is_due(self._state.reason, is_asked=True)
        return ChangeDue() if is_due else None

    def _listen(self, left_s: float) -> Event | None:
        """What came unasked; a connection that broke between two beats is opened anew with the next one."""
        parts = self._parts
        if self._words > MAX_WORDS:
            return None
        last: Told | None = None
        try:
            # Again where answers were sent: what came meanwhile makes no noise any more.
            while (told := self._take_in()) is not None:
                last = told
                self._words += 1
                if not told.answers or self._words > MAX_WORDS:
                    break
        except FirstlightError as error:
            # Not at once: a broker that restarts would be run over, one that drops every connection asked without end.
            event = parts.platform.judge(parts.registration, failed(error))
            if not isinstance(event, Failed):
                return event
            return event._replace(retry_after_s=max(event.retry_after_s or 0.0, min(left_s, RECONNECT_S)))
        return None if last is None else last._replace(left_s=left_s)

    def _take_in(self) -> Told | None:
        """What has come, with its consequences: all of it in one, None for nothing. Raises UnreachableError."""
        parts = self._parts
        last: Told | None = None
        answers: tuple[MqttCall, ...] = ()
        for message in parts.session.heard():
            told = parts.platform.heard(parts.registration, message, parts.clock.moment())
            if told is None:
                continue
            last = told
            answers += told.answers
            self._learn(told)
            self._report.told(told)
            for note in told.notes:
                parts.log(4, note)
            if told.desired is not None:
                self._keep_desired(told.desired)
        if answers:
            parts.session.send(answers, self._answers_in_s())
        return None if last is None else last._replace(answers=answers)

    def _answers_in_s(self) -> float:
        watchdog_s = self._parts.notifier.watchdog_s
        return CALL_DEADLINE_S if watchdog_s is None else min(CALL_DEADLINE_S, watchdog_s / 2)

    def _keep_desired(self, desired: Desired) -> None:
        """On the disk before the platform is answered, and left for the hooks."""
        try:
            now = self._parts.store.merge_desired(desired)
        except StateError as error:
            self._parts.log(4, f"{error} {error.hint}")
            return
        if now is not None:
            self._parts.log(6, f"The platform wants this box otherwise (version {desired.version}).")
            self._leave("config-changed", version=desired.version, desired=now)

    def _leave(self, kind: str, **more: object) -> None:
        """For the hooks; who this box is goes along."""
        registration = self._parts.registration
        about = {
            "platform": registration.platform,
            "workspace": registration.workspace,
            "deviceId": registration.device_id,
            "endpoint": registration.endpoint.url,
        }
        self._parts.hooks.leave(kind, {**about, **more})

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
            self._leave("retired", code="device_removed")
        except StateError as error:
            # The next start asks again, gets the same answer, and tries again.
            self._parts.log(3, f"The registration could not be set aside: {error}")
