"""The hub's nouns, immutable and pure. Instants are whole milliseconds since 1970 by the hub's clock (``_at_ms``)."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timezone
from typing import NamedTuple

from firstlight.core.model import Facts, Secret, Upgraded
from firstlight.errors import RefusedError
from firstlight_hub.rollout import Upgrade

READ, UPDATE = "device:read", "device:update"
SCOPES = (READ, UPDATE)
ONLINE, OFFLINE, UNKNOWN = "online", "offline", "unknown"
AI1 = "ai1"
CLONE_SHOWN_MS = 86_400_000
NOT_SLUG = re.compile(r"[^a-z0-9]+")


class Refusal(RefusedError):
    """A named no of the hub; ``key_fingerprint`` stands in the answer where it is about one device key."""

    def __init__(self, code: str, message: str, key_fingerprint: str = "", hint: str = "") -> None:
        super().__init__(code, message, hint)
        self.key_fingerprint = key_fingerprint


class Device(NamedTuple):
    """A box, as the hub knows it.

    Args:
        number: the store's own ordinal, growing with each device; 0 before it is stored.
        workspace: slug of its workspace.
        id: the public device id.
        name: as the operator called it.
        device_type: as the operator declared it, or None.
        workflow_id: initial workflow, or None.
        tags: trimmed, without duplicates.
        offline_mode: whether it was created for a site without a network.
        created_at_ms: when it was created.
        key_fingerprint: ``sha256:`` + hex of its public key, or None before it was redeemed.
        key_hash: by which its credential is known: ``digest`` of its key or ``certificate_hash``; None without one.
        key_generation: 1 for the first key, one more for each that replaced another; 0 before there was one.
        last_heartbeat_at_ms: by the hub's clock, or None before the first beat.
        skew_ms: hub's clock minus the device's at the last beat, or None.
        agent_version: as the agent reported it, or None.
        facts: what the machine is, or None.
        facts_hash: the hash that the agent gave for these facts, or None.
        transport: "http", "mqtt" or "websocket": as asked for, then as registered; None = as the hub has it.
        credential: "secret" or "certificate", likewise.
        candidate_fingerprint: of the key that is to replace the present one, or None; the two after it belong to it.
        candidate_hash: as ``key_hash``.
        candidate_generation: as ``key_generation``; 0 without a candidate.
        rotate_asked_at_ms: when the operator asked for a new credential that has not been proved yet, or None.
        revoked_at_ms: when the operator ended the credential, or None.
        boot_id: of the last boot that beat, or None.
        clone_at_ms: when two boxes were last seen to beat as this device, or None.
        gone_at_ms: when the broker last reported its will, or None; only a hint.
        certificate_ends_at_ms: when the certificate of its present key ends, or None; read only, never put.
        upgrade: its last upgrade, or None; read only likewise.
        by_hand: its newest receipt, or None; read only likewise.
    """

    number: int
    workspace: str
    id: str
    name: str
    device_type: str | None
    workflow_id: str | None
    tags: tuple[str, ...]
    offline_mode: bool
    created_at_ms: int
    key_fingerprint: str | None = None
    key_hash: bytes | None = None
    key_generation: int = 0
    last_heartbeat_at_ms: int | None = None
    skew_ms: int | None = None
    agent_version: str | None = None
    facts: Facts | None = None
    facts_hash: str | None = None
    transport: str | None = None
    credential: str | None = None
    candidate_fingerprint: str | None = None
    candidate_hash: bytes | None = None
    candidate_generation: int = 0
    rotate_asked_at_ms: int | None = None
    revoked_at_ms: int | None = None
    boot_id: str | None = None
    clone_at_ms: int | None = None
    gone_at_ms: int | None = None
    certificate_ends_at_ms: int | None = None
    upgrade: Upgrade | None = None
    by_hand: ByHand | None = None

    @property
    def is_by_hand(self) -> bool:
        """Whether the newest sign of life came by hand."""
        return self.by_hand is not None and self.by_hand.made_at_ms > (self.last_heartbeat_at_ms or -1)


class ByHand(NamedTuple):
    """What is kept of a device's newest receipt: a heartbeat that a person carried here.

    Args:
        hash: hex SHA-256 of the receipt: the very same one may come again.
        key_fingerprint: of the key that signed it.
        counter: grows with each receipt of this key.
        made_at_ms: when it was made, as far as the hub can believe it; never after ``received_at_ms``.
        received_at_ms: when it came in, by the hub's clock.
        state, reason: as ``firstlight status`` names them; the second is "" where there is none.
        agent_version, hostname, type, architecture: what it says of the box.
        beats: how many wait on the box for a network.
        beats_digest: hex; shows later whether the beats that arrive are those. "" without beats.
        note: what ails the time that the receipt says, as in ``service.receipts``; "" = nothing.
    """

    hash: str
    key_fingerprint: str
    counter: int
    made_at_ms: int
    received_at_ms: int
    state: str
    reason: str
    agent_version: str
    hostname: str | None
    type: str | None
    architecture: str | None
    beats: int
    beats_digest: str
    note: str


class Certificate(NamedTuple):
    """A device's certificate: ``serial`` in hex, ``pem`` with its chain; kept until it expires, revoked or not."""

    serial: str
    device_id: str
    key_fingerprint: str
    pem: str
    not_after_ms: int
    revoked_at_ms: int | None = None


