"""A bundle as a file: made, read back with suspicion, signed. ``firstlight.wire.bundle`` says what it holds.

The tar has one encoding only: a header for each member that follows from its name and size, and zeros. What differs by
one bit, also where no hash reaches, is no bundle.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from firstlight.wire import bundle as wire
from firstlight.wire.bounded import WireError
from firstlight.wire.bundle import Content, Manifest
from firstlight_hub.bundle_contents import BundleError, Files

BLOCK = 512
CHUNK_BYTES = 1 << 20
END = bytes(2 * BLOCK)
COMPRESSED = 6  # level 9 takes three times as long for one per cent

Sign = Callable[[bytes], Mapping[str, bytes]]  # the manifest's bytes -> key id -> signature


class Bundle(NamedTuple):
    """What stands at the head of a bundle.

    Args:
        manifest: read.
        manifest_bytes: as they are, for their hash is the id.
        signatures: key id -> signature, none of them believed yet.
    """

    manifest: Manifest
    manifest_bytes: bytes
    signatures: Mapping[str, bytes]

    @property
    def id(self) -> str:
        """The id of the release, 64 hex digits."""
        return wire.release_id(self.manifest_bytes)


# ---- making --------------------------------------------------------------------------------------------------------


def write_bundle(
    directory: Path, version: str, arch: str, pythons: tuple[str, ...], files: Files, installer: bytes, sign: Sign
) -> Path:
    """Makes the bundle of one architecture; the same files give the same bytes.

    Args:
        directory: to put it into.
        version: of the agent.
        arch: ``x86_64`` or ``aarch64``.
        pythons: those it is for.
        files: of the payload.
        installer: ``install.sh``.
        sign: makes the signatures.

    Raises:
        BundleError: ``bundle_unfit``: a file has a name that no box would unpack, or it is all too large.
        OSError: the directory cannot be written.
    """
    if odd := [name for name in files if not wire.is_member(name)]:
        raise BundleError("bundle_unfit", f"No box would unpack {odd[0]!r}.")
    contents = {name: _content(files[name]) for name in sorted(files)}
    payload = _payload(contents)
    if len(payload) > wire.MAX_PAYLOAD or len(files) > wire.MAX_FILES:
        raise BundleError("bundle_unfit", f"{len(files)} files of {len(payload)} bytes are more than boxes unpack.")
    manifest = Manifest(
        version,
        arch,
        pythons,
        Content(hashlib.sha256(installer).hexdigest(), len(installer)),
        Content(hashlib.sha256(payload).hexdigest(), len(payload)),
        core_bytes=_installed(contents, ("lib", "share"), pythons),
        scan_bytes=_installed(contents, ("scan",), pythons),
    )
    head = wire.encode_manifest(manifest)
    members = (head, wire.encode_signatures(sign(head)), installer, payload)
    place = directory / wire.bundle_name(version, arch)
    _replace(place, _encoded(dict(zip(wire.MEMBERS, members, strict=True))))
    return place


def add_signatures(path: Path, sign: Sign) -> Bundle:
    """Adds signatures to a bundle; those that are there stay, and the id too. Done twice it is done once.

    Raises:
        BundleError: ``bundle_malformed``: it is none. OSError.
    """
    found = read_bundle(path)
    signatures = {**found.signatures, **sign(found.manifest_bytes)}
    if signatures != found.signatures:
        with path.open("rb") as file:
            members = {name: b"".join(_parts(file, size)) for name, size in _members(file)}
        _replace(path, _encoded({**members, wire.SIGNATURES: wire.encode_signatures(signatures)}))
    return found._replace(signatures=signatures)


def _payload(contents: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=COMPRESSED, fileobj=made, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, content in contents.items():
            member = tarfile.TarInfo(name)  # owner 0, time 0
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def _content(value: Path | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.read_bytes()


def _installed(contents: Mapping[str, bytes], folders: tuple[str, ...], pythons: tuple[str, ...]) -> int:
    """What these folders take on a box at most; byte code is about as large as its source."""
    sizes = {name: len(content) * (2 if name.endswith(".py") else 1) for name, content in contents.items()}
    names = [name for name in contents if name.split("/")[0] in folders]
    return max(sum(sizes[name] for name in names if wire.is_for(name, python)) for python in pythons)


def _encoded(members: Mapping[str, bytes]) -> Iterator[bytes]:
    for name in wire.MEMBERS:
        yield _header(name, len(members[name]))
        yield members[name]
        yield bytes(-len(members[name]) % BLOCK)
    yield END


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.USTAR_FORMAT)


def _replace(place: Path, parts: Iterator[bytes]) -> None:
    with tempfile.NamedTemporaryFile(dir=place.parent, prefix=".making-", delete=False) as raw:
        try:
            for part in parts:
                raw.write(part)
            raw.flush()
            os.fsync(raw.fileno())
            Path(raw.name).chmod(0o644)
            Path(raw.name).replace(place)
        except BaseException:
            Path(raw.name).unlink(missing_ok=True)
            raise


# ---- reading -------------------------------------------------------------------------------------------------------


def read_bundle(path: Path, *, is_ours: bool = False) -> Bundle:
    """Reads a bundle through, with every hash and name in it.

    Args:
        path: the file.
        is_ours: made here a moment ago: its payload need not be unpacked.

    Raises:
        BundleError: ``bundle_malformed``, or ``bundle_newer``: of a later format.
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return _read(file, is_ours)
    except (WireError, EOFError, tarfile.TarError, zlib.error, gzip.BadGzipFile) as error:
        code = error.code if isinstance(error, WireError) and error.code == "bundle_newer" else "bundle_malformed"
        hint = "Fetch or make the file again."
        raise BundleError(code, f"{path.name} is no whole bundle: {error}.", hint) from None


