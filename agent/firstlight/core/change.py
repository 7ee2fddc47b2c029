"""When a credential is renewed and a move followed: the notes that survive on disk, and every decision about them.

The rules:

1.  Whatever was asked for or is under way is in ``Notes``; together with the candidate registration they are all that
    a fresh start needs to go on.
2.  A change that was interrupted is gone on with at the next start; one that failed waits: five minutes, doubling up to
    a day, jittered. Another boot ends the wait: no wall clock is asked.
3.  Trouble with the present registration ends the wait as well, once for each kind of trouble.
4.  A move that failed for about a month is let go of when the platform itself answers where it was: it may have been
    called off. Said again, it is news again. While the old place is silent it is held for ever: it may be the only way.
5.  A change interrupted ``MAX_BEGUN`` times in a row counts as failed: a box must not do nothing but change.
6.  What comes over the network may be a broker's own word. After a statement that was not followed none is judged for
    five minutes; after a rotation that nobody on this box wished for the next such one is five minutes away, doubling
    up to a day while they follow each other: a hostile broker must not use up a device's certificates.
"""

from __future__ import annotations

import hashlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from firstlight.core.record import NamedTuple

ROTATION, MOVE = "rotation", "move"
FIRST_S, CEILING_S = 300.0, 86_400.0
SHORTEST, LONGEST = 0.75, 1.25  # jitter of a wait
MAX_BEGUN = 6
MAX_SETTLED = 4
MOVE_FAILURES = 38  # at five minutes doubling up to a day: thirty days, or sooner with many boots

# Kinds of trouble with the present registration, by the codes that beats end in.
REFUSED, EXPIRED, CUT_OFF = "refused", "expired", "cut_off"
REFUSALS = frozenset({"key_invalid", "credential_revoked"})
OUT_OF_REACH = frozenset(
    {
        *("dns_failed", "connect_refused", "connect_timeout", "network_unreachable", "reply_timeout", "not_the_hub"),
        *("redirected", "tls_untrusted", "tls_wrong_name", "tls_expired", "tls_failed", "tls_pin_mismatch"),
        *("mqtt_silent", "mqtt_moved", "websocket_failed"),
    }
)
# A candidate is given up only where the platform named one of these; anything else may pass.
ENDS_CANDIDATE = REFUSALS | {"certificate_refused"}
# Where the platform moved to, another credential than the present one may be the one that counts.
UNWELCOME = ENDS_CANDIDATE | {"mqtt_bad_login", "mqtt_not_authorized"}


class Later(NamedTuple):
    """When a change that failed is tried again.

    Args:
        failures: how often in a row it failed; 0 = it may be tried now.
        boot_id: the boot that ``at_s`` counts in.
        at_s: seconds since that boot.
        troubles: kinds of trouble that were answered with an attempt since it last succeeded.
    """

    failures: int = 0
    boot_id: str = ""
    at_s: float = 0.0
    troubles: tuple[str, ...] = ()

    def has_come(self, boot_id: str, now_s: float) -> bool:
        """Whether it may be tried at that moment; a wait that is longer than any is damage, and none."""
        left_s = self.at_s - now_s
        return not self.failures or boot_id != self.boot_id or not 0 < left_s <= CEILING_S * LONGEST


class Result(NamedTuple):
    """How the last change of a kind ended.

    Args:
        code: "" when it was made, otherwise why not.
        message: one sentence, "" = there was none.
        wish: id of the ``firstlight rotate`` that it answers, "" = of none.
        at_s: seconds since 1970 by the box's own clock.
    """

    code: str = ""
    message: str = ""
    wish: str = ""
    at_s: float = 0.0


