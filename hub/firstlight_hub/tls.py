"""A small certificate authority: enough for one hub, strict enough for every client (RFC 5280, VERIFY_X509_STRICT)."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from firstlight_hub.model import Refusal

CA_DAYS = 20 * 365
LEAF_DAYS = 397
RENEW_DAYS = 30
BACKDATED = timedelta(days=1)  # boxes whose clock is a little behind
# What cryptography raises for outside data that it cannot read; some of these are no ValueError.
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
CURVES = ("secp256r1", "secp384r1")
ALWAYS_NAMED = ("localhost", "127.0.0.1", "::1")

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
CaKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
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


def certificate_der(certificate: x509.Certificate) -> bytes:
    """A certificate as DER."""
    return certificate.public_bytes(serialization.Encoding.DER)


def make_ca(key: ec.EllipticCurvePrivateKey, now: datetime, name: x509.Name | None = None) -> x509.Certificate:
    """A self-signed authority for twenty years, allowed to sign servers and devices, nothing below it.

    Args:
        key: its own.
        now: aware UTC.
        name: of the authority that it follows; by default one that comes from the key.
    """
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = name or x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Firstlight hub {own.digest.hex()[:8]}")])
    return (
        _builder(name, name, key.public_key(), now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs_certificates=True), critical=True)
        .add_extension(own, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False)
        .sign(key, hashes.SHA256())
    )


def make_leaf(
    ca: x509.Certificate,
    ca_key: CaKey,
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
    issuer = own_id(ca)
    return (
        _builder(name, ca.subject, public_key, now, LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_names(hosts)), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def make_device_certificate(
    ca: x509.Certificate,
    ca_key: SigningKey,
    public_key: ec.EllipticCurvePublicKey,
    subject: tuple[str, str, int],
    ends: datetime,
    now: datetime,
) -> x509.Certificate:
    """A device's certificate, good for client authentication only.

    Args:
        ca: who signs.
        ca_key: with which key.
        public_key: the device's.
        subject: workspace, device id and generation of its key.
        ends: when it expires, at the latest with the CA; aware UTC.
        now: aware UTC.
    """
    workspace, device_id, generation = subject
    name = [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, workspace),
        x509.NameAttribute(NameOID.COMMON_NAME, device_id),
        x509.NameAttribute(NameOID.SERIAL_NUMBER, str(generation)),
    ]
    return (
        _builder(x509.Name(name), ca.subject, public_key, now, min(ends, ca.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own_id(ca)), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def leaf_fits(leaf: x509.Certificate, hosts: Sequence[str], now: datetime) -> bool:
    """Whether a server certificate covers all hosts and is valid from now on for another thirty days."""
    # cryptography 42 has not_valid_after_utc; older attributes are naive and warn.
    begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    covered = set(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    return begins <= now <= ends - timedelta(days=RENEW_DAYS) and covered >= set(_names(hosts))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, ends: int | datetime
) -> x509.CertificateBuilder:
    begins = (now - BACKDATED).replace(microsecond=0)
    if isinstance(ends, int):  # days
        ends = begins + timedelta(days=ends)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends.replace(microsecond=0))
    )


def usage(signs_certificates: bool) -> x509.KeyUsage:
    """What a key may do: sign certificates and nothing else, or all but that."""
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
    """The fingerprint of the key that signed a certificate request. Raises Refusal as ``requested_key``."""
    return fingerprint(requested_key(csr_pem))


def requested_key(csr_pem: str) -> ec.EllipticCurvePublicKey:
    """The key that signed a certificate request.

    Raises:
        Refusal: ``csr_invalid``: not a PKCS#10 request, its signature does not hold, or a kind of key we do not take.
    """
    try:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        key = csr.public_key()
        holds = csr.is_signature_valid
    except UNREADABLE:
        raise Refusal("csr_invalid", "The certificate request cannot be read.") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise Refusal("csr_invalid", "The certificate request is not for a P-256 or P-384 key.")
    if not holds:
        raise Refusal("csr_invalid", "The signature of the certificate request does not hold.")
    return key


def signer(public_key: bytes, signature: bytes, statement: bytes) -> str:
    """The fingerprint of the key by which a device signed a statement.

    Args:
        public_key: DER SubjectPublicKeyInfo, P-256 or P-384.
        signature: DER ECDSA with SHA-256.
        statement: what was signed.

    Raises:
        Refusal: ``key_invalid``: no such key, or the signature does not hold.
    """
    try:
        key = serialization.load_der_public_key(public_key)
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
            raise ValueError
        key.verify(signature, statement, ec.ECDSA(hashes.SHA256()))
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        raise Refusal("key_invalid", "The signature by the device's key does not hold.") from None
    return fingerprint(key)


def make_crl(ca: x509.Certificate, ca_key: SigningKey, revoked: Sequence[tuple[str, int]], now: datetime) -> bytes:
    """A revocation list as PEM.

    Args:
        ca: whose certificates they are.
        ca_key: its key.
        revoked: serial in hex, and milliseconds since 1970.
        now: aware UTC.
    """
    # Brokers refuse everybody once a list has run out, so it never does: the hub writes a new one at every change.
    entries = []
    for serial, at_ms in revoked:
        at = datetime.fromtimestamp(at_ms // 1000, timezone.utc)
        entries.append(x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(at).build())
    # All at once: each add_revoked_certificate copies the whole list, which takes 18 s for 100,000.
    listed = x509.CertificateRevocationListBuilder(revoked_certificates=entries).issuer_name(ca.subject)
    listed = listed.last_update((now - BACKDATED).replace(microsecond=0)).next_update(now + timedelta(days=CA_DAYS))
    own = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own_id(ca))
    listed = listed.add_extension(own, critical=False).add_extension(x509.CRLNumber(int(now.timestamp())), False)
    return listed.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def own_id(ca: x509.Certificate) -> x509.SubjectKeyIdentifier:
    """By what an authority's certificate names its key, or what it would be where it does not."""
    try:
        return ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.SubjectKeyIdentifier.from_public_key(ca.public_key())