def _read(file: BinaryIO, is_ours: bool) -> Bundle:
    hashes: dict[str, Content] = {}
    heads: dict[str, bytes] = {}
    place = 0
    for name, size in _members(file):
        digest = hashlib.sha256()
        place = file.tell()
        for part in _parts(file, size):
            digest.update(part)
            if name in (wire.MANIFEST, wire.SIGNATURES):
                heads[name] = heads.get(name, b"") + part
        hashes[name] = Content(digest.hexdigest(), size)
    manifest = wire.decode_manifest(heads[wire.MANIFEST])
    if (hashes[wire.INSTALLER], hashes[wire.PAYLOAD]) != (manifest.installer, manifest.payload):
        raise WireError("a part of it is not what its manifest says")
    if not is_ours:
        file.seek(place)
        _check_payload(file)
    return Bundle(manifest, heads[wire.MANIFEST], wire.decode_signatures(heads.get(wire.SIGNATURES, b"")))


def _members(file: BinaryIO) -> Iterator[tuple[str, int]]:
    """Name and size of each member, the file standing at its content; whoever asks on has to have read that."""
    for name in wire.MEMBERS:
        header = file.read(BLOCK)
        digits = header[124:135]
        size = int(digits, 8) if len(header) == BLOCK and digits.isdigit() and not set(digits) & set(b"89") else -1
        if not 0 <= size <= wire.LIMITS[name] or header != _header(name, size):
            raise WireError(f"{name} does not stand where it should")
        yield name, size
        if file.read(-size % BLOCK) != bytes(-size % BLOCK):
            raise WireError(f"something stands behind {name}")
    if file.read(len(END) + 1) != END:
        raise WireError("it does not end where it should")


def _parts(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        part = file.read(min(size, CHUNK_BYTES))
        if not part:
            raise WireError("it is cut")
        size -= len(part)
        yield part


def _check_payload(file: BinaryIO) -> None:
    names: set[str] = set()
    size = 0
    with gzip.GzipFile(fileobj=file) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as archive:
        for member in archive:
            size += member.size
            if not member.isreg() or not wire.is_member(member.name) or member.name in names:
                raise WireError(f"a box would not unpack {member.name[:100]!r}")
            if size > wire.MAX_UNPACKED or len(names) >= wire.MAX_FILES:
                raise WireError("it unpacks to more than a box takes")
            names.add(member.name)
    if "lib/firstlight/__init__.py" not in names:
        raise WireError("the agent is not in it")
