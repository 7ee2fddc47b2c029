"""What the agent reads in a server's certificate itself: its public key's pin, and who issued it for whom.

A short walk over the outer DER structure (RFC 5280, 4.1) with the standard library only, since ``cryptography`` is too
heavy for the process that stays. Every length is checked against what encloses it; nothing recurses.
"""

from __future__ import annotations

import binascii

MAX_CERTIFICATE_BYTES = 65_536
MAX_NAME = 64

SEQUENCE, SET, OBJECT_IDENTIFIER, VERSION = 0x30, 0x31, 0x06, 0xA0
COMMON_NAME, ORGANIZATION = b"\x55\x04\x03", b"\x55\x04\x0a"
BMP_STRING = 0x1E
# Where a field stands in TBSCertificate, the optional version left out.
ISSUER, SUBJECT, PUBLIC_KEY = 2, 4, 5


def spki_pin(certificate_der: bytes) -> str:
    """The pin of a certificate's public key in curl's notation.

    Args:
        certificate_der: one certificate in DER.

    Returns:
        ``sha256//`` and the base64 SHA-256 of its SubjectPublicKeyInfo.

    Raises:
        ValueError: this is not a certificate.
    """
    import hashlib  # only a pinned handshake needs it

    start, _, end = _fields(certificate_der)[PUBLIC_KEY]
    digest = hashlib.sha256(certificate_der[start:end]).digest()
    return "sha256//" + binascii.b2a_base64(digest, newline=False).decode("ascii")


def described(certificate_der: bytes) -> str:
    """Subject and issuer of a certificate, for a technician's eyes; "" where they cannot be read."""
    try:
        fields = _fields(certificate_der)
        names = [_name(certificate_der, *fields[which][1:]) for which in (SUBJECT, ISSUER)]
    except ValueError:
        return ""
    return f"certificate of {names[0]!r}, issued by {names[1]!r}"


def _fields(der: bytes) -> list[tuple[int, int, int]]:
    """Start, start of content and end of the first fields of TBSCertificate, up to the public key."""
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise ValueError("the certificate is too large")
    at, end = _enter(der, SEQUENCE, *_enter(der, SEQUENCE, 0, len(der)))
    found: list[tuple[int, int, int]] = []
    while len(found) <= PUBLIC_KEY:
        tag, content, after = _element(der, at, end)
        if not (tag == VERSION and not found):
            found.append((at, content, after))
        at = after
    return found


def _element(der: bytes, at: int, end: int) -> tuple[int, int, int]:
    """Tag, start of content and end of the element that starts at ``at``."""
    if at + 2 > end or der[at] & 0x1F == 0x1F:
        raise ValueError("not a certificate")
    length, content = der[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= 3 or content + count > end:
            raise ValueError("not a certificate")
        length = int.from_bytes(der[content : content + count], "big")
        content += count
    if content + length > end:
        raise ValueError("not a certificate")
    return der[at], content, content + length


def _enter(der: bytes, wanted: int, at: int, end: int) -> tuple[int, int]:
    """Start and end of the content of the element at ``at``, which must have the wanted tag."""
    tag, content, after = _element(der, at, end)
    if tag != wanted:
        raise ValueError("not a certificate")
    return content, after


def _name(der: bytes, at: int, end: int) -> str:
    """The common name in a distinguished name, or else the organization, or "nobody"."""
    found: dict[bytes, str] = {}
    while at < end:
        part, after = _enter(der, SET, at, end)
        part, part_end = _enter(der, SEQUENCE, part, after)
        kind, kind_end = _enter(der, OBJECT_IDENTIFIER, part, part_end)
        tag, text, text_end = _element(der, kind_end, part_end)
        encoding = "utf-16-be" if tag == BMP_STRING else "utf-8"
        shown = der[text:text_end].decode(encoding, "replace")[:MAX_NAME]
        found[der[kind:kind_end]] = "".join(c if c.isprintable() else "?" for c in shown)
        at = after
    return found.get(COMMON_NAME) or found.get(ORGANIZATION) or "nobody"
