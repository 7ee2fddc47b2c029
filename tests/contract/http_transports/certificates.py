"""Certificates made at test time: authorities, servers, and servers that sign themselves, with any names and dates."""

import base64
import datetime
import functools
import hashlib
import ipaddress
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from firstlight.core import model

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.timezone.utc)
VALID = (NOW - DAY, NOW + 30 * DAY)
EXPIRED = (NOW - 30 * DAY, NOW - DAY)
NOT_YET_VALID = (NOW + DAY, NOW + 30 * DAY)
Dates = tuple[datetime.datetime, datetime.datetime]


@dataclass(frozen=True)
class Identity:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        """The certificate alone."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def der(self) -> bytes:
        """The certificate alone."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pin(self) -> str:
        """What curl's --pinnedpubkey takes."""
        spki = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return "sha256//" + base64.b64encode(hashlib.sha256(spki).digest()).decode()

    @functools.cached_property
    def server_context(self) -> ssl.SSLContext:
        """For a server that shows this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile("wb", suffix=".pem") as file:
            file.write(
                self.key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
            )
            file.write(self.pem.encode())
            file.flush()
            context.load_cert_chain(file.name)
        return context

    def server_context_for(self, client_ca: "Identity", *, is_required: bool = True) -> ssl.SSLContext:
        """The same for a server that wants to see a client certificate of that CA."""
        context = type(self)(self.certificate, self.key).server_context
        context.verify_mode = ssl.CERT_REQUIRED if is_required else ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=client_ca.pem)
        return context

    def as_client(self, folder: Path) -> model.Identity:
        """What the agent shows: the certificate as text, the key as a file."""
        key_file = folder / f"{self.certificate.serial_number:x}.key"
        key_file.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return model.Identity(self.pem, str(key_file))

    def issue(self, *names: str, dates: Dates = VALID, is_ca: bool = False, title: str = "a server") -> "Identity":
        """A certificate signed by this one."""
        return _make(title, names, dates, is_ca, self)


def authority(title: str) -> Identity:
    """A CA of its own."""
    return _make(title, (), VALID, True, None)


def self_signed(*names: str, dates: Dates = VALID, title: str = "a hub") -> Identity:
    """A server certificate that nobody vouches for."""
    return _make(title, names, dates, False, None)


def _make(title: str, names: tuple[str, ...], dates: Dates, is_ca: bool, issuer: Identity | None) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(dates[0])
        .not_valid_after(dates[1])
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
    return Identity(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
