"""Moves against a platform in memory and a real disk: every kill, every statement that is not to be believed."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from firstlight.core.change import Later
from firstlight.core.exchange import HttpReply
from firstlight.core.model import Endpoint, Trust
from firstlight.errors import UnreachableError
from firstlight.wire.move import Move
from tests.unit.cli.changing_world import (
    KINDS,
    NEW,
    NOW_S,
    OLD,
    Authority,
    Box,
    FakeHub,
    assert_rotated,
    killed_at_each_step,
    made,
    move_of,
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("transport", ["http", "mqtt"])
def test_a_kill_at_any_step_of_a_move_loses_nothing(tmp_path: Path, kind: str, transport: str) -> None:
    """After a kill at each step the next start ends at the new address, trusting only the new CA."""

    def make(folder: Path) -> Box:
        box = made(folder, kind, transport)
        box.hub.at[NEW] = box.hub.next_authority.pem
        box.ask(heard=move_of(box))
        return box

    port = 8884 if kind == "secret" else 8883
    rounds = 0
    for box in killed_at_each_step(tmp_path, make):
        registration = box.registration
        assert (registration.endpoint.url, registration.trust.ca_pem) == (NEW, box.hub.next_authority.pem)
        assert registration.key_fingerprint == box.first_key
        assert (registration.broker.port if registration.broker else 0) == (port if transport == "mqtt" else 0)
        assert box.beats()
        assert (box.notes.move, box.notes.heard, box.notes.begun) == ("", "", 0)
        rounds += 1
    assert rounds > 15


def assert_moved_and_rotated(boxes: Iterable[Box], at_least: int) -> None:
    """Each of more than so many boxes is at the new place, with the next credential."""
    rounds = 0
    for box in boxes:
        assert box.registration.endpoint.url == NEW
        assert_rotated(box)
        rounds += 1
    assert rounds > at_least


def test_both_at_once_are_made_one_after_the_other(tmp_path: Path) -> None:
    """A move and a rotation asked together end at the new address with the new key, killed at any step."""

    def make(folder: Path) -> Box:
        box = made(folder)
        box.hub.at[NEW] = box.hub.next_authority.pem
        box.ask(heard=move_of(box), rotate=True)
        return box

    assert_moved_and_rotated(killed_at_each_step(tmp_path, make), at_least=60)


def test_a_move_that_nobody_trusted_signed_is_ignored_and_said_once(tmp_path: Path) -> None:
    """Signed by a stranger, or damaged: the box stays, says so, and does not look at it again."""
    box = made(tmp_path / "state")
    box.hub.at[NEW] = box.hub.next_authority.pem
    for heard in (move_of(box, signer=Authority()), "junk", "eA==.eA==", move_of(box)[:-8] + "AAAAAAA="):
        box.log.clear()
        box.clock.now_s += 301
        box.ask(heard=heard)
        box.start()
        assert box.registration.endpoint.url == OLD
        assert box.notes.move_result.code == "move_untrusted"
        assert [("move_untrusted" in line) for line in box.log] == [True]
    assert box.calls == []
    assert len(box.notes.settled) == 4


def test_a_statement_that_changes_nothing_is_passed_over_whoever_signed_it(tmp_path: Path) -> None:
    """A hub tells those that know its next CA too, signed by the former one: no word is lost about it."""
    box = made(tmp_path / "state")
    box.ask(heard=Authority().move(Move(OLD, box.hub.authority.pem, (), NOW_S)))
    box.start()

    assert box.log == [] and box.calls == [] and not box.notes.heard
    assert box.notes.move_result.code == ""


def test_an_rsa_authority_moves_its_devices_too(tmp_path: Path) -> None:
    """A site's own RSA CA signs statements as well as ours does."""
    hub = FakeHub("secret")
    hub.authority = Authority(is_rsa=True)
    hub.at[OLD] = hub.authority.pem
    box = Box(tmp_path / "state", hub)
    hub.at[NEW] = hub.next_authority.pem
    box.ask(heard=move_of(box))
    box.start()

    assert box.registration.endpoint.url == NEW


