"""What a box keeps from the moment it took an invitation in until a platform has registered it: ``provisioned.json``.

One file, written once and durably: where it is, the box is provisioned. It holds a secret that is good for one
registration, so it is 0600 and goes as soon as the registration is on the disk. The nonce of its payload is in it too,
so that a power cut between this write and the one of ``nonces.json`` loses nothing: whoever removes the file writes the
nonce down first.
"""

from __future__ import annotations

import hashlib
import json
import os

from firstlight.core.model import Invitation, Moment, Secret, Trust, parse_endpoint
from firstlight.core.provision import Provision
from firstlight.errors import InvitationError, StateError
from firstlight.system import nonces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from firstlight.system.store import StateDirectory
else:
    from firstlight.core.record import NamedTuple

NAME = "provisioned.json"
FORMAT = 1
SCAN_AGAIN = "Scan the code again, or run 'firstlight reset' and start anew."


class Kept(NamedTuple):
    """What the file holds.

    Args:
        provision: the provision.
        nonce: of the payload it came from, "" where that was none.
    """

    provision: Provision
    nonce: bytes = b""


def save(store: StateDirectory, kept: Kept) -> None:
    """On disk when it returns. Raises StateError (``state_unwritable``)."""
    fields = _fields(kept)
    whole = {"format": FORMAT, "sha256": _checksum(fields), "provision": fields}
    store.write_text(NAME, json.dumps(whole, indent=1) + "\n")


def load(store: StateDirectory) -> Kept | None:
    """What ``save`` wrote, None where there is none.

    Raises:
        StateError: ``state_corrupt``, ``state_newer``, ``state_unreadable``.
    """
    path = os.path.join(store.path, NAME)
    damaged = StateError("state_corrupt", f"{path} is damaged.", SCAN_AGAIN)
    try:
        body = store.read_text(NAME)
    except StateError as error:
        raise (damaged if error.code == "state_corrupt" else error) from None
    if body is None:
        return None
    try:
        whole = json.loads(body)
        if isinstance(whole, dict) and isinstance(whole.get("format"), int) and whole["format"] > FORMAT:
            raise StateError("state_newer", f"{path} has format {whole['format']}; this agent reads up to {FORMAT}.")
        fields = whole["provision"]
        if whole["format"] != FORMAT or whole["sha256"] != _checksum(fields):
            raise ValueError("checksum")
        return _kept(fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvitationError):
        raise damaged from None


def forget(store: StateDirectory) -> None:
    """The box is registered, or reset: nonce written down, then the file goes; fine without one.

    Raises:
        StateError: ``state_unwritable``, or ``state_newer``: what a later version wrote stays.
    """
    try:
        kept = load(store)
    except StateError as error:
        if error.code != "state_corrupt":
            raise
        kept = None
    if kept is not None and kept.nonce:
        nonces.note(store, kept.nonce)
    if store.has(NAME):
        store.remove(NAME)


def mark(store: StateDirectory) -> tuple[int, int, int]:
    """Changes whenever another provision takes the place of this one, or it goes; costs one stat."""
    try:
        found = os.stat(os.path.join(store.path, NAME), follow_symlinks=False)
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _checksum(fields: object) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _fields(kept: Kept) -> dict[str, object]:
    provision = kept.provision
    invitation, taken_at = provision.invitation, provision.taken_at
    return {
        "platform": invitation.platform,
        "endpoint": invitation.endpoint.url,
        "caPem": invitation.trust.ca_pem,
        "pins": list(invitation.trust.pins),
        "proof": invitation.proof.reveal(),
        "transport": invitation.transport,
        "credential": invitation.credential,
        "deviceId": provision.device_id,
        "workspace": provision.workspace,
        "name": provision.name,
        "codeHash": provision.code_hash,
        "source": provision.source,
        "takenAt": {"bootId": taken_at.boot_id, "mono": taken_at.monotonic_s, "wall": taken_at.wall_s},
        "keyFingerprint": provision.key_fingerprint,
        "nonce": kept.nonce.hex(),
    }


def _kept(fields: dict[str, object]) -> Kept:
    """The checksum has shown that an agent wrote these fields; this shows that it knew what it wrote."""
    pins, taken_at = fields["pins"], fields["takenAt"]
    if not isinstance(pins, list) or not all(isinstance(pin, str) for pin in pins) or not isinstance(taken_at, dict):
        raise ValueError("pins or takenAt")
    mono_s, wall_s = taken_at["mono"], taken_at["wall"]
    if not isinstance(mono_s, (int, float)) or not isinstance(wall_s, (int, float)):
        raise ValueError("takenAt")
    invitation = Invitation(
        platform=_text(fields, "platform"),
        endpoint=parse_endpoint(_text(fields, "endpoint")),
        trust=Trust(_text(fields, "caPem"), tuple(pins)),
        proof=Secret(_text(fields, "proof")),
        transport=_text(fields, "transport"),
        credential=_text(fields, "credential"),
    )
    provision = Provision(
        invitation=invitation,
        device_id=_text(fields, "deviceId"),
        workspace=_text(fields, "workspace"),
        name=_text(fields, "name"),
        code_hash=_text(fields, "codeHash"),
        source=_text(fields, "source"),
        taken_at=Moment(_text(taken_at, "bootId"), float(mono_s), float(wall_s)),
        key_fingerprint=_text(fields, "keyFingerprint"),
    )
    return Kept(provision, bytes.fromhex(_text(fields, "nonce")))


def _text(fields: dict[str, object], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise ValueError(name)
    return value
