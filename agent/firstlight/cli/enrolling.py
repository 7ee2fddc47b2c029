"""The act of enrolling, as resumable steps: key, attempt, pre-flight, redeem, registration, first beat.

Of an invitation that is a finished credential ("finished") the first beat is the first call; one that asks a server
where the device belongs ("bootstrap") redeems there. A crash at any point repeats the step it was in: key and attempt
id are fsynced before the first request, the hub answers the same key with the same registration, and the registration
is fsynced before the first beat. Nothing here names a concrete part; ``cli/enroll.py`` hands them in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

from firstlight import __version__
from firstlight.cli.durations import spoken
from firstlight.cli.first_beat import CALL_DEADLINE_S, carried
from firstlight.core import backoff, lifecycle
from firstlight.core.exchange import HttpCall, Reply
from firstlight.core.interfaces import Caller, Clock, DevicePlatform, KeyMaterial, Session
from firstlight.core.lifecycle import Refused
from firstlight.core.model import Beat, Facts, Invitation, Metrics, Registration
from firstlight.daemon.carrier import UNEXPLAINED, unspoken
from firstlight.errors import (
    FirstlightError,
    InvitationError,
    RefusedError,
    StateError,
    UnreachableError,
    UsageError,
)
from firstlight.wire.facts import facts_hash, facts_object

Result = TypeVar("Result")
Tell = Callable[[str], None]

# Waiting does not mend these; the technician must act.
HOPELESS = frozenset(
    {"tls_pin_mismatch", "tls_untrusted", "tls_wrong_name", "tls_expired", "proxy_auth_required", "redirected"}
    | UNEXPLAINED
)
OVER = {"http": "HTTP", "mqtt": "MQTT", "websocket": "MQTT in a WebSocket"}
ATTEMPT, ENROLLED, FACTS = "attempt.json", "enrolled.json", "facts.json"


class EnrollStore(Protocol):
    """What enrolling asks of the state directory."""

    def read_json(self, name: str) -> dict[str, object] | None:
        """A JSON object by file name, None where there is none."""
        ...

    def write_json(self, name: str, value: dict[str, object]) -> None:
        """On disk when it returns."""
        ...

    def remove(self, name: str) -> None:
        """Gone when it returns."""
        ...

    def load_registration(self) -> Registration | None:
        """As ``core.interfaces.Store``."""
        ...

    def save_registration(self, registration: Registration) -> None:
        """As ``core.interfaces.Store``."""
        ...


class Attempt(NamedTuple):
    """What is on disk before the first request: see ``core.interfaces.Attempt``."""

    attempt_id: str
    csr_pem: str
    key_fingerprint: str


class Parts(NamedTuple):
    """What enrolling is made of.

    Args:
        store: the state directory.
        make_key: makes the device's key, or loads the one that is there.
        make_attempt_id: 32 random hex digits.
        caller: one-off calls, with the invitation's trust.
        open_session: opens the session for beats from a registration.
        open_appeal: opens one over HTTP, whatever the registration names.
        fingerprint_of: fingerprint of the key that a certificate is for, "" where it cannot be read.
        renew_at_s: when a certificate is due for renewal, from its text, the platform's clock and a random number.
        clock, chance: time, and random numbers in [0, 1).
        saw_time: takes the platform's clock, seconds since 1970, whenever it was told.
        tell: prints one line of progress.
        patience_s: how long to go on trying before giving up (the state stays, so that a later call goes on).
        open_redeem: opens the session for a redeem over MQTT; None where that goes over HTTP.
        enrolled: hears of the new registration, perhaps twice.
        knows_time: whether this box's clock was set by somebody who knows.
    """

    store: EnrollStore
    make_key: Callable[[], KeyMaterial]
    make_attempt_id: Callable[[], str]
    caller: Caller
    open_session: Callable[[Registration], Session]
    open_appeal: Callable[[Registration], Session]
    fingerprint_of: Callable[[str], str]
    renew_at_s: Callable[[str, float, float], float]
    clock: Clock
    saw_time: Callable[[float], None]
    chance: Callable[[], float]
    tell: Callable[[str], None]
    patience_s: float
    open_redeem: Callable[[Invitation, Attempt], Session | None] = lambda invitation, attempt: None
    enrolled: Callable[[Registration], None] = lambda registration: None
    knows_time: Callable[[], bool] = lambda: False


class Enrolled(NamedTuple):
    """How it ended: the registration, whether it was there before, and why no first beat was accepted ("" = it was)."""

    registration: Registration
    was_there: bool
    not_beating: str = ""


def id_hash(invitation: Invitation) -> str:
    """What stays of a spent installId: its SHA-256, to recognise the same command pasted twice; so of a device file."""
    if invitation.road != "redeem":
        broker = invitation.broker.url if invitation.broker else ""
        named = [invitation.platform, invitation.road, invitation.endpoint.url, broker]
        named += [invitation.workspace, invitation.device_id, invitation.proof.reveal(), invitation.certificate_pem]
        named += [text for pair in invitation.extra for text in pair]
        return hashlib.sha256(json.dumps(named).encode()).hexdigest()
    return hashlib.sha256(invitation.proof.reveal().encode()).hexdigest()


def knows(store: EnrollStore, hashed: str) -> bool:
    """True when the registration or the open attempt of this box belongs to the installId with that hash."""
    return any(kept(store, name).get("installIdHash") == hashed for name in (ENROLLED, ATTEMPT))


def kept(store: EnrollStore, name: str) -> dict[str, object]:
    """One of enrolling's notes, empty without it. A damaged one counts as none: the key is what makes a redeem safe."""
    try:
        return store.read_json(name) or {}
    except StateError as error:
        if error.code != "state_corrupt":
            raise
        return {}


