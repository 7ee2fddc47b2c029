"""``firstlight-hub key create | list | revoke``."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from firstlight.core.model import Secret
from firstlight.errors import StateError, UsageError
from firstlight_hub.folder import HubFolder
from firstlight_hub.model import iso
from firstlight_hub.service.access import Access


@contextmanager
def _access(directory: Path) -> Iterator[Access]:
    folder = HubFolder(directory)
    settings = folder.settings()
    store = folder.store()
    try:
        yield Access(store, lambda: time.time_ns() // 1_000_000, settings.workspaces)
    finally:
        store.close()


@contextmanager
def handing_out(path: Path | None) -> Iterator[Callable[[str, Secret], None]]:
    """Reserves the file before a key is made: one that cannot be handed out, or would replace another, is not made.

    Args:
        path: a new file, for its owner only; None to print the key.

    Yields:
        what hands out a key under a name; without it, or after an error, no file is left.

    Raises:
        UsageError: ``key_file_exists``.
        StateError: ``state_unwritable``.
    """
    if path is None:
        yield lambda name, key: print(f"{name} (shown this once): {key.reveal()}")
        return
    refuse_taken(path)
    try:
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except FileExistsError:
        raise _taken(path) from None
    except OSError as error:
        raise _unwritable(path, error) from None
    is_done = False

    def write(name: str, key: Secret) -> None:
        nonlocal is_done
        try:
            file.write(key.reveal().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            raise _unwritable(path, error) from None
        is_done = True
        print(f"{name}: in {path}")

    try:
        with file:
            yield write
    finally:
        if not is_done:
            path.unlink(missing_ok=True)


def refuse_taken(path: Path | None) -> None:
    """Raises UsageError ``key_file_exists`` where something is already, a dangling link too."""
    if path is not None and os.path.lexists(path):
        raise _taken(path)


def _taken(path: Path) -> UsageError:
    return UsageError("key_file_exists", f"{path} is there already; no key was made.")


def _unwritable(path: Path, error: OSError) -> StateError:
    hint = "Give a file in a folder that is there and that you may write."
    return StateError("state_unwritable", f"{path} cannot be written: {error.strerror}.", hint)


def create(arguments: argparse.Namespace) -> None:
    """Makes a key."""
    with _access(arguments.dir) as access, handing_out(arguments.key_file) as hand_out:
        made, key = access.create_key(arguments.workspace, arguments.scope, arguments.device, arguments.label)
        hand_out(f"Key {made.handle}", key)


def show(arguments: argparse.Namespace) -> None:
    """Lists all keys, one a line, below a line that names the columns."""
    rows = [("HANDLE", "WORKSPACE", "SCOPES", "DEVICE", "CREATED", "STATE", "LABEL")]
    with _access(arguments.dir) as access:
        for key in access.all_keys():
            scopes = "all" if key.scopes is None else ",".join(key.scopes) or "-"
            state = "valid" if key.revoked_at_ms is None else f"revoked {iso(key.revoked_at_ms)}"
            created = iso(key.created_at_ms) or "-"
            rows.append((key.handle, key.workspace, scopes, key.device_id or "-", created, state, key.label or "-"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def revoke(arguments: argparse.Namespace) -> None:
    """Ends a key."""
    with _access(arguments.dir) as access:
        access.revoke_key(arguments.handle)
    print(f"The key {arguments.handle} is not valid any more.")
