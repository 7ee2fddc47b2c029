"""The device's key pair in a file: made on the box, never leaves it. A TPM or a PKCS#11 token fits the same seam."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from firstlight.errors import StateError
from firstlight.system.store import KEY

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from firstlight.core.interfaces import TextStore


class KeyMaterial(NamedTuple):
    """The key, seen from outside.

    Args:
        csr_pem: PKCS#10 request with the name ``firstlight``, signed by the key: shows that this box holds it.
        key_fingerprint: ``sha256:`` + hex SHA-256 of the DER SubjectPublicKeyInfo.
    """

    csr_pem: str
    key_fingerprint: str


class KeyFile:
    """P-256, PKCS#8 in PEM, 0600; implements ``core.interfaces.KeyStore``."""

    def make_or_load(self, store: TextStore) -> KeyMaterial:
        """The key of this box; made, and on disk, when there was none.

        Raises:
            StateError: ``state_corrupt``, ``state_unwritable``, ``state_unreadable``.
        """
        # Imported here: 7 MB that only the door pays for.
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        pem = store.read_text(KEY)
        if pem is None:
            key = ec.generate_private_key(ec.SECP256R1())
            store.write_text(
                KEY,
                key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                ).decode(),
            )
        else:
            key = _load(pem)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "firstlight")])
        request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return KeyMaterial(
            request.public_bytes(serialization.Encoding.PEM).decode(), f"sha256:{hashlib.sha256(public).hexdigest()}"
        )


def _load(pem: str) -> EllipticCurvePrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise StateError("state_corrupt", f"The device key, {KEY}, is damaged.")
    return key
