"""Every implementation of the store, and what the contract suite puts into one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from firstlight.core.model import Facts, Hardware
from firstlight_hub.model import BeatRow, Device, HistoryRow
from firstlight_hub.store import Store
from firstlight_hub.store.sqlite import SqliteStore

STORES: dict[str, Callable[[Path], Store]] = {"sqlite": lambda folder: SqliteStore(folder / "hub.sqlite3")}
FACTS = Facts("cam", "Linux", "6.1", None, "x86_64", None, Hardware(total_memory_mb=1024))


def device(name: str, workspace: str = "demo", tags: tuple[str, ...] = ("a", "b")) -> Device:
    """A device that was just created."""
    return Device(0, workspace, name, f"The {name}", "ai1", "flow", tags, True, 1234)


def add(store: Store, *devices: Device) -> list[Device]:
    """Stores devices and reads them back."""
    with store.writing() as transaction:
        for one in devices:
            transaction.add_device(one)
    with store.reading() as view:
        return [found for one in devices if (found := view.device(one.id))]


def beat(
    number: int, received_at_ms: int, *sequences: int, facts: Facts | None = None, key: bytes = b"k" * 32
) -> BeatRow:
    """A beat with those history rows; all but the first are late."""
    rows = [HistoryRow("b" * 32, n, 1.5, 2.5, 0.5, None, None, 40.0, n != sequences[0], None) for n in sequences]
    return BeatRow(number, key, received_at_ms, -5, "0.1.0", facts, "f" * 16, tuple(rows))


def bound(store: Store, name: str = "cam", key: bytes = b"k" * 32) -> int:
    """Stores a device with a key -> its number."""
    (found,) = add(store, device(name)._replace(key_fingerprint="sha256:x", key_hash=key))
    return found.number
