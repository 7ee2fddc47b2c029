"""The receipt: what a box without a network gives to be carried back to its hub, encode and decode side by side.

``receipt = CBOR claims + signature``: the claims are one map with whole numbers as keys (``receipt_claims``),
encoded deterministically (RFC 8949, section 4.2); the signature is ECDSA with SHA-256 on P-256 by the device's key over
``DOMAIN`` + claims: r and s, 32 bytes each, s in the lower half of its range, so that there is one signature and not
two. As a text it is a link to the hub, ``HTTPS://HOST[:PORT]/R/`` + Base32 without padding: upper case, so that a QR
symbol holds it in alphanumeric mode, and a phone's camera opens the hub's page. Field by field: docs/offline-desk.md.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from firstlight.core.model import Facts, Metrics
from firstlight.wire import payload_cbor
from firstlight.wire.bounded import WireError
from firstlight.wire.receipt_claims import (
    DIGEST_BYTES,
    HINT_BYTES,
    NEWER,
    PROOF_BYTES,
    KeptBeats,
    Receipt,
    Told,
    claims_of,
    receipt_of,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    from firstlight.core.model import Endpoint, MissedBeat, Secret

__all__ = ["KeptBeats", "Receipt", "Told", "decode", "digest_of", "encode", "from_text", "link", "verify"]

MAX_BYTES = 600
MAX_TEXT = 8_192
MAX_LINK = 600  # characters: version 15 at level M
SIGNATURE_BYTES = 64
DOMAIN = b"firstlight-receipt\x00"
PROOF_DOMAIN = b"firstlight receipt"
MARK = "/R/"
FORGED = "receipt_forged"
MALFORMED = "receipt_malformed"

# Half the order of P-256: of the two signatures that hold for the same words, the one below it counts.
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_MARK = re.compile(MARK, re.IGNORECASE | re.ASCII)
_BASE32 = re.compile(r"[A-Z2-7]+\Z")


# -- bytes ------------------------------------------------------------------------------------------------------------
def encode(receipt: Receipt, sign: Callable[[bytes], bytes], limit_bytes: int = MAX_BYTES) -> bytes:
    """``Receipt`` -> bytes.

    Args:
        receipt: what it says; texts that are too long are cut.
        sign: ECDSA with SHA-256 by the device's key, DER, as ``core.interfaces.KeyMaterial`` has it.
        limit_bytes: what is more goes, the least needed first: hostname, metrics, the other facts, the reason. Ids and
            keys stay, so long ones may still take more.
    """
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    for lighter in ({}, {"facts": receipt.facts._replace(hostname=None)}, {"metrics": Metrics()}, {"facts": Facts()}):
        receipt = receipt._replace(**lighter)
        claims = payload_cbor.encode(claims_of(receipt))
        if len(claims) + SIGNATURE_BYTES <= limit_bytes:
            break
    else:
        claims = payload_cbor.encode(claims_of(receipt._replace(reason="")))
    r, s = decode_dss_signature(sign(DOMAIN + claims))
    return claims + r.to_bytes(32, "big") + min(s, _ORDER - s).to_bytes(32, "big")


def decode(body: bytes) -> Receipt:
    """Bytes -> what they say; whether it is true says ``verify``.

    Raises:
        WireError: ``receipt_malformed``: not what ``encode`` could have made; ``receipt_newer``: a later format.
    """
    if not SIGNATURE_BYTES < len(body) <= MAX_BYTES:
        raise WireError(f"it has {len(body)} bytes, up to {MAX_BYTES} are allowed", MALFORMED)
    claims = body[:-SIGNATURE_BYTES]
    try:
        found = payload_cbor.decode(claims)
        if not isinstance(found, dict):
            raise WireError("it is no map")
        return receipt_of(found)
    except WireError as error:
        raise WireError(str(error), error.code if error.code == NEWER else MALFORMED) from None


def verify(body: bytes) -> Receipt:
    """Bytes -> what they say, signed by the very key that they name; the caller knows whose key that is.

    Raises:
        WireError: as ``decode``; ``receipt_forged``: the signature is not by that key.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256

    receipt = decode(body)
    claims, signature = body[:-SIGNATURE_BYTES], body[-SIGNATURE_BYTES:]
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if s > _ORDER // 2:
        raise WireError("its signature is not in the one form that counts", FORGED)
    try:
        _public(receipt.public_key).verify(encode_dss_signature(r, s), DOMAIN + claims, ECDSA(SHA256()))
    except InvalidSignature:
        raise WireError("its signature is not by the key that it names", FORGED) from None
    return receipt


