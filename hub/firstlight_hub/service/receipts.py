"""Receipts: heartbeats that a person carried here from a box without a network.

A receipt counts by its signature alone, whoever brings it. The key that made it must be the device's; where the device
has none yet, or the operator invited it anew, the receipt's proof shows that this key holds a token which may be
redeemed, and the key is bound as a redeem would bind it. The credential is given later, by the redeem itself.

Its time is the box's word. The hub believes it between the last thing that it knows to have been before (the device was
created, or gave another receipt, or heard from the hub) and now; what lies outside is moved to that bound, and noted:

    receipt_from_future   the box's clock was ahead of this hub's
    receipt_from_past     the box's clock was before what the hub knows
    clock_untrusted       the box itself did not believe its clock, and had nothing better
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from typing import NamedTuple

from firstlight.wire.receipt import FORGED, Receipt, from_text, key_fingerprint, proof_by_hash, verify
from firstlight_hub.model import ByHand, Device, InstallId, Refusal
from firstlight_hub.service import Clock
from firstlight_hub.service.binding import bind_by_hand, redeemable, removed, revoked
from firstlight_hub.service.broker import BrokerLink, NoBroker
from firstlight_hub.store import Reading, Store

FUTURE, PAST, UNTRUSTED = "receipt_from_future", "receipt_from_past", "clock_untrusted"
LEEWAY_MS = 300_000  # clocks that are this far apart are nothing to speak of


class Read(NamedTuple):
    """A receipt whose signature holds: what it says, the hex SHA-256 of it, and its key's fingerprint."""

    receipt: Receipt
    hash: str
    fingerprint: str


class Judged(NamedTuple):
    """What a good receipt means here.

    Args:
        device: whose it is.
        by_hand: what is kept of it, or was.
        is_new: False where this very receipt is recorded already.
        install_id: to be bound to the key now; None where the key is the device's.
    """

    device: Device
    by_hand: ByHand
    is_new: bool
    install_id: InstallId | None = None


