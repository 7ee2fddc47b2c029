"""Renewing a credential: the device's present key signs for the next one; request and statement side by side.

Request: ``{"attemptId", "csr", "currentKey", "signature", "agent", "bootId"}``, answered as a redeem is (redeem.py).
The signature is ECDSA with SHA-256 over ``statement(...)``, by the key that the hub has for the device: a certificate
that expired meanwhile is not needed. Nothing in it is secret, and sent again it yields the same credential.
"""

from __future__ import annotations

import binascii
import hashlib
import re

from firstlight.wire import bounded
from firstlight.wire.bounded import WireError
from firstlight.wire.redeem import MAX_PEM, attempt_and_boot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from firstlight.core.record import NamedTuple

MAX_BASE64 = 1024
BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}\Z")


class RenewRequest(NamedTuple):
    """What the device sends.

    Args:
        attempt_id: 32 hex digits, made once per renewal and fsynced before the first request.
        csr_pem: PKCS#10 request, signed by the next key.
        current_key: DER SubjectPublicKeyInfo of the present key.
        signature: DER ECDSA signature of ``statement`` by the present key.
        agent_version: version of the agent.
        boot_id: of this boot.
    """

    attempt_id: str
    csr_pem: str
    current_key: bytes
    signature: bytes
    agent_version: str
    boot_id: str


def statement(workspace: str, device_id: str, attempt_id: str, csr_pem: str) -> bytes:
    """What the present key signs."""
    hashed = hashlib.sha256(csr_pem.encode()).hexdigest()
    return "\n".join(("firstlight-renew-1", workspace, device_id, attempt_id, hashed)).encode()


def encode_renewal(request: RenewRequest) -> bytes:
    """``RenewRequest`` -> body."""
    return bounded.encode_object(
        {
            "attemptId": request.attempt_id,
            "csr": request.csr_pem,
            "currentKey": binascii.b2a_base64(request.current_key, newline=False).decode(),
            "signature": binascii.b2a_base64(request.signature, newline=False).decode(),
            "agent": request.agent_version,
            "bootId": request.boot_id,
        }
    )


def decode_renewal(body: bytes) -> RenewRequest:
    """Body -> ``RenewRequest``; signature and certificate request are for the hub to verify.

    Raises:
        WireError: not what ``encode_renewal`` could have made.
    """
    source = bounded.decode_object(body, bounded.MAX_REDEEM_BYTES)
    attempt_id, boot_id = attempt_and_boot(source)
    return RenewRequest(
        attempt_id=attempt_id,
        csr_pem=bounded.text(source, "csr", MAX_PEM),
        current_key=base64_bytes(source, "currentKey", MAX_BASE64),
        signature=base64_bytes(source, "signature", MAX_BASE64),
        agent_version=bounded.text(source, "agent", 64),
        boot_id=boot_id,
    )


def base64_bytes(source: dict[str, object], name: str, limit: int) -> bytes:
    """A required field of strict Base64. Raises WireError."""
    value = bounded.text(source, name, limit)
    if not BASE64.match(value):
        raise WireError(f"{name} is not Base64")
    try:
        return binascii.a2b_base64(value.encode())
    except ValueError:
        raise WireError(f"{name} is not Base64") from None
