"""What changes in the store when a credential begins or ends; each function is a part of the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence

from firstlight.core.model import IDENTIFIER
from firstlight_hub.model import Device, Refusal, Tombstone
from firstlight_hub.store import Reading, Writing


def removed(tombstone: Tombstone, fingerprint: str) -> Refusal:
    """The refusal for a removed device; it names the key only to the box that has it."""
    named = fingerprint if fingerprint and fingerprint == tombstone.key_fingerprint else ""
    return Refusal("device_removed", "The operator removed this device.", named)


def revoked() -> Refusal:
    """The refusal for a device whose credential the operator ended."""
    return Refusal("credential_revoked", "The operator ended this device's credential.")


def known_device(
    view: Reading, workspace: str, device_id: str, key_hash: bytes | None = None, fingerprint: str | None = None
) -> Device:
    """A device that may beat.

    Args:
        view: of the store.
        workspace: that it must be in.
        device_id: as it came in.
        key_hash: of the credential that it shows; None where a broker has checked it, or it signed instead.
        fingerprint: of the key by which it signed, or None.

    Raises:
        Refusal: ``device_unknown``, ``device_removed``, ``credential_revoked`` or ``key_invalid``.
    """
    if not IDENTIFIER.match(device_id):
        raise Refusal("device_unknown", "There is no such device in this workspace.")
    tombstone = view.tombstone(device_id)
    if tombstone is not None and tombstone.workspace == workspace:
        if key_hash not in (None, tombstone.key_hash) or fingerprint not in (None, tombstone.key_fingerprint):
            raise Refusal("key_invalid", "The key is not this device's.")
        raise removed(tombstone, tombstone.key_fingerprint or "")
    device = view.device(device_id)
    if device is None or device.workspace != workspace:
        raise Refusal("device_unknown", "There is no such device in this workspace.")
    if device.revoked_at_ms is not None:
        raise revoked()
    is_right = key_hash in (None, device.key_hash, device.candidate_hash)
    if device.key_hash is None or not is_right or fingerprint not in (None, device.key_fingerprint):
        raise Refusal("key_invalid", "The key is not this device's.")
    return device


def owned(view: Reading, workspace: str, device_id: str) -> Device:
    """A device of a workspace. Raises Refusal ``not_found``, for another workspace's device too."""
    device = view.device(device_id) if IDENTIFIER.match(device_id) else None
    if device is None or device.workspace != workspace:
        raise Refusal("not_found", "There is no such device in this workspace.")
    return device


def next_generation(device: Device) -> int:
    """The generation of the next key: newer than all that were given out, proved or not."""
    return max(device.key_generation, device.candidate_generation) + 1


def bind(transaction: Writing, device: Device, fingerprint: str, key_hash: bytes, generation: int, now_ms: int) -> None:
    """Makes a credential the only one of a device. ``device`` may have further changes; it is stored with them."""
    transaction.revoke_certificates(device.id, now_ms, [fingerprint])
    end_install_ids(transaction, device.id, now_ms, [fingerprint])
    transaction.put_device(
        device._replace(
            key_fingerprint=fingerprint,
            key_hash=key_hash,
            key_generation=generation,
            candidate_fingerprint=None,
            candidate_hash=None,
            candidate_generation=0,
            rotate_asked_at_ms=None,
            revoked_at_ms=None,
            clone_at_ms=None,
        )
    )


def promote(transaction: Writing, device: Device, now_ms: int) -> None:
    """Makes a device's candidate its credential."""
    if device.candidate_fingerprint is None or device.candidate_hash is None:
        raise ValueError("no candidate")
    generation = device.candidate_generation
    bind(transaction, device, device.candidate_fingerprint, device.candidate_hash, generation, now_ms)


def revoke(transaction: Writing, device: Device, now_ms: int) -> None:
    """Ends all that a device has; its record stays. No key of before counts again, not even for the same key pair."""
    transaction.revoke_certificates(device.id, now_ms)
    end_install_ids(transaction, device.id, now_ms)
    transaction.put_device(
        device._replace(
            key_hash=None,
            key_generation=next_generation(device) - 1,
            candidate_fingerprint=None,
            candidate_hash=None,
            candidate_generation=0,
            rotate_asked_at_ms=None,
            revoked_at_ms=now_ms,
            clone_at_ms=None,
        )
    )


def end_install_ids(
    transaction: Writing, device_id: str, now_ms: int, keep: Sequence[str | None] | None = None
) -> None:
    """Ends a device's installIds; with ``keep``, those only that other keys than these redeemed.

    A new key replaces the old one, so what the old one redeemed must not bring it back.
    """
    for one in transaction.install_ids(device_id):
        if keep is None or one.key_fingerprint not in (None, *keep):
            transaction.put_install_id(one._replace(revoked_at_ms=one.revoked_at_ms or now_ms))
