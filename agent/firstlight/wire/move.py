"""The hub moves, or its CA ends: a statement of where it is from now on, signed by a CA that the device trusts already.

The text is ``BASE64(statement) + "." + BASE64(signature)``; the statement is the JSON object ``{"endpoint", "caPem"?,
"brokers"?: {"secret"?, "certificate"?, "secretWebsocket"?, "certificateWebsocket"?}, "issuedAt"}``, the signature ECDSA
with SHA-256 over its very bytes, by the key of a CA in the device's trust. It travels in the answer to a beat.
"""

from __future__ import annotations

import binascii

from firstlight.wire import bounded
from firstlight.wire.bounded import WireError
from firstlight.wire.heartbeat import MAX_MOVE, MAX_SECONDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from firstlight.core.record import NamedTuple

MAX_STATEMENT = 16_384
CURVES = ("secp256r1", "secp384r1")


class Move(NamedTuple):
    """Where the hub is to be found.

    Args:
        endpoint: ``https://HOST:PORT``.
        ca_pem: what to trust there, "" = the system's store.
        brokers: address by kind, with the keys of ``redeem`` as in the module's text; empty = brokers stay as they are.
        issued_at_s: seconds since 1970 by the hub's clock; an older statement never replaces a newer one.
    """

    endpoint: str
    ca_pem: str
    brokers: tuple[tuple[str, str], ...]
    issued_at_s: float


def encode_statement(move: Move) -> bytes:
    """``Move`` -> the bytes that are signed."""
    return bounded.encode_object(
        {
            "endpoint": move.endpoint,
            "caPem": move.ca_pem or None,
            "brokers": dict(move.brokers) or None,
            "issuedAt": round(move.issued_at_s, 3),
        }
    )


def seal(statement: bytes, signature: bytes) -> str:
    """Statement and signature -> the text that travels."""
    return ".".join(binascii.b2a_base64(part, newline=False).decode() for part in (statement, signature))


def unseal(text: str) -> tuple[bytes, bytes]:
    """The text that travels -> statement and signature, neither believed yet. Raises WireError."""
    parts = text.split(".")
    if len(text) > MAX_MOVE or len(parts) != 2:
        raise WireError("the move is not STATEMENT.SIGNATURE")
    try:
        statement, signature = (binascii.a2b_base64(part.encode("ascii")) for part in parts)
    except ValueError:
        raise WireError("the move is not Base64") from None
    return statement, signature


def decode_statement(statement: bytes) -> Move:
    """Bytes whose signature held -> ``Move``. Raises WireError."""
    source = bounded.decode_object(statement, MAX_STATEMENT)
    brokers = bounded.child(source, "brokers") if source.get("brokers") is not None else {}
    return Move(
        endpoint=bounded.text(source, "endpoint", 300),
        ca_pem=bounded.optional_text(source, "caPem", MAX_STATEMENT) or "",
        brokers=tuple((name, bounded.text(brokers, name, 300)) for name in sorted(brokers)[:8]),
        issued_at_s=bounded.number(source, "issuedAt", 0, MAX_SECONDS),
    )


def verify(text: str, ca_pem: str) -> Move:
    """The text that travels -> ``Move``, if one of the CAs signed it: ECDSA on P-256 or P-384, or RSA (PKCS#1 1.5).

    Args:
        text: as it came.
        ca_pem: the CAs that the device trusts.

    Raises:
        WireError: none of them signed it, or it cannot be read.
    """
    # Imported here: what beats carries such a text, and leaves it to a richer process to believe it.
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256

    statement, signature = unseal(text)
    try:
        certificates = x509.load_pem_x509_certificates(ca_pem.encode()) if ca_pem else []
    except ValueError:
        certificates = []
    for certificate in certificates:
        try:
            key = certificate.public_key()
            if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in CURVES:
                key.verify(signature, statement, ec.ECDSA(SHA256()))
            elif isinstance(key, rsa.RSAPublicKey):
                key.verify(signature, statement, padding.PKCS1v15(), SHA256())
            else:
                continue
        except (InvalidSignature, UnsupportedAlgorithm, ValueError):
            continue
        return decode_statement(statement)
    raise WireError("no CA that is trusted here signed the move")
