"""One interface for every database. A second implementation fills in these Protocols and passes the contract suite.

All changes of one ``writing()`` block are one transaction: on disk when the block ends, gone if it raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from firstlight.core.model import Facts
from firstlight_hub.model import ApiKey, BeatRow, Device, InstallId, Tombstone


class Reading(Protocol):
    """Questions, all answered from one consistent view."""

    def device(self, device_id: str) -> Device | None:
        """The device, of whatever workspace."""
        ...

    def device_by_key(self, key_hash: bytes) -> Device | None:
        """The device whose current key this is."""
        ...

    def devices(self, workspace: str, after: int, limit: int) -> Sequence[Device]:
        """At most ``limit`` devices with a number above ``after``, by number; costs the same in a table of any size."""
        ...

    def tombstone(self, device_id: str) -> Tombstone | None:
        """What is kept of a removed device."""
        ...

    def install_id(self, hashed: bytes) -> InstallId | None:
        """An installId by its SHA-256."""
        ...

    def install_ids(self, device_id: str) -> Sequence[InstallId]:
        """All installIds of a device, the newest first."""
        ...

    def api_key(self, hashed: bytes) -> ApiKey | None:
        """A key by its SHA-256, revoked or not."""
        ...

    def api_keys(self) -> Sequence[ApiKey]:
        """All keys, the oldest first."""
        ...


class Writing(Reading, Protocol):
    """Questions and changes of one transaction; nobody else writes meanwhile."""

    def add_device(self, device: Device) -> None:
        """Adds a device; its ``number`` is the store's to give."""
        ...

    def bind(
        self, device_id: str, fingerprint: str, key_hash: bytes, facts: tuple[Facts, str] | None, generation: int = 1
    ) -> None:
        """Gives a device its key of that generation, and with ``facts`` what its machine is, with their hash."""
        ...

    def remove_device(self, tombstone: Tombstone) -> None:
        """Leaves the tombstone in the device's place and revokes its keys and installIds."""
        ...

    def put_install_id(self, install_id: InstallId) -> None:
        """Adds an installId, or replaces the one that has the same hash."""
        ...

    def add_api_key(self, key: ApiKey) -> None:
        """Adds a key."""
        ...

    def revoke_api_key(self, hashed: bytes, at_ms: int) -> None:
        """Ends a key."""
        ...


class Store(Protocol):
    """The database. Every method may be called from any thread."""

    def reading(self) -> AbstractContextManager[Reading]:
        """A consistent view for a few quick questions; do not keep it while waiting for a client."""
        ...

    def writing(self) -> AbstractContextManager[Writing]:
        """One transaction."""
        ...

    def write_beats(self, rows: Sequence[BeatRow]) -> frozenset[int]:
        """Writes a group of beats in one transaction, on disk when it returns.

        A beat that is there already (device, boot id, sequence) is not stored twice. ``last_heartbeat`` never goes
        back, unless it is more than a minute ahead: then the hub's clock was wrong, and was put right since.

        Returns:
            positions of the rows that were refused: their key is no longer the device's.
        """
        ...

    def prune(self, before_ms: int, limit: int) -> int:
        """Deletes at most ``limit`` of the oldest beats received before that instant; returns how many."""
        ...

    def close(self) -> None:
        """Ends every connection."""
        ...


class Copyable(Protocol):
    """A store whose whole content fits into one file."""

    def copy_to(self, path: Path) -> None:
        """Writes a consistent copy, while others go on writing."""
        ...
