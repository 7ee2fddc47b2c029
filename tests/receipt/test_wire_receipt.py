"""The receipt on the wire: both directions, every damage refused by name, and small enough for a phone."""

from __future__ import annotations

import hashlib

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.core.model import Facts, Metrics, MissedBeat, Moment, Secret, parse_endpoint
from firstlight.wire import receipt as wire
from firstlight.wire.bounded import WireError
from firstlight.wire.receipt import KeptBeats, Receipt, Told
from tests.receipt.box import ENDPOINT, TOKEN, Keys, a_receipt

KEYS = Keys()
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
LEAST: dict[str, object] = {
    "reason": "",
    "facts": Facts(),
    "metrics": Metrics(),
    "beats": KeptBeats(),
    "proof": b"",
    "told": Told(is_trusted=False),
}


def made(**changes: object) -> bytes:
    """A signed receipt."""
    return wire.encode(a_receipt(KEYS, **changes), KEYS.key.sign)


def signed(claims: object, *, canonical: bool = True) -> bytes:
    """Any claims, with a right signature."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    body = claims if isinstance(claims, bytes) else cbor2.dumps(claims, canonical=canonical)
    r, s = decode_dss_signature(KEYS.key.sign(wire.DOMAIN + body))
    return body + r.to_bytes(32, "big") + min(s, ORDER - s).to_bytes(32, "big")


def claims(body: bytes) -> dict[int, object]:
    """The map in a receipt."""
    found = cbor2.loads(body[: -wire.SIGNATURE_BYTES])
    assert isinstance(found, dict)
    return found


def code_of(body: bytes) -> str:
    """Under which code a receipt is refused."""
    with pytest.raises(WireError) as caught:
        wire.verify(body)
    return caught.value.code


@pytest.mark.parametrize(
    "changes",
    [
        {},
        LEAST,
        {"device_id": "", "workspace": "", "hint": wire.hint_of(TOKEN)},
        {"state": "parked", "reason": "device_unknown", "told": Told(is_trusted=True, at_s=5)},
        {"moment": Moment("0" * 32, 0, -5), "metrics": Metrics(temperature_c=-40.0)},
        {"counter": 2**53 - 1},
    ],
)
def test_a_receipt_comes_back_as_it_was(changes: dict[str, object]) -> None:
    """What is encoded is what is decoded, from the link too."""
    receipt = a_receipt(KEYS, **changes)
    body = wire.encode(receipt, KEYS.key.sign)
    assert wire.verify(body) == wire.decode(body) == receipt
    assert wire.from_text(wire.link(ENDPOINT, body)) == body


def test_every_flipped_bit_is_refused() -> None:
    """Of the bytes of a receipt, every bit counts; nothing changed is believed."""
    body = made()
    codes = set()
    for place in range(len(body) * 8):
        damaged = bytearray(body)
        damaged[place // 8] ^= 1 << place % 8
        codes.add(code_of(bytes(damaged)))
    assert codes <= {"receipt_forged", "receipt_malformed", "receipt_newer"}


def test_every_changed_character_is_refused() -> None:
    """Of the Base32 in a link, every character counts, but for its case."""
    text = wire.bare(made())
    for place in range(len(text)):
        for other in ("A", "7", "1", "*"):
            if other == text[place]:
                continue
            with pytest.raises(WireError) as caught:
                wire.verify(wire.from_text(text[:place] + other + text[place + 1 :]))
            assert caught.value.code in ("receipt_forged", "receipt_malformed", "receipt_newer")


def test_every_cut_is_refused() -> None:
    """No receipt is the beginning of another one, and nothing may follow it."""
    body = made()
    for length in range(len(body)):
        assert code_of(body[:length]) in ("receipt_forged", "receipt_malformed")
    assert code_of(body + b"\0") in ("receipt_forged", "receipt_malformed")


def test_there_is_one_signature_for_one_receipt() -> None:
    """The second half of ECDSA's signatures, which anybody can compute, does not count."""
    body = made()
    s = int.from_bytes(body[-32:], "big")
    assert s <= ORDER // 2
    assert code_of(body[:-32] + (ORDER - s).to_bytes(32, "big")) == "receipt_forged"


