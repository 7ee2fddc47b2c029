"""The bundles that a hub hands out: found again when they change, so that one may be put there while it serves."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import tarfile
import threading
import zlib
from pathlib import Path

import firstlight

OF_THIS_VERSION = re.compile(rf"firstlight-{re.escape(firstlight.__version__)}-cp3\d+t?-[a-z0-9_-]+\.tar\.gz")
CHUNK_BYTES = 1 << 20

Stamp = tuple[int, int, int]  # inode, size, time of the last change in ns


class Shelf:
    """A directory of bundles.

    Each look costs a listing and one ``stat`` for a bundle; only what is new or has changed is read. A file that is
    still being written is not whole, or changes while it is read: it is looked at again the next time.

    Args:
        directory: where bundles are.
        trusted: a bundle of our own making, which need not be read through.
    """

    def __init__(self, directory: Path, trusted: Path | None = None) -> None:
        self.directory = directory
        self._seen: dict[str, tuple[Stamp, str]] = {}
        self._lock = threading.Lock()
        if trusted is not None and (stamp := _stamp(trusted)):
            self._seen[trusted.name] = (stamp, sha256(trusted))

    def offered(self) -> dict[str, str]:
        """File name -> SHA-256 in hex, of every whole bundle of this version that is there now."""
        with self._lock:
            present = {name: stamp for name in self._names() if (stamp := _stamp(self.directory / name))}
            self._seen = {name: self._looked_at(name, stamp) for name, stamp in present.items()}
            return {name: digest for name, (_, digest) in self._seen.items() if digest}

    def _names(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self.directory) if OF_THIS_VERSION.fullmatch(name))  # noqa: PTH208
        except OSError:
            return []

    def _looked_at(self, name: str, stamp: Stamp) -> tuple[Stamp, str]:
        known = self._seen.get(name)
        if known and known[0] == stamp:
            return known
        path = self.directory / name
        try:
            digest = sha256(path) if is_whole(path) else ""
        except OSError:
            digest = ""
        return (stamp, digest) if _stamp(path) == stamp else ((0, 0, 0), "")


def is_whole(bundle: Path) -> bool:
    """Whether a file is a complete bundle: it reads to its end and holds the agent, nothing that reaches outside."""
    try:
        with gzip.open(bundle) as unpacked:
            with tarfile.open(fileobj=unpacked, mode="r:") as archive:
                members = archive.getmembers()
            while unpacked.read(CHUNK_BYTES):  # the tar ends before the file does: its checksum comes last
                pass
    except (OSError, EOFError, tarfile.TarError, zlib.error):
        return False
    return any(member.name == "lib/firstlight/__init__.py" for member in members) and all(
        member.isfile() and member.name.startswith(("lib/", "share/")) and ".." not in member.name.split("/")
        for member in members
    )


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
