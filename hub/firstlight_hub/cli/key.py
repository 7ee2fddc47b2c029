"""``firstlight-hub key create | list | revoke``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from firstlight.core.model import Secret
from firstlight.errors import StateError
from firstlight_hub.folder import HubFolder, write_private
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


def hand_out(name: str, key: Secret, path: Path | None) -> None:
    """Prints a fresh key, or writes it to a file for its owner only. Raises StateError ``state_unwritable``."""
    if path is None:
        print(f"{name} (shown this once): {key.reveal()}")
        return
    try:
        write_private(path, key.reveal().encode() + b"\n")
    except OSError as error:
        raise StateError("state_unwritable", f"{path} cannot be written: {error.strerror}.") from None
    print(f"{name}: in {path}")


def create(arguments: argparse.Namespace) -> None:
    """Makes a key."""
    with _access(arguments.dir) as access:
        made, key = access.create_key(arguments.workspace, arguments.scope, arguments.device, arguments.label)
    hand_out(f"Key {made.handle}", key, arguments.key_file)


def show(arguments: argparse.Namespace) -> None:
    """Lists all keys, one a line."""
    with _access(arguments.dir) as access:
        for key in access.all_keys():
            scopes = "all scopes" if key.scopes is None else " ".join(key.scopes)
            state = "valid" if key.revoked_at_ms is None else f"revoked {iso(key.revoked_at_ms)}"
            bound = key.device_id or "-"
            print("  ".join((key.handle, key.workspace, scopes, bound, state, key.label)).rstrip())


def revoke(arguments: argparse.Namespace) -> None:
    """Ends a key."""
    with _access(arguments.dir) as access:
        access.revoke_key(arguments.handle)
    print(f"The key {arguments.handle} is not valid any more.")
