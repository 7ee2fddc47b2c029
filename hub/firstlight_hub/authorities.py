"""The hub's certificate authorities: the present one, its successor, and those that it followed.

A successor has the name of the one it follows and a key of its own. Beside its certificate the server shows its CA's
key certified by each of the others (RFC 4210's "new with old" and "old with new": self-issued, so path lengths do not
count). So a box that trusts any one of them can always finish the handshake: one that was off through the whole change,
and one that trusts the successor already.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from firstlight.errors import UsageError
from firstlight_hub import tls
from firstlight_hub.settings import Settings
from firstlight_hub.tls import UNREADABLE, CaKey

MAX_CHAIN = 8


class Authority(NamedTuple):
    """One CA that this hub can sign with.

    Args:
        certificate: its certificate, which devices trust.
        key: its private key.
        chain: what its operator put after the certificate: those above it.
    """

    certificate: x509.Certificate
    key: CaKey
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def pem(self) -> str:
        """The certificate as PEM."""
        return tls.certificate_pem(self.certificate).decode("ascii")

    def sent(self) -> tuple[x509.Certificate, ...]:
        """What stands after a certificate that it signed: itself and those above it, without roots."""
        return tuple(one for one in (self.certificate, *self.chain) if one.issuer != one.subject)

    def sign(self, statement: bytes) -> bytes:
        """A signature with SHA-256: DER ECDSA, or PKCS #1 v1.5 where the key is RSA."""
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(statement, padding.PKCS1v15(), hashes.SHA256())
        return self.key.sign(statement, ec.ECDSA(hashes.SHA256()))


class Authorities(NamedTuple):
    """All that this hub has.

    Args:
        present: signs the server and the devices.
        successor: made by ``ca new``, until ``ca switch``.
        formers: those before, the latest first; what they signed counts until it ends.
        others: certificates that are accepted too, and sign nothing.
        listing: those of them whose key is here: they sign their lists of revoked certificates.
    """

    present: Authority
    successor: Authority | None = None
    formers: tuple[Authority, ...] = ()
    others: tuple[x509.Certificate, ...] = ()
    listing: tuple[Authority, ...] = ()

    def accepted(self) -> tuple[x509.Certificate, ...]:
        """The CAs whose device certificates count."""
        after = (self.successor,) if self.successor else ()
        return (*(one.certificate for one in (self.present, *after, *self.formers)), *self.others)

    def listers(self) -> tuple[Authority, ...]:
        """Those that sign lists of revoked certificates."""
        after = (self.successor,) if self.successor else ()
        return (self.present, *after, *self.formers, *self.listing)

    def trust_pem(self) -> str:
        """The same as PEM, with those above them: for programs that must see a root."""
        found = dict.fromkeys((*self.accepted(), *self.present.chain))
        return b"".join(map(tls.certificate_pem, found)).decode("ascii")

    def server_chain(self, now: datetime) -> list[x509.Certificate]:
        """What the server shows after its certificate."""
        others = (*((self.successor,) if self.successor else ()), *self.formers)
        crossed = [cross(self.present, other) for other in others if _may_certify(other, self.present, now)]
        return [*self.present.sent(), *crossed]


def read_signer(pem: bytes) -> CaKey:
    """PEM -> the private key of a CA, P-256, P-384 or RSA. Raises ValueError, TypeError or UnsupportedAlgorithm."""
    key = serialization.load_pem_private_key(pem, None)
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in ("secp256r1", "secp384r1"):
        return key
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return key
    raise ValueError("neither a P-256, P-384 nor RSA key")


