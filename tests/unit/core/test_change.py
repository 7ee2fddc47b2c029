"""When a change is made, and when it waits: every rule of core/change.py."""

import json

import pytest

from firstlight.core import change, change_notes
from firstlight.core.change import MOVE, ROTATION, Later, Notes, Result, Situation

BOOT, OTHER_BOOT = "a" * 32, "b" * 32

NOTHING = Notes()


def now(
    notes: Notes = NOTHING,
    *,
    candidate: bool = False,
    wish: bool = False,
    renew_at_s: float = 0.0,
    platform_s: float = 0.0,
    trouble: str = "",
    boot_id: str = BOOT,
    now_s: float = 1000.0,
) -> Situation:
    """A situation in which nothing is asked, unless it is named."""
    return Situation(notes, candidate, wish, renew_at_s, platform_s, trouble, boot_id, now_s)


WAITING = Later(1, BOOT, 2000.0)


def test_nothing_asked_is_nothing_due() -> None:
    """Without a wish, a date, a statement or a candidate nothing is due, whatever the trouble."""
    assert change.due(now()) == ()
    for trouble in ("key_invalid", "connect_refused", "hub_busy", "credential_revoked"):
        assert change.due(now(trouble=trouble)) == ()


@pytest.mark.parametrize(
    "asked",
    [
        now(Notes(rotate=True)),
        now(wish=True),
        now(candidate=True),
        now(renew_at_s=500.0, platform_s=500.0),
        now(trouble="certificate_refused"),
    ],
)
def test_each_reason_makes_a_rotation_due(asked: Situation) -> None:
    """The platform's word, a person's wish, a candidate, the date and an expired certificate each suffice."""
    assert change.due(asked) == (ROTATION,)


def test_the_date_counts_by_the_platforms_clock_only() -> None:
    """Before the date, and while the platform's time is not known, a certificate stays."""
    assert change.due(now(renew_at_s=500.0, platform_s=499.9)) == ()
    assert change.due(now(renew_at_s=500.0, platform_s=0.0)) == ()
    assert change.due(now(renew_at_s=0.0, platform_s=1e9)) == ()


def test_after_a_failure_it_waits_and_another_boot_ends_the_wait() -> None:
    """A failed rotation is due again at its time, or in another boot, whose clock started anew."""
    notes = Notes(rotate=True, rotation_later=WAITING)

    assert change.due(now(notes)) == ()
    assert change.due(now(notes, now_s=2000.0)) == (ROTATION,)
    assert change.due(now(notes, boot_id=OTHER_BOOT, now_s=1.0)) == (ROTATION,)
    assert change.due(now(notes, wish=True)) == (ROTATION,), "a person does not wait"


def test_what_was_interrupted_is_gone_on_with_at_a_start_only() -> None:
    """An attempt without an end is due at the next start, however long it would have waited."""
    notes = Notes(rotate=True, rotation_later=WAITING, begun=1)

    assert change.due(now(notes), goes_on=True) == (ROTATION,)
    assert change.due(now(notes)) == ()


def test_refused_with_a_candidate_at_hand_is_due_once() -> None:
    """A refusal of the present credential ends the wait of a candidate once, not again and again."""
    notes = Notes(rotation_later=WAITING)
    refused = now(notes, candidate=True, trouble="key_invalid")
    assert change.due(refused) == (ROTATION,)

    after = change.failed(notes, ROTATION, refused, 0.5, Result("x", "y"))

    assert change.due(now(after, candidate=True, trouble="key_invalid")) == ()
    assert change.due(now(after, candidate=True, trouble="certificate_refused")) == (ROTATION,)
    assert change.due(now(after, candidate=True, trouble="hub_busy")) == ()


def test_a_held_move_is_tried_once_when_the_old_place_is_cut_off() -> None:
    """While a statement waits, each kind of trouble with the old address brings one more attempt."""
    notes = Notes(move="m", move_later=WAITING)
    assert change.due(now(notes)) == ()
    for trouble in ("tls_untrusted", "connect_refused", "dns_failed", "key_invalid"):
        assert change.due(now(notes, trouble=trouble)) == (MOVE,)

    after = change.failed(notes, MOVE, now(notes, trouble="dns_failed"), 0.5, Result("x", "y"))

    assert change.due(now(after, trouble="connect_refused")) == ()
    assert change.due(now(after, trouble="hub_error")) == ()


