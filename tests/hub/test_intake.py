"""Messages from a broker: each is settled exactly once, after the commit, and answered where it asks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from firstlight.core.model import Beat, Metrics, Moment
from firstlight.wire import topics
from firstlight.wire.heartbeat import encode_beat
from firstlight_hub.ingest.group_commit import GroupCommit
from firstlight_hub.ingest.intake import Intake
from firstlight_hub.model import BeatRow, Device, Tombstone
from firstlight_hub.service.beats import Beats
from firstlight_hub.store.sqlite import SqliteStore
from tests.hub.hub_world import BOOT, START_MS

TOPIC = topics.heartbeat("demo", "cam")


def body(sequence: int, asks: bool = False) -> bytes:
    """A beat."""
    return encode_beat(Beat(sequence, Moment(BOOT, 1.0, 1.0), Metrics(), "0.1.0", None, "0123456789abcdef", (), asks))


class Desk:
    """An intake on a real store, whose disk can fail."""

    def __init__(self, folder: Path) -> None:
        self.store = SqliteStore(folder / "hub.sqlite3")
        self.is_broken = False
        self.settled: list[tuple[str, bool]] = []
        self.answers: list[tuple[str, dict[str, object]]] = []
        with self.store.writing() as transaction:
            plain = Device(0, "demo", "cam", "cam", None, None, (), False, 1)
            transaction.add_device(plain._replace(key_hash=b"k" * 32, key_generation=1))

    def write(self, rows: Sequence[BeatRow]) -> frozenset[int]:
        """Writes, or fails."""
        if self.is_broken:
            raise OSError("the disk is full")
        return self.store.write_beats(rows)

    def run(self, *messages: tuple[str, bytes], before: Callable[[], None] = lambda: None) -> list[tuple[str, bool]]:
        """Hands in messages that came together -> how each was settled; ``before`` happens after a first beat."""

        async def work() -> None:
            commits = GroupCommit(self.write)
            beats = Beats(self.store, lambda: START_MS, 60, 7)
            intake = Intake(beats, commits, lambda topic, answer: self.answers.append((topic, json.loads(answer))))
            await self._take(intake, [(TOPIC, body(1))])
            before()
            self.settled.clear()
            await self._take(intake, messages)
            await commits.close()

        asyncio.run(work())
        return sorted(self.settled)

    async def _take(self, intake: Intake, messages: Sequence[tuple[str, bytes]]) -> None:
        settled = asyncio.Event()

        def done(name: str, is_settled: bool) -> None:
            self.settled.append((name, is_settled))
            if len(self.settled) == len(messages):
                settled.set()

        for number, (topic, content) in enumerate(messages):
            intake.take(topic, content, partial(done, str(number)))
        await asyncio.wait_for(settled.wait(), 10)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A fresh one."""
    one = Desk(tmp_path)
    yield one
    one.store.close()


def last(desk: Desk) -> Device:
    """The device as it is stored."""
    with desk.store.reading() as view:
        found = view.device("cam")
    assert found is not None
    return found


def test_stored_and_answered(desk: Desk) -> None:
    """Beats are settled when they are stored, also a second time; only the one that asks is answered."""
    again = topics.heartbeat("demo", "cam").replace("/", ".")
    assert desk.run((TOPIC, body(2)), (again, body(3, True)), (TOPIC, body(2))) == [(str(n), True) for n in range(3)]
    assert last(desk).last_heartbeat_at_ms == START_MS
    ((topic, told),) = desk.answers
    assert topic == topics.answer("demo", "cam", 3) and told["intervalS"] == 60


def test_nonsense_is_settled(desk: Desk) -> None:
    """What can never be stored is settled, so that the broker does not keep it for ever."""
    odd = [("firstlight/demo/cam/other", body(2)), (TOPIC, b"{"), (TOPIC, b"x" * 20_000), ("", b"")]
    assert desk.run(*odd, (topics.heartbeat("demo", "nobody"), body(2))) == [(str(n), True) for n in range(5)]
    assert not desk.answers


def test_disk_that_fails(desk: Desk) -> None:
    """Beats that could not be stored are to be delivered again, and are not answered."""
    told = desk.run((TOPIC, body(2, True)), (TOPIC, body(3)), before=lambda: setattr(desk, "is_broken", True))
    assert told == [("0", False), ("1", False)]
    assert not desk.answers


def test_removed_device(desk: Desk) -> None:
    """A device that was removed since its last beat is told so by name, and nothing of it is stored."""

    def remove() -> None:
        with desk.store.writing() as transaction:
            transaction.remove_device(Tombstone("demo", "cam", None, b"k" * 32, START_MS))

    assert desk.run((TOPIC, body(2, True)), (TOPIC, body(3)), before=remove) == [("0", True), ("1", True)]
    ((_, told),) = desk.answers
    assert "device_removed" in json.dumps(told)


def test_last_will(desk: Desk) -> None:
    """A last will is noted beside the status."""
    assert desk.run((topics.gone("demo", "cam"), b"{}")) == [("0", True)]
    assert last(desk).gone_at_ms == START_MS
