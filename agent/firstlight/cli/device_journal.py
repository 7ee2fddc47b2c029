"""What a run of ``device create --csv`` has done, on the disk before it goes on: the next run makes nothing twice.

A file of JSON lines, the user's alone (0600). The first says for which place it is. ``will`` names devices before they
are asked for, with the secrets that the desk made up for them; ``made`` holds an answer, with the secrets in it. A last
line that was cut is passed over: what it was about is in doubt, and the platform is asked.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from firstlight.core.management import Made, Place
from firstlight.errors import StateError, UsageError

FORMAT = 1
MAX_BYTES = 64 << 20
Keys = Mapping[str, dict[str, str]]


class Done(NamedTuple):
    """A device that was made, and whether it was found rather than created."""

    made: Made
    was_found: bool = False


class Journal:
    """The memory of a run.

    Args:
        path: of the file, made where it is not there; None keeps the memory for this run only.
        platform, place: what the run is for.
        on_step: is called before and after each writing.

    Attributes:
        made: what earlier runs and this one made, by key.
        intended: what was asked for, with the secrets made up for it; ``made`` may have it too.

    Raises:
        UsageError: ``journal_other``, ``journal_locked``, ``journal_damaged``.
        StateError: ``output_unwritable``.
    """

    def __init__(
        self, path: Path | None, platform: str, place: Place, on_step: Callable[[str], None] = lambda step: None
    ) -> None:
        self.made: dict[str, Done] = {}
        self.intended: dict[str, dict[str, str]] = {}
        self._path, self._on_step = path, on_step
        self._fd = -1
        head = {"journal": FORMAT, "platform": platform, "base": place.endpoint.url, "workspace": place.workspace}
        if path is None:
            return
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unwritable(path, error) from None
        try:
            _check_mine(path, os.fstat(self._fd))
            os.fchmod(self._fd, 0o600)
            self._lock(path)
            self._read(path, head)
        except OSError as error:
            self.close()
            raise _unwritable(path, error) from None
        except BaseException:
            self.close()
            raise

    def _lock(self, path: Path) -> None:
        import fcntl

        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError("journal_locked", f"Another run is at work on {path}.") from None

    def _read(self, path: Path, head: dict[str, object]) -> None:
        size_bytes = os.fstat(self._fd).st_size
        if size_bytes > MAX_BYTES:
            raise UsageError("journal_damaged", f"{path} is larger than any run writes.")
        body = b""
        while len(body) < size_bytes and (part := os.pread(self._fd, size_bytes - len(body), len(body))):
            body += part
        whole = body[: body.rfind(b"\n") + 1]
        if len(whole) != size_bytes:
            os.ftruncate(self._fd, len(whole))
        lines = whole.splitlines()
        if not lines:
            self._append(head)
            _sync_folder(path)
            return
        if self._parsed(lines[0], path) != head:
            raise UsageError("journal_other", f"{path} is not the journal of a run for this platform and workspace.")
        for line in lines[1:]:
            self._take(self._parsed(line, path), path)

    def _parsed(self, line: bytes, path: Path) -> dict[str, object]:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise UsageError("journal_damaged", f"{path} has a line that no run wrote.")
        return found

    def _take(self, entry: dict[str, object], path: Path) -> None:
        will, made = entry.get("will"), entry.get("made")
        if isinstance(will, dict) and all(isinstance(secrets, dict) for secrets in will.values()):
            self.intended.update(will)
        elif isinstance(made, dict) and isinstance(made.get("key"), str) and isinstance(made.get("id"), str):
            boot, record = made.get("boot"), made.get("record")
            self.made[made["key"]] = Done(
                Made(
                    str(made.get("id")),
                    str(made.get("name")),
                    boot if isinstance(boot, dict) else None,
                    record if isinstance(record, dict) else {},
                ),
                made.get("found") is True,
            )
        else:
            raise UsageError("journal_damaged", f"{path} has a line that no run wrote.")

    def will(self, keys: Keys) -> None:
        """These are asked for next, each with its made-up secrets. On the disk when this returns."""
        self.intended.update(keys)
        self._append({"will": dict(keys)})

    def did(self, done: Mapping[str, Done]) -> None:
        """These were made. On the disk when this returns."""
        self.made.update(done)
        self._append(*(_entry(key, one) for key, one in done.items()))

    def _append(self, *entries: dict[str, object]) -> None:
        if self._fd < 0:
            return
        body = _lines(entries)
        self._on_step("write")
        try:
            while body:
                body = body[os.write(self._fd, body) :]
            os.fdatasync(self._fd) if hasattr(os, "fdatasync") else os.fsync(self._fd)
        except OSError as error:
            assert self._path is not None  # noqa: S101 - there is a descriptor
            raise _unwritable(self._path, error) from None
        self._on_step("written")

    def close(self) -> None:
        """Lets go of it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _check_mine(path: Path, found: os.stat_result) -> None:
    """What boxes are told to trust is taken from here: never from a file that came along with a table of somebody's.

    Raises UsageError: it is no plain file, or not this user's alone, as each that a run has made is.
    """
    is_private = not found.st_size or not found.st_mode & 0o077
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and is_private:
        return
    said = f"{path} is not a file of yours alone, as a run makes it."
    raise UsageError("journal_damaged", said, f"If a run of yours made it: chmod 600 {path}. Else take it away.")


def _entry(key: str, done: Done) -> dict[str, object]:
    made = done.made
    told = {"key": key, "id": made.device_id, "name": made.name, "boot": made.boot_file, "record": made.record}
    return {"made": told | ({"found": True} if done.was_found else {})}


def _lines(entries: Iterable[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(entry, separators=(",", ":")).encode() + b"\n" for entry in entries)


def _unwritable(path: Path, error: OSError) -> StateError:
    said = f"The journal {path} cannot be written: {error.strerror or error}."
    return StateError("output_unwritable", said, "Give a place for it with --journal FILE.")


def _sync_folder(path: Path) -> None:
    fd = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