def test_what_was_heard_is_judged_at_once() -> None:
    """A statement that nobody has looked at is due, and both changes can be due together."""
    assert change.due(now(Notes(heard="h", move="m", move_later=WAITING))) == (MOVE,)
    assert change.due(now(Notes(heard="h", rotate=True))) == (ROTATION, MOVE)


def test_waits_grow_from_minutes_to_a_day_and_are_jittered() -> None:
    """The n-th failure waits five minutes doubled, at most a day, a quarter less to a quarter more."""
    notes, waits = Notes(rotate=True), []
    for _ in range(20):
        low = change.failed(notes, ROTATION, now(), 0.0, Result()).rotation_later.at_s - 1000
        high = change.failed(notes, ROTATION, now(), 0.999, Result()).rotation_later.at_s - 1000
        assert high / low == pytest.approx(5 / 3, rel=0.01)
        notes = change.failed(notes, ROTATION, now(), 0.5, Result())
        waits.append(notes.rotation_later.at_s - 1000)

    assert waits[:3] == [300.0, 600.0, 1200.0]
    assert waits[-1] == 86_400.0
    assert notes.move_later == Later(), "the other kind has a wait of its own"


def test_a_success_clears_what_led_to_it() -> None:
    """After a rotation nothing of it is due: not the platform's word, not the trouble, not the wait."""
    notes = Notes(rotate=True, attempt_id="1", next_key="k", trouble="certificate_refused", rotation_later=WAITING)

    after = change.rotated(notes, Result("", "Done.", "wish"), BOOT, 1000.0)

    assert change.due(now(after, trouble=after.trouble)) == ()
    assert (after.attempt_id, after.next_key, after.rotation) == ("", "", Result("", "Done.", "wish"))


def test_an_older_statement_never_replaces_a_newer_one() -> None:
    """What is no newer than the statement that was followed, or the one that is held, is forgotten."""
    followed = Notes(heard="again", moved_at_s=100.0)
    assert change.believed(followed, 100.0, 0.0).move == ""
    assert change.believed(followed, 101.0, 0.0).move == "again"

    held = Notes(heard="second", move="first")
    assert change.believed(held, 49.0, 50.0).move == "first"
    newer = change.believed(held, 51.0, 50.0)
    assert (newer.move, newer.heard) == ("second", "")
    assert not change.is_news(newer, "first") and not change.is_news(newer, "second")


def test_settled_statements_are_not_looked_at_again_and_the_list_is_bounded() -> None:
    """The newest four statements that are done with are known by their hash, whoever signs them anew."""
    notes = Notes()
    for number in range(6):
        notes = change.passed_over(notes._replace(heard=f"{number}.signature"))

    assert [change.is_news(notes, f"{number}.other") for number in range(6)] == [True, True, False, False, False, False]
    assert not change.is_news(notes, "")


def test_a_bad_signature_does_not_keep_a_good_one_out() -> None:
    """A text that was not to be trusted is known by all of it: the same statement signed well is news."""
    notes = change.disbelieved(Notes(heard="statement.bad"), Result("move_untrusted", "No."))

    assert not change.is_news(notes, "statement.bad")
    assert change.is_news(notes, "statement.good")
    assert notes.heard == ""


def test_notes_come_back_from_json_and_junk_counts_as_nothing() -> None:
    """Every field survives; a field of another kind is as if it were not there."""
    notes = Notes(
        True, "h", "m", 12.5, ("s",), "1" * 32, "sha256:" + "ab" * 32, "key_invalid", 3,
        Later(2, BOOT, 7.5, ("cut_off",)), Later(1, OTHER_BOOT, 8.0), Result("c", "m", "w", 9.0), Result("", "n"),
        Later(3, BOOT, 6.5), Later(1, BOOT, 5.5),
    )  # fmt: skip
    assert change_notes.decode(json.loads(json.dumps(change_notes.encode(notes)))) == notes

    junk: dict[str, object] = {name: {"x": [None]} for name in change_notes.encode(notes)}
    assert change_notes.decode(junk) == Notes()
    assert change_notes.decode({"settled": "text", "begun": 1e300, "rotationLater": []}) == Notes()


