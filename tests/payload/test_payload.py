"""Writing and reading offline payloads: whatever is allowed, whatever came in, within bounds of time and memory."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.core.model import Secret
from firstlight.core.provision import Audience, Network, Payload
from firstlight.errors import HINTS, InvitationError
from firstlight.wire import payload
from tests.payload import second_reader, vectors
from tests.payload.contents import payloads
from tests.payload.vectors import FULL, KEY, KEY_ID, NORMAL, STRANGER, STRANGER_ID, TRUSTED, WITH_WIFI, written

VERSION_15_M = 600  # alphanumeric characters of one symbol
VERSION_12_M = 419


def code_of(text: str, *, allow_unsigned: bool = False) -> str:
    """The code with which a text is refused; a text that is read fails."""
    with pytest.raises(InvitationError) as refused:
        payload.decode(text, TRUSTED, allow_unsigned=allow_unsigned)
    assert refused.value.hint == HINTS[refused.value.code]
    return refused.value.code


@given(payloads())
def test_there_and_back(content: Payload) -> None:
    """What is written is read back, by both readers, and there is one text for it."""
    text = written(content)
    assert payload.decode(text, TRUSTED) == (content, KEY_ID)
    assert second_reader.read(text, TRUSTED) == vectors.says(content)
    assert written(payload.decode(text, TRUSTED).payload) == text


@given(payloads())
def test_unsigned_there_and_back(content: Payload) -> None:
    """One that nobody signed is read where that is allowed, and nowhere else."""
    text = payload.encode(content, "", KEY.sign)
    assert payload.decode(text, {}, allow_unsigned=True) == (content, "")
    assert second_reader.read(text, {}, allow_unsigned=True) == vectors.says(content, "")
    assert code_of(text) == "payload_unsigned"


@given(st.text() | st.text(second_reader.DIGITS).map("FL1:".__add__))
def test_any_text(text: str) -> None:
    """Any other text is refused by a name that has a next step."""
    assert code_of(text, allow_unsigned=True).startswith("payload_")


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes(body: bytes, is_enveloped: bool) -> None:
    """Any bytes in Base45 and any claims with a right signature: both readers agree."""
    text = vectors.sealed(body) if is_enveloped else vectors.text_of(b"\xd2\x84" + body)
    with pytest.raises(second_reader.Refused) as theirs:
        second_reader.read(text, TRUSTED)
    assert code_of(text) == theirs.value.args[0]


def test_sizes() -> None:
    """A normal payload stays below version 12-M, one with a Wi-Fi block below 15-M, and a full one needs parts."""
    assert len(written(NORMAL)) <= VERSION_12_M
    assert len(written(WITH_WIFI)) <= VERSION_15_M
    wide = NORMAL._replace(device_id="d" * 25, workspace="w" * 20, name="n" * 40, audience=Audience("t" * 20, "s" * 20))
    assert len(written(wide)) <= VERSION_15_M
    assert VERSION_15_M < len(written(FULL)) <= payload.MAX_TEXT


def test_white_space_around_it_does_not_count() -> None:
    """Scanners and editors end a line; no text of ours ends in a space that could be lost."""
    text = written(NORMAL)
    assert payload.decode(f" \t{text} \r\n", TRUSTED).payload == NORMAL
    assert text == text.strip()


def test_an_unknown_key_is_let_in_only_where_that_is_allowed() -> None:
    """A stranger's signature is none: nobody is named as the signer."""
    text = payload.encode(NORMAL, STRANGER_ID, STRANGER.sign)
    assert code_of(text) == "payload_key_unknown"
    assert payload.decode(text, TRUSTED, allow_unsigned=True) == (NORMAL, "")


def test_a_known_keys_signature_must_be_right_whatever_is_allowed() -> None:
    """Where unsigned ones are let in, a forged one is not."""
    text = payload.encode(NORMAL, KEY_ID, STRANGER.sign)
    assert code_of(text, allow_unsigned=True) == "payload_forged"


