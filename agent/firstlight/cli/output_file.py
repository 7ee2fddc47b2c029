"""A file that a verb was asked to write: whole or not at all, and private where it holds a secret."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
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


def _fill(temporary: Path, body: bytes, mode: int) -> None:
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        with suppress(OSError):  # a stick's file system has no rights
            os.fchmod(file.fileno(), mode)
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    with suppress(OSError):  # some file systems of sticks cannot sync a folder
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
