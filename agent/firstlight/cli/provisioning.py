"""Taking in an invitation where there may be no network: read, admitted, and on the disk, or refused with no trace.

The order of writes: the device's key, then ``provisioned.json``, which is the moment at which the box is provisioned,
then nonce and time. A power cut before that moment leaves a box as it was (a key that nobody knows is used the next
time); one after it leaves a provisioned box, whose file has the nonce too (``system/provision_file.py``). Registering
is left to the agent (``cli/registering.py``), whenever a network appears.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import NamedTuple

from firstlight import BUILT_AT_S
from firstlight.cli import enrolling, options, service
from firstlight.cli.settings import Settings
from firstlight.core.admission import Identity, TimeBounds, admit
from firstlight.core.model import Invitation, Registration, Trust
from firstlight.core.provision import Payload, Provision
from firstlight.errors import InvitationError, StateError, UsageError
from firstlight.sources.invitation import read_invitation
from firstlight.system import nonces, provision_file
from firstlight.system.clock import SystemClock, clock_floor_s
from firstlight.system.keys import KeyFile
from firstlight.system.provision_file import Kept
from firstlight.system.serial import is_hidden, serial_number
from firstlight.system.store import KEY, StateDirectory
from firstlight.system.synced import is_synced

Tell = Callable[[str], None]

MAX_TEXT = 8192
# A hub whose clock is decades ahead must not have this box refuse every honest code after it.
BELIEVED_S = 10 * 365 * 86_400.0
WHOLE, PART = re.compile(r"FL1:", re.IGNORECASE), re.compile(r"FL1P:", re.IGNORECASE)
HIDDEN_SERIAL = (
    "Only root may read this machine's serial number: run 'sudo firstlight scan', or have the operator write it into "
    'the settings, as serial = "...".'
)
LATER = "it registers by itself as soon as it can reach the hub"


class Taken(NamedTuple):
    """What a text says.

    Args:
        invitation: the road to the registration.
        payload: the claims of an offline payload, None for a typed code or any other invitation.
        is_signed: by a key that this box trusts.
    """

    invitation: Invitation
    payload: Payload | None = None
    is_signed: bool = False


def read(settings: Settings, text: str) -> Taken:
    """A text that somebody handed over -> what it says. Nothing is judged yet, and nothing is touched.

    Args:
        settings: say whose payloads count, and where the hub of a typed code is.
        text: a whole payload (``FL1:…``), a typed code, or what ``sources.invitation`` reads.

    Raises:
        InvitationError: it is none of these, or not to be believed.
        UsageError: a typed code needs the hub's address in the settings.
        UpgradeError, StateError: the trusted keys cannot be used.
    """
    from firstlight.wire import typed_code

    bare = text[: MAX_TEXT + 1].strip()
    if WHOLE.match(bare):
        return _payload(settings, bare)
    if PART.match(bare):
        raise InvitationError(
            "payload_part_missing", "This is one part of a payload that was split; all of them are needed."
        )
    if typed_code.is_one(bare):
        token = typed_code.read(bare)
        if not settings.hub:
            raise UsageError(
                "usage",
                "A typed code does not say where the hub is, and the settings of this box do not either.",
                "Set hub and pin in /etc/firstlight/agent.toml, or scan the QR code instead.",
            )
        endpoint, trust = options.hub_of(settings)
        return Taken(Invitation("hub", endpoint, trust, token))
    return Taken(read_invitation(text))


def is_offline(text: str) -> bool:
    """Whether a text is a payload, a part of one, or a typed code: what needs no network to be taken in."""
    from firstlight.wire import typed_code

    bare = text[: MAX_TEXT + 1].strip()
    return bool(WHOLE.match(bare) or PART.match(bare)) or typed_code.is_one(bare)


def provision(
    settings: Settings,
    text: str,
    source: str,
    tell: Tell,
    *,
    store: StateDirectory | None = None,
    bounds: TimeBounds | None = None,
    start: Callable[[str], str] = service.start,
) -> Provision:
    """Takes an invitation in: from here on the box is provisioned, with or without a network.

    Args:
        settings: of this box.
        text: as ``read`` takes it.
        source: where it came in: "picture", "camera", "stick", "serial scanner", "standard input", ….
        tell: takes one line of progress.
        store: the state directory, where it is not the usual one.
        bounds: what is known of the time, where this machine is not to be asked.
        start: starts the service on a state directory; says in one sentence what was done, or "".

    Returns:
        what the box keeps. The same text again changes nothing.

    Raises:
        InvitationError: refused, by name; nothing on the disk has changed.
        UsageError: ``already_enrolled``, or a setting is missing.
        UpgradeError, StateError: keys or disk cannot be used.
    """
    taken = read(settings, text)
    store = store or StateDirectory(settings.state_dir)
    taking = _Taking(settings, taken, _hash(text), store, source, tell)
    done = taking.known()
    if done is None:
        bounds = bounds or time_bounds(store)
        taking.admit(bounds)
        store.prepare()
        with store.lock():
            # Once more: another one may have been at work, and may have taken in this very code before another.
            done = taking.known()
            if done is None:
                taking.admit(bounds)
                done = taking.keep()
        taking.join()
    service.wake(store.path)
    if started := start(settings.state_dir):
        tell(started)
    return done


def time_bounds(store: StateDirectory) -> TimeBounds:
    """What this box knows of the time: its clock counts where a time server set it, or it agrees with the hub's."""
    clock, floor_s = SystemClock(clock_floor_s(store)), clock_floor_s(store)
    counts = (clock.is_trustworthy() or is_synced()) and not clock.is_before_floor()
    return TimeBounds(clock.moment().wall_s, counts, floor_s)


