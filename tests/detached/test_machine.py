"""``core/detached.py``: every state with every event, and what its rules promise."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.core import detached
from firstlight.core.detached import (
    CALM_S,
    LEAVING,
    PARKED,
    STOPPED,
    WAITING,
    Announce,
    Due,
    Event,
    Knock,
    LookNow,
    MakeBeat,
    Missed,
    NetworkChanged,
    Quit,
    Reached,
    State,
    StopAsked,
    Superseded,
    Tried,
    Wait,
)
from firstlight.core.lifecycle import EXIT_AGAIN, ImpossibleEventError

NO_ROUTE = Missed("network_unreachable", "There is no way.")
EVENTS: tuple[Event, ...] = (Due(), Reached(), NO_ROUTE, NetworkChanged(), LookNow(), Superseded(), StopAsked())
FRESH, LOST = Tried(), Tried("network_unreachable", "There is no way.")
PORTAL = Tried("not_the_hub", "The address answered 200.", tries=3)
NO = Tried("install_id_unknown", "The hub does not know this installId.", refusals=1)


def begun(tried: Tried, now_s: float = 1000.0) -> State:
    """A state to begin with, its first beat made."""
    state = detached.begin(tried, now_s, 0.5)
    return state._replace(beat_at_s=now_s + 60)


@pytest.mark.parametrize("tried", [FRESH, LOST, PORTAL, NO], ids=["fresh", "lost", "portal", "refused"])
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_in_every_state(tried: Tried, event: Event) -> None:
    """Each step ends in exactly one Wait, Knock or Quit, and leads where the picture says."""
    state = begun(tried)
    new, actions = detached.step(state, event, 1000.0, 0.5)
    enders = [isinstance(action, (Wait, Knock, Quit)) for action in actions]
    assert enders == [False] * (len(enders) - 1) + [True]
    if isinstance(event, StopAsked):
        assert (new.phase, actions) == (STOPPED, (Quit(0),))
    elif isinstance(event, (Reached, Superseded)):
        assert (new.phase, actions) == (LEAVING, (Quit(EXIT_AGAIN),))
    else:
        assert new.phase == state.phase == (PARKED if tried is NO else WAITING)
    if isinstance(event, LookNow):
        assert actions == (Knock(),)


@pytest.mark.parametrize("phase", [LEAVING, STOPPED])
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_nothing_happens_after_the_end(phase: str, event: Event) -> None:
    """An event in a state that has ended is a fault in the loop."""
    with pytest.raises(ImpossibleEventError):
        detached.step(begun(FRESH)._replace(phase=phase), event, 1000.0, 0.5)


def test_the_first_turn_beats_and_knocks() -> None:
    """A box that has not tried yet knocks at once, after its first beat; one that found no way waits some seconds."""
    fresh, lost = detached.begin(FRESH, 1000.0, 0.5), detached.begin(LOST, 1000.0, 0.5)
    assert detached.step(fresh, Due(), 1000.0, 0.5)[1] == (MakeBeat(), Knock())
    _, actions = detached.step(lost, Due(), 1000.0, 0.5)
    assert actions[0] == MakeBeat() and isinstance(actions[1], Wait) and 1002 < actions[1].until_s <= 1005


def test_knocks_in_vain_grow_the_wait_and_never_end_it() -> None:
    """Up to five minutes, however often; beats go on beside them; the same reason is announced once."""
    state, now_s, announced = begun(FRESH), 1000.0, 0
    for turn in range(40):
        state, actions = detached.step(state, NO_ROUTE, now_s, 0.99)
        announced += sum(isinstance(action, Announce) for action in actions)
        wait_s = state.knock_at_s - now_s
        assert wait_s <= 300 and (turn < 8 or wait_s > 290)
        now_s = state.knock_at_s
    assert announced == 1 and state.reason == "network_unreachable"
    state, actions = detached.step(state, Missed("dns_failed", "No name."), now_s, 0.5)
    assert isinstance(actions[0], Announce) and state.message == "No name."


def test_beats_are_not_made_up_for() -> None:
    """After a long sleep one beat is made, and the next is due an interval later."""
    state = detached.begin(LOST, 1000.0, 0.5)._replace(knock_at_s=9e9)
    state, actions = detached.step(state, Due(), 90_000.0, 0.5)
    assert actions[0] == MakeBeat() and state.beat_at_s == 90_060.0


def test_a_change_of_the_network_brings_the_knock_forward_once_a_minute() -> None:
    """Within seconds, with the quick knocks after it; a network that never rests is heard once in ``CALM_S``."""
    state = begun(LOST)._replace(failures=9, knock_at_s=1290.0)
    state, _ = detached.step(state, NetworkChanged(), 1000.0, 0.5)
    assert 1002 <= state.knock_at_s <= 1004 and state.failures == 0
    state, actions = detached.step(state, NO_ROUTE, state.knock_at_s, 0.5)
    again, _ = detached.step(state, NetworkChanged(), 1005.0, 0.5)
    assert again == state
    assert isinstance(actions[-1], Wait) and not actions[-1].listens
    later, _ = detached.step(state._replace(knock_at_s=1290.0), NetworkChanged(), 1000.0 + CALM_S, 0.5)
    assert later.knock_at_s < 1070


@pytest.mark.parametrize("tried", [PORTAL, NO, PORTAL._replace(retry_after_s=600.0)])
def test_a_change_of_the_network_cuts_no_other_wait_short(tried: Tried) -> None:
    """Neither after a failure behind an open port, nor after a refusal, nor what the platform asked for."""
    state = begun(tried)
    changed, _ = detached.step(state, NetworkChanged(), 1000.0, 0.5)
    assert changed.knock_at_s == state.knock_at_s
    assert state.knock_at_s - 1000 >= (600 if tried.retry_after_s else 600 if tried is NO else 10)


def test_a_refusal_parks_ever_longer() -> None:
    """A quarter of an hour, doubling up to hours; a knock in vain does not take back the platform's word."""
    waits = [detached.begin(NO._replace(refusals=n), 0.0, 0.5).knock_at_s for n in range(1, 8)]
    assert waits == sorted(waits) and waits[0] == 900.0 and waits[-1] == 14_400.0
    state, _ = detached.step(begun(NO), NO_ROUTE, 2000.0, 0.5)
    assert (state.phase, state.reason) == (PARKED, "install_id_unknown") and state.knock_at_s < 2010


@settings(max_examples=200)
@given(
    st.sampled_from([FRESH, LOST, PORTAL, NO]),
    st.lists(st.tuples(st.sampled_from(EVENTS[2:5]), st.floats(0, 400), st.floats(0, 0.999)), max_size=30),
)
def test_whatever_happens_it_beats_and_knocks_again(tried: Tried, events: list[tuple[Event, float, float]]) -> None:
    """No order of events leaves the box without a next beat within a minute and a next knock within hours."""
    now_s = 1000.0
    state = detached.begin(tried, now_s, 0.5)
    for event, later_s, chance in events:
        now_s += later_s
        state, actions = detached.step(state, event, now_s, chance)
        if isinstance(actions[-1], Wait):
            assert now_s < actions[-1].until_s <= now_s + 63
            now_s = actions[-1].until_s
            state, actions = detached.step(state, Due(), now_s, chance)
        assert state.beat_at_s <= now_s + 63 and state.knock_at_s <= now_s + 18_000
