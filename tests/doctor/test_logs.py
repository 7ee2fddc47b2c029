"""``firstlight logs``: what is asked of the journal and how it is shown; the real journal is met in tests/system."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from firstlight.cli import logs
from firstlight.errors import StateError, UsageError
from firstlight.system import journal_entries
from firstlight.system.journal_entries import UNITS, Library, Program, open_journal
from tests.e2e.conftest import BIN

AT_S = 1_795_000_000


def entry(number: int, message: object = "Online.", priority: int = 6, **more: str) -> dict[str, Any]:
    """A line of the journal as journalctl(1) prints it."""
    return {
        "__REALTIME_TIMESTAMP": str((AT_S + number) * 1_000_000),
        "__CURSOR": f"s={number}",
        "PRIORITY": str(priority),
        "_SYSTEMD_UNIT": "firstlight.service",
        "MESSAGE": message,
        **more,
    }


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A folder with a journal's file in it; what it holds is the program's business."""
    folder = tmp_path / "journal" / "0123"
    folder.mkdir(parents=True)
    (folder / "system.journal").write_bytes(b"")
    return folder.parent


def journalctl(tmp_path: Path, *entries: dict[str, Any], rest: str = "") -> str:
    """A program in journalctl's place: notes how it was called, and prints those entries."""
    (tmp_path / "said").write_text("".join(json.dumps(each) + "\n" for each in entries))
    path = tmp_path / "journalctl"
    path.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\ncat {tmp_path}/said\n{rest}\n')
    path.chmod(0o755)
    return str(path)


def none() -> ModuleType:
    """systemd-python is not there."""
    raise ImportError


def test_program_is_asked_for_our_units(tmp_path: Path, journal: Path) -> None:
    """Without the library journalctl is asked, for the agent's units only; the newest lines come oldest first."""
    program = journalctl(tmp_path, entry(1, "Begun."), entry(2, "Failed.", 3, UNIT="firstlight.service", _PID="1"))
    with open_journal(str(journal), program, none) as log:
        found = log.last(20, AT_S, priority=3)
    assert [(each.at_s, each.priority, each.message) for each in found] == [
        (AT_S + 1, 6, "Begun."),
        (AT_S + 2, 3, "Failed."),
    ]
    asked = (tmp_path / "asked").read_text()
    for words in (*(f"--unit={unit}" for unit in UNITS), "--lines=20", "--priority=3", f"--since=@{AT_S}.000000"):
        assert words in asked


def test_control_characters_are_escaped(tmp_path: Path, journal: Path) -> None:
    """What is not printable cannot move the cursor or forge a line, in text as in bytes."""
    program = journalctl(tmp_path, entry(1, "a\x1b[2J\nb"), entry(2, [104, 105, 27, 255]), entry(3, None))
    with open_journal(str(journal), program, none) as log:
        lines = [each.as_line() for each in log.last(9)]
    assert lines[0] == "2026-11-18T11:06:41Z info     firstlight: a\\x1b[2J\\nb"
    assert lines[1].endswith("hi\\x1b\ufffd")
    assert not [line for line in lines if not line.isprintable()]


def test_program_goes_on_where_it_was(tmp_path: Path, journal: Path) -> None:
    """Following begins after the last line that was shown, and waits for the program without polling."""
    program = journalctl(tmp_path, entry(7), rest='case "$*" in *--follow*) cat;; esac')
    with open_journal(str(journal), program, none) as log:
        assert len(log.last(1)) == 1
        new = log.follow()
        assert next(new).message == "Online."
    asked = (tmp_path / "asked").read_text().splitlines()
    assert "--follow" in asked[1]
    assert "--after-cursor=s=7" in asked[1]


def test_program_that_fails(tmp_path: Path, journal: Path) -> None:
    """What journalctl complains about is told."""
    program = journalctl(tmp_path, rest="echo 'No such thing' >&2; exit 1")
    with open_journal(str(journal), program, none) as log, pytest.raises(StateError, match="No such thing") as caught:
        log.last(1)
    assert caught.value.code == "journal_unreadable"


def test_no_way_to_read(tmp_path: Path, journal: Path) -> None:
    """Neither program nor library, no journal at all, and one that may not be read, each have a next step."""
    with pytest.raises(StateError, match="systemd-python") as caught:
        open_journal(str(journal), "", none)
    assert caught.value.code == "journal_missing"
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "none", tmp_path / "empty"):
        with pytest.raises(StateError, match="keeps no journal"):
            open_journal(str(folder), "", none)
    only_mine = tmp_path / "mine" / "0123"
    only_mine.mkdir(parents=True)
    (only_mine / "user-1000.journal").write_bytes(b"")
    with pytest.raises(StateError, match="may not read") as caught:
        open_journal(str(only_mine.parent), "", none)
    assert "systemd-journal" in caught.value.hint


