"""What is written for a broker that cannot ask: whose secret is which, and which certificates were revoked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from firstlight.core.model import Secret
from firstlight_hub.model import Device
from firstlight_hub.service import Clock
from firstlight_hub.service.issuing import SECRET, Issuing
from firstlight_hub.store import Store

BATCH = 1000


class BrokerSecrets:
    """Reads what a broker must know.

    Args:
        store: where the devices are.
        clock: the hub's.
        issuing: derives the keys of devices anew.
    """

    def __init__(self, store: Store, clock: Clock, issuing: Issuing) -> None:
        self._store = store
        self._clock = clock
        self._issuing = issuing

    def one(self, device_id: str) -> Secret | None:
        """The present key of a device, None where it has none, or a certificate."""
        with self._store.reading() as view:
            device = view.device(device_id)
        return self._secret(device) if device else None

    def all(self) -> Iterator[tuple[str, Secret]]:
        """Device id and present key of every device that has one; no transaction stays open between them."""
        after = 0
        while True:
            with self._store.reading() as view:
                devices = view.every_device(after, BATCH)
            for device in devices:
                if key := self._secret(device):
                    yield device.id, key
            if len(devices) < BATCH:
                return
            after = devices[-1].number

    def revoked_certificates(self) -> Sequence[tuple[str, int]]:
        """Serial (hex) and time of every revoked certificate that has not expired, for ``Issuer.crl``."""
        with self._store.reading() as view:
            return view.revoked_certificates(self._clock())

    def _secret(self, device: Device) -> Secret | None:
        if device.key_hash is None or device.key_fingerprint is None or device.credential != SECRET:
            return None
        return self._issuing.device_key(device.workspace, device.id, device.key_fingerprint, device.key_generation)
