"""The door of the pure core: what text becomes a value and what is turned away, and that secrets do not show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.core.exchange import HttpCall
from firstlight.core.model import Endpoint, Invitation, Secret, Trust, parse_endpoint, parse_install_id, parse_pin
from firstlight.errors import InvitationError

PIN = "sha256//" + "A" * 43 + "="


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://hub.example", Endpoint("https", "hub.example", 443)),
        (" https://HUB.example:8443/ ", Endpoint("https", "hub.example", 8443)),
        ("https://[2001:db8::1]:8443", Endpoint("https", "[2001:db8::1]", 8443)),
        ("http://127.0.0.1:8080", Endpoint("http", "127.0.0.1", 8080)),
        ("http://localhost", Endpoint("http", "localhost", 80)),
    ],
)
def test_endpoint_accepts(text: str, expected: Endpoint) -> None:
    """An address becomes scheme, host and port, and goes back into the same address."""
    found = parse_endpoint(text)

    assert expected == found
    assert expected == parse_endpoint(found.url)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "endpoint_malformed"),
        ("hub.example", "endpoint_malformed"),
        ("ftp://hub.example", "endpoint_malformed"),
        ("https://user:word@hub.example", "endpoint_malformed"),
        ("https://hub.example/path", "endpoint_malformed"),
        ("https://hub.example?x=1", "endpoint_malformed"),
        ("https://hub.example:0", "endpoint_malformed"),
        ("https://hub.example:65536", "endpoint_malformed"),
        ("https://hub.example\nHost: other", "endpoint_malformed"),
        ("http://hub.example", "endpoint_insecure"),
        ("http://127.0.0.1.example.com", "endpoint_insecure"),
        ("https://" + "a" * 10_000, "endpoint_malformed"),
    ],
)
def test_endpoint_refuses(text: str, code: str) -> None:
    """An address that is not one, or not encrypted on the way to another machine, is refused by name."""
    with pytest.raises(InvitationError) as caught:
        parse_endpoint(text)

    assert code == caught.value.code


@pytest.mark.parametrize("text", ["abcdefgh01234567", "  abcdefgh01234567\n", "A" * 64, "-_" * 8])
def test_install_id_accepts(text: str) -> None:
    """16 to 64 letters, digits, dashes and underscores are an installId, whatever stands around them."""
    assert text.strip() == parse_install_id(text).reveal()


@pytest.mark.parametrize(
    "text", ["", " ", "short", "A" * 65, "abcdefgh0123456ä", "abcdefgh 1234567", "a/../../b" * 3, "A" * 10**6]
)
def test_install_id_refuses(text: str) -> None:
    """Anything else is refused before the network is touched, without showing what was typed."""
    with pytest.raises(InvitationError) as caught:
        parse_install_id(text)

    assert caught.value.code == "install_id_malformed"
    assert not text.strip() or text.strip() not in str(caught.value)


def test_pin_notation() -> None:
    """A pin is curl's notation and nothing near it."""
    assert parse_pin(f" {PIN}\n") == PIN
    for wrong in ("", PIN[8:], PIN[:-1], PIN + ";" + PIN, "md5//" + PIN[8:]):
        with pytest.raises(InvitationError):
            parse_pin(wrong)


@given(st.text(min_size=4, alphabet=st.characters(whitelist_categories=["Lu", "Ll", "Nd"])))
def test_secret_never_shows(text: str) -> None:
    """A secret shows stars in every form Python has for showing things, also inside other values."""
    secret = Secret("planted" + text)
    invitation = Invitation("hub", Endpoint("https", "h", 1), Trust(), secret)
    call = HttpCall("POST", "https://h/planted" + text, (("Authorization", "Bearer planted" + text),), b"planted")

    for shown in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>30}",
        f"{invitation}",
        repr(call),
        str([secret]),
    ):
        assert "planted" not in shown
    assert secret == Secret("planted" + text)
    assert secret != Secret("other")
