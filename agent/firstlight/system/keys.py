"""The device's key pairs in files: made on the box, never leave it. A TPM or a PKCS#11 token fits the same seam.

Nothing outside this module reads a key, except TLS, by the path that ``StateDirectory.key_file`` gives.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from firstlight.errors import InvitationError, StateError
from firstlight.system.store import KEY, key_name

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from firstlight.core.interfaces import TextStore

LEAST_RSA_BITS = 2048


class FileKey:
    """One key, seen from outside; implements ``core.interfaces.KeyMaterial``.

    Attributes:
        csr_pem: PKCS#10 request with the name ``firstlight``, signed by the key: shows that this box holds it.
        key_fingerprint: ``sha256:`` + hex SHA-256 of the DER SubjectPublicKeyInfo.
        public_der: the SubjectPublicKeyInfo.
    """

    def __init__(self, key: EllipticCurvePrivateKey | RSAPrivateKey) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.x509.oid import NameOID

        self._key = key
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "firstlight")])
        request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        self.csr_pem = request.public_bytes(serialization.Encoding.PEM).decode()
        self.public_der = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.key_fingerprint = f"sha256:{hashlib.sha256(self.public_der).hexdigest()}"

    def __repr__(self) -> str:
        return f"FileKey({self.key_fingerprint})"

    def sign(self, statement: bytes) -> bytes:
        """ECDSA with SHA-256 over ``statement``, DER; with an RSA key its PKCS #1 signature."""
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        if isinstance(self._key, EllipticCurvePrivateKey):
            return self._key.sign(statement, ECDSA(SHA256()))
        return self._key.sign(statement, PKCS1v15(), SHA256())


class KeyFile:
    """P-256, PKCS#8 in PEM, 0600; implements ``core.interfaces.KeyStore``."""

    def make_or_load(self, store: TextStore) -> FileKey:
        """The first key of this box; made, and on disk, when there was none.

        Raises:
            StateError: ``state_corrupt``, ``state_unwritable``, ``state_unreadable``.
        """
        pem = store.read_text(KEY)
        if pem is not None:
            return FileKey(_parsed(pem, KEY))
        key, pem = _made()
        store.write_text(KEY, pem)
        return FileKey(key)

    def make_next(self, store: TextStore) -> FileKey:
        """A new key beside the others, on disk. Raises StateError (``state_unwritable``)."""
        key, pem = _made()
        made = FileKey(key)
        store.write_text(key_name(made.key_fingerprint), pem)
        return made

    def adopt(self, store: TextStore, pem: str) -> FileKey:
        """A key that was made elsewhere and handed over with its certificate; on disk beside the others.

        Raises:
            InvitationError: ``device_file_malformed``: it is none, or of a kind that is not used here (P-256, P-384
                and RSA from 2048 bits on are).
            StateError: ``state_unwritable``.
        """
        from cryptography.hazmat.primitives import serialization

        key = _handed_over(pem)
        made = FileKey(key)
        plain = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        store.write_text(key_name(made.key_fingerprint), plain.decode())
        return made

    def load(self, store: TextStore, fingerprint: str) -> FileKey:
        """The key with that fingerprint.

        Raises:
            StateError: ``state_corrupt`` where it is damaged, missing or another one; ``state_unreadable``.
        """
        name = key_name(fingerprint)
        pem = store.read_text(name)
        if pem is None:
            name = KEY
            pem = store.read_text(name)
        found = FileKey(_parsed(pem or "", name))
        if found.key_fingerprint != fingerprint:
            raise StateError("state_corrupt", f"The device key, {name}, is not that of the registration.")
        return found


def certificate_fingerprint(certificate_pem: str) -> str:
    """Fingerprint of the key that a certificate (the first of a chain) is for, "" where it cannot be read."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    try:
        public = x509.load_pem_x509_certificates(certificate_pem.encode())[0].public_key()
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    except Exception:  # the library raises what its parsers raise
        return ""
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def _made() -> tuple[EllipticCurvePrivateKey, str]:
    # Imported here: 7 MB that only the door pays for.
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key, pem.decode()


def _handed_over(pem: str) -> EllipticCurvePrivateKey | RSAPrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode(), None)
    except TypeError:
        raise InvitationError("device_file_malformed", "The private key in the file asks for a passphrase.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise InvitationError("device_file_malformed", "The private key in the file cannot be read.") from None
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, (SECP256R1, SECP384R1)):
        return key
    if isinstance(key, RSAPrivateKey) and key.key_size >= LEAST_RSA_BITS:
        return key
    raise InvitationError("device_file_malformed", "The private key in the file is neither P-256, P-384 nor RSA 2048.")


def _parsed(pem: str, name: str) -> EllipticCurvePrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise StateError("state_corrupt", f"The device key, {name}, is damaged.")
    return key
