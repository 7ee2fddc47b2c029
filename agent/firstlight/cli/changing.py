"""Making a rotation or a move, as resumable steps: key, request, candidate, proof, promotion.

A kill at any point leaves a device that beats, and the next start goes on: the next key and the attempt's id are on
disk before the first request, the candidate before its proof, and the present registration stays until the candidate
was accepted once. What is due is decided in ``core/change.py``; nothing here names a concrete part.
"""

from __future__ import annotations

from typing import cast

from firstlight import __version__
from firstlight.cli.change_parts import NextKey, Parts, situation
from firstlight.core import change
from firstlight.core.change import MOVE, ROTATION, Notes, Result
from firstlight.core.exchange import HttpReply
from firstlight.core.lifecycle import Accepted, Failed, Refused, Removed
from firstlight.core.model import Beat, Metrics, Registration, Trust, parse_broker, parse_endpoint
from firstlight.errors import FirstlightError, InvitationError, RefusedError, StateError, UnreachableError
from firstlight.system import changes
from firstlight.system.store import CANDIDATE, WISH
from firstlight.wire.bounded import WireError
from firstlight.wire.facts import facts_hash
from firstlight.wire.move import Move, decode_statement, unseal, verify

INFO, WARNING = 6, 4


class Changing:
    """One attempt at everything that is due.

    Args:
        parts: what it is made of.
        registration: the present one.
    """

    def __init__(self, parts: Parts, registration: Registration) -> None:
        self.registration = registration
        self._parts = parts
        self._store = parts.store
        self._notes = self._on_disk = changes.load(parts.store)
        self._wish = changes.wish_of(parts.store)
        self._candidate: Registration | None = None

    def perform(self) -> Notes:
        """Makes what is due, each once.

        Returns:
            how they ended, among other things.

        Raises:
            StateError: the disk refuses; what is there stays good.
        """
        self._settle()
        due = self._due()
        if due and self._notes.begun > change.MAX_BEGUN:
            for what in due:
                self._fail(what, "rotation_failed", "It was interrupted again and again.")
            due = ()
        if due:
            self._save(change.begun(self._notes))
            self._make(due)
        self._save(self._notes._replace(begun=0, trouble=""))
        self._end_wish()
        return self._notes

    def _due(self) -> tuple[str, ...]:
        return change.due(situation(self._store, self.registration, self._parts.clock, self._notes), goes_on=True)

    def _make(self, due: tuple[str, ...]) -> None:
        if self._candidate is not None and ROTATION in due:
            self._prove_candidate()
        if self._notes.heard:
            self._judge()
            due = self._due()
        if self._notes.move and MOVE in due:
            self._follow()
        if self._candidate is None and ROTATION in due and self._is_rotation_wanted():
            self._renew()

    # -- a rotation --------------------------------------------------------------------------------------------------
    def _settle(self) -> None:
        """Finishes what a kill left half done after the point of no return, and forgets what is damaged."""
        try:
            candidate = self._store.load_candidate()
        except StateError as error:
            if error.code != "state_corrupt":
                raise
            self._parts.log(WARNING, f"{error} It is asked for anew.")
            self._store.remove(CANDIDATE)
            candidate = None
        if self._notes.next_key == self.registration.key_fingerprint:
            self._finish_rotation()
        elif candidate is not None and candidate.key_fingerprint == self.registration.key_fingerprint:
            self._forget_candidate()
        else:
            self._candidate = candidate
        if self._wish and self._wish == self._notes.rotation.wish:
            self._end_wish()

    def _is_rotation_wanted(self) -> bool:
        now = situation(self._store, self.registration, self._parts.clock, self._notes)
        return change.wants_rotation(now)

    def _renew(self) -> None:
        """Asks for a candidate with the next key, has it on disk, and proves it."""
        try:
            self._candidate = self._ask(self.registration)
        except RefusedError as error:
            if error.code == "csr_invalid":
                self._notes = change.given_up(self._notes)
            self._fail(ROTATION, error.code, error.message)
            return
        except FirstlightError as error:
            if error.code == "state_unwritable":
                raise
            self._fail(ROTATION, error.code, error.message)
            return
        self._prove_candidate()

    def _next_key(self) -> NextKey:
        """The next key and the attempt's id, on disk; those of an attempt that was interrupted."""
        notes = self._notes
        if notes.attempt_id and notes.next_key:
            try:
                key = self._parts.keys.load(self._store, notes.next_key)
                return NextKey(notes.attempt_id, key.csr_pem, key.key_fingerprint)
            except StateError as error:
                if error.code != "state_corrupt":
                    raise
        self._store.remove_keys_but(self.registration.key_fingerprint)
        key = self._parts.keys.make_next(self._store)
        attempt_id = self._parts.make_attempt_id()
        self._save(notes._replace(attempt_id=attempt_id, next_key=key.key_fingerprint))
        return NextKey(attempt_id, key.csr_pem, key.key_fingerprint)

    def _ask(self, registration: Registration) -> Registration:
        """The candidate for a registration, on disk; that is asked for where the registration says.

        Raises:
            RefusedError, UnreachableError, StateError: as named.
        """
        parts, renewal = self._parts, self._parts.renewal
        if renewal is None:
            raise RefusedError("rotation_failed", "This platform does not let a device replace its credential.")
        present = parts.keys.load(self._store, registration.key_fingerprint)
        following = self._next_key()
        parts.alive()
        session = parts.open_plain(registration)
        try:
            call = renewal.renew(registration, following, present, parts.clock.moment().boot_id)
            reply = session.exchange(call, parts.deadline_s)
        finally:
            session.close()
            parts.alive()
        candidate = renewal.read_renewed(registration, following, cast(HttpReply, reply))
        candidate = self._dated(candidate)
        self._store.save_candidate(candidate)
        return candidate

    def _dated(self, candidate: Registration) -> Registration:
        """With the time of its renewal; a certificate for another key than the next one is none."""
        certificate_pem = candidate.credential.certificate_pem
        if not certificate_pem:
            return candidate
        if self._parts.fingerprint_of(certificate_pem) != candidate.key_fingerprint:
            raise UnreachableError("reply_malformed", "The hub's certificate is for another key.")
        due_s = self._parts.renew_at_s(certificate_pem, candidate.registered_at_s, self._parts.chance())
        return candidate._replace(renew_at_s=due_s)

    def _prove_candidate(self) -> None:
        candidate = self._candidate
        if candidate is None:
            return
        event = self._prove(candidate, "http")
        if isinstance(event, Accepted):
            self._promote(candidate)
        elif isinstance(event, (Failed, Refused)) and event.code in change.ENDS_CANDIDATE:
            self._forget_candidate()
            self._notes = change.given_up(self._notes)
            self._fail(ROTATION, event.code, event.message)
        else:
            self._fail(ROTATION, *_why(event))

    def _promote(self, candidate: Registration) -> None:
        """The point of no return; ``_settle`` goes on from any place in here."""
        self._store.save_registration(candidate)
        self.registration = candidate
        self._finish_rotation()

    def _finish_rotation(self) -> None:
        self._forget_candidate()
        message = "The device's key and credential were replaced."
        moment = self._parts.clock.moment()
        result = self._result("", message, self._wish)
        self._save(change.rotated(self._notes, result, moment.boot_id, moment.monotonic_s))
        self._end_wish()
        self._parts.log(INFO, message)

    def _forget_candidate(self) -> None:
        """Its file, and every key but the present one. The notes that name it come last."""
        self._store.remove(CANDIDATE)
        self._candidate = None
        self._store.remove_keys_but(self.registration.key_fingerprint)

    # -- a move ------------------------------------------------------------------------------------------------------
    def _judge(self) -> None:
        """Believes or forgets the statement that was heard."""
        notes = self._notes
        try:
            # Before the signature: a hub whose CA has ended tells all its devices, also those that know the next one.
            if moved(self.registration, decode_statement(unseal(notes.heard)[0])) == self.registration:
                self._save(self._deaf(change.passed_over(notes)))
                return
            move = verify(notes.heard, self.registration.trust.ca_pem)
        except (WireError, InvitationError) as error:
            message = f"The platform is said to have moved, but that cannot be believed: {error}."
            self._save(self._deaf(change.disbelieved(notes, self._result("move_untrusted", message, wish=""))))
            self._parts.log(WARNING, f"{message} [move_untrusted]")
            return
        held = self._held()
        after = change.believed(self._notes, move.issued_at_s, held.issued_at_s if held else 0.0)
        self._save(after if after.move == notes.heard else self._deaf(after))

    def _deaf(self, notes: Notes) -> Notes:
        moment = self._parts.clock.moment()
        return change.deaf(notes, moment.boot_id, moment.monotonic_s)

    def _held(self) -> Move | None:
        """The statement that was believed; one that was damaged meanwhile is dropped, and nothing waits for it."""
        if not self._notes.move:
            return None
        try:
            move = decode_statement(unseal(self._notes.move)[0])
            moved(self.registration, move)
        except (WireError, InvitationError) as error:
            self._save(change.dropped(self._notes))
            self._parts.log(WARNING, f"The move that was to be followed is damaged and was dropped: {error}.")
            return None
        return move

    def _follow(self) -> None:
        """Proves the held statement's place with a beat that trusts only what it names, and goes there."""
        move = self._held()
        if move is None:
            return
        following = moved(self.registration, move)
        if following == self.registration:  # promoted already, when the kill came
            self._finish_move(move)
            return
        event = self._prove(following, following.transport)
        if isinstance(event, Accepted):
            self._promote_move(following, move)
            return
        if isinstance(event, (Failed, Refused)) and event.code in change.UNWELCOME and self._follow_as_candidate(move):
            return
        self._fail(MOVE, *_why(event))

    def _follow_as_candidate(self, move: Move) -> bool:
        """The next credential at the new place.

        The answer to its proof may have been lost before the hub moved: then only the candidate counts there. Or the
        present certificate has expired, and the old place is no more.
        """
        try:
            if self._candidate is None:
                self._candidate = self._ask(moved(self.registration, move))
            there = moved(self._candidate, move)
            self._store.save_candidate(there)
        except (RefusedError, UnreachableError):
            return False
        if not isinstance(self._prove(there, "http"), Accepted):
            return False
        self._promote(there)
        self._finish_move(move)
        return True

    def _promote_move(self, following: Registration, move: Move) -> None:
        if self._candidate is not None:
            self._candidate = moved(self._candidate, move)
            self._store.save_candidate(self._candidate)
        self._store.save_registration(following)
        self.registration = following
        self._finish_move(move)

    def _finish_move(self, move: Move) -> None:
        where = self.registration.endpoint.url
        message = f"The platform is at {where} from now on, under the CA that it named; this device followed."
        self._save(change.moved(self._notes, move.issued_at_s, self._result("", message, wish="")))
        self._parts.log(INFO, message)

    # -- both --------------------------------------------------------------------------------------------------------
    def _prove(self, registration: Registration, transport: str) -> object:
        """One beat as that registration, over "http" or its own transport; what came of it."""
        parts = self._parts
        moment = parts.clock.moment()
        facts = parts.facts
        sequence = int(moment.monotonic_s * 1000)
        beat = Beat(sequence, moment, Metrics(), __version__, facts, facts_hash(facts), asks=True)
        registration = registration._replace(transport=transport)
        parts.alive()
        try:
            session = parts.open_proving(registration)
            try:
                reply = session.exchange(parts.dialect.beat(registration, beat), parts.deadline_s)
            finally:
                session.close()
            event = parts.dialect.read_beat(registration, reply)
        except FirstlightError as error:
            return Failed(error.code, error.message)
        finally:
            parts.alive()
        if isinstance(event, Accepted) and not event.is_confirmed:
            return Failed("reply_timeout", "The broker took the beat, but the platform did not answer it.")
        if isinstance(event, Accepted) and event.server_time_s is not None:
            parts.saw_time(event.server_time_s)
        return event

    def _fail(self, what: str, code: str, message: str) -> None:
        parts = self._parts
        now = situation(self._store, self.registration, parts.clock, self._notes)
        subject = "The credential could not be replaced" if what == ROTATION else "The move could not be followed"
        result = self._result(code, f"{subject}: {message}", wish=self._wish if what == ROTATION else "")
        notes = change.failed(self._notes, what, now, parts.chance(), result)
        later = notes.rotation_later if what == ROTATION else notes.move_later
        wait_min = round((later.at_s - now.now_s) / 60)
        # Who asked for it on this box asks again; only the platform, a date or a broken way are there on their own.
        is_wanted = what == MOVE or now.has_candidate or change.wants_rotation(now._replace(has_wish=False))
        again = f" Tried again in {wait_min} min, where it is still wanted." if is_wanted else ""
        parts.log(WARNING, f"{result.message} [{code}]{again}")
        self._save(notes)

    def _result(self, code: str, message: str, wish: str) -> Result:
        return Result(code, message, wish, self._parts.clock.moment().wall_s)

    def _save(self, notes: Notes) -> None:
        if notes != self._on_disk:
            changes.save(self._store, notes)
            self._on_disk = notes
        self._notes = notes

    def _end_wish(self) -> None:
        """The wish is answered by the notes: removed, unless it is another one by now."""
        if self._wish and self._wish == self._notes.rotation.wish:
            if changes.wish_of(self._store) == self._wish:
                self._store.remove(WISH)
            self._wish = ""


def moved(registration: Registration, move: Move) -> Registration:
    """A registration as it is where the platform is from now on.

    Raises:
        InvitationError: an address in the statement cannot be used.
    """
    brokers = dict(move.brokers)
    kind = registration.credential.kind
    is_websocket = registration.broker is not None and registration.broker.scheme.startswith("ws")
    address = (brokers.get(f"{kind}Websocket") if is_websocket else None) or brokers.get(kind)
    return registration._replace(
        endpoint=parse_endpoint(move.endpoint),
        trust=Trust(ca_pem=move.ca_pem),
        broker=parse_broker(address) if address and registration.broker else registration.broker,
    )


def _why(event: object) -> tuple[str, str]:
    """Code and sentence of what was not an acceptance."""
    if isinstance(event, Removed):
        return "device_removed", event.message
    return str(getattr(event, "code", "not_the_hub")), str(getattr(event, "message", "It was not accepted."))