def enroll(parts: Parts, dialect: DevicePlatform, invitation: Invitation, facts: Facts) -> Enrolled:
    """From an invitation to a registration and a first accepted beat.

    Raises:
        UsageError: ``already_enrolled`` with another installId, or another device file.
        RefusedError, UnreachableError, StateError: as named; calling again goes on where it was.
    """
    registration = parts.store.load_registration()
    is_known = knows(parts.store, id_hash(invitation))
    if registration is not None and not is_known and kept(parts.store, ATTEMPT).get("refused"):
        parts.tell(f"the credential of {registration.device_id} was never accepted; it is replaced")
        registration = None
    if registration is not None and not is_known:
        raise UsageError("already_enrolled", f"This box is enrolled already, as {registration.device_id}.")
    if registration is not None and not kept(parts.store, ATTEMPT):
        parts.tell(f"already enrolled as {registration.device_id}: nothing to do")
        _tell_unheeded(parts, invitation, registration)
        return Enrolled(registration, was_there=True)
    if registration is None:
        attempt = _attempt(parts, invitation)
        registration = _registered(parts, dialect, invitation, attempt, facts)
        parts.store.write_json(FACTS, facts_object(facts))
        parts.store.save_registration(registration)
        inside = f" in workspace {registration.workspace}" if registration.workspace else ""
        parts.tell(f"registered as {registration.device_id}{inside}")
    # From here on also after a crash: the attempt stays until the registration was shown to work.
    not_beating = _first_beat(parts, dialect, invitation, registration, facts)
    parts.store.write_json(ENROLLED, {"installIdHash": id_hash(invitation)})
    parts.enrolled(registration)
    parts.store.remove(ATTEMPT)
    return Enrolled(registration, was_there=False, not_beating=not_beating)


def _tell_unheeded(parts: Parts, invitation: Invitation, registration: Registration) -> None:
    """The way of beats is chosen once: another wish later changes nothing, and is not passed over in silence."""
    is_websocket = registration.broker is not None and registration.broker.scheme in ("ws", "wss")
    over = "websocket" if registration.transport == "mqtt" and is_websocket else registration.transport
    kind = registration.credential.kind
    if invitation.transport not in ("", over) or invitation.credential not in ("", kind):
        parts.tell(
            f"it goes on over {OVER[over]} with a {kind}; to change that, run 'firstlight reset' and enroll this box "
            "anew, with a new installId"
        )


def _registered(
    parts: Parts, dialect: DevicePlatform, invitation: Invitation, attempt: Attempt, facts: Facts
) -> Registration:
    """By the invitation's road; what is refused for good leaves no attempt behind."""
    try:
        if invitation.road == "finished":
            made = dialect.finished(invitation, attempt, parts.clock.moment().wall_s)
            return _with_renewal(parts, made, is_handed_over=True)
        _preflight(parts, dialect, invitation)
        return _redeem(parts, dialect, invitation, attempt, facts)
    except (RefusedError, InvitationError, UsageError):
        # A refused installId is done with; the key stays for the next one.
        parts.store.remove(ATTEMPT)
        raise


def _attempt(parts: Parts, invitation: Invitation) -> Attempt:
    """Key and attempt id, on disk before anything is sent; those of an interrupted call with the same id."""
    hashed = id_hash(invitation)
    before = kept(parts.store, ATTEMPT)
    key = parts.make_key()
    if before.get("installIdHash") == hashed and isinstance(before.get("attemptId"), str):
        parts.tell("going on with the enrolling that was interrupted")
        return Attempt(str(before["attemptId"]), key.csr_pem, key.key_fingerprint)
    attempt = Attempt(parts.make_attempt_id(), key.csr_pem, key.key_fingerprint)
    # The hash is enough to go on: the installId itself is typed or piped again, so it never rests on the disk.
    parts.store.write_json(ATTEMPT, {"installIdHash": hashed, "attemptId": attempt.attempt_id})
    is_box_made = not invitation.certificate_pem
    parts.tell("device key ready; it never leaves this box" if is_box_made else "device key ready")
    return attempt


