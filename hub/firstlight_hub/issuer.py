"""Who signs devices' certificates: the hub's own CA, or one that its operator gave it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone

from firstlight_hub.authorities import Authorities
from firstlight_hub.model import Certificate
from firstlight_hub.tls import certificate_pem, fingerprint, make_crl, make_device_certificate, requested_key


class Issuer:
    """Implements ``service.issuing.Signer``.

    Args:
        authorities: the hub's CAs as they are now; the present one signs.
        days: how long a device's certificate is good for.
    """

    def __init__(self, authorities: Callable[[], Authorities], days: int) -> None:
        self._authorities = authorities
        self._days = days

    def sign(self, csr_pem: str, workspace: str, device_id: str, generation: int, now_ms: int) -> Certificate:
        """A fresh certificate for the key of a request. Raises Refusal ``csr_invalid``, and as ``authorities``."""
        now, key, ca = _instant(now_ms), requested_key(csr_pem), self._authorities().present
        subject, ends = (workspace, device_id, generation), now + timedelta(days=self._days)
        made = make_device_certificate(ca.certificate, ca.key, key, subject, ends, now)
        return Certificate(
            serial=f"{made.serial_number:x}",
            device_id=device_id,
            key_fingerprint=fingerprint(key),
            pem=b"".join(map(certificate_pem, (made, *ca.sent()))).decode("ascii"),
            not_after_ms=int(made.not_valid_after_utc.timestamp()) * 1000,
        )

    def crl(self, revoked: Sequence[tuple[str, int]], now_ms: int) -> bytes:
        """The lists of these revoked certificates, PEM, one for each CA with a key; serial in hex, time in ms."""
        signers = self._authorities().listers()
        return b"".join(make_crl(ca.certificate, ca.key, revoked, _instant(now_ms)) for ca in signers)


def _instant(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, timezone.utc)
