"""The device half of enrolling: an installId is redeemed once, by one key; a lost device is taken back by its key."""

from __future__ import annotations

import hmac
import re

from firstlight.core.model import IDENTIFIER, INSTALL_ID, Facts
from firstlight.wire.facts import facts_hash
from firstlight_hub.model import Certificate, Device, InstallId, Refusal, certificate_hash, digest
from firstlight_hub.service import Clock
from firstlight_hub.service.binding import bind, next_generation, redeemable, removed, revoked, take
from firstlight_hub.service.broker import BrokerLink, NoBroker
from firstlight_hub.service.issuing import CERTIFICATE, SECRET, Issuing, Registered, Request
from firstlight_hub.store import Reading, Store

KEY = re.compile(r"([1-9][0-9]{0,8})\.[A-Za-z0-9_-]{43}\Z")  # generation, and the MAC over it too


class Enrolling:
    """Redeeming and taking back.

    Args:
        store: where everything is kept.
        clock: the hub's.
        issuing: makes credentials.
        take_back: whether the operator lets lost devices come back.
        broker: told of each credential before the device is.
    """

    def __init__(
        self, store: Store, clock: Clock, issuing: Issuing, take_back: bool, broker: BrokerLink | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._issuing = issuing
        self._may_come_back = take_back
        self._broker = broker or NoBroker()

    def redeem(self, install_id: str, asked: Request, facts: Facts) -> Registered:
        """Binds an installId to a key and issues the registration, in one transaction.

        Args:
            install_id: as it came in.
            asked: the request; its signature was verified.
            facts: what the machine is.

        Raises:
            Refusal: ``install_id_unknown``, ``install_id_expired``, ``install_id_revoked``, ``install_id_taken``,
                ``device_removed`` or ``transport_unavailable``.
        """
        with self._store.writing() as transaction:
            found = _find(transaction, install_id)
            now_ms, fingerprint = self._clock(), asked.fingerprint
            device = redeemable(transaction, found, fingerprint, now_ms)
            is_new = found.redeemed_at_ms is None
            # A key that a receipt has bound has no credential yet.
            is_another = device.key_fingerprint != fingerprint or device.key_hash is None
            if is_another and not is_new:
                raise Refusal("install_id_taken", "The device has another key by now.")
            generation = next_generation(device) if is_another else device.key_generation
            road = self._issuing.road(device, asked if is_new else None)
            grant = self._issuing.grant(transaction, device, asked, generation, road.credential)
            if is_new:
                take(transaction, found._replace(redeemed_at_ms=now_ms, key_fingerprint=fingerprint), now_ms)
                told = device._replace(facts=facts, facts_hash=facts_hash(facts))
                told = told._replace(transport=road.transport, credential=road.credential)
                bind(transaction, told, fingerprint, grant.hash, generation, now_ms)
        self._tell_broker(device, grant.hash)
        return Registered(device.workspace, device.id, road, grant, is_new)

    def _tell_broker(self, before: Device | None, key_hash: bytes) -> None:
        # Also where the credential of before was revoked: nobody but the broker knows whether its session has ended.
        if before is not None and before.key_fingerprint is not None and before.key_hash != key_hash:
            self._broker.ended(before.id)
        if before is not None:
            self._broker.issued(before.id)

    def check_possible(self, transport: str | None, credential: str | None) -> None:
        """Whether a device could beat so, None = as usual. Raises Refusal ``transport_unavailable``."""
        self._issuing.possible(transport, credential)

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
                redeemable(view, found, "", self._clock())
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
            Refusal: ``key_invalid``, ``device_removed``, ``credential_revoked`` or ``take_back_not_allowed``.
        """
        shown = KEY.match(key)
        known_form = shown and IDENTIFIER.match(workspace) and IDENTIFIER.match(device_id)
        generation = int(shown[1]) if shown else 0
        right = self._issuing.device_key(workspace, device_id, fingerprint, generation).reveal()
        if not known_form or not hmac.compare_digest(right.encode(), key.encode("utf-8", "surrogatepass")):
            raise Refusal("key_invalid", "The key is not one that this hub gave to this device.")
        lost = Device(0, workspace, device_id, device_id, None, None, (), False, self._clock(), credential=SECRET)
        self._take_back(lost._replace(key_fingerprint=fingerprint, key_hash=digest(right), key_generation=generation))

    def take_back_certificate(self, workspace: str, generation: int, shown: Certificate, fingerprint: str) -> None:
        """As ``take_back``, for a device that shows a certificate.

        Args:
            workspace: from the path, and the certificate's.
            generation: from the certificate.
            shown: the certificate, verified: this hub's CA signed it, and the TLS handshake proved its key.
            fingerprint: of the key that signed its certificate request; the signature was verified.

        Raises:
            Refusal: as ``take_back``.
        """
        if shown.key_fingerprint != fingerprint:
            raise Refusal("key_invalid", "The certificate request is for another key than the certificate.")
        name = shown.device_id
        lost = Device(0, workspace, name, name, None, None, (), False, self._clock(), credential=CERTIFICATE)
        key_hash = certificate_hash(fingerprint)
        lost = lost._replace(key_fingerprint=fingerprint, key_hash=key_hash, key_generation=generation)
        self._take_back(lost, shown)

    def _take_back(self, lost: Device, certificate: Certificate | None = None) -> None:
        fingerprint, key_hash = lost.key_fingerprint or "", lost.key_hash or b""
        with self._store.writing() as transaction:
            if tombstone := transaction.tombstone(lost.id):
                raise removed(tombstone, fingerprint)
            before = transaction.device(lost.id)
            if before is not None:
                if before.workspace != lost.workspace:
                    raise Refusal("key_invalid", "The device belongs to another workspace.")
                if key_hash in (before.key_hash, before.candidate_hash):
                    return
                if lost.key_generation < next_generation(before):
                    said = Refusal("key_invalid", "The device has another key by now.")
                    raise said if before.revoked_at_ms is None else revoked()
            if not self._may_come_back:
                raise Refusal("take_back_not_allowed", "This hub does not take lost devices back.")
            if before is None:
                transaction.add_device(lost)
            device = transaction.device(lost.id) or lost
            if certificate and certificate.serial not in {one.serial for one in transaction.certificates(lost.id)}:
                transaction.add_certificate(certificate)  # so that it can be revoked
            device = device._replace(credential=lost.credential)
            bind(transaction, device, fingerprint, key_hash, lost.key_generation, self._clock())
        self._tell_broker(before or lost, key_hash)


def _find(view: Reading, install_id: str) -> InstallId:
    found = view.install_id(digest(install_id)) if INSTALL_ID.match(install_id) else None
    if found is None:
        raise Refusal("install_id_unknown", "This hub never issued such an installId.")
    return found
