"""What a provisioned box does until a platform has registered it: states, events, actions and one ``step``.

The rules:

1.  The box lives: it makes its beats at their interval, and keeps them. Whether there is a network delays none of them.
2.  It knocks: can the endpoint (or the proxy on the way) be reached at all? That is cheap. Where it can, the process
    ends in favour of a richer one (``Quit(EXIT_AGAIN)``), which redeems, and comes back as this one only if it failed.
3.  A knock in vain grows the wait for the next one, with jitter and without an end. So does each failure of the richer
    process, which costs more, on a count of its own: a captive portal answers every knock.
4.  A change of the network brings the next knock forward, to when addresses, routes and names had a moment to settle,
    and at most once in ``CALM_S``: a network that never rests must not keep the box awake. It never cuts short what the
    platform asked to wait, nor a wait after a failure of the richer process, nor one after a refusal.
5.  A refusal parks: asked again now and then, in full, since what was refused may have been put right at the desk.
6.  ``LookNow`` (a person asks) knocks at once, parked or not.
7.  ``Superseded`` (another provision, a registration, or none any more) ends the process in favour of the richer one.
8.  Each step ends in exactly one ``Wait``, ``Knock`` or ``Quit``; ``MakeBeat`` comes before it.
9.  An event that cannot happen in a state raises ``ImpossibleEventError``; it is never ignored.

    WAITING --Due, LookNow--> (knock) --Missed--> WAITING
    PARKED  --Due, LookNow--> (knock) --Missed--> PARKED
    both --Reached, Superseded--> LEAVING;  both --StopAsked--> STOPPED
"""

from __future__ import annotations

from firstlight.core import backoff
from firstlight.core.lifecycle import EXIT_AGAIN, ImpossibleEventError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NamedTuple
else:
    from firstlight.core.record import NamedTuple

WAITING, PARKED, LEAVING, STOPPED = "provisioned", "parked", "leaving", "stopped"
NOT_REGISTERED = "not_registered"  # the reason of every beat that is kept
INTERVAL_S = 60.0  # the platform has not said another one yet
CALM_S = 60.0
SETTLE_S, SETTLE_SPREAD_S = 2.0, 2.0
SHORTEST_WAIT_S = 0.05
# Codes of a try that did not get as far as the endpoint: a knock would have failed by the same.
NO_WAY = frozenset({"dns_failed", "connect_refused", "connect_timeout", "network_unreachable", "proxy_failed"})


class Tried(NamedTuple):
    """How the richer process came back.

    Args:
        code, message: why there is no registration yet; "" where nothing was tried.
        tries: failures in a row after the endpoint was reached.
        refusals: in a row; more than 0 = the last word of the platform was a no.
        retry_after_s: what the platform asked to wait, 0.0 = nothing.
    """

    code: str = ""
    message: str = ""
    tries: int = 0
    refusals: int = 0
    retry_after_s: float = 0.0


class State(NamedTuple):
    """Where the box is; instants by the clock that never goes back, in seconds.

    Args:
        phase: one of the four names above.
        reason, message: why there is no registration yet, "" = nothing was tried.
        failures: knocks in vain in a row.
        tried: how the richer process came back last.
        beat_at_s: when the next beat is due.
        knock_at_s: when the next knock is due.
        not_before_s: no change of the network brings a knock forward to before this.
        calm_until_s: nor does one that comes before this.
    """

    phase: str
    reason: str
    message: str
    failures: int
    tried: Tried
    beat_at_s: float
    knock_at_s: float
    not_before_s: float
    calm_until_s: float


# -- events ----------------------------------------------------------------------------------------------------------
class Due(NamedTuple):
    """The time that ``Wait`` named has come."""


class Reached(NamedTuple):
    """The endpoint took a connection."""


class Missed(NamedTuple):
    """It did not; code and sentence of why."""

    code: str
    message: str


class NetworkChanged(NamedTuple):
    """Addresses or routes of this box have changed."""


class LookNow(NamedTuple):
    """A person, or another command, wants it looked at now."""


class Superseded(NamedTuple):
    """The provision on the disk is another one by now, or there is a registration."""


class StopAsked(NamedTuple):
    """The service manager or the user wants an end."""


# -- actions ---------------------------------------------------------------------------------------------------------
class MakeBeat(NamedTuple):
    """Make a beat and keep it."""


class Knock(NamedTuple):
    """See whether the endpoint takes a connection; brings ``Reached`` or ``Missed``."""


class Announce(NamedTuple):
    """Log and show why the box is not registered; priority as in syslog."""

    priority: int
    code: str
    message: str


class Wait(NamedTuple):
    """Sleep until that instant, then bring ``Due``; whether a change of the network may end it."""

    until_s: float
    listens: bool


