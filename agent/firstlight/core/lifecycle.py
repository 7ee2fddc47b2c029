"""States, events, actions and one ``step``: what the beating process does, decided here and nowhere else.

The rules:

1.  Everything about the state lives in this module; the runner performs actions and brings back events.
2.  ``Due`` leads to exactly one call (``SendBeat`` or ``AskBack``), and each call brings exactly one event back. Which
    way a beat takes is not decided here: past a broker that is out of reach it goes over HTTP (``daemon/carrier.py``),
    and only where the platform is out of reach that way too, the call has failed.
3.  Every other step ends in exactly one ``Wait`` or one ``Quit``: the runner is a plain loop.
4.  A failure grows the wait and never ends it. A refusal parks: asked again now and then, cheap and visible.
5.  Only ``Removed`` (a tombstone that names this device's key) retires, and only ``StopAsked`` stops.
6.  What was not accepted is spooled; what was accepted is dropped from the spool, in that order. A beat that only a
    broker took counts as sent, and neither drops what is spooled nor takes back a word of the platform itself.
7.  What is said between two beats (``Told``) never delays the next one. A connection that breaks between two beats is a
    failure without a beat: nothing is spooled.
8.  ``ChangeDue`` ends the process in favour of a richer one, which makes the change and comes back as this one.
9.  An event that cannot happen in a state raises ``ImpossibleEventError``; it is never ignored.

    BEATING --Failed--> CUT_OFF --Accepted--> BEATING
    BEATING, CUT_OFF --Refused--> PARKED --Accepted, confirmed--> BEATING
    BEATING, CUT_OFF, PARKED --Removed--> RETIRED;  any of them --StopAsked--> STOPPED, --ChangeDue--> CHANGING
"""

from __future__ import annotations

from firstlight.core import backoff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NamedTuple

    from firstlight.core.exchange import MqttCall
    from firstlight.core.model import Offer
else:
    from firstlight.core.record import NamedTuple

BEATING, CUT_OFF, PARKED = "beating", "cut_off", "parked"
RETIRED, STOPPED, CHANGING = "retired", "stopped", "changing"


class State(NamedTuple):
    """Where the device is.

    Args:
        phase: one of the six names above.
        interval_s: seconds between beats.
        failures: failures or refusals in a row.
        reason: code of the last failure or refusal, "" when all is well.
        spooled: beats waiting on disk.
    """

    phase: str
    interval_s: float
    failures: int = 0
    reason: str = ""
    spooled: int = 0


# -- events ----------------------------------------------------------------------------------------------------------
class Due(NamedTuple):
    """The time that ``Wait`` named has come."""


class Accepted(NamedTuple):
    """The platform has the beat on disk.

    Args:
        interval_s: the interval it asks for from now on.
        server_time_s: its clock, seconds since 1970, or None.
        facts_wanted: it asks for the whole facts with the next beat.
        spooled: beats left on disk after the accepted ones were dropped (filled in by the runner).
        is_confirmed: False where only a broker took the beat, and the platform's own answer is still to come.
        rotate: the operator wants the credential replaced now.
        clone: another box beats with this device's credential.
        move: a signed statement of where the platform is from now on, "" = nothing new.
        upgrade: a release that the platform offers this box, None = none.
    """

    interval_s: float
    server_time_s: float | None = None
    facts_wanted: bool = False
    spooled: int = 0
    is_confirmed: bool = True
    rotate: bool = False
    clone: bool = False
    move: str = ""
    upgrade: Offer | None = None


class Desired(NamedTuple):
    """How the operator wants this box to be, as the platform keeps it; handed to the hooks, not understood here.

    Args:
        version: grows with each change, 0 = the platform does not count.
        text: JSON object, compact, keys sorted: ``{service: {property: value}}``.
        is_whole: what is not in it is not desired any more; otherwise it adds to what was desired before.
    """

    version: int
    text: str
    is_whole: bool


