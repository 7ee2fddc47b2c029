"""State of every released version is read as it is; that of a later one is refused, and not a byte of it changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firstlight.cli import change_now, status
from firstlight.cli.settings import Settings
from firstlight.core.lifecycle import Accepted
from firstlight.core.model import Metrics, MissedBeat, Moment
from firstlight.errors import StateError
from firstlight.system import changes
from firstlight.system.changes import DiskChanges
from firstlight.system.keys import KeyFile
from firstlight.system.spool import DiskSpool
from firstlight.system.store import StateDirectory
from firstlight.wire.heartbeat import missed_object, read_missed
from tests.fakes import FakeClock
from tests.states.released import ATTEMPT, BOOT_ID, CERTIFICATE, KINDS, PLAIN, RENEW_AT_S, write_0_1

BEAT = MissedBeat(300, Moment(BOOT_ID, 300.5, 1_795_000_300.0), Metrics(), "connect_refused")


def tree(folder: Path) -> dict[str, bytes]:
    """Every file and what is in it."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def spool(folder: Path) -> DiskSpool:
    """The kept beats of a directory."""
    return DiskSpool(str(folder), missed_object, read_missed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_rotating", [False, True])
def test_0_1_is_read(tmp_path: Path, kind: str, is_rotating: bool) -> None:
    """Registration, keys, kept beats, clock, and a rotation under way: nothing is lost, repaired or asked for anew."""
    left = write_0_1(tmp_path / "state", kind, is_rotating=is_rotating)
    before = tree(left.folder)
    store = StateDirectory(str(left.folder))

    registration = store.load_registration()
    assert registration is not None and registration.key_fingerprint == left.fingerprint
    assert registration.transport == ("mqtt" if kind == CERTIFICATE else "http")
    assert registration.renew_at_s == (RENEW_AT_S if kind == CERTIFICATE else 0.0)
    assert KeyFile().load(store, left.fingerprint).key_fingerprint == left.fingerprint
    assert store.seen_s() == 1_795_000_100

    notes, candidate = changes.load(store), store.load_candidate()
    assert notes.rotate is is_rotating and notes.next_key == left.next_fingerprint
    if is_rotating:
        assert candidate is not None and candidate.key_fingerprint == left.next_fingerprint
        assert KeyFile().load(store, left.next_fingerprint).key_fingerprint == left.next_fingerprint
        assert (notes.attempt_id, notes.rotation.code) == (ATTEMPT, "reply_timeout")
        # Another boot ends its wait: it is gone on with.
        assert DiskChanges(store, registration, FakeClock(), lambda _, line: None).is_due("")
        (left.folder / "change.json").write_bytes(before["change.json"])
    assert [beat.sequence for beat in spool(left.folder).peek(9)] == [160, 220]
    assert store.repairs == [] and tree(left.folder) == before


@pytest.mark.parametrize("kind", KINDS)
def test_0_1_is_written_as_it_was(tmp_path: Path, kind: str) -> None:
    """A way back: saved by this version, the registration is what that version wrote, byte for byte."""
    left = write_0_1(tmp_path / "state", kind, is_rotating=False)
    store, before = StateDirectory(str(left.folder)), tree(left.folder)
    registration = store.load_registration()
    assert registration is not None
    store.save_registration(registration)
    assert tree(left.folder) == before


def newer(folder: Path, name: str) -> bytes:
    """A file as a later version might write it."""
    found = json.loads((folder / name).read_text()) if name != "spool.jsonl" else {}
    body = json.dumps({**found, "format": 9, "new": True}, indent=1).encode()
    if name == "spool.jsonl":
        body = b'{"format": 2}\n' + (folder / name).read_bytes()
    (folder / name).write_bytes(body)
    return body


@pytest.mark.parametrize("names", [("registration.json", "registration.backup.json"), ("registration.json",)])
def test_a_newer_registration_is_refused_and_left(
    tmp_path: Path, names: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where only one copy is newer: it is not repaired from the older one."""
    left = write_0_1(tmp_path / "state", PLAIN, is_rotating=True)
    for name in names:
        newer(left.folder, name)
    before = tree(left.folder)
    store = StateDirectory(str(left.folder))
    with pytest.raises(StateError) as caught:
        store.load_registration()
    assert caught.value.code == "state_newer"
    with pytest.raises(StateError) as caught:
        status.verb(["--state-dir", str(left.folder)], None)
    assert caught.value.code == "state_newer"
    assert tree(left.folder) == before


@pytest.mark.parametrize("name", ["change.json", "candidate.json"])
def test_newer_notes_are_refused_and_left(tmp_path: Path, name: str) -> None:
    """Beats go on with the present credential; nothing is rotated, and nothing asked meanwhile is written over it."""
    left = write_0_1(tmp_path / "state", PLAIN, is_rotating=True)
    newer(left.folder, name)
    before = tree(left.folder)
    store, log = StateDirectory(str(left.folder)), list[str]()
    registration = store.load_registration()
    assert registration is not None
    settings = Settings(state_dir=str(left.folder))
    change_now.at_start(settings, store, registration, lambda _, line: log.append(line))
    assert any("format 9" in line for line in log), log
    found = DiskChanges(store, registration, FakeClock(), lambda _, line: log.append(line))
    if name == "change.json":
        found.note(Accepted(60, 1_795_000_200.0, rotate=True))
        assert not found.is_due("") and not found.is_due("key_invalid")
    after = tree(left.folder)
    assert after[name] == before[name]
    assert {file: body for file, body in after.items() if file.endswith(".key")} == {
        file: body for file, body in before.items() if file.endswith(".key")
    }


def test_a_newer_spool_is_left(tmp_path: Path) -> None:
    """Beats are kept beside it, handed over and removed; what the later version kept stays for it."""
    left = write_0_1(tmp_path / "state", PLAIN, is_rotating=False)
    body = newer(left.folder, "spool.jsonl")
    kept = spool(left.folder)
    assert len(kept) == 0
    kept.add(BEAT)
    assert [beat.sequence for beat in spool(left.folder).peek(9)] == [300]
    again = spool(left.folder)
    again.drop(1)
    assert len(spool(left.folder)) == 0 and (left.folder / "spool.jsonl").read_bytes() == body


def test_a_newer_clock_note_is_left(tmp_path: Path) -> None:
    """It is read as far as it can be, and not written over."""
    left = write_0_1(tmp_path / "state", PLAIN, is_rotating=False)
    body = newer(left.folder, "seen.json")
    store = StateDirectory(str(left.folder))
    store.save_seen(1_796_000_000.0)
    assert (left.folder / "seen.json").read_bytes() == body
