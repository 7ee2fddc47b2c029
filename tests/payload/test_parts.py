"""Texts in parts: any order, any repetition, nothing mixed, nothing without bounds."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.errors import HINTS, InvitationError
from firstlight.wire import parts, payload
from tests.payload.second_reader import DIGITS
from tests.payload.vectors import FULL, TRUSTED, WITH_WIFI, written

TEXT, OTHER = written(FULL), written(WITH_WIFI)
WHOLES = st.text(DIGITS, min_size=120, max_size=4292).map("FL1:".__add__)


def three() -> list[str]:
    """A set of three parts."""
    found = parts.split(TEXT, 272)
    assert len(found) == 3
    return found


def code_of(collected: parts.Parts, text: str) -> str:
    """The code with which a part is refused."""
    with pytest.raises(InvitationError) as refused:
        collected.add(text)
    assert refused.value.hint == HINTS[refused.value.code]
    return refused.value.code


@given(WHOLES, st.integers(100, 4296), st.randoms(use_true_random=False))
def test_any_text_in_any_order(whole: str, most: int, chance: random.Random) -> None:
    """What is cut is whole again, whatever the sizes, the order and the repetitions; no part is too long."""
    try:
        cut = parts.split(whole, most)
    except InvitationError as error:
        assert error.code == "payload_too_large"
        assert len(whole) > 15 * (most - 36)
        return
    assert all(len(part) <= most for part in cut)
    if len(cut) == 1:
        assert cut == [whole]
        return
    if whole.endswith(" ") or any(part.endswith(" ") for part in cut):
        return  # what no Base45 can have
    shuffled = cut * 2
    chance.shuffle(shuffled)
    collected = parts.Parts()
    found = [collected.add(part) for part in shuffled]
    assert found[-1] == whole == collected.take()
    assert found.index(whole) == next(n for n in range(len(found)) if set(shuffled[: n + 1]) == set(cut))


def test_no_part_of_a_payload_ends_in_a_space() -> None:
    """Whatever the size of the symbols, white space lost at a line's end takes nothing of a part away."""
    for most in range(80, len(TEXT)):
        cut = parts.split(TEXT, most)
        collected = parts.Parts()
        assert [collected.add(f"  {part.strip()}\r\n") for part in cut][-1] == TEXT


def test_how_far_it_is() -> None:
    """Each part is answered with a sentence that says what is there and what is to come."""
    first, second, third = three()
    collected = parts.Parts()
    assert (collected.sentence, collected.have, collected.missing) == ("", (), ())
    assert collected.add(second) is None
    assert collected.sentence == "part 2 of 3 read, 2 to go"
    assert collected.add(second) is None
    assert (collected.have, collected.missing, collected.total) == ((2,), (1, 3), 3)
    assert collected.add(first) is None
    assert collected.sentence == "part 1 of 3 read, 1 to go"
    assert collected.add(third) == TEXT
    assert collected.sentence == "part 3 of 3 read, 0 to go"
    assert payload.decode(TEXT, TRUSTED).payload == FULL


def test_two_sets() -> None:
    """A part of another set is refused by name, and what was there stays."""
    first, second, third = three()
    collected = parts.Parts()
    collected.add(first)
    assert code_of(collected, parts.split(OTHER, 272)[1]) == "payload_parts_mixed"
    assert code_of(collected, parts.split(TEXT, 200)[1]) == "payload_parts_mixed"
    assert collected.have == (1,)
    collected.add(third)
    assert collected.add(second) == TEXT


def test_beginning_anew_with_another_set() -> None:
    """Where a person scans, a part of another set makes all be forgotten, and from then on either set is taken."""
    first, second, third = three()
    collected = parts.Parts()
    collected.add_or_begin_anew(first)
    assert collected.progress == "part 1 of 3 read, 2 to go; still to come: 2, 3"
    with pytest.raises(InvitationError, match="All parts are forgotten"):
        collected.add_or_begin_anew(parts.split(OTHER, 272)[1])
    assert collected.sentence == ""
    assert [collected.add_or_begin_anew(part) for part in parts.split(OTHER, 272)][-1] == OTHER
    collected.clear()
    collected.add_or_begin_anew(first)
    with pytest.raises(InvitationError):
        collected.add_or_begin_anew(second.replace("FL1P:2", "FL1P:x"))
    assert collected.have == (1,), "what cannot be read forgets nothing"
    collected.add_or_begin_anew(second)
    assert collected.add_or_begin_anew(third) == TEXT


