"""A release of the agent as one file per architecture: what it says about itself, and who signed that.

``firstlight-VERSION-ARCH.tar`` is a plain tar of four regular members, in this order: ``manifest.json``,
``signatures``, ``install.sh`` and ``payload.tar.gz``. The manifest names the SHA-256 and size of the last two; the
**id** of a release is the SHA-256 of the manifest's very bytes, so a signature added later does not change it. A line
of ``signatures`` is ``KEYID BASE64``: Ed25519 over the manifest's bytes; KEYID is the start of the SHA-256 of the
public key. Any one signature by a trusted key suffices. A key carries no dates: trust does not die while a box is off.

The payload holds ``lib/`` (the agent and its libraries for all Pythons of the bundle), ``scan/`` (the optional layer
that reads codes) and ``share/`` (units, scripts, ``trust.d/*.pub``). A box unpacks what ``is_for`` its Python.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import re

from firstlight.wire import bounded
from firstlight.wire.bounded import WireError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NamedTuple
else:
    from firstlight.core.record import NamedTuple

FORMAT = 1
NAME = "firstlight"
MANIFEST, SIGNATURES, INSTALLER, PAYLOAD = "manifest.json", "signatures", "install.sh", "payload.tar.gz"
MEMBERS = (MANIFEST, SIGNATURES, INSTALLER, PAYLOAD)  # in this order, and nothing else
FOLDERS = ("lib", "scan", "share")  # of the payload
ARCHITECTURES = ("x86_64", "aarch64")

MAX_MANIFEST = 65_536
MAX_SIGNATURES = 8_192
MAX_INSTALLER = 262_144
MAX_PAYLOAD = 128 << 20
MAX_BUNDLE = MAX_MANIFEST + MAX_SIGNATURES + MAX_INSTALLER + MAX_PAYLOAD + 32_768  # with the tar's own headers
LIMITS = {MANIFEST: MAX_MANIFEST, SIGNATURES: MAX_SIGNATURES, INSTALLER: MAX_INSTALLER, PAYLOAD: MAX_PAYLOAD}
# Of an unpacked payload: what a compressed file may grow to, and into how many files.
MAX_UNPACKED = 512 << 20
MAX_FILES = 20_000
MAX_PUBLIC_KEY = 1_024  # bytes of a PEM file of trust.d
MAX_KEYS = 32  # of trust.d

VERSION = re.compile(r"\d{1,5}\.\d{1,5}\.\d{1,5}")
FILE_NAME = re.compile(rf"{NAME}-({VERSION.pattern})-({'|'.join(ARCHITECTURES)})\.tar")
RELEASE_ID = re.compile("[0-9a-f]{64}")
_PYTHON = re.compile(r"3\.\d{1,2}")
_SIGNATURE = re.compile(r"([0-9a-f]{16}) ([A-Za-z0-9+/]{86}==)")
_ABI = re.compile(r"\.cpython-(3\d{1,2})-[^/]+\.so\Z")
_MEMBER = re.compile(rf"(?:{'|'.join(FOLDERS)})(?:/[A-Za-z0-9_+][A-Za-z0-9_.+-]*)+")


class Content(NamedTuple):
    """What the manifest promises of a member.

    Args:
        sha256: 64 hex digits.
        size_bytes: exact.
    """

    sha256: str
    size_bytes: int


class Manifest(NamedTuple):
    """What a bundle says about itself.

    Args:
        version: three numbers with dots between.
        arch: ``x86_64`` or ``aarch64``, as ``uname -m`` has it.
        pythons: ``("3.10", ...)``, those it runs on.
        installer: of ``install.sh``.
        payload: of ``payload.tar.gz``.
        registration_format: the newest format of the registration that this release reads.
        core_bytes: what the agent takes on a box, byte code included.
        scan_bytes: what the layer for scanning takes on top; 0 = it has none.
    """

    version: str
    arch: str
    pythons: tuple[str, ...]
    installer: Content
    payload: Content
    registration_format: int = 2
    core_bytes: int = 0
    scan_bytes: int = 0


def bundle_name(version: str, arch: str) -> str:
    """The name of a bundle's file."""
    return f"{NAME}-{version}-{arch}.tar"


