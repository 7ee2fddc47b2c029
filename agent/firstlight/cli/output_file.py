"""A file that a verb was asked to write: whole or not at all, and private where it holds a secret."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path

from firstlight.errors import StateError, UsageError

PRIVATE, PUBLIC = 0o600, 0o644


def write(path: str | Path, body: bytes, mode: int = PRIVATE) -> None:
    """Puts ``body`` at a path, on the disk when this returns; a link of that name is replaced, not followed.

    Args:
        path: of a plain file, there or not.
        body: its content.
        mode: rights of the file, where the file system has rights.

    Raises:
        UsageError: ``usage``: it is a folder.
        StateError: ``output_unwritable``; what was there before still is.
    """
    goal = Path(path)
    if goal.is_dir():
        raise UsageError("usage", f"{goal} is a folder.", "Give the name of a file.")
    temporary = goal.with_name(f".{goal.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            _fill(temporary, body, mode)
            temporary.replace(goal)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            raise
        _sync(goal.parent)
    except OSError as error:
        raise StateError("output_unwritable", f"{goal} cannot be written: {error.strerror or error}.") from None


def write_all(folder: str | Path, files: Mapping[str, bytes]) -> None:
    """Many private files in one folder: as ``write`` each, but on the disk together, which costs less than half.

    A file that is there as it should be is left alone.

    Args:
        folder: that is there.
        files: content by name.

    Raises:
        UsageError, StateError: as ``write``; of the files all, none or some are there, each whole.
    """
    goals = {Path(folder, name): body for name, body in files.items()}
    if taken := next((goal for goal in goals if goal.is_dir()), None):
        raise UsageError("usage", f"{taken} is a folder.", "Give the name of a file.")
    written: list[tuple[Path, Path]] = []
    goal = Path(folder)
    try:
        try:
            for goal, body in goals.items():
                if not _is_there(goal, body):
                    written.append((goal.with_name(f".{goal.name[:100]}.{secrets.token_hex(4)}.tmp"), goal))
                    _fill(written[-1][0], body, PRIVATE, syncs=False)
            for temporary, _ in written:
                _sync(temporary, is_file=True)
            for temporary, goal in written:
                temporary.replace(goal)
        except BaseException:
            for temporary, _ in written:
                with suppress(OSError):
                    temporary.unlink()
            raise
        _sync(Path(folder))
    except OSError as error:
        raise StateError("output_unwritable", f"{goal} cannot be written: {error.strerror or error}.") from None


def _is_there(goal: Path, body: bytes) -> bool:
    try:
        found = goal.lstat()
        is_like = stat.S_ISREG(found.st_mode) and found.st_size == len(body) and not found.st_mode & 0o077
        return is_like and goal.read_bytes() == body
    except OSError:
        return False


def _fill(temporary: Path, body: bytes, mode: int, *, syncs: bool = True) -> None:
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        with suppress(OSError):  # a stick's file system has no rights
            os.fchmod(file.fileno(), mode)
        file.write(body)
        file.flush()
        if syncs:
            os.fsync(file.fileno())


def _sync(path: Path, *, is_file: bool = False) -> None:
    with nullcontext() if is_file else suppress(OSError):  # some file systems of sticks cannot sync a folder
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