def key_fingerprint(public_key: bytes) -> str:
    """A receipt's public key -> ``sha256:`` + hex of its SubjectPublicKeyInfo. Raises WireError."""
    return f"sha256:{hashlib.sha256(spki(public_key)).hexdigest()}"


def spki(public_key: bytes) -> bytes:
    """A receipt's public key -> its SubjectPublicKeyInfo, DER. Raises WireError."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return _public(public_key).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def compressed(public_der: bytes) -> bytes:
    """A P-256 key's SubjectPublicKeyInfo (DER) -> the 33 bytes that a receipt has of it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

    point: bytes = load_der_public_key(public_der).public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return point


def _public(public_key: bytes) -> EllipticCurvePublicKey:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

    try:
        return EllipticCurvePublicKey.from_encoded_point(SECP256R1(), public_key)
    except ValueError:
        raise WireError("its public key is none", MALFORMED) from None


# -- what binds it ----------------------------------------------------------------------------------------------------
def proof_of(token: Secret, public_key: bytes, device_id: str) -> bytes:
    """Shows to the hub, which keeps the SHA-256 of each token, that the box with this key took the token in."""
    return proof_by_hash(hashlib.sha256(token.reveal().encode()).digest(), public_key, device_id)


def proof_by_hash(token_hash: bytes, public_key: bytes, device_id: str) -> bytes:
    """As ``proof_of``, from the SHA-256 of the token (32 bytes). Compare with ``hmac.compare_digest``."""
    message = PROOF_DOMAIN + public_key + device_id.encode()
    return hmac.new(token_hash, message, hashlib.sha256).digest()[:PROOF_BYTES]


def hint_of(token: Secret) -> bytes:
    """By what the hub finds the token where the box does not know which device it is: the start of its SHA-256."""
    return hashlib.sha256(token.reveal().encode()).digest()[:HINT_BYTES]


def digest_of(beats: Iterable[MissedBeat]) -> bytes:
    """The first 16 bytes of SHA-256 over one line for each beat, oldest first.

    A line is ``BOOT_ID SEQUENCE MONO_MS WALL_MS`` and a newline: two clocks in whole milliseconds, rounded as a beat
    has them on the wire.
    """
    hashed = hashlib.sha256()
    for beat in beats:
        moment = beat.moment
        line = f"{moment.boot_id} {beat.sequence} {_ms(moment.monotonic_s)} {_ms(moment.wall_s)}\n"
        hashed.update(line.encode())
    return hashed.digest()[:DIGEST_BYTES]


# -- text -------------------------------------------------------------------------------------------------------------
def link(endpoint: Endpoint, body: bytes) -> str:
    """The link that a phone opens: upper case throughout."""
    return f"{endpoint.url.upper()}{MARK}{bare(body)}"


def room_bytes(endpoint: Endpoint) -> int:
    """How many bytes a receipt may have so that its link stays within ``MAX_LINK``."""
    return (MAX_LINK - len(link(endpoint, b""))) * 5 // 8


def bare(body: bytes) -> str:
    """Base32 of a receipt, without padding."""
    return base64.b32encode(body).decode().rstrip("=")


def from_text(text: str) -> bytes:
    """A link, or its Base32 alone -> a receipt's bytes, still to be verified.

    Args:
        text: in any case, with spaces and line ends in it; after an empty line anything may follow, and before the
            link too.

    Raises:
        WireError: ``receipt_malformed``.
    """
    if len(text) > MAX_TEXT:
        raise WireError(f"it has more than {MAX_TEXT} characters", MALFORMED)
    marked = _MARK.search(text)
    rest = (text[marked.end() :] if marked else text).strip()
    rest = re.split(r"\n[ \t\r]*\n", rest, maxsplit=1)[0]
    if not rest.isascii():  # before it is made upper case: a dotless i must not become a letter of ours
        raise WireError("there is no receipt in it", MALFORMED)
    letters = "".join(rest.upper().split()).rstrip("=")
    if not _BASE32.match(letters):
        raise WireError("there is no receipt in it", MALFORMED)
    try:
        body = base64.b32decode(letters + "=" * (-len(letters) % 8))
    except ValueError:
        raise WireError("it was cut, or a character is wrong", MALFORMED) from None
    if bare(body) != letters:
        raise WireError("it was cut, or a character is wrong", MALFORMED)
    return body


def _ms(seconds: float) -> int:
    return round(round(seconds, 3) * 1000)