def parse_name(name: str) -> tuple[str, str] | None:
    """The name of a bundle's file -> version and architecture; None for any other name."""
    match = FILE_NAME.fullmatch(name)
    return (match[1], match[2]) if match else None


def version_order(version: str) -> tuple[int, ...]:
    """``0.10.2`` -> ``(0, 10, 2)``: the later release compares greater. Raises WireError."""
    if not VERSION.fullmatch(version):
        raise WireError(f"{version[:40]!r} is not three numbers with dots between", "bundle_malformed")
    return tuple(int(part) for part in version.split("."))


def release_id(manifest: bytes) -> str:
    """The manifest's bytes -> the id of the release, 64 hex digits."""
    return hashlib.sha256(manifest).hexdigest()


def is_member(name: str) -> bool:
    """Whether a payload may hold a file of this name: relative, inside ``FOLDERS``, no way up, plain characters."""
    return len(name) <= 250 and _MEMBER.fullmatch(name) is not None


def is_for(name: str, python: str) -> bool:
    """Whether a payload's file is of use to a Python such as ``3.12``: all but modules compiled for another one."""
    match = _ABI.search(name)
    return match is None or match[1] == python.replace(".", "")


# ---- manifest ------------------------------------------------------------------------------------------------------


def encode_manifest(manifest: Manifest) -> bytes:
    """``Manifest`` -> its one encoding: JSON in ASCII with sorted keys, without spaces."""
    return _canonical(
        {
            "format": FORMAT,
            "name": NAME,
            "version": manifest.version,
            "arch": manifest.arch,
            "pythons": list(manifest.pythons),
            "files": {
                name: {"sha256": content.sha256, "size": content.size_bytes}
                for name, content in ((INSTALLER, manifest.installer), (PAYLOAD, manifest.payload))
            },
            "registrationFormat": manifest.registration_format,
            "installed": {"core": manifest.core_bytes, "scan": manifest.scan_bytes},
        }
    )


def decode_manifest(body: bytes) -> Manifest:
    """Bytes of a manifest -> ``Manifest``.

    Fields that this version does not know are passed over, so that a later release may say more; what changes the
    meaning of those known takes another ``format``.

    Raises:
        WireError: ``bundle_malformed``; ``bundle_newer``: of a format that this version does not read.
    """
    try:
        source = bounded.decode_object(body, MAX_MANIFEST)
        form = bounded.integer(source, "format", 1, 1 << 31)
        if form != FORMAT:
            raise WireError(f"the bundle is of format {form}, this agent reads {FORMAT}", "bundle_newer")
        if _canonical(source) != body:
            raise WireError("the manifest is not encoded canonically")
        return _manifest(source)
    except (WireError, RecursionError) as error:
        if isinstance(error, WireError) and error.code == "bundle_newer":
            raise
        raise WireError(str(error), "bundle_malformed") from None


