"""The bundles that a hub hands out: found again when they change, so that one may be put there while it serves."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import firstlight
from firstlight.wire import bundle as wire
from firstlight.wire.bounded import WireError
from firstlight_hub.bundle_contents import BundleError
from firstlight_hub.bundle_file import Bundle, read_bundle

CHUNK_BYTES = 1 << 20

Stamp = tuple[int, int, int]  # inode, size, time of the last change in ns


class Offered(NamedTuple):
    """A release on the shelf.

    Args:
        version: of the agent.
        arch: ``x86_64`` or ``aarch64``.
        pythons: ``("3.10", ...)``, those it runs on.
        id: the SHA-256 of its manifest, 64 hex digits.
        name: of the file; boxes fetch it as ``/bundles/NAME``.
        is_signed: by a key that the hub's boxes trust: only such a release can be rolled out.
    """

    version: str
    arch: str
    pythons: tuple[str, ...]
    id: str
    name: str
    is_signed: bool


class Shelf:
    """A directory of bundles, of several versions.

    Each look costs a listing and one ``stat`` for a bundle; only what is new or has changed is read. A file that is
    still being written is not whole, or changes while it is read: it is looked at again the next time.

    Args:
        directory: where bundles are.
        trusted: a bundle of our own making, which need not be read through.
        keys: key id -> raw public key: whose signatures count.
    """

    def __init__(self, directory: Path, trusted: Path | None = None, keys: Mapping[str, bytes] | None = None) -> None:
        self.directory = directory
        self._keys = dict(keys or {})
        self._seen: dict[str, tuple[Stamp, Offered | None]] = {}
        self._lock = threading.Lock()
        if trusted is not None and (stamp := _stamp(trusted)):
            self._seen[trusted.name] = (stamp, self._offered(trusted, is_ours=True))

    def offered(self) -> list[Offered]:
        """Every whole bundle that is there now, the newest version first."""
        with self._lock:
            present = {name: stamp for name in self._names() if (stamp := _stamp(self.directory / name))}
            self._seen = {name: self._looked_at(name, stamp) for name, stamp in present.items()}
            found = [one for _, one in self._seen.values() if one is not None]
        return sorted(found, key=lambda one: (wire.version_order(one.version), one.name), reverse=True)

    def of_this_version(self) -> list[Offered]:
        """Those that the install script offers: of the hub's own version."""
        return [one for one in self.offered() if one.version == firstlight.__version__]

    def newest(self, arch: str, python: str, *, is_signed: bool = True, version: str | None = None) -> Offered | None:
        """The newest release for a kind of box.

        Args:
            arch: as the facts name it: ``x86_64`` or ``aarch64``.
            python: ``3.12`` or ``3.12.1``; "" where it is not known, then any will do.
            is_signed: only one that boxes take as an upgrade.
            version: only this one.
        """
        short = ".".join(python.split(".")[:2])
        for one in self.offered():
            fits = one.arch == arch and (not short or short in one.pythons) and version in (None, one.version)
            if fits and (one.is_signed or not is_signed):
                return one
        return None

    def has(self, name: str) -> bool:
        """Whether a file of this name is offered now."""
        return any(one.name == name for one in self.offered())

    def _names(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self.directory) if wire.parse_name(name))  # noqa: PTH208
        except OSError:
            return []

    def _looked_at(self, name: str, stamp: Stamp) -> tuple[Stamp, Offered | None]:
        known = self._seen.get(name)
        if known and known[0] == stamp:
            return known
        path = self.directory / name
        found = self._offered(path)
        return (stamp, found) if _stamp(path) == stamp else ((0, 0, 0), None)

    def _offered(self, path: Path, *, is_ours: bool = False) -> Offered | None:
        try:
            found = read_bundle(path, is_ours=is_ours)
        except (BundleError, OSError):
            return None
        manifest = found.manifest
        if path.name != wire.bundle_name(manifest.version, manifest.arch):
            return None  # somebody renamed it: it would be handed out for the wrong box
        return Offered(manifest.version, manifest.arch, manifest.pythons, found.id, path.name, self._is_signed(found))

    def _is_signed(self, found: Bundle) -> bool:
        try:
            wire.verify(found.manifest_bytes, wire.encode_signatures(found.signatures), self._keys)
        except WireError:
            return False
        return True


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _stamp(path: Path) -> Stamp | None:
    """Changes when the file does; None for what is no plain file, or gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns) if path.is_file() else None
