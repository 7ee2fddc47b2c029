"""Group commit: one writer, groups, answers after the commit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from firstlight.errors import StateError, UnreachableError
from firstlight_hub.ingest.group_commit import MAX_WAITING, GroupCommit
from firstlight_hub.model import BeatRow


def row(number: int) -> BeatRow:
    """A row that is told apart by its number."""
    return BeatRow(number, b"k", 0, 0, "0.1.0", None, "0" * 16, ())


class Disk:
    """Writes groups; may wait for a gate, refuse some numbers, or fail."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.threads: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()
        self.fails = False
        self.refuses: set[int] = set()

    def write(self, rows: Sequence[BeatRow]) -> frozenset[int]:
        """As ``Store.write_beats``."""
        self.begun.set()
        assert self.gate.wait(10)
        if self.fails:
            raise StateError("database_unusable", "The disk is full.")
        self.threads.add(threading.current_thread().name)
        self.groups.append([row.number for row in rows])
        return frozenset(i for i, row in enumerate(rows) if row.number in self.refuses)


def test_rows_that_come_together_share_a_group() -> None:
    """A hundred rows handed in at once are one write; each hears whether it was taken."""

    async def run(disk: Disk) -> list[bool]:
        commits = GroupCommit(disk.write)
        found = await asyncio.gather(*(commits.commit(row(number)) for number in range(100)))
        await commits.close()
        return found

    disk = Disk()
    disk.refuses = {7}
    taken = asyncio.run(run(disk))
    assert [number for number, was in enumerate(taken) if not was] == [7]
    assert disk.groups == [list(range(100))]


def test_the_next_group_gathers_while_one_is_written() -> None:
    """What arrives during a write waits and goes together; nobody is answered before his commit, one thread writes."""

    async def run(disk: Disk) -> None:
        commits = GroupCommit(disk.write)
        disk.gate.clear()
        first = asyncio.create_task(commits.commit(row(1)))
        assert await asyncio.to_thread(disk.begun.wait, 10)
        later = [asyncio.create_task(commits.commit(row(number))) for number in (2, 3)]
        await asyncio.sleep(0)
        assert not first.done()
        disk.gate.set()
        await asyncio.gather(first, *later)
        await commits.close()

    disk = Disk()
    asyncio.run(run(disk))
    assert disk.groups == [[1], [2, 3]]
    assert len(disk.threads) == 1


def test_failed_write_is_hub_busy_and_the_next_one_is_tried() -> None:
    """When the disk fails, everyone in the group hears it; the writer goes on."""

    async def run(disk: Disk) -> None:
        commits = GroupCommit(disk.write)
        disk.fails = True
        for answer in await asyncio.gather(*(commits.commit(row(n)) for n in (1, 2)), return_exceptions=True):
            assert isinstance(answer, UnreachableError)
            assert answer.code == "hub_busy"
        disk.fails = False
        assert await commits.commit(row(3))
        await commits.close()

    asyncio.run(run(Disk()))


def test_waiting_rows_are_bounded() -> None:
    """A queue that grew too long is refused at once, with a time to wait."""

    async def run(disk: Disk) -> None:
        commits = GroupCommit(disk.write)
        disk.gate.clear()
        waiting = [asyncio.create_task(commits.commit(row(0)))]
        assert await asyncio.to_thread(disk.begun.wait, 10)
        waiting += [asyncio.create_task(commits.commit(row(number))) for number in range(MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(UnreachableError) as caught:
            await commits.commit(row(1))
        assert caught.value.retry_after_s == 30
        disk.gate.set()
        await asyncio.gather(*waiting)
        await commits.close()

    asyncio.run(run(Disk()))


def test_rows_that_were_handed_in_together_are_told_together() -> None:
    """One word for each handing-in, with its own positions of what was refused, whoever shared the group."""

    async def run(disk: Disk) -> list[tuple[str, frozenset[int], UnreachableError | None]]:
        commits = GroupCommit(disk.write)
        told: list[tuple[str, frozenset[int], UnreachableError | None]] = []
        for name, numbers in (("a", (1, 2, 3)), ("b", ()), ("c", (4, 5))):
            commits.submit([row(number) for number in numbers], lambda *said, name=name: told.append((name, *said)))
        alone = asyncio.create_task(commits.commit(row(6)))
        await commits.close()
        assert not await alone
        return told

    disk = Disk()
    disk.refuses = {2, 4, 5, 6}
    told = asyncio.run(run(disk))
    assert disk.groups == [[1, 2, 3, 4, 5, 6]]
    assert told == [("a", frozenset({1}), None), ("b", frozenset(), None), ("c", frozenset({0, 1}), None)]


def test_a_failed_group_tells_everyone_who_handed_in() -> None:
    """Each handing-in hears the failure, and nothing of it is on disk."""

    async def run(disk: Disk) -> list[UnreachableError | None]:
        commits = GroupCommit(disk.write)
        told: list[UnreachableError | None] = []
        for number in (1, 2):
            commits.submit([row(number)], lambda _, failure: told.append(failure))
        await commits.close()
        return told

    disk = Disk()
    disk.fails = True
    failures = asyncio.run(run(disk))
    assert [failure.code for failure in failures if failure] == ["hub_busy", "hub_busy"]


def test_close_waits_for_everything() -> None:
    """What was handed in before closing is on disk when close returns."""

    async def run(disk: Disk) -> None:
        commits = GroupCommit(disk.write)
        waiting = asyncio.create_task(commits.commit(row(1)))
        await asyncio.sleep(0)
        await commits.close()
        assert disk.groups == [[1]]
        assert await waiting

    asyncio.run(run(Disk()))
