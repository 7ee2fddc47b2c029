"""The offline payload: ``FL1:`` + Base45(COSE_Sign1(CBOR claims)), encode and decode side by side.

``docs/offline-payload.md`` is the specification. What was read is made anew from its claims and must come out as the
same text: so nothing can be hidden in it, and there is one text for one payload.
"""

from __future__ import annotations

import re

from firstlight.errors import InvitationError
from firstlight.wire import payload_cbor, payload_claims
from firstlight.wire.bounded import WireError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NamedTuple

    from firstlight.core.provision import Payload
else:
    from firstlight.core.record import NamedTuple

MARK = "FL1:"
MAX_TEXT = 4296  # what one QR symbol can hold: version 40, level L, alphanumeric
CONTEXT = b"firstlight-offline-payload"
SIGN1_TAG = 18
KEY_ID_BYTES = 8
SIGNATURE_BYTES = 64
# {1 (alg): -8 (EdDSA), 4 (kid): the 8 bytes that follow}
_HEADER = b"\xa2\x01\x27\x04\x48"
_OTHER_VERSION = re.compile(r"FL([0-9]{1,4}):")
# Spaces of a printed line end up behind a text, never a space of Base45: it ends in none.
_ENDS = " \t\r\n"


class Opened(NamedTuple):
    """A payload that was read: its claims, and the id of the trusted key that signed it, "" = none did."""

    payload: Payload
    key_id: str


def encode(payload: Payload, key_id: str, sign: Callable[[bytes], bytes]) -> str:
    """``Payload`` -> text.

    Args:
        payload: what it is to say.
        key_id: 16 hex digits (``wire.bundle.key_id``), "" = not signed, for boxes that allow that.
        sign: bytes -> the Ed25519 signature of 64 bytes by that key; not called without ``key_id``.

    Raises:
        InvitationError: ``payload_malformed``, ``payload_unsupported`` or ``payload_too_large``: no box would read it.
    """
    try:
        claims = payload_cbor.encode(payload_claims.to_claims(payload))
        if payload_claims.from_claims(payload_cbor.decode(claims)) != _normal(payload):
            raise WireError("it says something in an unusual form")
    except (WireError, ValueError, TypeError) as error:
        raise _refused(error) from None
    header = _HEADER + bytes.fromhex(key_id) if key_id else b""
    signature = sign(_to_be_signed(header, claims)) if key_id else b""
    text = _text(header, claims, signature)
    if len(text) > MAX_TEXT:
        raise _too_large(len(text))
    return text


def decode(text: str, trusted: Mapping[str, bytes], *, allow_unsigned: bool = False) -> Opened:
    """Text -> what it says.

    Args:
        text: as scanned; white space around it does not count.
        trusted: key id -> the 32 bytes of a public key (``wire.bundle.read_public_key``).
        allow_unsigned: whether one that nobody signed, or whose key is not known here, is read too. A signature by a
            trusted key must be right all the same.

    Raises:
        InvitationError: ``payload_too_large``, ``payload_malformed``, ``payload_unsupported``, ``payload_unsigned``,
            ``payload_key_unknown``, ``payload_forged``.
    """
    plain = _plain(text)
    try:
        header, claims, signature = _parts(plain)
        key_id = _signer(header, claims, signature, trusted, allow_unsigned)
        payload = payload_claims.from_claims(_claims(claims))
        # Base45 and CBOR were strict; this is the proof, over the whole way there and back.
        if _text(header, payload_cbor.encode(payload_claims.to_claims(payload)), signature) != plain:
            raise WireError("it is not encoded in the one allowed way")
    except WireError as error:
        raise _refused(error) from None
    return Opened(payload, key_id)


