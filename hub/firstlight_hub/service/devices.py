"""Management: devices are created, listed, shown and removed; installIds are issued, listed and revoked."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from firstlight.core.model import IDENTIFIER, Secret
from firstlight.core.provision import Audience, Network
from firstlight_hub.model import AI1, Device, InstallId, Invited, OfflineInvitation, Refusal, Tombstone, digest, slug
from firstlight_hub.service import Clock
from firstlight_hub.service.binding import owned
from firstlight_hub.service.broker import BrokerLink, NoBroker
from firstlight_hub.store import Reading, Store, Writing

AIO, LITE = "deviceAio", "roboflowLiteMode"
BATCH = 500
CURSOR = re.compile(r"[0-9a-f]{1,15}\Z")
ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # without l, o, 0 and 1: ids are read aloud
CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
TOKEN_CHARACTERS = 16


class OfflineWish(NamedTuple):
    """What the operator wants said in an offline payload beside the rest: it is put there and kept nowhere."""

    audience: Audience | None = None
    network: Network | None = None


NO_WISH = OfflineWish()


class NewDevice(NamedTuple):
    """What the operator asks for; None where nothing was said."""

    name: str
    device_type: str | None = None
    workflow_id: str | None = None
    tags: tuple[str, ...] | None = None
    offline_mode: bool | None = None
    source_device_id: str | None = None
    transport: str | None = None
    credential: str | None = None


class Page(NamedTuple):
    """Some devices, and the cursor of the next page or None."""

    devices: Sequence[Device]
    next_cursor: str | None


class QrPayloads(Protocol):
    """Makes the offline provisioning payload; a hub without one leaves the field out."""

    def invite(
        self, device: Device, token: Secret, at_ms: int, ends_at_ms: int, wish: OfflineWish
    ) -> OfflineInvitation:
        """What an AI1 device in offline mode is provisioned with.

        Args:
            device: whose payload it is.
            token: that it carries.
            at_ms: from when on the token may be redeemed.
            ends_at_ms: until when.
            wish: what else it is to say.

        Raises:
            Refusal: ``bad_request``: what is wished cannot be said in a payload.
        """
        ...


class Devices:
    """The management half.

    Args:
        store: where everything is kept.
        clock: the hub's.
        workspaces: slug -> features.
        install_id_ttl_s: seconds until a fresh installId expires.
        qr_payloads: makes offline payloads, or None.
        broker: told of removed devices.
        offline_redeem_s: seconds until the token of an offline payload expires.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        workspaces: Mapping[str, frozenset[str]],
        install_id_ttl_s: int,
        qr_payloads: QrPayloads | None = None,
        broker: BrokerLink | None = None,
        offline_redeem_s: int = 400 * 86_400,
    ) -> None:
        self._store = store
        self._clock = clock
        self._workspaces = workspaces
        self._ttl_ms = install_id_ttl_s * 1000
        self._qr_payloads = qr_payloads
        self._broker = broker or NoBroker()
        self._token_ms = offline_redeem_s * 1000

    def create(self, workspace: str, asked: NewDevice, wish: OfflineWish = NO_WISH) -> Invited:
        """Makes the record and its first installId, and for an AI1 device in offline mode its payload.

        Raises:
            Refusal: ``bad_request``, ``forbidden`` (a feature, or a foreign source device) or ``not_found``.
        """
        with self._store.writing() as transaction:
            if asked.source_device_id is not None:
                asked = _with_source(asked, _source(transaction, workspace, asked.source_device_id))
            self._check(workspace, asked)
            device = Device(
                number=0,
                workspace=workspace,
                id=_device_id(asked.name),
                name=asked.name,
                device_type=asked.device_type,
                workflow_id=asked.workflow_id,
                tags=asked.tags or (),
                offline_mode=bool(asked.offline_mode),
                created_at_ms=self._clock(),
                transport=asked.transport,
                credential=asked.credential,
            )
            transaction.add_device(device)
            return self._invite(transaction, device, wish)

    def _check(self, workspace: str, asked: NewDevice) -> None:
        features = self._workspaces.get(workspace, frozenset())
        is_ai1 = asked.device_type == AI1
        if asked.offline_mode and not is_ai1:
            raise Refusal("bad_request", "offline_mode is for AI1 devices only.")
        if is_ai1 and AIO not in features:
            raise Refusal("forbidden", f"AI1 devices need the workspace feature {AIO}.")
        if asked.offline_mode and LITE not in features:
            raise Refusal("forbidden", f"offline_mode needs the workspace feature {LITE}.")
        if is_ai1 and not (asked.workflow_id or asked.source_device_id or slug(asked.name)):
            raise Refusal("bad_request", "The device_name of an AI1 device needs a letter or digit (a-z, 0-9).")

    def _invite(self, transaction: Writing, device: Device, wish: OfflineWish) -> Invited:
        text = Secret(base64.b32encode(secrets.token_bytes(17)).decode().lower()[:26])
        now_ms = self._clock()
        issued = InstallId(digest(text.reveal()), device.id, now_ms, now_ms + self._ttl_ms)
        transaction.put_install_id(issued)
        offline = None
        if self._qr_payloads is not None and device.device_type == AI1 and device.offline_mode:
            token = Secret("".join(secrets.choice(CROCKFORD) for _ in range(TOKEN_CHARACTERS)))
            ends_at_ms = now_ms + self._token_ms
            transaction.put_install_id(InstallId(digest(token.reveal()), device.id, now_ms, ends_at_ms))
            offline = self._qr_payloads.invite(device, token, now_ms, ends_at_ms, wish)
        elif wish != NO_WISH:
            said = "audience and network are for the payload of AI1 devices in offline mode only."
            raise Refusal("bad_request", said)
        return Invited(device, text, issued.expires_at_ms, offline)

    def get(self, workspace: str, device_id: str) -> Device:
        """One device. Raises Refusal ``not_found``, for another workspace's device too."""
        with self._store.reading() as view:
            return owned(view, workspace, device_id)

    def page(self, workspace: str, limit: int, cursor: str | None) -> Page:
        """At most ``limit`` devices from ``cursor`` on, in the order they were created.

        Raises:
            Refusal: ``bad_request``: the cursor is none of ours.
        """
        after = _read_cursor(cursor) if cursor is not None else 0
        with self._store.reading() as view:
            devices = view.devices(workspace, after, limit + 1)
        if len(devices) <= limit:
            return Page(devices, None)
        return Page(devices[:limit], _cursor(devices[limit - 1].number))

    def all(self, workspace: str) -> Iterator[Sequence[Device]]:
        """Every device, in batches; no transaction stays open between them, however slow the reader is."""
        after = 0
        while True:
            with self._store.reading() as view:
                devices = view.devices(workspace, after, BATCH)
            if devices:
                yield devices
            if len(devices) < BATCH:
                return
            after = devices[-1].number

    def remove(self, workspace: str, device_id: str) -> None:
        """Leaves a tombstone; credentials and installIds of the device end. Raises Refusal ``not_found``."""
        with self._store.writing() as transaction:
            device = owned(transaction, workspace, device_id)
            transaction.remove_device(
                Tombstone(workspace, device.id, device.key_fingerprint, device.key_hash, self._clock())
            )
        self._broker.ended(device_id)

    def invite(self, workspace: str, device_id: str, wish: OfflineWish = NO_WISH) -> Invited:
        """Issues another installId for a device (a re-imaged box), and another payload where it had one.

        Raises:
            Refusal: ``not_found``, ``bad_request``.
        """
        with self._store.writing() as transaction:
            return self._invite(transaction, owned(transaction, workspace, device_id), wish)

    def install_ids(self, workspace: str, device_id: str) -> Sequence[InstallId]:
        """A device's installIds, the newest first. Raises Refusal ``not_found``."""
        with self._store.reading() as view:
            owned(view, workspace, device_id)
            return view.install_ids(device_id)

    def revoke_install_id(self, workspace: str, device_id: str, handle: str) -> None:
        """Ends an installId at once; once more changes nothing. Raises Refusal ``not_found``."""
        with self._store.writing() as transaction:
            owned(transaction, workspace, device_id)
            found = [one for one in transaction.install_ids(device_id) if one.handle == handle]
            if not found:
                raise Refusal("not_found", "This device has no such installId.")
            if found[0].revoked_at_ms is None:
                transaction.put_install_id(found[0]._replace(revoked_at_ms=self._clock()))


def _source(view: Reading, workspace: str, device_id: str) -> Device:
    device = view.device(device_id) if IDENTIFIER.match(device_id) else None
    if device is None:
        raise Refusal("not_found", "There is no device with the id of sourceDeviceId.")
    if device.workspace != workspace:
        raise Refusal("forbidden", "The source device belongs to another workspace.")
    return device


def _with_source(asked: NewDevice, source: Device) -> NewDevice:
    return asked._replace(
        device_type=source.device_type if asked.device_type is None else asked.device_type,
        workflow_id=source.workflow_id if asked.workflow_id is None else asked.workflow_id,
        tags=source.tags if asked.tags is None else asked.tags,
        offline_mode=source.offline_mode if asked.offline_mode is None else asked.offline_mode,
    )


def _device_id(name: str) -> str:
    ending = "".join(secrets.choice(ALPHABET) for _ in range(10))
    return f"{slug(name)[:40].strip('-') or 'device'}-{ending}"


def _cursor(number: int) -> str:
    return f"{number:x}"


def _read_cursor(cursor: str) -> int:
    if not CURSOR.match(cursor):
        raise Refusal("bad_request", "The cursor is not one that this hub gave.")
    return int(cursor, 16)
