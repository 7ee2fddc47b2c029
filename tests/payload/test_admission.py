"""Whether a payload is for this box, now: with clocks that are right, wrong, or not to be trusted."""

from __future__ import annotations

import pytest

from firstlight.core.admission import Identity, TimeBounds, admit
from firstlight.core.provision import Audience
from firstlight.errors import HINTS, InvitationError
from tests.payload.vectors import NORMAL

MADE, ENDS = NORMAL.issued_at_s, NORMAL.expires_at_s
YEAR = 365 * 86_400
FREE = NORMAL._replace(audience=None)
KEY_HASH = "sha256:" + "ab" * 32
BOX = Identity("jetson-orin-nano", "1423021012345", KEY_HASH)

GOOD_TIMES = {
    "right clock": TimeBounds(MADE + 60, True, MADE - YEAR),
    "the very moment": TimeBounds(MADE, True, 0),
    "the last moment": TimeBounds(ENDS, True, 0),
    "a signer that is 15 minutes ahead": TimeBounds(MADE - 900, True, 0),
    "1970": TimeBounds(0, False, MADE - YEAR),
    "before 1970": TimeBounds(-5.0, False, 0),
    "ten years ahead, not trusted": TimeBounds(MADE + 10 * YEAR, False, MADE - YEAR),
    "floor after the issue": TimeBounds(0, False, MADE + 60),
    "floor at the last moment": TimeBounds(0, False, ENDS),
    "trusted clock before the floor": TimeBounds(MADE - YEAR, True, MADE + 60),
}
BAD_TIMES = {
    "expired": (TimeBounds(ENDS + 1, True, 0), "payload_expired"),
    "expired by the floor": (TimeBounds(0, False, ENDS + 1), "payload_expired"),
    "expired by the floor of a trusted clock": (TimeBounds(MADE, True, ENDS + 1), "payload_expired"),
    "from the future": (TimeBounds(MADE - 901, True, 0), "payload_from_future"),
    "clock of 1970 that is trusted": (TimeBounds(0, True, 0), "payload_from_future"),
    "no number a date has": (TimeBounds(1e300, True, 0), "payload_expired"),
}


@pytest.mark.parametrize("bounds", GOOD_TIMES.values(), ids=GOOD_TIMES)
def test_in_time(bounds: TimeBounds) -> None:
    """A payload is admitted unless it has surely expired, or surely comes from the future."""
    admit(FREE, bounds, BOX)


@pytest.mark.parametrize(("bounds", "code"), BAD_TIMES.values(), ids=BAD_TIMES)
def test_out_of_time(bounds: TimeBounds, code: str) -> None:
    """What has surely expired, or comes from the future by a clock that counts, is refused with both moments."""
    with pytest.raises(InvitationError) as refused:
        admit(FREE, bounds, BOX)
    assert refused.value.code == code
    assert ("2026-12-18" if code == "payload_expired" else "2026-11-18") in refused.value.message
    assert refused.value.hint == HINTS[code]


def test_a_floor_is_said_to_be_one() -> None:
    """A box that does not know the time does not claim to."""
    with pytest.raises(InvitationError, match="at least 2026-12-18 11:06 UTC now"):
        admit(FREE, TimeBounds(0, False, ENDS + 1), BOX)


@pytest.mark.parametrize(
    "audience",
    [
        None,
        Audience(),
        Audience("jetson-orin-nano"),
        Audience(serial="1423021012345"),
        Audience(key_hash=KEY_HASH),
        Audience("jetson-orin-nano", "1423021012345", KEY_HASH),
    ],
    ids=["none", "empty", "type", "serial", "key", "all"],
)
def test_for_this_box(audience: Audience | None) -> None:
    """A payload for everybody, or for what this box is, is admitted."""
    admit(NORMAL._replace(audience=audience), GOOD_TIMES["right clock"], BOX)


@pytest.mark.parametrize(
    ("audience", "box", "sentence"),
    [
        (Audience(serial="77"), BOX, "It is for serial 77; this box is 1423021012345."),
        (Audience("raspberry-pi"), BOX, "It is for device type raspberry-pi; this box is jetson-orin-nano."),
        (Audience(key_hash="sha256:00"), BOX, f"It is for device key sha256:00; this box is {KEY_HASH}."),
        (Audience("jetson-orin-nano", "77"), BOX, "It is for serial 77; this box is 1423021012345."),
        (Audience("Jetson-Orin-Nano"), BOX, "It is for device type Jetson-Orin-Nano; this box is jetson-orin-nano."),
        (Audience(serial="77"), Identity(), "It is for serial 77; this box has none to compare (the setting serial)."),
        (Audience(key_hash=KEY_HASH), Identity(), f"It is for device key {KEY_HASH}; this box has none to compare"),
    ],
    ids=["serial", "type", "key", "second", "case", "unknown serial", "no key yet"],
)
def test_for_another_box(audience: Audience, box: Identity, sentence: str) -> None:
    """A payload for another box, or for what this one does not know of itself, is refused with both sides named."""
    with pytest.raises(InvitationError) as refused:
        admit(NORMAL._replace(audience=audience), GOOD_TIMES["right clock"], box)
    assert refused.value.code == "payload_not_for_this_box"
    assert refused.value.message.startswith(sentence)
    assert refused.value.hint == HINTS["payload_not_for_this_box"]


def test_time_comes_first() -> None:
    """One that has expired is said to have expired, whoever it is for."""
    with pytest.raises(InvitationError) as refused:
        admit(NORMAL._replace(audience=Audience("x")), TimeBounds(ENDS + 1, True, 0), BOX)
    assert refused.value.code == "payload_expired"
