"""Certificates of a twin, made when it starts: its authorities' and its servers', as strict clients want them."""

import ipaddress
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.contract.http_transports.certificates import VALID, Identity

__all__ = ["Identity", "authority", "make_context", "make_server"]


def authority(title: str) -> Identity:
    """An authority of its own; ``issue`` of it makes certificates for devices."""
    return _make(f"authority of {title}", None)


def make_server(ca: Identity) -> Identity:
    """A server's certificate for loopback, signed by that authority."""
    return _make("server on loopback", ca)


def make_context(server: Identity, device_cas: tuple[Identity, ...] = ()) -> ssl.SSLContext:
    """TLS 1.2 and 1.3 for that server; a certificate of a device is asked for where there are authorities for it.

    A device without one is let through the handshake: the rules of the twin have the last word.
    """
    context = Identity(server.certificate, server.key).server_context
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for ca in device_cas:
        context.load_verify_locations(cadata=ca.pem)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _make(title: str, issuer: Identity | None) -> Identity:
    """With what RFC 5280 asks for and Python 3.13 looks at: key identifiers and key usage."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
    is_ca, signer = issuer is None, issuer.key if issuer else key
    usage = dict.fromkeys(("content_commitment", "data_encipherment", "encipher_only", "decipher_only"), False)
    usage |= {"digital_signature": True, "key_cert_sign": is_ca, "crl_sign": is_ca}
    usage |= {"key_agreement": False, "key_encipherment": False}
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=is_ca, path_length=None), True),
        (x509.KeyUsage(**usage), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False),
    ]
    if not is_ca:
        names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
        extensions.append((x509.SubjectAlternativeName(names), False))
        extensions.append((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False))
    builder = x509.CertificateBuilder().subject_name(subject).public_key(key.public_key())
    builder = builder.issuer_name(issuer.certificate.subject if issuer else subject)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(VALID[0]).not_valid_after(VALID[1])
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, critical=is_critical)
    return Identity(builder.sign(signer, hashes.SHA256()), key)