class Notes(NamedTuple):
    """What is asked for and under way.

    Args:
        rotate: the platform wants the credential replaced.
        heard: a statement of where the platform is now, not believed yet.
        move: one that was believed and is being proved.
        moved_at_s: when the statement that was followed last was issued.
        settled: SHA-256 of the statements, and of the texts not to be trusted, that are done with; newest last.
        attempt_id: of the rotation under way, 32 hex digits.
        next_key: fingerprint of its key.
        trouble: code of what the beating process could not get over when it gave way.
        begun: how often in a row a change was begun without an end.
        rotation_later, move_later: when each is tried again.
        rotation, move_result: how the last one of each ended.
        rotation_rest: until when no other one is made after one that nobody on this box wished for.
        heard_later: until when no statement is judged.
    """

    rotate: bool = False
    heard: str = ""
    move: str = ""
    moved_at_s: float = 0.0
    settled: tuple[str, ...] = ()
    attempt_id: str = ""
    next_key: str = ""
    trouble: str = ""
    begun: int = 0
    rotation_later: Later = Later()
    move_later: Later = Later()
    rotation: Result = Result()
    move_result: Result = Result()
    rotation_rest: Later = Later()
    heard_later: Later = Later()


class Situation(NamedTuple):
    """What a decision is made from.

    Args:
        notes: from the disk.
        has_candidate: whether a candidate registration waits to be proved.
        has_wish: whether somebody on this box asked for a rotation.
        renew_at_s: of the present registration, 0.0 = never.
        platform_s: the platform's clock as far as it is known, 0.0 = it is not.
        trouble: code of the last failure or refusal, "" while beats are accepted.
        boot_id, now_s: this boot, and seconds since it began.
    """

    notes: Notes
    has_candidate: bool
    has_wish: bool
    renew_at_s: float
    platform_s: float
    trouble: str
    boot_id: str
    now_s: float


def kind_of(trouble: str) -> str:
    """``REFUSED``, ``EXPIRED``, ``CUT_OFF``, or "" for what another credential or address would not mend."""
    if trouble in REFUSALS:
        return REFUSED
    if trouble == "certificate_refused":
        return EXPIRED
    return CUT_OFF if trouble in OUT_OF_REACH else ""


def due(now: Situation, *, goes_on: bool = False) -> tuple[str, ...]:
    """What is to be changed now: ``ROTATION``, ``MOVE``, both or nothing.

    Args:
        now: what is known.
        goes_on: at a start: what was interrupted is gone on with, whatever it would have waited for.
    """
    return tuple(
        what for what, is_due in ((ROTATION, _rotation_due(now, goes_on)), (MOVE, _move_due(now, goes_on))) if is_due
    )


def wants_rotation(now: Situation) -> bool:
    """Whether somebody or something wants the credential replaced, and the last time is long enough ago."""
    if now.has_wish:
        return True
    is_time = 0.0 < now.renew_at_s <= now.platform_s
    is_wanted = now.notes.rotate or is_time or kind_of(now.trouble) == EXPIRED
    return is_wanted and now.notes.rotation_rest.has_come(now.boot_id, now.now_s)


def _rotation_due(now: Situation, goes_on: bool) -> bool:
    if not now.has_candidate and not wants_rotation(now):
        return False
    helps = kind_of(now.trouble) in ((REFUSED, EXPIRED) if now.has_candidate else (EXPIRED,))
    return now.has_wish or _may_try(now, now.notes.rotation_later, goes_on, helps)


def _move_due(now: Situation, goes_on: bool) -> bool:
    if now.notes.heard and now.notes.heard_later.has_come(now.boot_id, now.now_s):
        return True  # to be judged, which needs no network; then it is believed or forgotten
    if not now.notes.move:
        return False
    return _may_try(now, now.notes.move_later, goes_on, kind_of(now.trouble) in (CUT_OFF, REFUSED))


def _may_try(now: Situation, later: Later, goes_on: bool, helps: bool) -> bool:
    if (goes_on and now.notes.begun) or later.has_come(now.boot_id, now.now_s):
        return True
    return helps and kind_of(now.trouble) not in later.troubles


# -- notes after what happened ---------------------------------------------------------------------------------------
def begun(notes: Notes) -> Notes:
    """A change is about to be made: counted, so that one that never ends does not begin for ever."""
    return notes._replace(begun=notes.begun + 1)