class Tombstone(NamedTuple):
    """What is kept of a removed device, so that its box can be told."""

    workspace: str
    id: str
    key_fingerprint: str | None
    key_hash: bytes | None
    removed_at_ms: int


class InstallId(NamedTuple):
    """An installId as stored: its SHA-256, never itself.

    ``key_fingerprint`` is the only key that may redeem it from now on, or None: it did so, or a receipt showed it.
    """

    hash: bytes
    device_id: str
    issued_at_ms: int
    expires_at_ms: int
    revoked_at_ms: int | None = None
    redeemed_at_ms: int | None = None
    key_fingerprint: str | None = None

    @property
    def handle(self) -> str:
        """Twelve hex digits by which an operator names it; they do not lead back to the installId."""
        return handle(self.hash)

    def state(self, now_ms: int) -> str:
        """``revoked``, ``expired``, ``redeemed``, ``bound`` (by a receipt) or ``open``, in that order of weight."""
        if self.revoked_at_ms is not None:
            return "revoked"
        if now_ms >= self.expires_at_ms:
            return "expired"
        if self.redeemed_at_ms is not None:
            return "redeemed"
        return "open" if self.key_fingerprint is None else "bound"


class ApiKey(NamedTuple):
    """A key for the management API. ``scopes`` None means all; ``device_id`` binds it to one device."""

    hash: bytes
    workspace: str
    scopes: tuple[str, ...] | None
    device_id: str | None
    label: str
    created_at_ms: int
    revoked_at_ms: int | None = None

    @property
    def handle(self) -> str:
        """Twelve hex digits by which an operator names it."""
        return handle(self.hash)


class Caller(NamedTuple):
    """Who calls the management API: ``scopes`` None means all, ``device_id`` None means an operator."""

    workspace: str
    scopes: tuple[str, ...] | None
    device_id: str | None


class HistoryRow(NamedTuple):
    """One beat in the history; ``late`` if it could not be sent when it was due, ``reason`` why."""

    boot_id: str
    sequence: int
    monotonic_s: float
    wall_s: float
    load1: float | None
    memory_used: float | None
    disk_used: float | None
    temperature_c: float | None
    late: bool
    reason: str | None


class BeatRow(NamedTuple):
    """What one accepted beat writes. It counts only while ``key_hash`` is still the key of device ``number``.

    ``boot_id`` and ``clone_at_ms`` are None where they stay as they are; ``upgraded`` where it says nothing of it.
    """

    number: int
    key_hash: bytes
    received_at_ms: int
    skew_ms: int
    agent_version: str
    facts: Facts | None
    facts_hash: str
    history: tuple[HistoryRow, ...]
    boot_id: str | None = None
    clone_at_ms: int | None = None
    upgraded: Upgraded | None = None


class OfflineInvitation(NamedTuple):
    """The same for a box without a network: the payload's text, and the code to type where no camera reads it."""

    payload: Secret
    payload_expires_at_ms: int
    typed_code: Secret
    token_expires_at_ms: int


class Invited(NamedTuple):
    """A fresh invitation: the one moment at which the hub knows the installId in clear."""

    device: Device
    install_id: Secret
    expires_at_ms: int
    offline: OfflineInvitation | None = None


def status(last_heartbeat_at_ms: int | None, now_ms: int, window_s: int, by_hand: bool = False) -> str:
    """``unknown`` if there never was a beat, ``online`` up to and including ``window_s`` seconds, ``offline`` after.

    A heartbeat that came by hand (``by_hand``) says that there was one, and nothing of now: with it alone ``offline``.
    """
    if last_heartbeat_at_ms is None:
        return OFFLINE if by_hand else UNKNOWN
    return ONLINE if now_ms - last_heartbeat_at_ms <= window_s * 1000 else OFFLINE


def is_clone(clone_at_ms: int | None, now_ms: int) -> bool:
    """Whether two boxes were seen to beat as one device within the last day."""
    return clone_at_ms is not None and now_ms - clone_at_ms <= CLONE_SHOWN_MS


def slug(name: str) -> str:
    """A name as it may stand in an id: lower-case letters and digits joined by '-'; "" if it has none."""
    return NOT_SLUG.sub("-", name.lower()).strip("-")


def digest(text: str) -> bytes:
    """SHA-256 of a key or installId. Their 80 random bits and more outlast all guessing at a plain hash."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def certificate_hash(fingerprint: str) -> bytes:
    """A device's ``key_hash`` where it has a certificate: made of its key's fingerprint, so that one look-up does.

    The first byte is none of UTF-8: nobody can send a text whose ``digest`` this is.
    """
    return hashlib.sha256(b"\xffcertificate|" + fingerprint.encode()).digest()


def handle(hashed: bytes) -> str:
    """The first twelve hex digits of a hash."""
    return hashed.hex()[:12]


def iso(at_ms: int | None) -> str | None:
    """An instant as ISO 8601 with milliseconds and Z, None for None."""
    if at_ms is None:
        return None
    at = datetime.fromtimestamp(at_ms / 1000, timezone.utc)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