class Told(NamedTuple):
    """What the platform said unasked, between two beats; the fields as in ``Accepted``.

    Args:
        left_s: what is left of the wait in which it came (filled in by the runner).
        answers: what is to be sent back at once.
        desired: how the operator wants this box to be, None = nothing was said of it.
        notes: sentences for the log, about what this box is told and cannot answer.
    """

    interval_s: float
    server_time_s: float | None = None
    facts_wanted: bool = False
    rotate: bool = False
    clone: bool = False
    move: str = ""
    upgrade: Offer | None = None
    left_s: float = 0.0
    answers: tuple[MqttCall, ...] = ()
    desired: Desired | None = None
    notes: tuple[str, ...] = ()


class Failed(NamedTuple):
    """Nothing was decided: unreachable, overloaded, not understood.

    Args:
        code: a key of ``errors.HINTS``.
        message: one sentence.
        retry_after_s: what the other side asked to wait, or None.
        hint: the next step where the one that ``errors.HINTS`` has does not fit, otherwise "".
    """

    code: str
    message: str
    retry_after_s: float | None = None
    hint: str = ""


class Refused(NamedTuple):
    """A named, permanent no."""

    code: str
    message: str


class Removed(NamedTuple):
    """A tombstone that names this device's key."""

    message: str


class StopAsked(NamedTuple):
    """The service manager or the user wants an end."""


class ChangeDue(NamedTuple):
    """The credential is to be replaced, the platform has moved, or the registration on disk is another one by now."""


# -- actions ---------------------------------------------------------------------------------------------------------
class SendBeat(NamedTuple):
    """Send a beat now, with spooled ones if there are any."""


class AskBack(NamedTuple):
    """Ask a platform that does not know this device to take it back by its key."""


class Keep(NamedTuple):
    """Put the beat that was not accepted into the spool."""


class Announce(NamedTuple):
    """Log and show a change of state.

    Args:
        priority: as in syslog: 6 info, 4 warning, 3 error.
        code, message, hint: as in ``Failed``.
    """

    priority: int
    code: str
    message: str
    hint: str = ""


class Retire(NamedTuple):
    """Set registration and key aside."""


class Wait(NamedTuple):
    """Sleep that many seconds, then bring ``Due``."""

    seconds: float


class Quit(NamedTuple):
    """End the process with that exit status."""

    exit_status: int


Event = Due | Accepted | Told | Failed | Refused | Removed | StopAsked | ChangeDue
Action = SendBeat | AskBack | Keep | Announce | Retire | Wait | Quit
if TYPE_CHECKING:
    Step = tuple[State, tuple[Action, ...]]

LOST_DEVICE_REASONS = frozenset({"device_unknown", "take_back_not_allowed"})
EXIT_RETIRED = 78
EXIT_AGAIN = 75  # between runner and daemon.main only: no service manager sees it
SHORTEST_WAIT_S = 0.1


class ImpossibleEventError(AssertionError):
    """An event that the state cannot receive: a fault in the runner, never in the outside world."""


def _due(state: State, event: Due, chance: float) -> Step:
    lost = state.phase == PARKED and state.reason in LOST_DEVICE_REASONS
    return state, (AskBack() if lost else SendBeat(),)


def _accepted(state: State, event: Accepted, chance: float) -> Step:
    if not event.is_confirmed:
        return _taken(state, event, chance)
    new = State(BEATING, event.interval_s, 0, "", event.spooled)
    # Soon again while beats are spooled, and after AskBack, whose acceptance is not a beat yet.
    soon = event.spooled or state.phase == PARKED
    wait = Wait(backoff.flush_wait_s(chance) if soon else backoff.interval_wait_s(event.interval_s, chance))
    if state.phase == BEATING:
        return new, (wait,)
    kept = f", {event.spooled} kept beats to hand over" if event.spooled else ""
    return new, (Announce(6, "online", f"The platform accepts beats again{kept}."), wait)


def _taken(state: State, event: Accepted, chance: float) -> Step:
    """Only a broker took the beat: kept ones are not tried again sooner, since nobody answers."""
    if state.phase == PARKED:
        return state, (Wait(backoff.parked_wait_s(max(1, state.failures), chance)),)
    new = State(BEATING, event.interval_s, 0, "", event.spooled)
    wait = Wait(backoff.interval_wait_s(event.interval_s, chance))
    if state.phase == BEATING:
        return new, (wait,)
    return new, (Announce(6, "online", "The broker takes beats again."), wait)


