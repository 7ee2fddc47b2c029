"""The life of a credential: renewed by the device, replaced at the operator's word, ended by the operator."""

from __future__ import annotations

from firstlight.errors import UnreachableError
from firstlight.wire.heartbeat import encode_beat_reply
from firstlight_hub.model import Refusal, is_clone
from firstlight_hub.service import Clock
from firstlight_hub.service.beats import Beats
from firstlight_hub.service.binding import next_generation, owned, revoke, signing
from firstlight_hub.service.broker import BrokerLink, NoBroker
from firstlight_hub.service.issuing import Issuing, Registered, Request
from firstlight_hub.store import Store

MAX_CERTIFICATES = 100  # of one device before they expire: a broken one must not fill the disk or the revocation list
AFTER_TOO_MANY_S = 86_400


class Credentials:
    """Renewing, rotating and revoking.

    Args:
        store: where everything is kept.
        clock: the hub's.
        issuing: makes credentials.
        beats: has answers to beats, which carry the operator's word.
        broker: told what ends.
    """

    def __init__(
        self, store: Store, clock: Clock, issuing: Issuing, beats: Beats, broker: BrokerLink | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._issuing = issuing
        self._beats = beats
        self._broker = broker or NoBroker()

    def check_known(self, workspace: str, device_id: str) -> None:
        """Whether there is or was such a device at all, before anything of a request is read.

        Raises:
            Refusal: ``device_unknown``.
        """
        with self._store.reading() as view:
            for known in (view.device(device_id), view.tombstone(device_id)):
                if known is not None and known.workspace == workspace:
                    return
        raise Refusal("device_unknown", "There is no such device in this workspace.")

    def renew(self, workspace: str, device_id: str, signer: str, asked: Request) -> Registered:
        """Gives a device a candidate beside its credential, of the same kind; the first beat over HTTP promotes it.

        Args:
            workspace: from the path.
            device_id: from the path.
            signer: fingerprint of the key that signed the statement; the signature was verified.
            asked: the certificate request of the next key.

        Raises:
            Refusal: as for a beat; ``clone_suspected``, ``transport_unavailable`` or ``csr_invalid``.
            UnreachableError: ``hub_busy``: the device has asked for too many certificates.
        """
        with self._store.writing() as transaction:
            device = signing(transaction, workspace, device_id, signer)
            now_ms, fingerprint = self._clock(), asked.fingerprint
            if fingerprint == signer:
                raise Refusal("csr_invalid", "The next key is the present one.")
            if is_clone(device.clone_at_ms, now_ms):
                raise Refusal("clone_suspected", "Two boxes beat with this credential.")
            road = self._issuing.road(device)
            # Each key has a generation of its own: a broker knows a certificate by its subject.
            is_same = device.candidate_fingerprint == fingerprint
            generation = device.candidate_generation if is_same else next_generation(device)
            has_ended = transaction.revoke_certificates(device.id, now_ms, [signer, fingerprint])
            if len(transaction.certificates(device.id)) >= MAX_CERTIFICATES:
                said = "This device has asked for too many certificates."
                raise UnreachableError("hub_busy", said, retry_after_s=AFTER_TOO_MANY_S)
            grant = self._issuing.grant(transaction, device, asked, generation, road.credential)
            transaction.put_device(
                device._replace(
                    candidate_fingerprint=fingerprint, candidate_hash=grant.hash, candidate_generation=generation
                )
            )
        if has_ended:
            self._broker.ended(device_id)  # the candidate that this one replaces
        return Registered(workspace, device_id, road, grant)

    def ask_to_rotate(self, workspace: str, device_id: str) -> None:
        """Has a device replace its credential as soon as it hears of it.

        Raises:
            Refusal: ``not_found``, or ``bad_request``: it has no credential.
        """
        with self._store.writing() as transaction:
            device = owned(transaction, workspace, device_id)
            if device.key_hash is None:
                why = "the operator ended it" if device.revoked_at_ms is not None else "it never enrolled"
                said = f"This device has no credential to replace: {why}."
                raise Refusal("bad_request", said, hint="Issue another installId for it, and enroll the box with that.")
            transaction.put_device(device._replace(rotate_asked_at_ms=self._clock()))
        self._beats.forget(device_id)
        told = self._beats.accepted(False)._replace(rotate=True)
        self._broker.tell(workspace, device_id, encode_beat_reply(told))

    def revoke(self, workspace: str, device_id: str) -> None:
        """Ends a device's credential at once; it can be invited again. Raises Refusal ``not_found``."""
        with self._store.writing() as transaction:
            revoke(transaction, owned(transaction, workspace, device_id), self._clock())
        self._broker.ended(device_id)