def test_a_trusted_key_that_is_none_lets_nothing_in() -> None:
    """A key of a wrong length verifies nothing, and does no harm."""
    with pytest.raises(InvitationError) as refused:
        payload.decode(written(NORMAL), {KEY_ID: b"short"})
    assert refused.value.code == "payload_forged"


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (NORMAL._replace(platform="roboflow"), "payload_unsupported"),
        (NORMAL._replace(nonce=b"short"), "payload_malformed"),
        (NORMAL._replace(pins=("sha256//AAAA",)), "payload_malformed"),
        (NORMAL._replace(pins=("no pin",)), "payload_malformed"),
        (NORMAL._replace(token=None), "payload_malformed"),
        (NORMAL._replace(name="\ud800"), "payload_malformed"),
        (NORMAL._replace(network=Network(passphrase=Secret("12345678"))), "payload_malformed"),
        (NORMAL._replace(network=Network()), "payload_malformed"),
        (NORMAL._replace(audience=Audience(key_hash="sha256:xyz")), "payload_malformed"),
        (NORMAL._replace(endpoint=NORMAL.endpoint._replace(host="HUB")), "payload_malformed"),
    ],
    ids=["platform", "nonce", "pin", "base64", "proof", "name", "wired", "empty", "hash", "host"],
)
def test_what_no_box_would_read_is_not_written(wrong: Payload, code: str) -> None:
    """The writer refuses by name what readers would refuse."""
    with pytest.raises(InvitationError) as refused:
        written(wrong)
    assert refused.value.code == code


def test_an_audience_that_names_nothing_is_none() -> None:
    """An empty audience is left out rather than refused: it asks for nothing."""
    assert payload.decode(written(NORMAL._replace(audience=Audience())), TRUSTED).payload.audience is None


@pytest.mark.parametrize(
    "text", ["FL1:" + "0" * 10_000_000, " " * 10_000_000, "FL1P:" * 2_000_000], ids=["0", " ", "P"]
)
def test_ten_megabytes_are_refused_unread(text: str) -> None:
    """A text of 10 MB costs no memory: it is refused by its length, before anything looks into it."""
    tracemalloc.start()
    code = code_of(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert code == "payload_too_large"
    assert peak < 100_000


HUNGRY = {
    "list": b"\x9b\x7f" + b"\xff" * 7,
    "bytes": b"\x5b\x7f" + b"\xff" * 7,
    "text": b"\x7b\x7f" + b"\xff" * 7,
    "map": b"\xbb\x7f" + b"\xff" * 7,
    "gigabyte": b"\x5a\x40\0\0\0",
    "lists": b"\x81" * 2800 + b"\0",
    "long lists": b"\x98\x60" * 1400,
    "maps": b"\xa1\x00" * 1400 + b"\0",
    "tags": b"\xd9\xd9\xf7" * 900 + b"\0",
    "bignum": b"\xc2\x59\x0a\xf0" + b"\xff" * 2800,
    "many numbers": b"\x99\x0a\xf0" + b"\0" * 2800,
}


@pytest.mark.parametrize("kind", HUNGRY)
@pytest.mark.parametrize("is_enveloped", [False, True], ids=["envelope", "claims"])
def test_no_promise_reserves_memory(kind: str, is_enveloped: bool) -> None:
    """Lengths that promise gigabytes, deep nests and crowds cost less than 200 kB, enveloped or in signed claims."""
    body = HUNGRY[kind]
    text = vectors.sealed(body[:2700]) if is_enveloped else vectors.text_of(b"\xd2" + body[:2800])
    code_of(text)  # the libraries are loaded by now
    tracemalloc.start()
    code = code_of(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert code == "payload_malformed"
    assert peak < 200_000


def test_no_secret_shows() -> None:
    """Printing what was read shows neither token nor passphrase."""
    shown = repr(payload.decode(written(FULL), TRUSTED))
    assert "q7x4n0vz3m8dk2rt" not in shown
    assert "battery" not in shown
