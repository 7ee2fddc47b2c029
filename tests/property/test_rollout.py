"""Which devices a roll-out is for: always the same ones, more of them with a larger share, and none by accident."""

import string
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from firstlight_hub.rollout import (
    RUNNING,
    Rollout,
    Seen,
    Upgrade,
    has_failed,
    is_chosen,
    is_older,
    limit,
    next_attempt,
    share,
    verdict,
)

IDS = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=64)
NUMBERS = st.integers(min_value=0, max_value=99_999)
VERSIONS = st.tuples(NUMBERS, NUMBERS, NUMBERS).map(lambda parts: ".".join(map(str, parts)))
PERCENT = st.integers(min_value=0, max_value=100)
TAGS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=3).map(tuple)
TIMES = st.integers(min_value=0, max_value=10**13)
CODES = st.sampled_from(["", "upgrade_crashed", "upgrade_managed", "upgrade_unattended"])


def rollout(percent: int = 0, version: str = "1.0.0", **more: Any) -> Rollout:
    """One for that share."""
    return Rollout(1, version, percent, None, (), None, 50, RUNNING, 0, 0)._replace(**more)


@given(IDS, TAGS, PERCENT, PERCENT, VERSIONS)
def test_a_wider_share_keeps_those_that_are_in(
    device_id: str, tags: tuple[str, ...], one: int, other: int, version: str
) -> None:
    """Whoever is in at a share is in at every larger one; at 100 all are, at 0 nobody."""
    low, high = sorted((one, other))
    is_in = [is_chosen(rollout(percent, version), device_id, tags) for percent in (0, low, high, 100)]
    assert is_in == sorted(is_in) and is_in[0] is False and is_in[3] is True


@given(IDS, TAGS, st.sampled_from(["a", "b", "c"]), st.lists(IDS, max_size=3), PERCENT)
def test_tags_and_ids_add_to_the_share(
    device_id: str, tags: tuple[str, ...], tag: str, ids: list[str], percent: int
) -> None:
    """A device is in by its tag, by its id or by its share, and by nothing else."""
    found = is_chosen(rollout(percent, tag=tag, device_ids=tuple(ids)), device_id, tags)
    assert found == (tag in tags or device_id in ids or is_chosen(rollout(percent), device_id, ()))


def test_shares_are_even_and_another_version_begins_with_others() -> None:
    """Of 20,000 devices a share of 10 % is 10 %, give or take a tenth of that, and not the same ones each time."""
    names = [f"cam-{number}" for number in range(20_000)]
    first = {name for name in names if is_chosen(rollout(10, "0.3.0"), name, ())}
    second = {name for name in names if is_chosen(rollout(10, "0.3.1"), name, ())}
    assert all(1800 < len(chosen) < 2200 for chosen in (first, second))
    assert 100 < len(first & second) < 300
    assert share("cam-1", "0.3.0") == 9732, "a hub of a later version chooses the same devices"


@given(VERSIONS, VERSIONS)
def test_nobody_is_offered_to_go_down(mine: str, offered: str) -> None:
    """Only an older version follows, by numbers and not by letters."""
    as_numbers = [tuple(map(int, version.split("."))) for version in (mine, offered)]
    assert is_older(mine, offered) == ((0, 2, 0) <= as_numbers[0] < as_numbers[1])


@given(st.text(max_size=20) | st.none(), VERSIONS)
def test_what_is_no_version_follows_nowhere(mine: str | None, offered: str) -> None:
    """Any text that a beat may carry is judged without trouble."""
    assert is_older(mine, offered) in (True, False)


@given(st.integers(min_value=0, max_value=10**6), st.none() | st.integers(min_value=1, max_value=100))
def test_it_halts_at_few_failures(told: int, halt_after: int | None) -> None:
    """As the operator says; else at the first while few were told, and never later than at one in twenty."""
    found = limit(rollout(halt_after=halt_after), told)
    assert found == halt_after if halt_after else 1 <= found <= max(1, told / 20)


@given(TIMES, st.none() | TIMES, st.none() | TIMES, CODES, st.none() | TIMES, st.booleans())
def test_a_verdict_is_about_what_is_known(
    now_ms: int, told_ms: int | None, ended_ms: int | None, code: str, heard_ms: int | None, runs: bool
) -> None:
    """Who runs the version is done; who said so is what it said; who was never told has not failed."""
    upgrade = Upgrade("1.0.0", "0" * 64, 1, "", 1, told_ms, ended_ms, None if ended_ms is None else code)
    found = verdict(upgrade, Seen("1.0.0" if runs else "0.9.0", heard_ms), now_ms, 300)
    if runs:
        assert found == ""
    elif ended_ms is not None:
        assert found == code
    elif told_ms is None:
        assert found is None
    else:
        assert found in (None, "upgrade_silent", "upgrade_no_word")
    assert not (has_failed(found) and runs)


@given(st.integers(min_value=0, max_value=99), st.booleans(), st.booleans(), st.booleans())
def test_attempts_grow_only_where_the_box_may_have_tried(attempt: int, same: bool, told: bool, ended: bool) -> None:
    """A box takes an attempt once: what it may have tried already gets the next number, and 0 is nobody's offer."""
    before = Upgrade("1.0.0", "0" * 64, attempt, "", 1, 5 if told else None, 6 if ended else None)
    found = next_attempt(before, "0" * 64 if same else "1" * 64)
    assert found == (max(1, attempt + (told or ended)) if same else 1) and next_attempt(None, "0" * 64) == 1
