"""A stick that follows another one so quickly that the kernel gives it the same name and number."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path
from typing import cast

from firstlight.cli.provision_sticks import MountTable, StickEar
from firstlight.cli.provision_taking import Heard, Reception
from firstlight.cli.settings import Settings
from firstlight.sources.stick import Stick


class Table:
    """A table of mounts that the test writes."""

    fd, event = -1, select.POLLPRI

    def __init__(self) -> None:
        self.there: list[Stick] = []

    def sticks(self) -> list[Stick]:
        """What is in it."""
        return list(self.there)


class Porch:
    """Stands for the reception: takes nothing in."""

    def forget_parts(self, source: str) -> None:
        """There are none."""

    def hear(self, heard: Heard) -> None:
        """Never answers."""


def until_over(ear: StickEar) -> None:
    """Goes on with what is under way until it is over."""
    end_s = time.monotonic() + 30
    while ear.is_busy:
        assert time.monotonic() < end_s
        select.select(ear.fds(), [], [], 1.0)
        ear.turn(time.monotonic())


def test_the_next_stick_is_looked_at_though_it_has_the_name_of_the_one_before(tmp_path: Path) -> None:
    """Pulled while it is still being answered, and another one put in before that is over: both are looked at."""
    table, told = Table(), list[str]()
    place = Stick("359 8:0 /run/firstlight-stick/sda", f"{tmp_path}/", is_ours=False)
    ear = StickEar(Settings(), cast(Reception, Porch()), lambda answer: None, told.append, table)
    table.there = [place]
    ear.look(0.0)
    table.there = []
    ear.look(0.0)
    table.there = [place]
    ear.look(0.0)
    assert len(told) == 1 and ear.is_busy
    until_over(ear)
    assert len(told) == 2, "the second one was never looked at"
    ear.look(0.0)
    assert len(told) == 2, "one stick is looked at once"


def test_two_visits_of_one_name_are_told_apart_without_a_look_between(tmp_path: Path) -> None:
    """Each start of the unit makes another pipe; a mount that the kernel numbers alike is another one by that."""
    table = tmp_path / "mounts"
    table.write_text(f"359 30 8:0 / {tmp_path}/sda rw,noexec shared:184 - vfat /dev/sda rw\n")
    mounts, pipe = MountTable(str(table), (f"{tmp_path}/",)), tmp_path / "sda.away"
    os.mkfifo(pipe)
    before = mounts.sticks()
    assert mounts.sticks() == before
    pipe.rename(tmp_path / "gone")  # kept, so that its number is not given to the next one at once
    os.mkfifo(pipe)
    assert [each.folder for each in mounts.sticks()] == [each.folder for each in before]
    assert mounts.sticks() != before