def explained(error: InvitationError, payload: Payload, identity: Identity, *, is_hidden: bool) -> InvitationError:
    """With the next step for a box that has a serial number and may not read it; every other error as it is."""
    names_serial = payload.audience is not None and bool(payload.audience.serial)
    if error.code == "payload_not_for_this_box" and names_serial and not identity.serial and is_hidden:
        error.hint = HIDDEN_SERIAL
    return error


class _Taking:
    """One text on its way in."""

    def __init__(
        self,
        settings: Settings,
        taken: Taken,
        code_hash: str,
        store: StateDirectory,
        source: str,
        tell: Tell,
    ) -> None:
        self._settings, self._taken, self._code_hash = settings, taken, code_hash
        self._store, self._source, self._tell = store, source, tell

    def known(self) -> Provision | None:
        """What there is to keep where this text changes nothing. Raises UsageError (``already_enrolled``)."""
        if not self._store.is_there():
            return None
        registration = self._store.load_registration()
        if registration is not None:
            if not enrolling.knows(self._store, enrolling.id_hash(self._taken.invitation)):
                raise UsageError("already_enrolled", f"This box is enrolled already, as {registration.device_id}.")
            self._tell(f"registered as {registration.device_id} with this very code: nothing to do")
            return self._made(registration.key_fingerprint)
        before = self._before()
        if before is None or not self._is_same(before.provision):
            return None
        self._tell(f"provisioned with this very code already: nothing to do; {LATER}")
        return before.provision

    def admit(self, bounds: TimeBounds) -> None:
        """Raises InvitationError for a payload that is not for this box, or not for now."""
        payload = self._taken.payload
        if payload is None:
            return
        identity = self._identity()
        try:
            admit(payload, bounds, identity)
        except InvitationError as error:
            raise explained(error, payload, identity, is_hidden=is_hidden()) from None
        if self._store.is_there() and nonces.seen(self._store, payload.nonce):
            raise InvitationError("payload_seen", "This box took this code in before.")

    def _identity(self) -> Identity:
        has_key = self._store.is_there() and self._store.has(KEY)
        fingerprint = KeyFile().make_or_load(self._store).key_fingerprint if has_key else ""
        return Identity(self._settings.device_type, self._settings.serial or serial_number(), fingerprint)

    def keep(self) -> Provision:
        """From a box as it was to a provisioned one. Raises StateError."""
        before, payload = self._before(), self._taken.payload
        made = self._made(KeyFile().make_or_load(self._store).key_fingerprint)
        self._tell("device key ready; it never leaves this box")
        if before and before.nonce:
            nonces.note(self._store, before.nonce)
        if payload is not None and payload.credential is not None:
            self._register(payload, made)
        else:
            provision_file.save(self._store, Kept(made, payload.nonce if payload else b""))
        if payload is not None:
            nonces.note(self._store, payload.nonce)
            if self._taken.is_signed and self._store.seen_s() < payload.issued_at_s < BUILT_AT_S + BELIEVED_S:
                self._store.save_seen(payload.issued_at_s)
        self._tell_done(made, before)
        return made

    def join(self) -> None:
        """Has the network that the payload brings set up, where the settings allow it; waits for nothing."""
        if self._taken.payload is not None and self._taken.payload.network is not None:
            from firstlight.cli import networks

            networks.offer(self._settings, self._taken.payload.network, self._tell, wait_s=0.0)

    def _tell_done(self, made: Provision, before: Kept | None) -> None:
        if before is not None:
            earlier = before.provision.device_id or "another device"
            self._tell(f"this takes the place of what it was provisioned with before, as {earlier}")
        name = f" as {made.device_id}" if made.device_id else ""
        rest = LATER if self._store.has(provision_file.NAME) else "it has its credential"
        self._tell(f"provisioned{name} for {made.invitation.endpoint.url}; {rest}")

    def _register(self, payload: Payload, made: Provision) -> None:
        """A payload that brings the credential itself: there is nothing to redeem."""
        from firstlight.core.model import Credential

        key = KeyFile().make_or_load(self._store)
        self._store.write_json(enrolling.ENROLLED, {"installIdHash": enrolling.id_hash(made.invitation)})
        self._store.save_registration(
            Registration(
                platform=payload.platform,
                endpoint=payload.endpoint,
                trust=Trust(pins=payload.pins),
                workspace=payload.workspace,
                device_id=payload.device_id,
                credential=Credential("secret", payload.credential),
                interval_s=60,
                key_fingerprint=made.key_fingerprint,
                csr_pem=key.csr_pem,
                registered_at_s=float(payload.issued_at_s),
            )
        )
        provision_file.forget(self._store)

    def _made(self, key_fingerprint: str) -> Provision:
        invitation, payload = self._taken.invitation, self._taken.payload
        return Provision(
            invitation=invitation,
            device_id=payload.device_id if payload else "",
            workspace=payload.workspace if payload else "",
            name=payload.name if payload else "",
            code_hash=self._code_hash,
            source=self._source,
            taken_at=SystemClock().moment(),
            key_fingerprint=key_fingerprint,
        )

    def _before(self) -> Kept | None:
        """What it was provisioned with; a damaged file is what a new scan repairs."""
        try:
            return provision_file.load(self._store)
        except StateError as error:
            if error.code != "state_corrupt":
                raise
            self._tell(f"{error.message} It is replaced.")
            return None

    def _is_same(self, before: Provision) -> bool:
        """The same text, or the typed code or command beside it."""
        is_beside = self._taken.payload is None and before.invitation == self._taken.invitation
        return is_beside or before.code_hash == self._code_hash


def _payload(settings: Settings, bare: str) -> Taken:
    from firstlight.cli.upgrade_bundle import trusted
    from firstlight.wire import payload as wire

    opened = wire.decode(bare, trusted(settings.trust_dir), allow_unsigned=settings.payload_trust == "any")
    payload = opened.payload
    proof = payload.token or payload.credential
    if proof is None or (payload.credential and (payload.transport not in ("", "http") or not payload.device_id)):
        raise InvitationError("payload_unsupported", "This payload has nothing that this agent can register with.")
    invitation = Invitation(payload.platform, payload.endpoint, Trust(pins=payload.pins), proof, payload.transport)
    return Taken(invitation, payload, bool(opened.key_id))


def _hash(text: str) -> str:
    """64 hex digits of the text as it is known again: white space around it does not count."""
    return hashlib.sha256(text.strip().encode("utf-8", "replace")).hexdigest()