def _plain(text: str) -> str:
    """The text without what stands around it, bounded and of this version. Raises InvitationError."""
    if len(text) > 2 * MAX_TEXT:
        raise _too_large(len(text))
    plain = text.strip(_ENDS)
    if len(plain) > MAX_TEXT:
        raise _too_large(len(plain))
    if plain.startswith(MARK):
        return plain
    other = _OTHER_VERSION.match(plain)
    if other:
        sentence = f"This is an offline payload of version {int(other[1])}; this agent reads version 1."
        raise InvitationError("payload_unsupported", sentence)
    if plain[: len(MARK)].upper() == MARK:
        raise InvitationError("payload_malformed", "The offline payload is in small letters; it must be in capitals.")
    raise InvitationError("payload_malformed", f"This is no offline payload: it does not begin with {MARK}")


def _parts(plain: str) -> tuple[bytes, bytes, bytes]:
    """The text -> protected header, claims, signature. Raises WireError."""
    import base45

    try:
        # As bytes: with a str the library would forgive a line's end.
        whole = base45.b45decode(plain[len(MARK) :].encode("ascii"))
    except ValueError:
        raise WireError("it is not Base45: it was not read rightly, or a piece is missing") from None
    try:
        sign1 = payload_cbor.decode(whole, SIGN1_TAG)
    except WireError as error:
        raise WireError(f"its envelope {error}") from None
    if not isinstance(sign1, list) or len(sign1) != 4:
        raise WireError("its envelope does not have four parts")
    header, unprotected, claims, signature = sign1
    if unprotected != {}:
        raise WireError("its envelope says something that is not signed")
    if not isinstance(header, bytes) or not isinstance(claims, bytes) or not isinstance(signature, bytes):
        raise WireError("its envelope has parts of a wrong kind")
    return header, claims, signature


def _claims(encoded: bytes) -> object:
    """The map of claims. Raises WireError."""
    try:
        return payload_cbor.decode(encoded)
    except WireError as error:
        raise WireError(f"its content {error}") from None


def _signer(header: bytes, claims: bytes, signature: bytes, trusted: Mapping[str, bytes], allow_unsigned: bool) -> str:
    """The id of the trusted key that signed, "" where none did and none is asked for. Raises as ``decode``."""
    if not header and not signature:
        if allow_unsigned:
            return ""
        raise InvitationError("payload_unsigned", "Nobody signed this offline payload.")
    if (
        not header.startswith(_HEADER)
        or len(header) != len(_HEADER) + KEY_ID_BYTES
        or len(signature) != SIGNATURE_BYTES
    ):
        raise WireError("its header is not that of an Ed25519 signature")
    key_id = header[len(_HEADER) :].hex()
    if key_id not in trusted:
        if allow_unsigned:
            return ""
        raise InvitationError("payload_key_unknown", f"This box does not know the key {key_id} that signed it.")
    if not _is_signed(trusted[key_id], signature, _to_be_signed(header, claims)):
        raise InvitationError("payload_forged", f"The signature is not that of the key {key_id}: it was changed.")
    return key_id


def _is_signed(public: bytes, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _to_be_signed(header: bytes, claims: bytes) -> bytes:
    """COSE's Sig_structure (RFC 9052, section 4.4)."""
    return payload_cbor.encode(["Signature1", header, CONTEXT, claims])


def _text(header: bytes, claims: bytes, signature: bytes) -> str:
    import base45

    tag = bytes([0xC0 | SIGN1_TAG])
    whole = tag + payload_cbor.encode([header, {}, claims, signature])
    encoded: bytes = base45.b45encode(whole)
    return MARK + encoded.decode("ascii")


def _normal(payload: Payload) -> Payload:
    """An audience that names nothing is none."""
    return payload._replace(audience=None) if payload.audience is not None and not any(payload.audience) else payload


def _refused(error: Exception) -> InvitationError:
    code = error.code if isinstance(error, WireError) and error.code.startswith("payload_") else "payload_malformed"
    return InvitationError(code, f"The offline payload cannot be read: {error}.")


def _too_large(count: int) -> InvitationError:
    return InvitationError(
        "payload_too_large", f"An offline payload has at most {MAX_TEXT} characters; this has {count}."
    )
