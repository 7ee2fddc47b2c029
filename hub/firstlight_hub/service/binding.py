"""What changes in the store when a credential begins or ends; each function is a part of the caller's transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from firstlight.core.model import IDENTIFIER
from firstlight_hub.model import Device, InstallId, Refusal, Tombstone
from firstlight_hub.store import Reading, Writing


def removed(tombstone: Tombstone, fingerprint: str) -> Refusal:
    """The refusal for a removed device; it names the key only to the box that has it."""
    named = fingerprint if fingerprint and fingerprint == tombstone.key_fingerprint else ""
    return Refusal("device_removed", "The operator removed this device.", named)


def revoked() -> Refusal:
    """The refusal for a device whose credential the operator ended."""
    return Refusal("credential_revoked", "The operator ended this device's credential.")


def beating(view: Reading, workspace: str, device_id: str, key_hash: bytes) -> Device:
    """The device that shows this credential, or its candidate, which a first beat proves.

    Args:
        view: of the store.
        workspace: that it must be in.
        device_id: as it came in.
        key_hash: of what it shows, as ``Device.key_hash``.

    Raises:
        Refusal: ``device_unknown``, ``device_removed``, ``credential_revoked`` or ``key_invalid``.
    """
    return _found(view, workspace, device_id, lambda one: bool(key_hash) and key_hash in _hashes(one))


def signing(view: Reading, workspace: str, device_id: str, fingerprint: str) -> Device:
    """The device whose present key, of this fingerprint, made a signature that was verified. Raises as ``beating``."""
    return _found(view, workspace, device_id, lambda one: bool(fingerprint) and fingerprint == one.key_fingerprint)


def vouched_for_by_broker(view: Reading, workspace: str, device_id: str) -> Device:
    """The device that a broker let in under this name: the broker has checked its credential. Raises as ``beating``."""
    return _found(view, workspace, device_id, lambda one: True)


def _hashes(one: Device | Tombstone) -> tuple[bytes | None, ...]:
    return (one.key_hash, one.candidate_hash) if isinstance(one, Device) else (one.key_hash,)


def _found(view: Reading, workspace: str, device_id: str, is_its_own: Callable[[Device | Tombstone], bool]) -> Device:
    if not IDENTIFIER.match(device_id):
        raise Refusal("device_unknown", "There is no such device in this workspace.")
    tombstone = view.tombstone(device_id)
    if tombstone is not None and tombstone.workspace == workspace:
        if not is_its_own(tombstone):
            raise Refusal("key_invalid", "The key is not this device's.")
        raise removed(tombstone, tombstone.key_fingerprint or "")
    device = view.device(device_id)
    if device is None or device.workspace != workspace:
        raise Refusal("device_unknown", "There is no such device in this workspace.")
    if device.revoked_at_ms is not None:
        raise revoked()
    if device.key_hash is None or not is_its_own(device):
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


def redeemable(view: Reading, found: InstallId, fingerprint: str, now_ms: int) -> Device:
    """The device of an installId that this key may redeem now.

    Raises:
        Refusal: ``install_id_expired``, ``install_id_revoked``, ``install_id_taken``, ``install_id_unknown`` or
            ``device_removed``.
    """
    if tombstone := view.tombstone(found.device_id):
        raise removed(tombstone, fingerprint)
    state = found.state(now_ms)
    if state == "revoked":
        raise Refusal("install_id_revoked", "This installId was ended, or another one of its device was used.")
    if state == "expired":
        raise Refusal("install_id_expired", "This installId has expired.")
    if found.key_fingerprint not in (None, fingerprint):
        raise Refusal(
            "install_id_taken", "This installId was used already: by another box, or by this one before a reset."
        )
    device = view.device(found.device_id)
    if device is None:
        raise Refusal("install_id_unknown", "The device of this installId does not exist.")
    return device


def take(transaction: Writing, install_id: InstallId, now_ms: int) -> None:
    """Stores an installId that a key has taken, and ends all other open ones of its device.

    A label that somebody took a picture of must not take a running device over, be it an older or a newer print.
    """
    transaction.put_install_id(install_id)
    for one in transaction.install_ids(install_id.device_id):
        is_open = one.key_fingerprint is None and one.revoked_at_ms is None
        if is_open and one.hash != install_id.hash:
            transaction.put_install_id(one._replace(revoked_at_ms=now_ms))


def bind_by_hand(transaction: Writing, device: Device, install_id: InstallId, fingerprint: str, now_ms: int) -> None:
    """Makes a key the only one of a device, as a redeem would, and leaves the credential for the redeem to give."""
    take(transaction, install_id._replace(key_fingerprint=fingerprint), now_ms)
    bind(transaction, device, fingerprint, None, next_generation(device) - 1, now_ms)


def bind(
    transaction: Writing, device: Device, fingerprint: str, key_hash: bytes | None, generation: int, now_ms: int
) -> None:
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