def _canonical(value: dict[str, object]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def _manifest(source: dict[str, object]) -> Manifest:
    version, arch = bounded.text(source, "version", 17), bounded.text(source, "arch", 16)
    if bounded.text(source, "name", 32) != NAME or parse_name(bundle_name(version, arch)) is None:
        raise WireError(f"this is no release of {NAME} for {' or '.join(ARCHITECTURES)}")
    pythons = source.get("pythons")
    if not isinstance(pythons, list) or not 0 < len(pythons) <= 16:
        raise WireError("pythons is not a list of 1 to 16 versions")
    if not all(isinstance(one, str) and _PYTHON.fullmatch(one) for one in pythons):
        raise WireError("pythons holds something else than versions")
    files, installed = bounded.child(source, "files"), bounded.child(source, "installed")
    return Manifest(
        version,
        arch,
        tuple(pythons),
        _content(files, INSTALLER),
        _content(files, PAYLOAD),
        bounded.integer(source, "registrationFormat", 1, 1_000),
        bounded.integer(installed, "core", 0, MAX_UNPACKED),
        bounded.integer(installed, "scan", 0, MAX_UNPACKED),
    )


def _content(files: dict[str, object], name: str) -> Content:
    source = bounded.child(files, name)
    sha256 = bounded.text(source, "sha256", 64)
    if not RELEASE_ID.fullmatch(sha256):
        raise WireError(f"the SHA-256 of {name} is not 64 hex digits")
    return Content(sha256, bounded.integer(source, "size", 0, LIMITS[name]))


# ---- signatures ----------------------------------------------------------------------------------------------------


def key_id(spki_der: bytes) -> str:
    """A public key as SubjectPublicKeyInfo in DER -> the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(spki_der).hexdigest()[:16]


def encode_signatures(signatures: Mapping[str, bytes]) -> bytes:
    """Key id -> signature of 64 bytes, as the text of ``signatures``: sorted, one line each."""
    lines = [f"{key} {binascii.b2a_base64(value, newline=False).decode()}\n" for key, value in signatures.items()]
    return "".join(sorted(lines)).encode("ascii")


def decode_signatures(body: bytes) -> dict[str, bytes]:
    """The text of ``signatures`` -> key id -> signature; an empty text has none. Raises WireError."""
    if len(body) > MAX_SIGNATURES:
        raise WireError(f"the signatures have {len(body)} bytes, {MAX_SIGNATURES} are allowed", "bundle_malformed")
    found: dict[str, bytes] = {}
    for line in body.decode("ascii", "replace").splitlines():
        match = _SIGNATURE.fullmatch(line)
        if match is None or match[1] in found:
            raise WireError("a signature is not KEYID BASE64, each key once", "bundle_malformed")
        found[match[1]] = binascii.a2b_base64(match[2])
    if encode_signatures(found) != body:
        raise WireError("the signatures are not encoded canonically", "bundle_malformed")
    return found


def read_public_key(pem: bytes) -> tuple[str, bytes]:
    """A file of trust.d -> key id, and the 32 bytes of the public key.

    Args:
        pem: SubjectPublicKeyInfo of an Ed25519 key in PEM.

    Raises:
        WireError: ``key_malformed``.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

    try:
        key = load_pem_public_key(pem) if len(pem) <= MAX_PUBLIC_KEY else None
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise WireError("this is no public Ed25519 key in PEM", "key_malformed")
    return (
        key_id(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
        key.public_bytes(Encoding.Raw, PublicFormat.Raw),
    )


def verify(manifest: bytes, signatures: bytes, trusted: Mapping[str, bytes]) -> str:
    """Whether somebody who is trusted here signed a release.

    Args:
        manifest: its very bytes.
        signatures: the text of ``signatures``.
        trusted: key id -> the 32 bytes of a public key, as ``read_public_key`` returns them.

    Returns:
        the id of a key that signed it.

    Raises:
        WireError: ``bundle_malformed``; ``signature_missing``: nobody signed it; ``signature_unknown``: only keys that
            are not trusted here; ``signature_wrong``: a trusted key, but of other bytes.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    found = decode_signatures(signatures)
    if not found:
        raise WireError("the bundle is not signed", "signature_missing")
    known = [key for key in found if key in trusted]
    if not known:
        raise WireError(f"the bundle is signed by {', '.join(found)[:200]} only", "signature_unknown")
    for key in known:
        try:
            Ed25519PublicKey.from_public_bytes(trusted[key]).verify(found[key], manifest)
        except (InvalidSignature, ValueError):
            continue
        return key
    raise WireError("the signature is not that of this bundle", "signature_wrong")
