"""A box that can be scanned into, and what is compared before and after."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.scan.label import Desk

PROGRAM = str(Path(sys.executable).with_name("firstlight"))


class Done(NamedTuple):
    """What a run of the program came to."""

    status: int
    said: str
    complained: str


class Box(NamedTuple):
    """A state directory, settings beside it, and a desk whose signature they trust."""

    folder: Path
    desk: Desk

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.folder / "state"

    def set(self, line: str) -> None:
        """One more line of settings."""
        with (self.folder / "agent.toml").open("a") as file:
            file.write(f"{line}\n")

    def scan(self, *words: str, given: bytes = b"") -> Done:
        """``firstlight scan`` with these words, this on its standard input."""
        line = [PROGRAM, "scan", "--config", str(self.folder / "agent.toml"), "--no-start", *words]
        done = subprocess.run(line, input=given, capture_output=True, timeout=60, check=False)
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def traces(self) -> dict[str, str]:
        """Every file of the state directory, by its content."""
        return {
            str(each.relative_to(self.folder)): hashlib.sha256(each.read_bytes()).hexdigest()
            for each in self.state.rglob("*")
            if each.is_file()
        }


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """A fresh one."""
    desk = Desk.make()
    desk.trust(tmp_path / "trust.d")
    (tmp_path / "agent.toml").write_text(f'state_dir = "{tmp_path / "state"}"\n')
    return Box(tmp_path, desk)


def one_sentence(done: Done, words: Sequence[str] = ()) -> None:
    """What a person was told: one error with its code and a next step, and no traceback."""
    lines = done.complained.strip().splitlines()
    assert len(lines) == 3, done.complained
    assert lines[1].endswith("]") and "Traceback" not in done.complained
    for word in words:
        assert word in done.complained