def make_successor(present: x509.Certificate, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A fresh CA with the name of the present one."""
    key = tls.make_key()
    return tls.make_ca(key, now, present.subject), key


def cross(subject: Authority, issuer: Authority) -> x509.Certificate:
    """A CA's key, certified by another CA; the same content each time it is made."""
    both = b"".join(one.certificate.fingerprint(hashes.SHA256()) for one in (subject, issuer))
    own, above = subject.certificate, issuer.certificate
    above_id = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(tls.own_id(above))
    key = own.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(own.subject)
        .issuer_name(above.subject)
        .public_key(key)
        .serial_number(int.from_bytes(hashlib.sha256(both).digest()[:15], "big") + 1)
        .not_valid_before(max(own.not_valid_before_utc, above.not_valid_before_utc))
        .not_valid_after(min(own.not_valid_after_utc, above.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(tls.usage(signs_certificates=True), critical=True)
        .add_extension(tls.own_id(own), critical=False)
        .add_extension(above_id, critical=False)
    )
    return builder.sign(issuer.key, hashes.SHA256())


def _may_certify(issuer: Authority, subject: Authority, now: datetime) -> bool:
    """Whether a cross certificate would be believed: path lengths count unless it is self-issued."""
    depth = issuer.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
    is_alive = issuer.certificate.not_valid_after_utc > now > issuer.certificate.not_valid_before_utc
    return is_alive and (issuer.certificate.subject == subject.certificate.subject or depth != 0)


def signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether a certificate carries an authority's name and signature."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (*UNREADABLE, InvalidSignature):
        return False
    return True


def server_fits(
    shown: Sequence[x509.Certificate], authorities: Authorities, hosts: Sequence[str], now: datetime
) -> bool:
    """Whether what the server shows, its certificate first, is what it would be given now."""
    leaf, *chain = shown
    wanted = authorities.server_chain(now)
    is_same = [one.tbs_certificate_bytes for one in chain] == [one.tbs_certificate_bytes for one in wanted]
    return is_same and signed_by(leaf, authorities.present.certificate) and tls.leaf_fits(leaf, hosts, now)


def read_external(folder: Path, settings: Settings) -> Authority | None:
    """The operator's own CA from the settings ``ca_certificate`` and ``ca_key``, or None where they are empty.

    Args:
        folder: what relative paths begin at.
        settings: checked.

    Raises:
        UsageError: ``settings_invalid``; the sentence names the setting.
    """
    if not (settings.ca_certificate or settings.ca_key):
        return None
    if not (settings.ca_certificate and settings.ca_key):
        raise UsageError("settings_invalid", "hub.toml: ca_certificate and ca_key belong together.")
    certificate, *chain = _certificates(folder / settings.ca_certificate)
    try:
        key = read_signer(_content("ca_key", folder / settings.ca_key))
    except UNREADABLE:
        said = "is not an RSA, P-256 or P-384 key in PEM, without a password"
        raise _bad("ca_key", folder / settings.ca_key, said) from None
    if problem := _problem(certificate):
        raise _bad("ca_certificate", folder / settings.ca_certificate, problem)
    if certificate.public_key() != key.public_key():
        raise _bad("ca_key", folder / settings.ca_key, "is not the key of ca_certificate")
    return Authority(certificate, key, tuple(chain))


def _problem(certificate: x509.Certificate) -> str:
    try:
        found = {type(extension.value): extension.value for extension in certificate.extensions}
    except UNREADABLE:
        return "has extensions that cannot be read"
    basic, usage = found.get(x509.BasicConstraints), found.get(x509.KeyUsage)
    may_sign = not isinstance(usage, x509.KeyUsage) or usage.key_cert_sign
    if not (isinstance(basic, x509.BasicConstraints) and basic.ca and may_sign):
        return "is not a CA: it may not sign certificates"
    ends = certificate.not_valid_after_utc
    return f"ended on {ends:%Y-%m-%d}" if ends < datetime.now(timezone.utc) else ""


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_content("ca_certificate", path))[:MAX_CHAIN]
    except UNREADABLE:
        raise _bad("ca_certificate", path, "is not a certificate in PEM") from None


def _content(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _bad(name, path, f"cannot be read: {error.strerror}") from None


def _bad(name: str, path: Path, how: str) -> UsageError:
    return UsageError("settings_invalid", f"hub.toml: {name}: {path} {how}.")
