"""A bundle as a file: its members found without trusting a word of it, and its payload unpacked beside what runs.

Nothing here says whether a bundle is good: the caller checks manifest, signature and hash before it unpacks.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import tarfile
import zlib
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import IO

from firstlight.errors import StateError, UpgradeError

BLOCK = 512  # of a tar
CHUNK_BYTES = 1 << 20


def damaged(why: str) -> UpgradeError:
    """What a bundle is called that is not one, or is cut, or was changed."""
    return UpgradeError("bundle_damaged", f"The bundle cannot be used: {why}.")


def no_space(path: str, error: OSError) -> StateError | UpgradeError:
    """What a full disk, or one that refuses, is called."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return UpgradeError("upgrade_no_space", f"{path} has no room for the release.")
    return StateError("state_unwritable", f"{path} cannot be written: {error.strerror or error}.")


class BundleFile:
    """An open bundle. A context manager; what is checked and what is unpacked is the same open file.

    Args:
        path: the file; nobody else may be able to write it while it is open.
        limits: names of its members, in their order, and the largest size of each in bytes.

    Raises:
        UpgradeError: ``bundle_damaged``.
        StateError: ``state_unreadable``.
    """

    def __init__(self, path: str, limits: Mapping[str, int]) -> None:
        self._places: dict[str, tuple[int, int]] = {}
        try:
            self._file: IO[bytes] = open(path, "rb")  # noqa: SIM115 - closed by the with block around this object
            self._size = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise StateError("state_unreadable", f"{path} cannot be read: {error.strerror}.") from None
        try:
            self._find(limits)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> BundleFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _find(self, limits: Mapping[str, int]) -> None:
        offset = 0
        for name, limit_bytes in limits.items():
            self._file.seek(offset)
            try:
                # One header block and nothing else: no long names, links or extensions are followed.
                member = tarfile.TarInfo.frombuf(self._file.read(BLOCK), "ascii", "strict")
            except (tarfile.HeaderError, ValueError):
                raise damaged(f"there is no {name} in it") from None
            if member.name != name or not member.isreg() or not 0 <= member.size <= limit_bytes:
                raise damaged(f"{name} is not what stands there")
            self._places[name] = (offset + BLOCK, member.size)
            padding = -member.size % BLOCK
            self._file.seek(offset + BLOCK + member.size)
            if self._file.read(padding).strip(b"\0"):
                raise damaged(f"there is more behind {name} than belongs there")
            offset += BLOCK + member.size + padding
        if offset > self._size:
            raise damaged("it is cut")
        self._file.seek(offset)
        while rest := self._file.read(CHUNK_BYTES):
            if rest.strip(b"\0"):
                raise damaged("there is more in it than belongs there")

    def read(self, name: str) -> bytes:
        """A small member, whole."""
        offset, size = self._places[name]
        self._file.seek(offset)
        return self._file.read(size)

    def size(self, name: str) -> int:
        """A member's size in bytes."""
        return self._places[name][1]

    def sha256(self, name: str) -> str:
        """A member's SHA-256 in hex."""
        digest = hashlib.sha256()
        offset, size = self._places[name]
        self._file.seek(offset)
        window = _Window(self._file, size)
        while part := window.read(CHUNK_BYTES):
            digest.update(part)
        return digest.hexdigest()

    def unpack(
        self, name: str, into: str, wants: Callable[[str], bool], max_bytes: int, max_files: int
    ) -> dict[str, int]:
        """Unpacks a member, a compressed tar of regular files, into a folder that exists.

        Args:
            name: of the member.
            into: the folder.
            wants: whether a file of that name is to be unpacked; raises ValueError for a name that may not be there.
            max_bytes: what it may hold, unpacked.
            max_files: how many files.

        Returns:
            name -> size in bytes of each file.

        Raises:
            UpgradeError: ``bundle_damaged``, ``upgrade_no_space``.
            StateError: ``state_unwritable``.
        """
        found: dict[str, int] = {}
        offset, size = self._places[name]
        self._file.seek(offset)
        try:
            with (
                gzip.GzipFile(fileobj=_Window(self._file, size), mode="rb") as packed,  # type: ignore[call-overload]
                tarfile.open(fileobj=packed, mode="r|") as archive,
            ):
                for count, member in enumerate(archive):
                    max_bytes -= member.size
                    if not member.isreg() or max_bytes < 0 or count >= max_files:
                        raise damaged(f"its file {member.name[:100]!r} is a link or another odd thing, or too much")
                    if wants(member.name):
                        _put(archive, member, into)
                        found[member.name] = member.size
        except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError, ValueError) as error:
            raise damaged(str(error)[:100] or "it is cut") from None
        except OSError as error:
            raise no_space(into, error) from None
        return found


class _Window:
    """The next so many bytes of a file, as a file."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size

    def read(self, size: int = -1) -> bytes:
        """At most that many of what is left."""
        part = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(part)
        return part


def _put(archive: tarfile.TarFile, member: tarfile.TarInfo, into: str) -> None:
    path = os.path.join(into, member.name)
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    source = archive.extractfile(member)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(fd, "wb") as file:
        while source is not None and (part := source.read(CHUNK_BYTES)):
            file.write(part)
