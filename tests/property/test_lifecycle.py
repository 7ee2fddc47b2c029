"""The rules at the head of core/lifecycle.py, held by random walks through every state."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.core import lifecycle as life
from firstlight.core.lifecycle import (
    Accepted,
    Announce,
    AskBack,
    ChangeDue,
    Due,
    Failed,
    Keep,
    Quit,
    Refused,
    Removed,
    Retire,
    SendBeat,
    State,
    StopAsked,
    Told,
    Wait,
)

CHANCE = st.floats(min_value=0.0, max_value=1.0, exclude_max=True)
CODES = st.sampled_from(["dns_failed", "hub_busy", "key_invalid", "device_unknown", "take_back_not_allowed"])
ANSWERS = st.one_of(
    st.builds(
        Accepted,
        st.integers(min_value=1, max_value=86_400).map(float),
        st.none() | st.floats(min_value=0, max_value=1e11),
        st.booleans(),
        st.integers(min_value=0, max_value=1440),
        st.booleans(),
    ),
    st.builds(Failed, CODES, st.just("It failed."), st.none() | st.floats(min_value=-10, max_value=1e9)),
    st.builds(Refused, CODES, st.just("No.")),
)
ENDS = st.sampled_from([Removed("Gone."), StopAsked(), ChangeDue()])
LEFT_S = st.floats(min_value=-1, max_value=86_400)
WORDS = st.lists(
    st.one_of(
        st.builds(lambda interval_s, left_s: Told(float(interval_s), left_s=left_s), st.integers(1, 86_400), LEFT_S),
        st.builds(Failed, st.just("mqtt_disconnected"), st.just("It broke."), LEFT_S),
    ),
    max_size=2,
)
WALKS = st.lists(st.tuples(ANSWERS, WORDS, CHANCE), max_size=40)
STATUS = {Removed: life.EXIT_RETIRED, StopAsked: 0, ChangeDue: life.EXIT_AGAIN}


def turn(state: State, event: life.Event, chance: float) -> tuple[State, tuple[life.Action, ...]]:
    """One step, with what holds for every step."""
    new, actions = life.step(state, event, chance)
    assert actions, "a step without an action would hang the runner"
    calls = [one for one in actions if isinstance(one, (SendBeat, AskBack))]
    ends = [one for one in actions if isinstance(one, (Wait, Quit))]
    if isinstance(event, Due):
        assert (len(calls), len(actions)) == (1, 1) and new == state
    else:
        assert not calls and len(ends) == 1 and actions[-1] is ends[0]
    for one in actions:
        if isinstance(one, Wait):
            assert 0 < one.seconds <= 90_720, "longer than a day and its jitter"
        if isinstance(one, Announce):
            assert one.priority in (3, 4, 6)
    kept = sum(isinstance(one, Keep) for one in actions)
    was_not_accepted = isinstance(event, (Failed, Refused, StopAsked, ChangeDue))
    assert kept == was_not_accepted, "kept exactly when it was not accepted"
    assert any(isinstance(one, Retire) for one in actions) == isinstance(event, Removed)
    return new, actions


def after(before: State, answer: life.Event, state: State) -> None:
    """What holds after the answer to a beat, or a word between two beats."""
    assert state.phase in (life.BEATING, life.CUT_OFF, life.PARKED)
    if isinstance(answer, Accepted) and not answer.is_confirmed and before.phase == life.PARKED:
        assert state == before, "a broker does not take back the platform's last word"
    elif isinstance(answer, Accepted):
        assert state == State(life.BEATING, answer.interval_s, 0, "", answer.spooled)
    elif isinstance(answer, Told):
        assert state == before._replace(interval_s=answer.interval_s)
    elif isinstance(answer, Refused):
        assert (state.phase, state.reason) == (life.PARKED, answer.code) and state.failures >= 1
    elif before.phase == life.PARKED:
        assert state == before, "a failure on the way does not change the platform's last word"
    else:
        assert (state.phase, state.failures) == (life.CUT_OFF, before.failures + 1)


@given(st.integers(min_value=1, max_value=86_400), WALKS, ENDS, CHANCE)
def test_random_lives_keep_the_rules(
    interval_s: int, walk: list[tuple[life.Event, list[life.Event], float]], end: life.Event, last: float
) -> None:
    """Whatever the platform answers or says unasked, in any order, each step keeps the rules; only an end ends it."""
    state = State(life.BEATING, float(interval_s))
    for answer, words, chance in walk:
        state, calls = turn(state, Due(), chance)
        lost = state.phase == life.PARKED and state.reason in life.LOST_DEVICE_REASONS
        assert isinstance(calls[0], AskBack) == lost
        for event in (answer, *words):
            before = state
            state, actions = turn(state, event, chance)
            assert isinstance(actions[-1], Wait)
            after(before, event, state)
    state, actions = turn(state, end, last)
    assert actions[-1] == Quit(STATUS[type(end)])
    for event in (Due(), StopAsked(), Told(60.0), end):
        with pytest.raises(life.ImpossibleEventError):
            life.step(state, event, last)


@given(st.sampled_from([life.BEATING, life.CUT_OFF, life.PARKED]), LEFT_S, st.integers(1, 86_400), CHANCE)
def test_a_word_never_delays_the_next_beat(phase: str, left_s: float, interval_s: int, chance: float) -> None:
    """What is said between two beats leaves the wait as it is, or makes it shorter where the interval did."""
    state, actions = turn(State(phase, 60.0, 1, "dns_failed"), Told(float(interval_s), left_s=left_s), chance)

    assert isinstance(actions[-1], Wait) and actions[-1].seconds <= max(left_s, life.SHORTEST_WAIT_S)
    assert (state.phase, state.interval_s) == (phase, interval_s)


@given(st.integers(min_value=1, max_value=1440), CHANCE)
def test_a_silent_platform_is_not_flooded(spooled: int, chance: float) -> None:
    """A broker takes beats and nobody answers: kept beats are tried again with each beat, not in between."""
    beat = Accepted(60.0, None, False, spooled, is_confirmed=False)
    for phase in (life.BEATING, life.CUT_OFF):
        _, actions = turn(State(phase, 60.0, 1, "dns_failed", 5), beat, chance)
        assert isinstance(actions[-1], Wait) and actions[-1].seconds >= 57.0


@given(st.lists(CHANCE, min_size=2, max_size=80), CODES)
def test_a_failure_is_announced_once_per_change(chances: list[float], code: str) -> None:
    """The same failure in a row is one line, and the wait never shrinks below the first nor ends the tries."""
    state = State(life.BEATING, 60.0)
    said = 0
    for chance in chances:
        state, actions = turn(state, Failed(code, "It failed."), chance)
        said += sum(isinstance(one, Announce) for one in actions)
        assert isinstance(actions[-1], Wait) and actions[-1].seconds >= 2.5
    assert said == 1


@given(st.integers(min_value=1, max_value=10**6), CHANCE)
def test_a_flush_is_gentle_and_prompt(spooled: int, chance: float) -> None:
    """While kept beats are left the next beat comes within seconds, never at once, whatever the interval."""
    _, actions = turn(State(life.CUT_OFF, 3600.0, 3, "dns_failed", 5), Accepted(3600.0, None, False, spooled), chance)

    assert isinstance(actions[-1], Wait) and 2.0 <= actions[-1].seconds <= 6.0
