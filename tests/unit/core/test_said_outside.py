"""Texts of others in our sentences: neither secrets nor what a terminal would obey."""

from __future__ import annotations

import pytest

from firstlight.core.lifecycle import Accepted, Failed, Refused
from firstlight.core.model import Credential, Registration, Secret, Trust, parse_broker, parse_endpoint
from firstlight.daemon.carrier import unspoken
from firstlight.errors import InvitationError, UnreachableError
from firstlight.wire.bounded import WireError, decode_object

SECRET = "S3cretOfABox"


def test_an_error_has_no_control_sequences() -> None:
    """Whatever a platform said, a terminal does not obey it; a line's end stays."""
    error = UnreachableError("platform_error", "It says \x1b[31m and \x9b0m.\nSee there.")
    assert error.message == "It says ?[31m and ?0m.\nSee there." and str(error).startswith("It says ?")


@pytest.mark.parametrize("text", ["https://u:pa55@h", "mqtts://u:pa55@h:8883", "u:pa55@h", "https://u:pa55@"])
def test_a_password_in_an_address_is_not_shown(text: str) -> None:
    """An address with a user and a password is refused without them."""
    for parse in (parse_endpoint, parse_broker):
        with pytest.raises(InvitationError) as refused:
            parse(text)
        assert "pa55" not in refused.value.message and refused.value.code == "endpoint_malformed"


def test_a_number_without_bounds_is_no_json() -> None:
    """1e999 would go on as Infinity, which no other reader takes."""
    with pytest.raises(WireError):
        decode_object(b'{"a": 1e999}', 100)
    assert decode_object(b'{"a": 1.5e3, "b": -0.25}', 100) == {"a": 1500.0, "b": -0.25}


def test_a_secret_that_a_platform_repeats_goes_no_further() -> None:
    """Neither log nor hooks get the device's secret out of a platform's no."""
    credential = Credential("secret", Secret(SECRET))
    place = parse_endpoint("https://platform.example")
    box = Registration("qubitro", place, Trust(), "w", "d", credential, 60, "sha256:00", "", 0.0)
    for made in (Refused("qubitro_token_refused", f"no {SECRET}!"), Failed("platform_error", f"no {SECRET}!")):
        event = unspoken(made, box)
        assert isinstance(event, (Refused, Failed)) and event.message == "no ***!" and event.code == made.code
    assert unspoken(Accepted(60.0), box) == Accepted(60.0)