# -- the library -----------------------------------------------------------------------------------------------------
class FakeReader:
    """systemd.journal.Reader: a list of entries, a cursor, and a pipe that becomes readable when more come."""

    def __init__(self, path: str = "") -> None:
        self.entries: list[dict[str, Any]] = []
        self.position = 0
        self.matches: list[str] = []
        self.waiting, self._ear = os.pipe()
        self.is_closed = False

    def come(self, fields: dict[str, Any]) -> None:
        """Another entry is written."""
        at = datetime.datetime.fromtimestamp(int(fields["__REALTIME_TIMESTAMP"]) / 1e6, datetime.timezone.utc)
        self.entries.append({**fields, "__REALTIME_TIMESTAMP": at, "PRIORITY": int(fields["PRIORITY"])})
        os.write(self._ear, b"x")

    def fileno(self) -> int:
        """What a wait listens to."""
        return self.waiting

    def get_events(self) -> int:
        """POLLIN."""
        return 1

    def get_timeout_ms(self) -> int:
        """As sd_journal_get_timeout(3), in milliseconds."""
        return 60_000

    def process(self) -> int:
        """Takes note of what came."""
        os.read(self.waiting, 64)
        return 1

    def seek_tail(self) -> None:
        """Behind the newest."""
        self.position = len(self.entries)

    def seek_cursor(self, cursor: str) -> None:
        """Before the entry of that cursor."""
        self.position = next(at for at, each in enumerate(self.entries) if each["__CURSOR"] == cursor)

    def get_previous(self) -> dict[str, Any]:
        """One back, {} at the beginning."""
        if self.position == 0:
            return {}
        self.position -= 1
        return self.entries[self.position]

    def get_next(self) -> dict[str, Any]:
        """One on, {} at the end."""
        if self.position >= len(self.entries):
            return {}
        self.position += 1
        return self.entries[self.position - 1]

    def flush_matches(self) -> None:
        """Every entry counts."""
        self.matches.clear()

    def add_match(self, words: str) -> None:
        """Only those entries."""
        self.matches.append(words)

    def add_disjunction(self) -> None:
        """Or what follows."""
        self.matches.append("or")

    def close(self) -> None:
        """Closes the descriptors."""
        self.is_closed = True
        os.close(self.waiting)
        os.close(self._ear)


@pytest.fixture
def reader(journal: Path) -> Iterator[tuple[Library, FakeReader]]:
    """The journal through a library that behaves as systemd-python does."""
    module = ModuleType("systemd.journal")
    module.Reader = FakeReader  # type: ignore[attr-defined]
    with open_journal(str(journal), "", lambda: module) as log:
        assert isinstance(log, Library)
        fake: FakeReader = log._reader
        yield log, fake
    assert fake.is_closed


def test_library_gives_the_newest(reader: tuple[Library, FakeReader]) -> None:
    """The newest so many, oldest first, from a moment on; what our units wrote and what systemd wrote about them."""
    log, fake = reader
    for number in range(5):
        fake.come(entry(number, f"line {number}"))
    assert [each.message for each in log.last(3)] == ["line 2", "line 3", "line 4"]
    assert [each.message for each in log.last(9, AT_S + 3)] == ["line 3", "line 4"]
    assert log.last(0) == []
    log.last(1, None, 3)
    assert fake.matches[:6] == ["_SYSTEMD_UNIT=firstlight.service", *(f"PRIORITY={level}" for level in range(4)), "or"]
    assert {"UNIT=firstlight.service", "_PID=1"} <= set(fake.matches)


def test_library_follows_without_losing_a_line(reader: tuple[Library, FakeReader]) -> None:
    """What comes after the last shown line comes once, though it was written before the waiting began."""
    log, fake = reader
    fake.come(entry(1, "old"))
    assert len(log.last(5)) == 1
    fake.come(entry(2, "new"))
    new = log.follow()
    assert next(new).message == "new"
    fake.come(entry(3, "newer"))
    assert next(new).message == "newer"


# -- the verb --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", AT_S - 90),
        ("10min", AT_S - 600),
        ("2 h", AT_S - 7200),
        ("3d", AT_S - 259_200),
        ("1970-01-02", 86_400),
        ("1970-01-01T01:00Z", 3600),
        ("1970-01-01 00:00:07", 7),
    ],
)
def test_since(text: str, seconds: float) -> None:
    """A moment, or so long ago."""
    assert logs.since(text, AT_S) == seconds


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "10", "99999999d", "-5min"])
def test_since_that_is_none(text: str) -> None:
    """Anything else is refused with an example."""
    with pytest.raises(UsageError, match="no moment") as caught:
        logs.since(text, AT_S)
    assert "10min" in caught.value.hint


def test_verb_without_a_journal(tmp_path: Path) -> None:
    """Where there is no journal the verb says so and what to do; a wrong number is a wrong word."""
    done = subprocess.run([str(BIN / "firstlight"), "logs", "-n", "-3"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    if not any(map(os.path.isdir, journal_entries.FOLDERS)):
        done = subprocess.run([str(BIN / "firstlight"), "logs"], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (74, "")
        assert "[journal_missing]" in done.stderr


def test_program_is_closed(tmp_path: Path, journal: Path) -> None:
    """The program that follows ends with the verb."""
    program = journalctl(tmp_path, entry(1), rest='case "$*" in *--follow*) exec cat;; esac')
    with open_journal(str(journal), program, none) as log:
        assert isinstance(log, Program)
        next(log.follow())
        running = log._running
    assert running is not None
    assert running.poll() is not None
