"""One interface for every database. A second implementation fills in these Protocols and passes the contract suite.

All changes of one ``writing()`` block are one transaction: on disk when the block ends, gone if it raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from firstlight_hub.model import ApiKey, BeatRow, ByHand, Certificate, Device, InstallId, Tombstone
from firstlight_hub.rollout import Rollout, Upgrade


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

    def every_device(self, after: int, limit: int) -> Sequence[Device]:
        """As ``devices``, of all workspaces."""
        ...

    def certificates(self, device_id: str) -> Sequence[Certificate]:
        """All certificates of a device that have not been forgotten yet, removed devices' too."""
        ...

    def revoked_certificates(self, now_ms: int) -> Sequence[tuple[str, int]]:
        """Serial and time of revocation of every certificate that was revoked and has not expired."""
        ...

    def ended_sessions(self) -> Sequence[tuple[int, str]]:
        """Number and device id, the oldest first: a credential has ended, and perhaps not its session at the broker.

        ``put_device`` and ``remove_device`` leave these, in the transaction that ends a key or a candidate.
        """
        ...

    def rollout(self) -> Rollout | None:
        """The roll-out that was started last, ended or not."""
        ...

    def rollout_devices(self, number: int, *, is_open: bool = False) -> Sequence[Device]:
        """The devices whose last upgrade is of that roll-out, by number; only those that have not said how it went."""
        ...

    def rollout_counts(self, number: int) -> Mapping[str, int]:
        """Of those that have said how it went: how many by code; ``""`` for all that run the version."""
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

    def install_ids_like(self, start: bytes) -> Sequence[InstallId]:
        """A few installIds whose SHA-256 begins with these bytes, of which there are at least 8: nearly always one."""
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

    def put_device(self, device: Device) -> None:
        """Replaces all that stands in a device's record; nothing if there is no such number any more."""
        ...

    def add_certificate(self, certificate: Certificate) -> None:
        """Adds a certificate."""
        ...

    def revoke_certificates(self, device_id: str, at_ms: int, keep: Sequence[str] = ()) -> bool:
        """Revokes a device's certificates, and forgets the ones that expired; ``keep`` is up to two keys' fingerprints.

        Returns:
            whether there was one to revoke.
        """
        ...

    def forget_ended_sessions(self, numbers: Sequence[int]) -> None:
        """These have ended at the broker too; what ended again since has another number, and stays."""
        ...

    def remove_device(self, tombstone: Tombstone) -> None:
        """Leaves the tombstone in the device's place and revokes its keys, certificates and installIds."""
        ...

    def put_rollout(self, rollout: Rollout) -> None:
        """Replaces the roll-out of that number; adds one with the number 0."""
        ...

    def put_upgrade(self, device: int, upgrade: Upgrade) -> None:
        """Makes this the last upgrade of the device with that number."""
        ...

    def put_install_id(self, install_id: InstallId) -> None:
        """Adds an installId, or replaces the one that has the same hash."""
        ...

    def put_receipt(self, device: int, by_hand: ByHand) -> None:
        """Makes this the newest receipt of the device with that number."""
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
        What a beat says of an upgrade is kept where it is of the device's last one, or nothing is known of any.

        Returns:
            positions of the rows that were refused: their key is no longer the device's.
        """
        ...

    def mark_gone(self, workspace: str, device_ids: Sequence[str], at_ms: int) -> None:
        """Notes that the broker reported the last will of these devices, in one transaction."""
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
