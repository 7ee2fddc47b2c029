"""One bit turned over, anywhere: never taken in, always refused by name."""

from __future__ import annotations

import base45
import pytest

from firstlight.errors import HINTS, InvitationError
from firstlight.wire import parts, payload
from tests.payload.vectors import FULL, TRUSTED, body_of, text_of, written

TEXT = written(FULL)
NAMED = {"payload_malformed", "payload_unsupported", "payload_forged", "payload_key_unknown", "payload_unsigned"}


def refused_as(text: str) -> str:
    """The code with which it is refused; a text that is read fails."""
    try:
        opened = payload.decode(text, TRUSTED)
    except InvitationError as error:
        assert error.message and error.hint == HINTS[error.code]
        return error.code
    raise AssertionError(f"taken in: {opened}")


def test_every_bit_of_the_bytes() -> None:
    """Each bit of the decoded bytes, turned over alone; nearly all are found by the signature."""
    body = body_of(TEXT)
    codes = []
    for bit in range(len(body) * 8):
        turned = bytearray(body)
        turned[bit // 8] ^= 1 << bit % 8
        codes.append(refused_as(text_of(bytes(turned))))
    assert set(codes) <= NAMED
    assert codes.count("payload_forged") > len(codes) * 0.8
    assert codes.count("payload_key_unknown") == 64


def test_every_bit_of_the_text() -> None:
    """Each bit of the text's characters, turned over alone."""
    codes = set()
    for place, character in enumerate(TEXT):
        for bit in range(8):
            codes.add(refused_as(TEXT[:place] + chr(ord(character) ^ 1 << bit) + TEXT[place + 1 :]))
    assert {"payload_malformed", "payload_forged"} <= codes <= NAMED


def test_every_character_exchanged_for_every_other() -> None:
    """Each character of the text, exchanged for each other one of Base45."""
    for place in range(0, len(TEXT), 5):  # a fifth of them: the bits above are all of them
        for other in base45.BASE45_CHARSET:
            if other != TEXT[place]:
                refused_as(TEXT[:place] + other + TEXT[place + 1 :])


def test_every_cut() -> None:
    """Each shorter text, from the front and from the back."""
    for end in range(len(TEXT)):
        refused_as(TEXT[:end])
        refused_as(TEXT[end + 1 :])
        refused_as("FL1:" + TEXT[4 + end + 1 :])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_every_bit_of_a_part(number: int) -> None:
    """A set of parts with one bit of one part turned over never gives a text that is taken in."""
    right = parts.split(TEXT, 272)
    assert len(right) == 3
    for bit in range(len(right[number]) * 8):
        place = bit // 8
        turned = right[number][:place] + chr(ord(right[number][place]) ^ 1 << bit % 8) + right[number][place + 1 :]
        collected = parts.Parts()
        try:
            found = [collected.add(part) for part in (*right[:number], turned, *right[number + 1 :])][-1]
        except InvitationError as error:
            assert error.code in {"payload_malformed", "payload_unsupported", "payload_parts_mixed"}
        else:
            assert found is None
