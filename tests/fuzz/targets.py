"""What is fuzzed: each target takes any bytes and returns, or fails because of a mistake of ours.

Each decoder may answer with its own named errors and nothing else. Where there is a second way to say the same, both
must agree: a second reader, or writing again what was read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from firstlight.core.model import IDENTIFIER, INSTALL_ID
from firstlight.errors import HINTS, InvitationError
from firstlight.sources.invitation import decoded, read_invitation
from firstlight.sources.kinds import kind_of
from firstlight.sources.wifi import read_wifi
from firstlight.wire import (
    heartbeat,
    parts,
    payload,
    payload_cbor,
    problem,
    receipt,
    redeem,
    renewal,
    typed_code,
)
from firstlight.wire.bounded import WireError
from tests.fuzz import seeds
from tests.payload import second_reader


def by_name(error: InvitationError) -> None:
    """A refusal that a person can be shown."""
    assert error.code in HINTS, error.code
    assert error.message
    assert error.hint


def both_readers(text: str, expected_by: Callable[..., dict[str, Any]] = second_reader.read) -> None:
    """Both readers take a text, with the same key, or both refuse it for the same reason."""
    try:
        expected = expected_by(text, seeds.TRUSTED, True)
    except second_reader.Refused as refused:
        try:
            payload.decode(text, seeds.TRUSTED, allow_unsigned=True)
        except InvitationError as error:
            by_name(error)
            assert error.code == refused.args[0], (error.code, refused.args)
            return
        raise AssertionError("only the second reader refuses it") from None
    opened = payload.decode(text, seeds.TRUSTED, allow_unsigned=True)
    assert (opened.key_id, opened.payload.endpoint.url) == (expected["signed_by"], expected["endpoint"])
    assert opened.payload.nonce.hex() == expected["nonce"]
    if text.startswith(seeds.UNSIGNED_START):
        assert payload.encode(opened.payload, "", bytes) == text.strip(" \t\r\n")


def payload_text(data: bytes) -> None:
    """The text of a payload, as it was scanned."""
    text = data.decode("latin-1")
    both_readers(text)
    both_readers("FL1:" + text.upper())


def payload_envelope(data: bytes) -> None:
    """The bytes behind Base45."""
    both_readers(seeds.text_of(data))


def payload_claims(data: bytes) -> None:
    """The claims of a payload that nobody signed, so that the fuzzer reaches them."""
    both_readers(seeds.unsigned(data))


def cbor(data: bytes) -> None:
    """The bounded part of CBOR, by two readers."""
    try:
        found = payload_cbor.decode(data)
    except WireError:
        try:
            second_reader.Cbor(data).whole()
        except second_reader.Refused:
            return
        raise AssertionError("only the second reader takes it") from None
    assert second_reader.Cbor(data).whole() == found
    assert payload_cbor.encode(found) == data


def collected(data: bytes) -> None:
    """Parts, one a line."""
    collection = parts.Parts()
    for line in data.decode("latin-1").split("\n")[:20]:
        try:
            whole = collection.add(line)
        except InvitationError as error:
            by_name(error)
            continue
        assert collection.total >= len(collection.have)
        assert (whole is None) == bool(collection.missing)
        if whole is not None:
            assert parts.read(line).name == parts._name(whole)


def typed(data: bytes) -> None:
    """A typed code, and making it again."""
    text = data.decode("utf-8", "replace")
    try:
        token = typed_code.read(text)
    except InvitationError as error:
        by_name(error)
        return
    assert INSTALL_ID.match(token.reveal())
    again = typed_code.make(token)
    assert typed_code.read(again) == token
    assert typed_code.unpack(typed_code.pack(token.reveal()) or b"") == token.reveal()


def invitation(data: bytes) -> None:
    """A file or a text that somebody handed over."""
    try:
        found = read_invitation(decoded(data))
    except InvitationError as error:
        by_name(error)
        return
    assert INSTALL_ID.match(found.proof.reveal())
    assert found.endpoint.host


def scanned(data: bytes) -> None:
    """Whatever was scanned gets its sentence; a Wi-Fi code is read."""
    text = data.decode("utf-8", "replace")
    kind = kind_of(text)
    assert kind.name
    assert kind.sentence
    try:
        found = read_wifi(text)
    except InvitationError as error:
        by_name(error)
        return
    assert found.ssid


def receipts(data: bytes) -> None:
    """A receipt's bytes, and its text."""
    for make in (receipt.decode, lambda body: receipt.decode(body + bytes(64)), receipt.verify):
        try:
            found = make(data)
        except WireError as error:
            assert error.code.startswith("receipt_"), error.code
        else:
            assert len(found.public_key) == 33
    try:
        body = receipt.from_text(data.decode("utf-8", "replace"))
    except WireError as error:
        assert error.code == "receipt_malformed"
    else:
        assert receipt.from_text(receipt.bare(body)) == body


WIRE: tuple[Callable[[bytes], object], ...] = (
    heartbeat.decode_beat,
    heartbeat.decode_beat_reply,
    redeem.decode_redeem,
    redeem.decode_redeem_answer,
    redeem.decode_take_back,
    renewal.decode_renewal,
)


def wire(data: bytes) -> None:
    """The first byte chooses a decoder of the contract with the hub, the rest is its body."""
    if data:
        try:
            found = WIRE[data[0] % len(WIRE)](data[1:])
        except WireError as error:
            assert error.code.startswith("request_"), error.code
        else:
            if isinstance(found, redeem.RedeemAnswer):
                assert IDENTIFIER.match(found.device_id)
        problem.decode_problem(data)


TARGETS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "payload_text": (payload_text, seeds.texts()),
    "payload_envelope": (payload_envelope, seeds.envelopes()),
    "payload_claims": (payload_claims, seeds.claims()),
    "cbor": (cbor, seeds.claims()),
    "parts": (collected, seeds.part_sets()),
    "typed_code": (typed, [code.encode() for code in seeds.TYPED]),
    "invitation": (invitation, seeds.invitations()),
    "scanned": (scanned, seeds.scanned()),
    "receipt": (receipts, seeds.receipts()),
    "wire": (wire, seeds.bodies()),
}
