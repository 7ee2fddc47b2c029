"""Waiting times: growing, jittered, bounded, for every failure count and every chance."""

from hypothesis import given
from hypothesis import strategies as st

from firstlight.core import backoff

CHANCE = st.floats(min_value=0.0, max_value=1.0, exclude_max=True)
FAILURES = st.integers(min_value=1, max_value=10**9)


@given(FAILURES, CHANCE, st.none() | st.floats(min_value=-1e9, max_value=1e9))
def test_retry_waits_are_bounded(failures: int, chance: float, asked_s: float | None) -> None:
    """A retry waits at least half of the first step, at most the ceiling or the asked time (an hour at most)."""
    wait_s = backoff.retry_wait_s(failures, chance, asked_s)

    assert backoff.FIRST_S / 2 <= wait_s <= max(backoff.CEILING_S, 3600 * 1.05)
    if asked_s is not None and asked_s > 0:
        assert wait_s >= min(asked_s, 3600)


@given(FAILURES, CHANCE)
def test_retry_waits_grow(failures: int, chance: float) -> None:
    """With the same chance, one more failure never shortens the wait."""
    assert backoff.retry_wait_s(failures, chance) <= backoff.retry_wait_s(failures + 1, chance)


@given(st.integers(min_value=1, max_value=86_400), CHANCE)
def test_intervals_stay_near_what_was_asked(interval_s: int, chance: float) -> None:
    """A beat is at most five per cent early or late, so that a fleet spreads and a window of five beats holds."""
    assert 0.95 * interval_s <= backoff.interval_wait_s(interval_s, chance) <= 1.05 * interval_s


@given(FAILURES, CHANCE)
def test_parked_waits_are_patient(failures: int, chance: float) -> None:
    """A parked agent asks again between eleven minutes and five hours later, for ever."""
    assert 675 <= backoff.parked_wait_s(failures, chance) <= 18_000