class Quit(NamedTuple):
    """End the process with that exit status."""

    exit_status: int


Event = Due | Reached | Missed | NetworkChanged | LookNow | Superseded | StopAsked
Action = MakeBeat | Knock | Announce | Wait | Quit
if TYPE_CHECKING:
    Step = tuple[State, tuple[Action, ...]]


def begin(tried: Tried, now_s: float, chance: float) -> State:
    """How the box stands after the richer process gave way.

    Args:
        tried: how that went.
        now_s: by the clock that never goes back.
        chance: a random number in [0, 1), for jitter.
    """
    if tried.refusals:
        wait_s = backoff.parked_wait_s(tried.refusals, chance)
    elif tried.code and tried.code not in NO_WAY:
        wait_s = backoff.retry_wait_s(max(1, tried.tries), chance, tried.retry_after_s)
    else:
        wait_s = 0.0
    failures = 0 if wait_s or not tried.code else 1
    knock_s = wait_s or (backoff.retry_wait_s(1, chance) if tried.code else 0.0)
    return State(
        phase=PARKED if tried.refusals else WAITING,
        reason=tried.code,
        message=tried.message,
        failures=failures,
        tried=tried,
        beat_at_s=now_s,
        knock_at_s=now_s + knock_s,
        not_before_s=now_s + wait_s,
        calm_until_s=now_s,
    )


def _wait(state: State, now_s: float) -> tuple[Action, ...]:
    until_s = max(min(state.beat_at_s, state.knock_at_s), now_s + SHORTEST_WAIT_S)
    listens = state.calm_until_s <= now_s and max(state.not_before_s, now_s + SETTLE_S) < state.knock_at_s
    return (Wait(until_s, listens),)


def _due(state: State, event: Due, now_s: float, chance: float) -> Step:
    actions: tuple[Action, ...] = ()
    if state.beat_at_s <= now_s:
        # From now on, not from when it was due: a box that slept must not make up for what it missed.
        state = state._replace(beat_at_s=now_s + backoff.interval_wait_s(INTERVAL_S, chance))
        actions = (MakeBeat(),)
    if state.knock_at_s <= now_s:
        return state, (*actions, Knock())
    return state, (*actions, *_wait(state, now_s))


def _missed(state: State, event: Missed, now_s: float, chance: float) -> Step:
    failures = state.failures + 1
    new = state._replace(failures=failures, knock_at_s=now_s + backoff.retry_wait_s(failures, chance))
    if state.phase == PARKED:
        return new, _wait(new, now_s)  # the last word of the platform itself stands
    new = new._replace(reason=event.code, message=event.message)
    if state.reason == event.code:
        return new, _wait(new, now_s)
    return new, (Announce(4, event.code, event.message), *_wait(new, now_s))


def _changed(state: State, event: NetworkChanged, now_s: float, chance: float) -> Step:
    if now_s < state.calm_until_s:
        return state, _wait(state, now_s)
    sooner_s = max(state.not_before_s, now_s + SETTLE_S + SETTLE_SPREAD_S * chance)
    if state.phase == PARKED or sooner_s >= state.knock_at_s:
        new = state._replace(calm_until_s=now_s + CALM_S)
    else:
        new = state._replace(failures=0, knock_at_s=sooner_s, calm_until_s=now_s + CALM_S)
    return new, _wait(new, now_s)


def _look(state: State, event: LookNow, now_s: float, chance: float) -> Step:
    return state._replace(failures=0, knock_at_s=now_s), (Knock(),)


def _leave(state: State, event: Reached | Superseded, now_s: float, chance: float) -> Step:
    return state._replace(phase=LEAVING), (Quit(EXIT_AGAIN),)


def _stop(state: State, event: StopAsked, now_s: float, chance: float) -> Step:
    return state._replace(phase=STOPPED), (Quit(0),)


_RULES: dict[type, Callable[..., Step]] = {
    Due: _due,
    Missed: _missed,
    NetworkChanged: _changed,
    LookNow: _look,
    Reached: _leave,
    Superseded: _leave,
    StopAsked: _stop,
}


def step(state: State, event: Event, now_s: float, chance: float) -> Step:
    """One decision.

    Args:
        state: where the box is.
        event: what happened.
        now_s: by the clock that never goes back.
        chance: a random number in [0, 1), for jitter.

    Returns:
        the new state and the actions to perform in order, ending in Wait, Knock or Quit.

    Raises:
        ImpossibleEventError: the process has ended in this state.
    """
    rule = _RULES.get(type(event))
    if rule is None or state.phase not in (WAITING, PARKED):
        raise ImpossibleEventError(f"{type(event).__name__} in {state.phase}")
    return rule(state, event, now_s, chance)