class Receipts:
    """Looking at receipts, and recording them.

    Args:
        store: where everything is kept.
        clock: the hub's.
        workspaces: slugs of this hub's.
        broker: told where a key loses its device.
    """

    def __init__(
        self, store: Store, clock: Clock, workspaces: Collection[str], broker: BrokerLink | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._workspaces = workspaces
        self._broker = broker or NoBroker()

    def look_at(self, text: str, workspace: str = "") -> Judged:
        """Whether a receipt would be taken; changes nothing.

        Args:
            text: the link, or its Base32 alone.
            workspace: in which its device must be; "" = in any, and whoever brings it may be a stranger. A key that
                shows nothing of a device then gets one answer whether that exists, is removed, or has another key.

        Raises:
            WireError: ``receipt_malformed``, ``receipt_newer`` or ``receipt_forged`` (the signature).
            Refusal: ``receipt_forged`` (the proof), ``receipt_wrong_hub``, ``receipt_wrong_workspace``,
                ``receipt_unknown_device``, ``receipt_key_other``, ``receipt_replayed``, ``device_removed``,
                ``credential_revoked``, ``install_id_expired`` or ``install_id_revoked`` (of the token in the proof).
        """
        return self._looked_at(_read(text), workspace)

    def record(self, text: str, workspace: str = "") -> Judged:
        """Takes a receipt: one record however often it comes. Arguments and errors as ``look_at``."""
        read = _read(text)
        judged = self._looked_at(read, workspace)  # what is refused makes nobody wait for the disk
        if not judged.is_new:
            return judged
        with self._store.writing() as transaction:
            now_ms = self._clock()
            judged = self._judged(transaction, read, workspace, now_ms)
            if not judged.is_new:
                return judged
            if judged.install_id is not None:
                bind_by_hand(transaction, judged.device, judged.install_id, read.fingerprint, now_ms)
            transaction.put_receipt(judged.device.number, judged.by_hand)
        if judged.install_id is not None and judged.device.key_fingerprint is not None:
            self._broker.ended(judged.device.id)
        return judged

    def _looked_at(self, read: Read, workspace: str) -> Judged:
        with self._store.reading() as view:
            return self._judged(view, read, workspace, self._clock())

    def _judged(self, view: Reading, read: Read, workspace: str, now_ms: int) -> Judged:
        said = read.receipt
        if said.workspace and said.workspace not in self._workspaces:
            raise Refusal("receipt_wrong_hub", f"This hub has no workspace {said.workspace}.")
        if workspace and said.workspace not in ("", workspace):
            raise Refusal("receipt_wrong_workspace", f"The receipt is of the workspace {said.workspace}.")
        device = _device(view, read, workspace)
        before = device.by_hand
        if before is not None and before.hash == read.hash:
            return Judged(device, before, is_new=False)
        install_id = None
        if read.fingerprint not in (device.key_fingerprint, device.candidate_fingerprint):
            install_id = _token(view, device, read, now_ms, is_stranger=not workspace)
        elif device.revoked_at_ms is not None:
            if not said.proof:
                raise revoked()
            install_id = _token(view, device, read, now_ms, is_stranger=False)
        if before is not None and before.key_fingerprint == read.fingerprint and said.counter <= before.counter:
            raise Refusal("receipt_replayed", "A later receipt of this box is here already.")
        return Judged(device, _by_hand(device, read, now_ms), is_new=True, install_id=install_id)


def _read(text: str) -> Read:
    body = from_text(text)
    receipt = verify(body)
    return Read(receipt, hashlib.sha256(body).hexdigest(), key_fingerprint(receipt.public_key))


def _device(view: Reading, read: Read, workspace: str) -> Device:
    said = read.receipt
    found = () if said.device_id else view.install_ids_like(said.hint)
    device_id = said.device_id or next((one.device_id for one in found if _fits(one, said)), "")
    tombstone = view.tombstone(device_id)
    places = {said.workspace, workspace} - {""}
    is_told = bool(workspace) or (tombstone is not None and tombstone.key_fingerprint == read.fingerprint)
    if tombstone is not None and places <= {tombstone.workspace} and is_told:
        raise removed(tombstone, read.fingerprint)
    device = view.device(device_id)
    if device is None or not places <= {device.workspace}:
        raise _unknown()
    return device


def _unknown() -> Refusal:
    return Refusal("receipt_unknown_device", "This hub has no device with the key of this receipt.")


def _fits(one: InstallId, said: Receipt) -> bool:
    return hmac.compare_digest(proof_by_hash(one.hash, said.public_key, said.device_id), said.proof)


def _token(view: Reading, device: Device, read: Read, now_ms: int, *, is_stranger: bool) -> InstallId:
    """The token by which this key may become the device's. Raises Refusal."""
    other = Refusal("receipt_key_other", "The device has another key than the one that signed this receipt.")
    if not read.receipt.proof:
        raise _unknown() if is_stranger else other
    found = next((one for one in view.install_ids(device.id) if _fits(one, read.receipt)), None)
    if found is None:
        if is_stranger:
            raise _unknown()
        raise Refusal(FORGED, "The proof in this receipt fits no token that this hub gave for the device.")
    try:
        redeemable(view, found, read.fingerprint, now_ms)
    except Refusal as refusal:
        if refusal.code == "install_id_taken":
            raise other from None
        raise
    if found.redeemed_at_ms is not None:  # by this very key, which another one has replaced since
        raise other
    return found


def _by_hand(device: Device, read: Read, now_ms: int) -> ByHand:
    said = read.receipt
    made_at_ms, note = _when(device, said, now_ms)
    return ByHand(
        hash=read.hash,
        key_fingerprint=read.fingerprint,
        counter=said.counter,
        made_at_ms=made_at_ms,
        received_at_ms=now_ms,
        state=said.state,
        reason=said.reason,
        agent_version=said.agent_version,
        hostname=said.facts.hostname,
        type=said.facts.type,
        architecture=said.facts.architecture,
        beats=said.beats.number,
        beats_digest=said.beats.digest.hex(),
        note=note,
    )


def _when(device: Device, said: Receipt, now_ms: int) -> tuple[int, str]:
    """When a receipt was made, as far as the hub can believe it, and what ails the time that it says."""
    told = said.told
    is_counted = told.at_s > 0 and told.ago_s is not None  # from what a platform said: better than any clock of a box
    says_ms = (told.at_s + (told.ago_s or 0)) * 1000 if is_counted else round(said.moment.wall_s * 1000)
    before = device.by_hand
    earliest_ms = max(device.created_at_ms, told.at_s * 1000, before.made_at_ms if before else 0)
    made_at_ms = min(max(says_ms, earliest_ms), now_ms)
    if says_ms > now_ms + LEEWAY_MS:
        return made_at_ms, FUTURE
    if says_ms < earliest_ms - LEEWAY_MS:
        return made_at_ms, PAST
    return made_at_ms, "" if told.is_trusted or is_counted else UNTRUSTED
