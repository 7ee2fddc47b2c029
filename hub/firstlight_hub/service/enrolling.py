"""The device half of enrolling: an installId is redeemed once, by one key; a lost device is taken back by its key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import NamedTuple

from firstlight.core.model import IDENTIFIER, INSTALL_ID, Facts, Secret
from firstlight.wire.facts import facts_hash
from firstlight_hub.model import Device, InstallId, Refusal, Tombstone, digest
from firstlight_hub.service import Clock
from firstlight_hub.store import Reading, Store, Writing

KEY = re.compile(r"([1-9][0-9]{0,8})\.[A-Za-z0-9_-]{43}\Z")  # generation, and the MAC over it too


class Redeemed(NamedTuple):
    """The registration; ``is_new`` only at the first time."""

    workspace: str
    device_id: str
    key: Secret
    is_new: bool


class Enrolling:
    """Redeeming and taking back.

    Args:
        store: where everything is kept.
        clock: the hub's.
        master_secret: 32 random bytes; device keys are derived from them and never stored.
        take_back: whether the operator lets lost devices come back.
    """

    def __init__(self, store: Store, clock: Clock, master_secret: bytes, take_back: bool) -> None:
        self._store = store
        self._clock = clock
        self._master_secret = master_secret
        self._may_come_back = take_back

    def _device_key(self, workspace: str, device_id: str, fingerprint: str, generation: int) -> Secret:
        message = f"{workspace}|{device_id}|{fingerprint}|{generation}".encode()
        mac = hmac.new(self._master_secret, message, hashlib.sha256).digest()
        return Secret(f"{generation}." + base64.urlsafe_b64encode(mac).decode().rstrip("="))

    def redeem(self, install_id: str, fingerprint: str, facts: Facts) -> Redeemed:
        """Binds an installId to a key and issues the registration, in one transaction.

        Args:
            install_id: as it came in.
            fingerprint: of the key that signed the request; the signature was verified.
            facts: what the machine is.

        Raises:
            Refusal: ``install_id_unknown``, ``install_id_expired``, ``install_id_revoked``, ``install_id_taken`` or
                ``device_removed``.
        """
        with self._store.writing() as transaction:
            found = _find(transaction, install_id)
            now_ms = self._clock()
            device = _redeemable(transaction, found, fingerprint, now_ms)
            is_new = found.key_fingerprint is None
            is_another = device.key_fingerprint != fingerprint
            generation = device.key_generation + 1 if is_another else device.key_generation
            key = self._device_key(device.workspace, device.id, fingerprint, generation)
            if is_new:
                transaction.put_install_id(found._replace(redeemed_at_ms=now_ms, key_fingerprint=fingerprint))
                _end_older(transaction, device.id, fingerprint, now_ms)
                told = (facts, facts_hash(facts))
                transaction.bind(device.id, fingerprint, digest(key.reveal()), told, generation)
            elif is_another:
                raise Refusal("install_id_taken", "The device has another key by now.")
        return Redeemed(device.workspace, device.id, key, is_new)

    def check_issued(self, install_id: str) -> None:
        """Whether there is such an installId at all, before anything of a request is read.

        Raises:
            Refusal: ``install_id_unknown``.
        """
        with self._store.reading() as view:
            _find(view, install_id)

    def look_at(self, install_id: str) -> tuple[str | None, Refusal | None]:
        """What the install script says: the device's id, and why it cannot go on (None if it can). Spends nothing."""
        with self._store.reading() as view:
            try:
                found = _find(view, install_id)
            except Refusal as refusal:
                return None, refusal
            try:
                _redeemable(view, found, "", self._clock())
            except Refusal as refusal:
                return found.device_id, refusal
        return found.device_id, None

    def take_back(self, workspace: str, device_id: str, key: str, fingerprint: str) -> None:
        """Registers a device again that this hub registered once and then lost.

        Args:
            workspace: from the path.
            device_id: from the path.
            key: the device key that it shows.
            fingerprint: of the key that signed its certificate request; the signature was verified.

        Raises:
            Refusal: ``key_invalid``, ``device_removed`` or ``take_back_not_allowed``.
        """
        shown = KEY.match(key)
        known_form = shown and IDENTIFIER.match(workspace) and IDENTIFIER.match(device_id)
        generation = int(shown[1]) if shown else 0
        right = self._device_key(workspace, device_id, fingerprint, generation).reveal()
        if not known_form or not hmac.compare_digest(right.encode(), key.encode("utf-8", "surrogatepass")):
            raise Refusal("key_invalid", "The key is not one that this hub gave to this device.")
        with self._store.writing() as transaction:
            if tombstone := transaction.tombstone(device_id):
                raise removed(tombstone, fingerprint)
            device = transaction.device(device_id)
            if device and device.key_hash == digest(right):
                return
            if device and generation <= device.key_generation:
                raise Refusal("key_invalid", "The device has another key by now.")
            if not self._may_come_back:
                raise Refusal("take_back_not_allowed", "This hub does not take lost devices back.")
            now_ms = self._clock()
            if device is None:
                transaction.add_device(Device(0, workspace, device_id, device_id, None, None, (), False, now_ms))
            _end_older(transaction, device_id, fingerprint, now_ms)
            transaction.bind(device_id, fingerprint, digest(right), None, generation)


def removed(tombstone: Tombstone, fingerprint: str) -> Refusal:
    """The refusal for a removed device; it names the key only to the box that has it."""
    named = fingerprint if fingerprint and fingerprint == tombstone.key_fingerprint else ""
    return Refusal("device_removed", "The operator removed this device.", named)


def _find(view: Reading, install_id: str) -> InstallId:
    found = view.install_id(digest(install_id)) if INSTALL_ID.match(install_id) else None
    if found is None:
        raise Refusal("install_id_unknown", "This hub never issued such an installId.")
    return found


def _redeemable(view: Reading, found: InstallId, fingerprint: str, now_ms: int) -> Device:
    if tombstone := view.tombstone(found.device_id):
        raise removed(tombstone, fingerprint)
    state = found.state(now_ms)
    if state == "revoked":
        raise Refusal("install_id_revoked", "This installId was revoked.")
    if state == "expired":
        raise Refusal("install_id_expired", "This installId has expired.")
    if state == "redeemed" and found.key_fingerprint != fingerprint:
        raise Refusal(
            "install_id_taken", "This installId was used already: by another box, or by this one before a reset."
        )
    device = view.device(found.device_id)
    if device is None:
        raise Refusal("install_id_unknown", "The device of this installId does not exist.")
    return device


def _end_older(transaction: Writing, device_id: str, fingerprint: str, now_ms: int) -> None:
    """A new key replaces the old one, so what the old one redeemed must not bring it back."""
    for other in transaction.install_ids(device_id):
        if other.key_fingerprint not in (None, fingerprint):
            transaction.put_install_id(other._replace(revoked_at_ms=other.revoked_at_ms or now_ms))
