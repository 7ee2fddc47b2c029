"""What a device is given: over what it beats, and the credential that it shows, a derived key or a certificate."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from firstlight.core.model import Secret
from firstlight_hub.model import Certificate, Device, Refusal, certificate_hash, digest
from firstlight_hub.service import Clock
from firstlight_hub.store import Writing

HTTP, WEBSOCKET = "http", "websocket"
SECRET, CERTIFICATE = "secret", "certificate"
NO_SIGNER = "No certificate can be shown to this hub."


class Signer(Protocol):
    """Who signs certificates; ``issuer`` has the part that does."""

    def sign(self, csr_pem: str, workspace: str, device_id: str, generation: int, now_ms: int) -> Certificate:
        """A fresh certificate for the key that signed the request. Raises Refusal ``csr_invalid``."""
        ...


class Request(NamedTuple):
    """A certificate request whose signature holds, its key's fingerprint, and what the box asks for ("" = nothing)."""

    csr_pem: str
    fingerprint: str
    transport: str = ""
    credential: str = ""


class Road(NamedTuple):
    """How a device beats: ``transport`` is "http", "mqtt" or "websocket", ``broker`` the address for the last two."""

    transport: str
    credential: str
    broker: str


class Grant(NamedTuple):
    """A credential: its hash as in ``Device.key_hash``, and either the key or the certificate with its chain."""

    hash: bytes
    key: Secret | None
    certificate_pem: str


class Registered(NamedTuple):
    """The registration that a device is answered; ``is_new`` only at the first time."""

    workspace: str
    device_id: str
    road: Road
    grant: Grant
    is_new: bool = False


class Issuing:
    """Makes credentials.

    Args:
        clock: the hub's.
        master_secret: 32 random bytes; device keys are derived from them and never stored.
        signer: signs certificates; None on a hub to which none can be shown.
        brokers: as ``Site.brokers``.
        transport: where nobody asked for one.
        credential: likewise.
    """

    def __init__(
        self,
        clock: Clock,
        master_secret: bytes,
        signer: Signer | None = None,
        brokers: Mapping[str, str] | None = None,
        transport: str = HTTP,
        credential: str = SECRET,
    ) -> None:
        self._clock = clock
        self._master_secret = master_secret
        self._signer = signer
        self._brokers = brokers or {}
        self._usual = (transport, credential)

    def device_key(self, workspace: str, device_id: str, fingerprint: str, generation: int) -> Secret:
        """The key of a device for its key pair: the same each time, so that it need not be stored."""
        message = f"{workspace}|{device_id}|{fingerprint}|{generation}".encode()
        mac = hmac.new(self._master_secret, message, hashlib.sha256).digest()
        return Secret(f"{generation}." + base64.urlsafe_b64encode(mac).decode().rstrip("="))

    def road(self, device: Device, asked: Request | None = None) -> Road:
        """How a device is to beat: as the box asks, else as it was created, else as the hub has it.

        Raises:
            Refusal: ``transport_unavailable``.
        """
        transport = (asked and asked.transport) or device.transport
        credential = (asked and asked.credential) or device.credential
        return self.possible(transport, credential)

    def possible(self, transport: str | None, credential: str | None) -> Road:
        """A way to beat that this hub has, its usual one where None is asked for.

        Raises:
            Refusal: ``transport_unavailable``.
        """
        transport, credential = transport or self._usual[0], credential or self._usual[1]
        if credential == CERTIFICATE and self._signer is None:
            raise Refusal("transport_unavailable", NO_SIGNER)
        if transport == HTTP:
            return Road(transport, credential, "")
        broker = self._brokers.get(credential + ("Websocket" if transport == WEBSOCKET else ""))
        if not broker:
            how = "MQTT over a WebSocket" if transport == WEBSOCKET else "MQTT"
            raise Refusal("transport_unavailable", f"This hub has no {how} for devices with a {credential}.")
        return Road(transport, credential, broker)

    def grant(self, transaction: Writing, device: Device, asked: Request, generation: int, credential: str) -> Grant:
        """The credential of a device for a key pair: the same key, the same certificate while it lasts.

        Raises:
            Refusal: ``csr_invalid``, or ``transport_unavailable``: a certificate is due, and nobody can sign it.
        """
        if credential == SECRET:
            key = self.device_key(device.workspace, device.id, asked.fingerprint, generation)
            return Grant(digest(key.reveal()), key, "")
        if self._signer is None:
            raise Refusal("transport_unavailable", NO_SIGNER)
        now_ms = self._clock()
        for known in transaction.certificates(device.id):
            is_good = known.revoked_at_ms is None and known.not_after_ms > now_ms
            if is_good and known.key_fingerprint == asked.fingerprint:
                return Grant(certificate_hash(asked.fingerprint), None, known.pem)
        made = self._signer.sign(asked.csr_pem, device.workspace, device.id, generation, now_ms)
        transaction.add_certificate(made)
        return Grant(certificate_hash(asked.fingerprint), None, made.pem)