def test_another_fragment_for_a_part_that_is_there() -> None:
    """A part that says something else than before is refused, and the first one stays."""
    first, second, third = three()
    collected = parts.Parts()
    collected.add(first)
    assert code_of(collected, first[:-1] + ("0" if first[-1] != "0" else "1")) == "payload_parts_mixed"
    collected.add(second)
    assert collected.add(third) == TEXT


def test_a_whole_that_is_not_what_was_promised() -> None:
    """Parts that fit together but not to their hash are refused, and the collection begins anew."""
    first, second, third = three()
    collected = parts.Parts()
    collected.add(first[:-1] + ("0" if first[-1] != "0" else "1"))
    collected.add(second)
    assert code_of(collected, third) == "payload_parts_mixed"
    assert (collected.have, collected.total) == ((), 0)
    assert [collected.add(part) for part in three()][-1] == TEXT


def test_a_missing_part() -> None:
    """Asked for the whole too early, it names what is missing."""
    collected = parts.Parts()
    for number, sentence in ((0, "No part"), (2, "Parts 1, 3 of 3 are missing"), (3, "Part 1 of 3 is missing")):
        if number:
            collected.add(three()[number - 1])
        with pytest.raises(InvitationError) as refused:
            collected.take()
        assert refused.value.code == "payload_part_missing"
        assert sentence in refused.value.message


HASH = "0123456789ABCDEF"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "payload_malformed"),
        ("FL1P:", "payload_malformed"),
        (f"FL1P:0-3:{HASH}:AAA", "payload_malformed"),
        (f"FL1P:4-3:{HASH}:AAA", "payload_malformed"),
        (f"FL1P:1-17:{HASH}:AAA", "payload_malformed"),
        (f"FL1P:1-1:{HASH}:AAA", "payload_malformed"),
        (f"FL1P:01-03:{HASH}:AAA", "payload_malformed"),
        (f"FL1P:1-3:{HASH.lower()}:AAA", "payload_malformed"),
        (f"FL1P:1-3:{HASH}:", "payload_malformed"),
        (f"FL1P:1-3:{HASH}:aaa", "payload_malformed"),
        (f"FL1P:1-3:{HASH}:AAA\nBBB", "payload_malformed"),
        (f"FL1P:1-3:{HASH}:\u0410", "payload_malformed"),
        (f"FL2P:1-3:{HASH}:AAA", "payload_unsupported"),
        (f"FL1P:1-3:{HASH}:{'A' * 10**7}", "payload_too_large"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_is_no_part(text: str, code: str) -> None:
    """Whatever else begins like a part is refused by name."""
    assert code_of(parts.Parts(), text) == code


def test_parts_that_are_too_much_together() -> None:
    """Sixteen parts of the greatest size are refused at the second: the whole has a bound too."""
    collected = parts.Parts()
    collected.add(f"FL1P:1-16:{HASH}:{'A' * 4000}")
    assert code_of(collected, f"FL1P:2-16:{HASH}:{'A' * 4000}") == "payload_too_large"
    assert collected.have == (1,)


@given(st.text() | st.from_regex(r"FL1P:[0-9]{1,3}-[0-9]{1,3}:[0-9A-F]{15,17}:[0-9A-Z ]{0,9}"))
def test_any_text(text: str) -> None:
    """Any text is a part, or refused by a name that has a next step."""
    try:
        found = parts.read(text)
    except InvitationError as error:
        assert error.hint == HINTS[error.code]
    else:
        assert 1 <= found.number <= found.total <= 16