def _preflight(parts: Parts, dialect: DevicePlatform, invitation: Invitation) -> None:
    """What can be known to fail without spending the installId: name, route, TLS and pin, the hub itself."""
    call = dialect.probe(invitation.endpoint)
    if call is None:
        return
    who = invitation.platform

    def probe() -> float:
        return dialect.read_probe(parts.caller.exchange(call, CALL_DEADLINE_S))

    server_time_s = _patiently(parts, f"reach the {who}", probe)
    recognised = "key pinned" if invitation.trust.pins else "certificate verified"
    parts.tell(f"{who} reached at {invitation.endpoint.url}, {recognised}")
    parts.saw_time(server_time_s)
    skew_s = server_time_s - parts.clock.moment().wall_s
    if abs(skew_s) > 60:
        parts.tell(
            f"this box's clock is {spoken(abs(skew_s))} {'behind' if skew_s > 0 else 'ahead of'} the {who}'s; going on"
        )


def _redeem(
    parts: Parts, dialect: DevicePlatform, invitation: Invitation, attempt: Attempt, facts: Facts
) -> Registration:
    session = parts.open_redeem(invitation, attempt)

    def once() -> Registration:
        call = dialect.redeem(invitation, attempt, facts, parts.clock.moment())
        reply: Reply
        if session is not None:
            reply = session.exchange(call, CALL_DEADLINE_S)
        elif isinstance(call, HttpCall):
            reply = parts.caller.exchange(call, CALL_DEADLINE_S)
        else:
            said = f"On the platform {invitation.platform} a device begins otherwise."
            raise InvitationError("road_unsupported", said)
        handed_over = session is not None and bool(invitation.certificate_pem)
        return _with_renewal(parts, dialect.read_redeemed(invitation, attempt, reply), is_handed_over=handed_over)

    try:
        what = "redeem the installId" if invitation.road == "redeem" else "ask where this device belongs"
        return _patiently(parts, what, once)
    finally:
        if session is not None:
            session.close()


def _with_renewal(parts: Parts, registration: Registration, *, is_handed_over: bool = False) -> Registration:
    """A certificate must be for this box's key, or it could never be shown; its renewal is planned at once.

    Raises:
        InvitationError: one that was handed over is for another key, or cannot be read.
        UnreachableError: one that the platform answered with is.
    """
    pem = registration.credential.certificate_pem
    if not pem:
        return registration
    if parts.fingerprint_of(pem) != registration.key_fingerprint:
        if is_handed_over:
            raise InvitationError(
                "device_file_malformed", "The certificate in the file is not for the key of this box."
            )
        raise UnreachableError("reply_malformed", "The certificate in the hub's answer is not for this box's key.")
    renew_at_s = parts.renew_at_s(pem, registration.registered_at_s, parts.chance())
    return registration._replace(renew_at_s=renew_at_s)


def _patiently(parts: Parts, what: str, once: Callable[[], Result]) -> Result:
    """Calls ``once`` until it answers; gives up with its last error when patience ends."""
    started_s = parts.clock.monotonic_s()
    failures = 0
    while True:
        try:
            return once()
        except UnreachableError as error:
            failures += 1
            wait_s = backoff.retry_wait_s(failures, parts.chance(), error.retry_after_s)
            left_s = parts.patience_s - (parts.clock.monotonic_s() - started_s)
            if error.code in HOPELESS or wait_s > left_s:
                raise
            parts.tell(f"could not {what} yet: {error}; trying again in {spoken(wait_s)}")
            if parts.clock.wait(wait_s):
                raise KeyboardInterrupt from None


def _first_beat(
    parts: Parts, dialect: DevicePlatform, invitation: Invitation, registration: Registration, facts: Facts
) -> str:
    """Proves the registration with a beat over a session of its own; why it was not accepted, or "".

    Raises:
        RefusedError: a credential that was handed over is refused; a better one may take its place.
    """
    moment = parts.clock.moment()
    sequence = int(moment.monotonic_s * 1000)
    asks = registration.transport == "mqtt"
    beat = Beat(sequence, moment, Metrics(), __version__, facts, facts_hash(facts), asks=asks)
    session = parts.open_session(registration)
    try:
        event = unspoken(carried(parts, dialect, registration, beat, session), registration)
    except RefusedError as error:
        event = Refused(error.code, error.message)
    except FirstlightError as error:
        return f"{error} {error.hint}".rstrip()
    finally:
        session.close()
    if isinstance(event, Refused) and invitation.road == "finished":
        before = kept(parts.store, ATTEMPT)
        parts.store.write_json(ATTEMPT, {**before, "installIdHash": id_hash(invitation), "refused": event.code})
        raise RefusedError(event.code, event.message)
    if not isinstance(event, lifecycle.Accepted):
        return getattr(event, "message", "the platform did not accept it")
    if event.is_confirmed:
        parts.tell("first heartbeat accepted: this device is online")
    else:
        parts.tell("first heartbeat taken by the broker; the platform has not answered yet")
    return ""
