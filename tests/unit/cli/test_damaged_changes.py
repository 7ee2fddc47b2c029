"""Every file of a change damaged in every way: the box beats, and a rotation works or says a clear sentence."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firstlight.cli.changing import Changing
from firstlight.core import change, change_notes
from firstlight.core.change import Later, Notes
from firstlight.core.exchange import HttpReply
from firstlight.core.lifecycle import Accepted, Told
from firstlight.errors import StateError
from firstlight.system import changes
from firstlight.system.changes import DiskChanges
from firstlight.system.store import CANDIDATE, CHANGE, WISH
from tests.unit.cli.changing_world import NOW_S, Box, made, move_of

FIELDS = tuple(change_notes.encode(Notes()))
DEEP = "[" * 50_000
BODIES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda body: b"",
    "cut in half": lambda body: body[: len(body) // 2],
    "zeros": lambda body: bytes(len(body)),
    "not JSON": lambda body: b"\xff\xfe{{",
    "a list": lambda body: b"[]",
    "a number": lambda body: b"7",
    "deep": lambda body: DEEP.encode(),
    "huge": lambda body: b'{"move": "' + b"x" * 2_000_000 + b'"}',
    "one bit": lambda body: body[:40] + bytes([body[40] ^ 1]) + body[41:],
}
ODD_ONES = ["directory", "full directory", "link", "link to nowhere", "pipe", "unreadable"]


def midway(folder: Path) -> Box:
    """A box with all three files: a candidate that waits, a move that is held, a wish."""
    box = made(folder)
    box.hub.answers["heartbeat"] = lambda: HttpReply(503, {}, b"")
    box.ask(rotate=True, heard=move_of(box))
    box.start()
    box.hub.answers.clear()
    box.store.write_json(WISH, {"id": "1" * 32})
    assert box.store.has(CANDIDATE) and box.notes.move and box.notes.attempt_id
    return box


def lives(box: Box) -> None:
    """The beating process looks and notes without an error, and beats; the richer one says at most a named error."""
    log: list[str] = []
    found = DiskChanges(box.store, box.registration, box.clock, lambda _, line: log.append(line))
    found.note(Told(60, rotate=True, move="a.b"))
    found.note(Accepted(60, NOW_S))
    found.is_due("connect_refused")
    found.is_due("certificate_refused", is_asked=True)
    assert box.beats()


def rotate(box: Box) -> str:
    """What 'firstlight rotate' does where no agent runs; "" or the sentence that it ends in."""
    try:
        box.store.write_json(WISH, {"id": os.urandom(16).hex()})
        notes = Changing(box.parts(), box.registration).perform()
        box.store.remove(WISH)
    except StateError as error:
        return f"{error} {error.hint}"
    return notes.rotation.message if notes.rotation.code else ""


def spoil(path: Path, how: str) -> None:
    """Puts something else in the file's place."""
    aside = path.with_name("elsewhere")
    path.replace(aside)
    if how.endswith("directory"):
        path.mkdir()
        if how.startswith("full"):
            (path / "x").touch()
    elif how.startswith("link"):
        path.symlink_to(aside if how == "link" else "/nonexistent/x")
    elif how == "pipe":
        os.mkfifo(path)
    else:
        aside.replace(path)
        path.chmod(0)


@pytest.mark.parametrize("name", [CHANGE, CANDIDATE, WISH])
@pytest.mark.parametrize("how", BODIES)
def test_a_file_of_a_change_with_another_content(tmp_path: Path, name: str, how: str) -> None:
    """It counts as none: beats go on, and the very next rotation is made."""
    box = midway(tmp_path / "state")
    path = Path(box.store.path, name)
    path.write_bytes(BODIES[how](path.read_bytes()))
    lives(box)

    assert rotate(box) == ""
    assert box.registration.key_fingerprint != box.first_key and box.beats()


@pytest.mark.parametrize("name", [CHANGE, CANDIDATE, WISH])
@pytest.mark.parametrize("how", ODD_ONES)
def test_something_else_in_the_place_of_a_file_of_a_change(tmp_path: Path, name: str, how: str) -> None:
    """Beats go on; the rotation is made, or names the path that is in its way; once that is gone it is made."""
    box = midway(tmp_path / "state")
    path = Path(box.store.path, name)
    spoil(path, how)
    lives(box)
    said = rotate(box)

    assert said == "" or (str(path) in said and "cannot be" in said), said
    if how.endswith("directory"):
        assert said
        for one in path.iterdir():
            one.unlink()
        path.rmdir()
    elif path.exists():
        path.chmod(0o600)
    assert rotate(box) == "" and box.beats()


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=80)
    | st.sampled_from(["e30=.e30=", "a.b", ".", "=", "\ud800", "x" * 70_000, "1" * 32, "sha256:" + "0" * 64]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["failures", "bootId", "atS", "troubles", "code", "message", "wish"]), inner, max_size=4
    ),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.dictionaries(st.sampled_from(FIELDS), JUNK, max_size=5))
def test_any_field_of_the_notes_can_be_anything(tmp_path: Path, junk: dict[str, object]) -> None:
    """Whatever stands in whichever fields: beats go on, and a rotation that a person asks for is made."""
    box = midway(tmp_path / str(len(list(tmp_path.iterdir()))))
    whole = {**change_notes.encode(box.notes), **junk}
    Path(box.store.path, CHANGE).write_text(json.dumps(whole))
    lives(box)

    if box.notes.begun > change.MAX_BEGUN:
        assert "again and again" in rotate(box)
    assert rotate(box) == ""
    assert box.registration.key_fingerprint != box.first_key and box.beats()


@pytest.mark.parametrize(
    "move", ["e30=.e30=", "junk", "a.b.c", "=", "eyJlbmRwb2ludCI6Imh0dHA6Ly8iLCJpc3N1ZWRBdCI6MX0=."]
)
def test_a_held_move_that_is_damaged_is_dropped_with_a_line(tmp_path: Path, move: str) -> None:
    """It blocks neither the rotation nor the next statement, and is said once."""
    box = made(tmp_path / "state")
    changes.save(box.store, Notes(move=move, rotate=True, move_later=Later()))
    box.start()

    assert box.registration.key_fingerprint != box.first_key
    assert box.notes.move == "" and sum("was dropped" in line for line in box.log) == 1
    assert change.is_news(box.notes, move)


def test_a_newer_statement_replaces_a_damaged_one(tmp_path: Path) -> None:
    """What is held and cannot be read has no date to be older than."""
    box = made(tmp_path / "state")
    box.hub.at["https://new.example"] = box.hub.next_authority.pem
    changes.save(box.store, Notes(move="e30=.e30=", heard=move_of(box)))
    box.start()

    assert box.registration.endpoint.url == "https://new.example" and box.beats()
