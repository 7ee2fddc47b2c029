"""Rotations against a platform in memory and a real disk: every step, every kill, every kind of no."""

from collections.abc import Callable
from pathlib import Path

import pytest

from firstlight.core.exchange import HttpReply
from firstlight.errors import UnreachableError
from firstlight.system.store import CANDIDATE, KEY, WISH
from tests.unit.cli.changing_world import (
    KINDS,
    OLD,
    Box,
    FakeHub,
    Killed,
    assert_rotated,
    killed_at_each_step,
    made,
    move_of,
    no,
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_rotation_replaces_key_and_credential(tmp_path: Path, kind: str) -> None:
    """One request, one proof over HTTP, and the present registration is the next one."""
    box = made(tmp_path / "state", kind)
    box.ask(rotate=True)
    box.start()

    assert box.calls == [f"credential at {OLD}", f"heartbeat at {OLD}"]
    assert_rotated(box)
    assert bool(box.registration.renew_at_s) == (kind == "certificate")
    assert not box.notes.rotate and box.notes.rotation.code == ""
    box.start()
    assert box.hub.renewals == 1, "an answered wish is not fulfilled twice"


@pytest.mark.parametrize("kind", KINDS)
def test_a_kill_at_any_step_of_a_rotation_loses_nothing_and_doubles_nothing(tmp_path: Path, kind: str) -> None:
    """After a kill at each durable step, request and reply the next start ends as the same device, rotated once."""

    def make(folder: Path) -> Box:
        box = made(folder, kind)
        box.ask(rotate=True)
        return box

    steps: set[str] = set()
    rounds = 0
    for box in killed_at_each_step(tmp_path, make):
        assert_rotated(box)
        steps |= set(box.steps)
        rounds += 1
    assert rounds > 40
    assert {"send credential", "reply to credential", "send heartbeat", "reply to heartbeat"} <= steps


def test_the_hub_is_out_of_reach_for_the_proof(tmp_path: Path) -> None:
    """The candidate stays beside the present credential, which goes on beating, and is proved later."""
    box = made(tmp_path / "state", "certificate")

    def cut() -> HttpReply:
        raise UnreachableError("reply_cut", "Cut.")

    box.hub.answers["heartbeat"] = cut
    box.ask(rotate=True)
    box.start()
    assert box.registration.key_fingerprint == box.first_key
    assert box.store.has(CANDIDATE) and box.notes.rotation.code == "reply_cut"
    del box.hub.answers["heartbeat"]
    assert box.beats()
    assert CANDIDATE in box.files(), "the wait is kept: nothing is tried at once"
    box.start()
    assert box.store.has(CANDIDATE)

    box.clock.now_s += 400
    box.start()
    assert_rotated(box)
    assert box.hub.renewals == 1


def test_the_present_credential_ended_before_the_proof_was_heard(tmp_path: Path) -> None:
    """The proof's answer was lost, so the present credential is refused: the candidate is proved at once."""
    box = made(tmp_path / "state")
    answer = box.hub.answer

    def lost(call: object, shown: object) -> HttpReply:
        reply = answer(call, shown)  # type: ignore[arg-type]
        if box.calls[-1].startswith("heartbeat"):
            raise UnreachableError("reply_cut", "Cut.")
        assert isinstance(reply, HttpReply)
        return reply

    box.hub.answer = lost  # type: ignore[method-assign]
    box.ask(rotate=True)
    box.start()
    box.hub.answer = answer  # type: ignore[method-assign]
    assert not box.beats()

    box.ask(trouble="key_invalid")
    box.start()

    assert_rotated(box)


@pytest.mark.parametrize("code", ["key_invalid", "credential_revoked", "certificate_refused"])
def test_a_refused_candidate_is_dropped_and_the_present_goes_on(tmp_path: Path, code: str) -> None:
    """The platform does not want the candidate: it is forgotten with its key, and the box beats as before."""
    box = made(tmp_path / "state")
    box.hub.answers["heartbeat"] = lambda: no(401, code)
    box.ask(rotate=True)
    box.start()
    del box.hub.answers["heartbeat"]

    assert box.files() == [KEY]
    assert box.registration.key_fingerprint == box.first_key
    assert box.notes.rotation.code == code
    assert box.notes.rotation_later.failures == 1
    assert "min, where it is still wanted." in box.log[-1], "the platform wants it, also without a person who does"
    assert box.beats()


@pytest.mark.parametrize(
    "answer",
    [
        lambda: no(409, "clone_suspected"),
        lambda: no(401, "credential_revoked"),
        lambda: HttpReply(503, {}, b""),
        lambda: HttpReply(404, {}, b"<html>"),
        lambda: HttpReply(200, {}, b"{}"),
    ],
)
def test_a_renewal_that_is_refused_changes_nothing_and_waits(tmp_path: Path, answer: Callable[[], HttpReply]) -> None:
    """Whatever the renewal is answered with, the present credential stays, and the next try waits longer each time."""
    box = made(tmp_path / "state")
    box.hub.answers["credential"] = answer
    box.ask(rotate=True)
    box.start()
    first = box.notes.rotation_later
    assert box.registration.key_fingerprint == box.first_key and not box.store.has(CANDIDATE)
    assert box.beats() and box.notes.rotation.code

    calls = len(box.calls)
    box.start()
    assert len(box.calls) == calls, "it waits"
    box.clock.now_s = first.at_s
    box.start()
    assert len(box.calls) == calls + 1
    assert box.notes.rotation_later.failures == 2


def test_an_answer_about_another_device_is_not_believed(tmp_path: Path) -> None:
    """A certificate for another key, or another device's id, is no candidate."""
    box = made(tmp_path / "state", "certificate")
    other = Box(tmp_path / "other", FakeHub("certificate"))
    foreign = other.hub.issue(other.hub.public_der)
    box.hub.issue = lambda public_der: foreign  # type: ignore[method-assign]
    box.ask(rotate=True)
    box.start()

    assert box.notes.rotation.code == "reply_malformed"
    assert not box.store.has(CANDIDATE)


def test_a_damaged_candidate_is_asked_for_anew(tmp_path: Path) -> None:
    """A candidate that cannot be read is dropped; the same next key gets the same candidate again."""
    box = made(tmp_path / "state")
    box.ask(rotate=True)
    box.steps.clear()
    box.burns_at = 10_000
    box.hub.answers["heartbeat"] = lambda: HttpReply(503, {}, b"")
    box.start()
    del box.hub.answers["heartbeat"]
    (Path(box.store.path) / CANDIDATE).write_text("{")

    box.ask()
    box.start()

    assert_rotated(box)


def test_interrupted_again_and_again_counts_as_failed(tmp_path: Path) -> None:
    """A change that kills the process each time does not keep the box from beating for ever."""
    box = made(tmp_path / "state")

    def deadly() -> HttpReply:
        raise Killed

    box.hub.answers["credential"] = deadly
    box.ask(rotate=True)
    attempts = 0
    while box.notes.begun:
        try:
            box.start()
        except Killed:
            attempts += 1
        assert attempts < 20

    assert box.notes.rotation.code == "rotation_failed"
    calls = len(box.calls)
    box.start()
    assert len(box.calls) == calls


def test_a_wish_is_answered_by_its_name(tmp_path: Path) -> None:
    """The result names the wish, also beside a move that fails, and the wish is gone."""
    box = made(tmp_path / "state")
    box.ask(heard=move_of(box))
    box.store.write_json(WISH, {"id": "w" * 32})
    notes = box.start()

    assert (notes.rotation.wish, notes.rotation.code) == ("w" * 32, "")
    assert notes.move_result.code == "connect_refused"
    assert_rotated(box)


def test_a_wish_that_fails_is_answered_too(tmp_path: Path) -> None:
    """A person is told why, and nothing is tried again on their behalf."""
    box = made(tmp_path / "state")
    box.hub.at.clear()
    box.store.write_json(WISH, {"id": "w" * 32})
    notes = box.start()

    assert (notes.rotation.wish, notes.rotation.code) == ("w" * 32, "connect_refused")
    assert not box.store.has(WISH) and not any("Tried again" in line for line in box.log)
    box.clock.now_s += 100_000
    calls = len(box.calls)
    box.start()
    assert len(box.calls) == calls