def test_another_key_is_a_forgery() -> None:
    """A receipt that names one key and is signed by another is refused, and so is an empty signature."""
    other = Keys()
    assert code_of(wire.encode(a_receipt(KEYS), other.key.sign)) == "receipt_forged"
    assert code_of(made()[:-64] + bytes(64)) == "receipt_forged"


def test_a_signature_for_something_else_is_a_forgery() -> None:
    """The device signs other statements with the same key; none of them passes for a receipt."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    body = made()[:-64]
    r, s = decode_dss_signature(KEYS.key.sign(body))
    assert code_of(body + r.to_bytes(32, "big") + min(s, ORDER - s).to_bytes(32, "big")) == "receipt_forged"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (1, 0),
        (1, True),
        (1, None),
        (2, "a b"),
        (3, "x" * 65),
        (3, None),
        (4, b"\x02" + b"\xff" * 32),
        (4, b"\x02" * 32),
        (5, 0),
        (5, -1),
        (5, 2**53),
        (6, [b"x" * 15, 1, 1]),
        (6, [b"x" * 16, -1, 1]),
        (6, [b"x" * 16, 1]),
        (7, [1, 0]),
        (7, [True]),
        (7, [True, 1, 2, 3]),
        (8, []),
        (8, ["Provisioned"]),
        (8, ["provisioned", ""]),
        (8, ["provisioned", "Not A Code"]),
        (9, ""),
        (9, "x" * 33),
        (9, "0.3\n"),
        (10, {1: ""}),
        (10, {1: "a\u202eb"}),
        (10, {4: "x"}),
        (10, ["host"]),
        (11, b"x" * 7),
        (12, {1: 1.5}),
        (12, {2: 1001}),
        (12, {True: 1}),
        (13, [0, 0, 0, b""]),
        (13, [1, 0, 0, b"x" * 15]),
        (14, b"x" * 15),
        (15, b"x"),
        (16, 1),
    ],
)
def test_a_signed_receipt_with_a_wrong_field_is_refused(key: int, value: object) -> None:
    """A right signature does not make a wrong field right: a box may be broken, or not ours."""
    found = claims(made())
    if value is None:
        del found[key]
    else:
        found[key] = value
    assert code_of(signed(found)) == "receipt_malformed"


def test_a_later_format_is_told_so() -> None:
    """A hub that is older than the box's agent says that, not that the receipt is damaged."""
    assert code_of(signed({**claims(made()), 1: 2})) == "receipt_newer"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xa0",
        b"\x80",
        b"\xbf\xff",
        b"\x9f" * 200,
        b"\x81" * 200,
        b"\xc2\x58\x40" + b"\xff" * 64,
        b"\xc5\x82\x1a\x7f\xff\xff\xff\x01",
        b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\xa1\x18\x01\x01",
        b"\xa2\x01\x01\x01\x01",
        b"\xfb\x7f\xf0\x00\x00\x00\x00\x00\x00",
    ],
)
def test_cbor_that_is_none_of_ours_is_refused(body: bytes) -> None:
    """Tags, indefinite and promised lengths, nesting, doubled keys and long numbers end before anything is built."""
    assert code_of(signed(body)) == "receipt_malformed"


def test_one_order_of_keys_counts() -> None:
    """The same claims in another order are another text, so they are refused."""
    found = claims(made())
    assert code_of(signed(dict(reversed(found.items())), canonical=False)) == "receipt_malformed"


@given(st.binary(max_size=wire.MAX_BYTES + 40))
def test_bytes_of_any_kind_do_no_harm(body: bytes) -> None:
    """Whatever the bytes: a WireError with one of three codes."""
    assert code_of(body) in ("receipt_forged", "receipt_malformed", "receipt_newer")


@given(st.text(max_size=400))
def test_text_of_any_kind_does_no_harm(text: str) -> None:
    """Whatever the text: bytes, or a WireError."""
    try:
        body = wire.from_text(text)
    except WireError as error:
        assert error.code == "receipt_malformed"
    else:
        assert wire.bare(body) in "".join(text.split()).upper()


def test_ten_megabytes_cost_nothing() -> None:
    """Text is bounded before it is looked at, and so are bytes."""
    with pytest.raises(WireError):
        wire.from_text("A" * 10_000_000)
    assert code_of(b"\xa0" * 10_000_000) == "receipt_malformed"