def failed(notes: Notes, what: str, now: Situation, chance: float, result: Result) -> Notes:
    """It did not come about: tried again later.

    Args:
        notes: before.
        what: ``ROTATION`` or ``MOVE``.
        now: with the trouble that it was to mend, and the time.
        chance: a random number in [0, 1).
        result: to be shown.
    """
    before = notes.rotation_later if what == ROTATION else notes.move_later
    kind = kind_of(now.trouble)
    troubles = tuple(dict.fromkeys((*before.troubles, *((kind,) if kind else ()))))
    wait_s = _wait_s(before.failures) * (SHORTEST + (LONGEST - SHORTEST) * chance)
    later = Later(before.failures + 1, now.boot_id, now.now_s + wait_s, troubles)
    if what == ROTATION:
        return notes._replace(rotation_later=later, rotation=result)
    return notes._replace(move_later=later, move_result=result)


def _wait_s(failures: int) -> float:
    return min(CEILING_S, FIRST_S * 2.0 ** min(failures, 16))


def rotated(notes: Notes, result: Result, boot_id: str, now_s: float) -> Notes:
    """The next credential is the present one."""
    rest = notes.rotation_rest
    if not result.wish:
        before = rest.failures if boot_id == rest.boot_id and now_s - rest.at_s < CEILING_S else 0
        rest = Later(before + 1, boot_id, now_s + _wait_s(before))
    return notes._replace(
        rotate=False,
        attempt_id="",
        next_key="",
        trouble="",
        rotation_later=Later(),
        rotation=result,
        rotation_rest=rest,
    )


def given_up(notes: Notes) -> Notes:
    """The platform does not want the next key: another one will be made."""
    return notes._replace(attempt_id="", next_key="")


def believed(notes: Notes, issued_at_s: float, held_issued_at_s: float) -> Notes:
    """The statement heard is to be trusted: held, unless it is no newer than what was followed or is held already."""
    if issued_at_s <= max(notes.moved_at_s, held_issued_at_s if notes.move else 0.0):
        return passed_over(notes)
    return _settled(notes, statement_of(notes.move))._replace(heard="", move=notes.heard, move_later=Later())


def passed_over(notes: Notes) -> Notes:
    """What was heard changes nothing: not looked at again, however often it is signed anew."""
    return _settled(notes, statement_of(notes.heard))._replace(heard="")


def disbelieved(notes: Notes, result: Result) -> Notes:
    """What was heard is not to be trusted: this very text is not looked at again, the same statement signed well is."""
    return _settled(notes, notes.heard)._replace(heard="", move_result=result)


def deaf(notes: Notes, boot_id: str, now_s: float) -> Notes:
    """A statement was judged and not followed: it cost a change of processes, and anybody could have sent it."""
    return notes._replace(heard_later=Later(1, boot_id, now_s + FIRST_S))


def dropped(notes: Notes) -> Notes:
    """The held move cannot be read any more: forgotten, and not settled, so that it is heard again."""
    return notes._replace(move="", move_later=Later())


def moved(notes: Notes, issued_at_s: float, result: Result) -> Notes:
    """The platform was reached where the held statement said."""
    return _settled(notes, statement_of(notes.move))._replace(
        move="", moved_at_s=issued_at_s, trouble="", move_later=Later(), move_result=result
    )


def is_stale(notes: Notes) -> bool:
    """Whether the held move has failed for so long that an answer from the old place ends it."""
    return bool(notes.move) and notes.move_later.failures >= MOVE_FAILURES


def let_go(notes: Notes) -> Notes:
    """The held move is forgotten, and not settled: the same statement is believed again when it is said again."""
    last = notes.move_result
    message = "The move was let go of: the platform still answers where it was, and never where it was to be."
    return notes._replace(move="", move_later=Later(), move_result=Result(last.code, message, "", last.at_s))


def is_news(notes: Notes, text: str) -> bool:
    """Whether a statement was not seen yet."""
    known = (statement_of(notes.heard), statement_of(notes.move))
    statement = statement_of(text)
    return bool(text) and statement not in known and not {hash_of(text), hash_of(statement)} & set(notes.settled)


def statement_of(text: str) -> str:
    """What travels, without its signature."""
    return text.partition(".")[0]


def hash_of(text: str) -> str:
    """What is kept of a statement that is done with."""
    return hashlib.sha256(text.encode()).hexdigest()


def _settled(notes: Notes, text: str) -> Notes:
    if not text or hash_of(text) in notes.settled:
        return notes
    return notes._replace(settled=(*notes.settled, hash_of(text))[-MAX_SETTLED:])