def _told(state: State, event: Told, chance: float) -> Step:
    left_s = max(event.left_s, SHORTEST_WAIT_S)
    if state.phase == BEATING:
        # A longer interval counts from the next beat on: nobody is to miss that one.
        left_s = min(left_s, backoff.interval_wait_s(event.interval_s, chance))
    return state._replace(interval_s=event.interval_s), (Wait(left_s),)


def _failed(state: State, event: Failed, chance: float) -> Step:
    new = state._replace(phase=CUT_OFF, failures=state.failures + 1, reason=event.code)
    wait = Wait(backoff.retry_wait_s(new.failures, chance, event.retry_after_s))
    if state.phase == CUT_OFF and state.reason == event.code:
        return new, (Keep(), wait)
    return new, (Keep(), Announce(4, event.code, event.message, event.hint), wait)


def _failed_while_parked(state: State, event: Failed, chance: float) -> Step:
    # The last word of the platform itself stands: stay parked, knock again as patiently as before.
    return state, (Keep(), Wait(backoff.parked_wait_s(max(1, state.failures), chance)))


def _refused(state: State, event: Refused, chance: float) -> Step:
    again = state.phase == PARKED
    new = state._replace(phase=PARKED, failures=state.failures + 1 if again else 1, reason=event.code)
    wait = Wait(backoff.parked_wait_s(new.failures, chance))
    if again and state.reason == event.code:
        return new, (Keep(), wait)
    # A device the platform lost asks to be taken back at once; a second no waits as patiently as any refusal.
    lost = not again and event.code in LOST_DEVICE_REASONS
    return new, (Keep(), Announce(3, event.code, event.message), Wait(backoff.flush_wait_s(chance)) if lost else wait)


def _removed(state: State, event: Removed, chance: float) -> Step:
    new = state._replace(phase=RETIRED, reason="device_removed")
    return new, (Retire(), Announce(3, "device_removed", event.message), Quit(EXIT_RETIRED))


def _stop(state: State, event: StopAsked, chance: float) -> Step:
    # A beat whose call the stop broke off may not have arrived; the hub knows one that did by its number.
    return state._replace(phase=STOPPED), (Keep(), Quit(0))


def _change(state: State, event: ChangeDue, chance: float) -> Step:
    return state._replace(phase=CHANGING), (Keep(), Quit(EXIT_AGAIN))


_TABLE: dict[tuple[str, type], Callable[..., Step]] = {
    (BEATING, Due): _due,
    (CUT_OFF, Due): _due,
    (PARKED, Due): _due,
    (BEATING, Accepted): _accepted,
    (CUT_OFF, Accepted): _accepted,
    (PARKED, Accepted): _accepted,
    (BEATING, Failed): _failed,
    (CUT_OFF, Failed): _failed,
    (PARKED, Failed): _failed_while_parked,
    (BEATING, Refused): _refused,
    (CUT_OFF, Refused): _refused,
    (PARKED, Refused): _refused,
    (BEATING, Removed): _removed,
    (CUT_OFF, Removed): _removed,
    (PARKED, Removed): _removed,
    (BEATING, StopAsked): _stop,
    (CUT_OFF, StopAsked): _stop,
    (PARKED, StopAsked): _stop,
    (BEATING, Told): _told,
    (CUT_OFF, Told): _told,
    (PARKED, Told): _told,
    (BEATING, ChangeDue): _change,
    (CUT_OFF, ChangeDue): _change,
    (PARKED, ChangeDue): _change,
}


def step(state: State, event: Event, chance: float) -> Step:
    """One decision.

    Args:
        state: where the device is.
        event: what happened.
        chance: a random number in [0, 1), for jitter.

    Returns:
        the new state and the actions to perform in order: for ``Due`` one call, otherwise ending in Wait or Quit.

    Raises:
        ImpossibleEventError: the table has no rule for this event in this state.
    """
    rule = _TABLE.get((state.phase, type(event)))
    if rule is None:
        raise ImpossibleEventError(f"{type(event).__name__} in {state.phase}")
    return rule(state, event, chance)
