"""A small certificate authority: enough for one hub, strict enough for every client (RFC 5280, VERIFY_X509_STRICT)."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from firstlight_hub.model import Refusal

CA_DAYS = 20 * 365
LEAF_DAYS = 397
RENEW_DAYS = 30
BACKDATED = timedelta(days=1)  # boxes whose clock is a little behind
ALWAYS_NAMED = ("localhost", "127.0.0.1", "::1")

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


def make_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as unencrypted PKCS#8 PEM."""
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption())


def read_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """PEM -> a P-256 key. Raises ValueError."""
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not an elliptic curve key")
    return key


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """A certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def make_ca(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    """A self-signed authority for twenty years, allowed to sign servers and devices, nothing below it."""
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Firstlight hub {own.digest.hex()[:8]}")])
    return (
        _builder(name, name, key.public_key(), now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(own, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False)
        .sign(key, hashes.SHA256())
    )


def make_leaf(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    public_key: ec.EllipticCurvePublicKey,
    hosts: Sequence[str],
    now: datetime,
) -> x509.Certificate:
    """A server certificate for ``hosts`` (names and addresses) and this machine's own loopback.

    Args:
        ca: who signs.
        ca_key: with which key.
        public_key: the server's; the same one at each renewal, so that pins survive.
        hosts: names or addresses under which boxes reach the hub.
        now: aware UTC.
    """
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Firstlight hub")])
    issuer = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        _builder(name, ca.subject, public_key, now, LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_names(hosts)), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def leaf_fits(leaf: x509.Certificate, hosts: Sequence[str], now: datetime) -> bool:
    """Whether a server certificate covers all hosts and is valid from now on for another thirty days."""
    # cryptography 42 has not_valid_after_utc; older attributes are naive and warn.
    begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    covered = set(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    return begins <= now <= ends - timedelta(days=RENEW_DAYS) and covered >= set(_names(hosts))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    begins = (now - BACKDATED).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=days))
    )


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for host in dict.fromkeys((*hosts, *ALWAYS_NAMED)):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            found.append(x509.DNSName(host))
    return found


def _spki(key: PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def pin(key: PublicKey) -> str:
    """A public key's pin in curl's notation, ``sha256//`` and base64."""
    return "sha256//" + base64.b64encode(hashlib.sha256(_spki(key)).digest()).decode()


def fingerprint(key: PublicKey) -> str:
    """A public key's fingerprint as the contract writes it, ``sha256:`` and hex."""
    return "sha256:" + hashlib.sha256(_spki(key)).hexdigest()


def requested_fingerprint(csr_pem: str) -> str:
    """The fingerprint of the key that signed a certificate request.

    Raises:
        Refusal: ``csr_invalid``: not a PKCS#10 request, its signature does not hold, or a kind of key we do not take.
    """
    try:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        key = csr.public_key()
        holds = csr.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Refusal("csr_invalid", "The certificate request cannot be read.") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in ("secp256r1", "secp384r1"):
        raise Refusal("csr_invalid", "The certificate request is not for a P-256 or P-384 key.")
    if not holds:
        raise Refusal("csr_invalid", "The signature of the certificate request does not hold.")
    return fingerprint(key)
