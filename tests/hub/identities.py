"""Certificates that boxes show to a hub, right ones and such as only a test has; and what boxes believe of a move."""

from __future__ import annotations

import ssl
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from firstlight.wire.move import Move, decode_statement, unseal
from firstlight_hub import tls
from firstlight_hub.authorities import Authority

DAY = timedelta(days=1)


def now() -> datetime:
    """This moment."""
    return datetime.now(timezone.utc)


def new_authority() -> Authority:
    """A CA that no hub knows."""
    key = tls.make_key()
    return Authority(tls.make_ca(key, now()), key)


def certify(
    authority: Authority,
    key: ec.EllipticCurvePrivateKey,
    names: dict[str, str],
    *,
    begins: datetime | None = None,
    ends: datetime | None = None,
    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
) -> x509.Certificate:
    """A certificate with any names (``O``, ``CN``, ``serialNumber``), dates and purpose."""
    oids = {"O": NameOID.ORGANIZATION_NAME, "CN": NameOID.COMMON_NAME, "serialNumber": NameOID.SERIAL_NUMBER}
    subject = x509.Name([x509.NameAttribute(oids[name], value) for name, value in names.items()])
    above = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(tls.own_id(authority.certificate))
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins or now() - DAY)
        .not_valid_after(ends or now() + DAY)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(above, critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def trusting(ca_pem: str, certificate_pem: str = "", key: ec.EllipticCurvePrivateKey | None = None) -> ssl.SSLContext:
    """A client's context that trusts one CA, and shows a certificate where one is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=ca_pem)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if key is not None:
        show(context, certificate_pem, key)
    return context


def show(context: ssl.SSLContext, certificate_pem: str, key: ec.EllipticCurvePrivateKey) -> None:
    """Has a context show a certificate; OpenSSL reads it from files."""
    with tempfile.TemporaryDirectory() as folder:
        chain, private = Path(folder) / "certificate.pem", Path(folder) / "key.pem"
        chain.write_text(certificate_pem)
        private.write_bytes(tls.key_pem(key))
        context.load_cert_chain(chain, private)


def believed(text: str, trusted: x509.Certificate) -> Move:
    """What a device that trusts this CA makes of a move; raises InvalidSignature where it does not believe it."""
    statement, signature = unseal(text)
    key = trusted.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, statement, padding.PKCS1v15(), hashes.SHA256())
    else:
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(signature, statement, ec.ECDSA(hashes.SHA256()))
    return decode_statement(statement)