def test_a_box_without_a_ca_of_its_own_believes_no_move(tmp_path: Path) -> None:
    """Where only pins or the system's store are trusted there is no key that could have signed it."""
    box = made(tmp_path / "state")
    text = move_of(box)
    box.store.save_registration(box.registration._replace(trust=Trust()))
    box.ask(heard=text)
    box.start()

    assert box.notes.move_result.code == "move_untrusted"


def test_a_place_that_is_not_there_yet_is_held_and_tried_again(tmp_path: Path) -> None:
    """Both are held; the old place goes on; when it is gone the new one is tried at once."""
    box = made(tmp_path / "state")
    box.ask(heard=move_of(box))
    box.start()
    assert box.registration.endpoint.url == OLD and box.notes.move
    assert box.beats()

    box.hub.at = {NEW: box.hub.next_authority.pem}
    calls = len(box.calls)
    box.start()
    assert len(box.calls) == calls, "it waits"
    box.ask(trouble="connect_refused")
    box.start()

    assert box.registration.endpoint.url == NEW
    assert box.beats()


def test_a_place_with_another_ca_than_it_said_is_not_followed(tmp_path: Path) -> None:
    """The new place must be the holder of the new CA: the old one's word is not enough."""
    box = made(tmp_path / "state")
    box.hub.at[NEW] = box.hub.authority.pem
    box.ask(heard=move_of(box))
    box.start()

    assert box.registration.endpoint.url == OLD
    assert box.notes.move_result.code == "tls_untrusted"


def test_an_older_statement_is_ignored_after_a_newer_one(tmp_path: Path) -> None:
    """A statement of the past, replayed, does not bring the box back."""
    box = made(tmp_path / "state")
    box.hub.at[NEW] = box.hub.next_authority.pem
    early = move_of(box, NOW_S - 10, endpoint=OLD)
    box.ask(heard=move_of(box))
    box.start()
    box.hub.authority, box.hub.next_authority = box.hub.next_authority, box.hub.authority
    replayed = box.hub.authority.move(Move(OLD, box.hub.next_authority.pem, (), NOW_S - 10))
    for heard in (early, replayed):
        box.ask(heard=heard)
        box.start()

    assert box.registration.endpoint.url == NEW and not box.notes.move


def test_only_the_candidate_counts_where_the_hub_moved_to(tmp_path: Path) -> None:
    """The proof's answer was lost, then the hub moved: the box arrives with the candidate, killed at any step."""

    def make(folder: Path) -> Box:
        box = made(folder)
        box.hub.answers["heartbeat"] = lambda: HttpReply(503, {}, b"")
        box.ask(rotate=True, heard=move_of(box))
        box.start()
        box.hub.answers.clear()
        assert box.hub.candidate is not None and box.hub.present is not None
        box.hub.former.append(box.hub.present.key_fingerprint)
        box.hub.present, box.hub.candidate = box.hub.candidate, None
        box.hub.at = {NEW: box.hub.next_authority.pem}
        box.ask(trouble="connect_refused")
        return box

    assert_moved_and_rotated(killed_at_each_step(tmp_path, make), at_least=20)


def test_an_expired_certificate_and_a_moved_hub(tmp_path: Path) -> None:
    """Off for a year, the hub gone elsewhere meanwhile: the device key alone brings the box back at the new place."""
    box = made(tmp_path / "state", "certificate")
    box.ask(heard=move_of(box))
    box.start()
    box.hub.at = {NEW: box.hub.next_authority.pem}
    answer = box.hub.answer
    expired = box.registration.credential

    def strict(call: object, shown: object) -> object:
        if shown == expired:
            raise UnreachableError("certificate_refused", "Expired.")
        return answer(call, shown)  # type: ignore[arg-type]

    box.hub.answer = strict  # type: ignore[method-assign, assignment]
    box.ask(trouble="connect_refused")
    box.start()

    assert box.registration.endpoint == Endpoint("https", "new.example", 443)
    assert_rotated(box)
    assert box.notes.rotation_later == Later()
