"""Files for their owner only: written whole or not at all, and an error that names the one that is damaged."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from firstlight.errors import StateError
from firstlight_hub.tls import UNREADABLE

T = TypeVar("T")


def read_private(path: Path) -> bytes:
    """A file's content. Raises StateError ``hub_damaged``."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise damaged(path, f"cannot be read: {error.strerror}", error) from None


def parsed(path: Path, parse: Callable[[bytes], T]) -> T:
    """A file's content, parsed. Raises StateError ``hub_damaged``."""
    content = read_private(path)
    try:
        return parse(content)
    except UNREADABLE:
        raise damaged(path, "is damaged") from None


def damaged(path: Path, how: str, why: OSError | None = None) -> StateError:
    """The error for a file that makes the hub."""
    hint = "Restore this file from a backup; without it device keys cannot be derived." if path.name == "secret" else ""
    if isinstance(why, PermissionError):
        hint = "Run the command as the user who owns the hub's folder and every file in it."
    return StateError("hub_damaged", f"{path} {how}.", hint)


def write_private(path: Path, content: bytes) -> None:
    """Writes a file for its owner only (0600), whole or not at all, on disk when it returns."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Brings to disk what was renamed or removed in a folder."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
