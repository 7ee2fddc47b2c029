"""Client id, hour stamp and password of a Huawei device: the protocol page's vectors, and what must hold of any."""

import base64
import hashlib
import hmac
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.errors import InvitationError
from firstlight.platforms.huawei import credentials

STAMP = "2024010203"
LAST_S = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone.utc).timestamp())


def test_a_device_s_password_is_the_one_of_the_protocol_page() -> None:
    """The page's vector: the hour is the key, the secret the message."""
    made = credentials.password("S3cret_Value-01", STAMP)
    assert made == "8bc0e74a89f4a7d2ff3214a2d0c55338af4cfa9da0451dd8c0beaab685fdfad4"


def test_a_group_s_password_is_the_one_of_the_protocol_page() -> None:
    """The page's vector for a registration group: the inner hex and the password."""
    secret = "MDEyMzQ1Njc4OWFiY2RlZg=="
    inner = hmac.new(b"demo-device-01", base64.b64decode(secret), hashlib.sha256).hexdigest()
    assert inner.startswith("cb336fe4") and inner.endswith("7ae56")
    made = credentials.group_password(secret, "demo-device-01", STAMP)
    assert made == "487dd104d05aa69e8edd37dad081960d3fc96ad8f5be1a9862a4ebf1b620f407"


@given(st.integers(0, LAST_S))
def test_the_hour_stamp_is_the_calendar_s(second: int) -> None:
    """For every second of four-digit years the stamp is the hour that the standard library's calendar has."""
    wanted = datetime.fromtimestamp(second, tz=timezone.utc)
    assert credentials.hour_stamp(second + 0.999) == f"{wanted:%Y%m%d%H}".rjust(10, "0")


@pytest.mark.parametrize(("wall_s", "stamp"), [(-5.0, "1970010100"), (1e300, "9999123123"), (0.0, "1970010100")])
def test_a_clock_beyond_the_calendar_still_gives_ten_digits(wall_s: float, stamp: str) -> None:
    """A wrong clock never keeps a device from connecting with sign type 0."""
    assert credentials.hour_stamp(wall_s) == stamp


@given(st.text(min_size=1, max_size=64), st.integers(0, LAST_S))
def test_the_password_changes_with_the_hour_and_never_shows_the_secret(secret: str, second: int) -> None:
    """64 lower-case hex digits, another one in the next hour, the secret not in it."""
    now, later = (credentials.password(secret, credentials.hour_stamp(at)) for at in (second, second + 3600))
    assert len(now) == 64 and set(now) <= set("0123456789abcdef")
    assert now != later or second + 3600 > LAST_S
    assert len(secret) < 4 or secret not in now


@pytest.mark.parametrize("secret", ["", "not base64!", "ä", "MDEy*", "MDE"])
def test_a_group_s_secret_that_is_not_base64_is_named(secret: str) -> None:
    """What cannot be a group's secret is told at the desk's side of the wire."""
    with pytest.raises(InvitationError) as caught:
        credentials.group_password(secret, "d", STAMP)
    assert caught.value.code == "secret_malformed"


@pytest.mark.parametrize(
    ("wanted", "knows_time", "sign"),
    [("1", True, "1"), ("1", False, "0"), ("0", True, "0"), ("", True, "0"), ("", False, "0")],
)
def test_the_hour_is_compared_only_where_it_was_asked_for_and_is_known(
    wanted: str, knows_time: bool, sign: str
) -> None:
    """A box without a clock battery uses sign type 0 until it knows the time."""
    assert credentials.sign_type(wanted, knows_time=knows_time) == sign


def test_client_ids_are_those_of_the_protocol_page() -> None:
    """Four parts for a device; three, or five with a secret, for one of a group."""
    assert credentials.client_id("a_b", "1", STAMP) == f"a_b_0_1_{STAMP}"
    assert credentials.group_client_id("a", "scope", "") == "a_0_scope"
    assert credentials.group_client_id("a", "scope", STAMP) == f"a_0_scope_0_{STAMP}"
