"""A disk that is full, or fails once, at each step of a rotation or move."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from firstlight.errors import StateError
from firstlight.system.store import CANDIDATE
from tests.unit.cli.changing_world import KINDS, MOST_STEPS, NEW, Box, assert_rotated, made, move_of

# What takes room or changes the disk; the other steps are calls, and what was done already.
NEEDS_DISK = ("create ", "fill ", "sync ", "rename ", "remove ")


class Disk:
    """Refuses from a step on: for so many steps, or until it is mended."""

    def __init__(self, box: Box, begins: int, ends: int) -> None:
        self.box, self.begins, self.ends, self.count, self.refused = box, begins, ends, 0, 0

    def __call__(self, name: str) -> None:
        """One step is about to be taken."""
        if not name.startswith(NEEDS_DISK):
            return
        self.count += 1
        if self.begins < self.count <= self.ends:
            self.refused += 1
            raise OSError(errno.ENOSPC, "No space left on device")


def failing_at_each_step(folder: Path, make: Callable[[Path], Box], *, is_once: bool) -> int:
    """A box for each step of a change at which the disk begins to refuse; how many there are."""
    for number in range(MOST_STEPS):
        box = make(folder / str(number))
        disk = Disk(box, number, number + 1 if is_once else MOST_STEPS)
        box.step = disk  # type: ignore[method-assign]
        box.store._on_step = disk
        try:
            box.start()
        except StateError as error:
            assert error.code == "state_unwritable" and "No space left" in error.message
        if disk.refused == 0:
            return number
        disk.begins = MOST_STEPS
        assert box.hub.present is not None
        # What is on the disk is what the agent beats with from here on, full or not.
        assert box.beats() or box.store.has(CANDIDATE)
        box.store.prepare()
        box.start()
        box.clock.now_s += 1000
        box.start()
        yield_box(box)
    raise AssertionError(f"more than {MOST_STEPS} steps")


def yield_box(box: Box) -> None:
    """After the disk was mended the change is made, without help and without a trace."""
    if box.notes.moved_at_s:
        assert box.registration.endpoint.url == NEW and not box.notes.move and box.beats()
    else:
        assert_rotated(box)


@pytest.mark.parametrize("is_once", [True, False], ids=["once", "from there on"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_refuses_at_any_step_of_a_rotation(tmp_path: Path, kind: str, is_once: bool) -> None:
    """A named error, a credential that counts on the disk, and the rotation as soon as there is room."""

    def make(folder: Path) -> Box:
        box = made(folder, kind)
        box.ask(rotate=True)
        return box

    assert failing_at_each_step(tmp_path, make, is_once=is_once) > 20


@pytest.mark.parametrize("is_once", [True, False], ids=["once", "from there on"])
def test_a_disk_that_refuses_at_any_step_of_a_move(tmp_path: Path, is_once: bool) -> None:
    """A named error, and the new address as soon as there is room."""

    def make(folder: Path) -> Box:
        box = made(folder)
        box.hub.at[NEW] = box.hub.next_authority.pem
        box.ask(heard=move_of(box))
        return box

    assert failing_at_each_step(tmp_path, make, is_once=is_once) > 10