IMPOSSIBLE: dict[str, list[object]] = {
    "attemptId": ["x" * 32, "1" * 31, "1" * 33, "é" * 32, 7],
    "nextKey": ["sha256:../../etc", "sha256:" + "AB" * 32, "ab" * 32, "sha256:", None],
    "begun": [-5, -1e11, "6", 1e300, float("nan"), float("inf"), True],
    "heard": ["a\nb", "\ud800", "x" * 70_000],
    "move": ["a\x00b", "\udfff.x", "x" * 70_000, ["m"]],
    "settled": [["x" * 1000], ["\ud800"], {"0": "x"}, [[]]],
    "trouble": ["\x1b[31m", "x" * 200],
    "rotationLater": [{"failures": -3, "atS": 1e11}, {"failures": 1e300, "atS": "soon"}, {"troubles": "x"}],
    "lastRotation": [{"message": "x" * 5000, "wish": "\ud800", "code": [], "atS": {}}],
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_cannot_be_counts_as_not_there(name: str) -> None:
    """A text that is too long or cannot be sent, a count below nothing, a key that is none: as if missing."""
    for value in IMPOSSIBLE[name]:
        notes = change_notes.decode({name: value})
        assert change_notes.decode(json.loads(json.dumps(change_notes.encode(notes)))) == notes
        for text in (notes.heard, notes.move, *notes.settled):
            change.hash_of(text)
        assert notes._replace(begun=0, rotation_later=Later()) == Notes() and 0 <= notes.begun <= change.MAX_BEGUN
        assert notes.rotation_later.has_come("", 0.0)


def test_a_wait_longer_than_any_is_damage() -> None:
    """A wait that no failure could have led to ends at once; the longest that there is does not."""
    longest_s = change.CEILING_S * change.LONGEST
    assert not Later(9, BOOT, longest_s).has_come(BOOT, 0.0)
    assert Later(9, BOOT, longest_s + 1).has_come(BOOT, 0.0)
    assert Later(9, BOOT, -5.0).has_come(BOOT, 0.0)


def test_rotations_that_nobody_here_wished_for_keep_their_distance() -> None:
    """The platform's word, its clock and a refused certificate wait five minutes, then ten; a person does not."""
    notes, at_s, waits = Notes(), 1000.0, []
    for _ in range(12):
        notes = change.rotated(notes, Result(), BOOT, at_s)
        rest = notes.rotation_rest
        waits.append(rest.at_s - at_s)
        for asked in (
            now(notes._replace(rotate=True), now_s=rest.at_s - 1),
            now(notes, renew_at_s=1.0, platform_s=2.0, now_s=rest.at_s - 1),
            now(notes, trouble="certificate_refused", now_s=rest.at_s - 1),
        ):
            assert change.due(asked) == change.due(asked, goes_on=True) == ()
            assert change.due(asked._replace(now_s=rest.at_s)) == (ROTATION,)
            assert change.due(asked._replace(boot_id=OTHER_BOOT)) == (ROTATION,)
            assert change.due(asked._replace(has_wish=True)) == (ROTATION,)
        assert change.due(now(notes, candidate=True, now_s=at_s)) == (ROTATION,), "what is begun is gone on with"
        at_s = rest.at_s
    assert waits[:3] == [300.0, 600.0, 1200.0] and waits[-1] == change.CEILING_S

    assert change.rotated(notes, Result(wish="w"), BOOT, at_s).rotation_rest == notes.rotation_rest, "no reason to rest"
    late = change.rotated(notes, Result(), BOOT, notes.rotation_rest.at_s + change.CEILING_S).rotation_rest
    assert late.failures == 1


def test_after_a_statement_that_was_not_followed_none_is_judged_for_five_minutes() -> None:
    """What was heard meanwhile waits, in this boot; a held move does not."""
    notes = change.deaf(Notes(heard="h"), BOOT, 1000.0)

    assert change.due(now(notes, now_s=1299.0)) == ()
    assert change.due(now(notes, now_s=1300.0)) == (MOVE,)
    assert change.due(now(notes, boot_id=OTHER_BOOT)) == (MOVE,)
    assert change.due(now(notes._replace(move="m"), now_s=1001.0)) == (MOVE,)