@pytest.mark.parametrize("change", ["lower", "lines", "bare", "spaces", "mail", "stick"])
def test_the_text_survives_people(change: str) -> None:
    """A link in lower case, broken into lines, alone, with spaces, or with sentences around it is the same receipt."""
    body = made()
    link, bare = wire.link(ENDPOINT, body), wire.bare(body)
    given_text = {
        "lower": link.lower(),
        "lines": "\r\n".join(link[start : start + 60] for start in range(0, len(link), 60)),
        "bare": bare,
        "spaces": f"  {' '.join(bare[start : start + 4] for start in range(0, len(bare), 4))}\n",
        "mail": f"Grüße vom Dach,\n\n{link}\n\nBest regards",
        "stick": f"{link}\r\n\r\nReceipt 1 of cam: provisioned.\r\n",
    }[change]
    assert wire.from_text(given_text) == body


def test_the_link_is_for_phones() -> None:
    """Upper case throughout, QR alphanumeric mode but for an IPv6 address's brackets, within 600 characters."""
    body = made()
    link = wire.link(ENDPOINT, body)
    assert link.startswith("HTTPS://HUB.SITE.EXAMPLE:8443/R/") and link == link.upper()
    assert set(link) <= set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:")
    assert len(link) <= wire.MAX_LINK
    assert wire.link(parse_endpoint("https://[2001:db8::1]"), b"").startswith("HTTPS://[2001:DB8::1]/R/")
    assert wire.link(parse_endpoint("http://127.0.0.1:80"), b"") == "HTTP://127.0.0.1/R/"


def test_the_largest_receipt_still_fits() -> None:
    """With everything as long as it may be, what is needed least goes, so that the link keeps to 600 characters."""
    receipt = a_receipt(
        KEYS,
        facts=Facts("\u00e4" * 64, type="x" * 32, architecture="y" * 16),
        workspace="w" * 40,
        device_id="d" * 40,
        reason="r" * 64,
        state="s" * 32,
    )
    endpoint = parse_endpoint("https://hub.somewhere.example:65535")
    body = wire.encode(receipt, KEYS.key.sign, wire.room_bytes(endpoint))
    assert len(wire.link(endpoint, body)) <= wire.MAX_LINK
    found = wire.verify(body)
    kept = ("workspace", "device_id", "public_key", "counter", "moment", "told", "state", "beats", "proof")
    assert all(getattr(found, name) == getattr(receipt, name) for name in kept)


def test_the_proof_binds_token_key_and_device() -> None:
    """Another token, key or device is another proof; the hub computes it from the token's hash alone."""
    proof = wire.proof_of(TOKEN, KEYS.public, "cam-1")
    hashed = hashlib.sha256(TOKEN.reveal().encode()).digest()
    assert wire.proof_by_hash(hashed, KEYS.public, "cam-1") == proof and len(proof) == 16
    others = {
        wire.proof_of(Secret("fedcba9876543210"), KEYS.public, "cam-1"),
        wire.proof_of(TOKEN, Keys().public, "cam-1"),
        wire.proof_of(TOKEN, KEYS.public, "cam-2"),
    }
    assert proof not in others and len(others) == 3
    assert hashed.startswith(wire.hint_of(TOKEN))


def test_the_key_is_the_one_of_the_registration() -> None:
    """The 33 bytes in a receipt have the fingerprint that the hub knows the key by."""
    assert wire.key_fingerprint(KEYS.public) == KEYS.key.key_fingerprint
    assert wire.spki(KEYS.public) == KEYS.key.public_der


def test_the_digest_is_as_it_is_documented() -> None:
    """One line a beat: boot, sequence and two clocks in milliseconds, as a beat on the wire rounds them."""
    moments = (Moment("ab" * 16, 1.0004, 2.0006), Moment("cd" * 16, 3.5, -4.25))
    beats = [MissedBeat(number, moment, Metrics(), "dns_failed") for number, moment in enumerate(moments, 7)]
    lines = f"{'ab' * 16} 7 1000 2001\n{'cd' * 16} 8 3500 -4250\n"
    assert wire.digest_of(beats) == hashlib.sha256(lines.encode()).digest()[:16]


def test_nobody_sees_a_secret() -> None:
    """Neither the token nor anything from which it is read stands in a receipt."""
    receipt: Receipt = a_receipt(KEYS)
    assert TOKEN.reveal().encode() not in made() and TOKEN.reveal() not in repr(receipt)
