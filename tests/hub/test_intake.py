"""Messages from a broker: each is settled exactly once, after the commit, and answered where it asks."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from firstlight.core.model import Beat, Metrics, Moment, Offer, Upgraded
from firstlight.wire import topics
from firstlight.wire.heartbeat import encode_beat
from firstlight_hub.ingest.group_commit import GroupCommit
from firstlight_hub.ingest.intake import Intake
from firstlight_hub.ingest.pace import ANSWERS, BEATS, FLOOD
from firstlight_hub.model import BeatRow, Device, Tombstone
from firstlight_hub.rollout import Upgrade
from firstlight_hub.service.beats import Beats
from firstlight_hub.store.sqlite import SqliteStore
from tests.hub.hub_world import BOOT, START_MS, HeardBroker

TOPIC = topics.heartbeat("demo", "cam")


def body(sequence: int, asks: bool = False) -> bytes:
    """A beat."""
    return encode_beat(Beat(sequence, Moment(BOOT, 1.0, 1.0), Metrics(), "0.1.0", None, "0123456789abcdef", (), asks))


class Desk:
    """An intake on a real store, whose disk can fail."""

    def __init__(self, folder: Path) -> None:
        self.store_path = folder / "hub.sqlite3"
        self.store = SqliteStore(self.store_path)
        self.is_broken = False
        self.now_ms = START_MS
        self.move = ""
        self.offer: Offer | None = None
        self.settled: list[tuple[str, bool]] = []
        self.answers: list[tuple[str, dict[str, object]]] = []
        self.first: list[tuple[str, dict[str, object]]] = []
        self.counted: Counter[str] = Counter()
        self.broker = HeardBroker()
        with self.store.writing() as transaction:
            plain = Device(0, "demo", "cam", "cam", None, None, (), False, 1)
            transaction.add_device(plain._replace(key_hash=b"k" * 32, key_generation=1))

    def write(self, rows: Sequence[BeatRow]) -> frozenset[int]:
        """Writes, or fails."""
        if self.is_broken:
            raise OSError("the disk is full")
        return self.store.write_beats(rows)

    def run(
        self,
        *messages: tuple[str, bytes],
        before: Callable[[], None] = lambda: None,
        first: Sequence[tuple[str, bytes]] = ((TOPIC, body(1)),),
    ) -> list[tuple[str, bool]]:
        """Hands in messages that came together -> how each was settled; ``before`` happens after the first ones."""

        async def work() -> None:
            commits = GroupCommit(self.write)
            clock = lambda: self.now_ms  # noqa: E731
            self.beats = beats = Beats(
                self.store, clock, 60, 7, self.broker, lambda beat: self.move, lambda device_id, beat: self.offer
            )
            intake = Intake(beats, commits, lambda topic, answer: self.answers.append((topic, json.loads(answer))))
            self.counted = intake.complaints.counted
            await self._take(intake, first)
            before()
            self.settled.clear()
            self.first, self.answers = self.answers, []
            await self._take(intake, messages)
            await commits.close()
            # What it began beside the messages, such as throwing somebody out, it ends: later on a busy machine.
            await asyncio.wait_for(asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()})), 30)

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


def test_first_word_of_a_hub(desk: Desk) -> None:
    """A device that did not ask is told the interval once, with its first beat since the hub began, of many."""
    waited = [(TOPIC, body(n)) for n in range(1, 6)]
    assert desk.run((TOPIC, body(6)), first=waited) == [("0", True)]
    ((topic, told),) = desk.first
    assert topic == topics.answer("demo", "cam") and told["intervalS"] == 60
    assert desk.answers == []


def test_move_that_was_just_ordered(desk: Desk) -> None:
    """A connected device that asks for nothing is told of a move with its next beat, once."""

    def order() -> None:
        desk.move = "a.b"
        desk.beats.have_news()

    assert desk.run((TOPIC, body(2)), (TOPIC, body(3)), before=order) == [("0", True), ("1", True)]
    ((topic, told),) = desk.answers
    assert topic == topics.answer("demo", "cam") and told["move"] == "a.b"


def test_release_that_is_offered(desk: Desk) -> None:
    """A connected device that asks for nothing is told of it with its next beat, and how it went is stored."""
    offer = Offer("0.3.0", "5eed" * 16, "/bundles/firstlight-0.3.0-x86_64.tar", 1)
    with desk.store.writing() as transaction:
        transaction.put_upgrade(last(desk).number, Upgrade(*offer[:2], 1, offer.path, 1))

    def choose() -> None:
        desk.offer = offer
        desk.beats.have_news(["cam", "nobody"])

    ended = Beat(3, Moment(BOOT, 1.0, 1.0), Metrics(), "0.1.0", None, "0123456789abcdef")
    said = encode_beat(ended._replace(upgraded=Upgraded(*offer[:2], 1, "upgrade_crashed")))
    assert desk.run((TOPIC, body(2)), (TOPIC, said), before=choose) == [("0", True), ("1", True)]
    ((topic, told),) = desk.answers
    assert topic == topics.answer("demo", "cam") and told["upgrade"] == offer._asdict()
    found = last(desk).upgrade
    assert found is not None and found.code == "upgrade_crashed"


def test_nonsense_is_settled(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """What can never be stored is settled, counted and spoken of without its content, each kind once a minute."""
    odd = [("firstlight/demo/cam/other", body(2)), (TOPIC, b"{hidden"), (TOPIC, b"x" * 20_000), ("", b"")]
    strange = [(topics.heartbeat("demo", "nobody"), body(2)), (topics.heartbeat("works", "cam"), body(3))]
    with caplog.at_level(logging.WARNING):
        assert desk.run(*odd, *strange) == [(str(n), True) for n in range(6)]
    assert not desk.answers
    assert desk.counted == {"topic_unknown": 2, "request_malformed": 1, "request_too_large": 1, "device_unknown": 2}
    said = [record.getMessage() for record in caplog.records]
    assert sorted(line.rpartition("(")[2] for line in said) == sorted(f"{code}, 1 so far)" for code in desk.counted)
    assert "hidden" not in caplog.text


@pytest.mark.parametrize(
    ("topic", "content", "answered", "code"),
    [
        (TOPIC, {"seq": 7, "ask": True}, topics.answer("demo", "cam", 7), "request_malformed"),
        (TOPIC, {"seq": -1, "ask": True}, "", ""),
        (TOPIC, {"seq": 7}, "", ""),
        (topics.heartbeat("demo", "nobody"), None, topics.answer("demo", "nobody", 9), "device_unknown"),
        (topics.heartbeat("works", "cam"), None, topics.answer("works", "cam", 9), "device_unknown"),
    ],
)
def test_who_asks_is_told_why(
    desk: Desk, topic: str, content: dict[str, object] | None, answered: str, code: str
) -> None:
    """A beat that cannot be taken is answered with the reason where it asks and as much can be read."""
    sent = body(9, True) if content is None else json.dumps(content).encode()
    assert desk.run((topic, sent)) == [("0", True)]
    assert [(where, told["error"]["type"]) for where, told in desk.answers] == ([(answered, code)] if code else [])  # type: ignore[index]


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


def stored(desk: Desk) -> int:
    """How many beats are on disk."""
    with closing(sqlite3.connect(desk.store_path)) as database:
        found: int = database.execute("SELECT count(*) FROM beat").fetchone()[0]
    return found


def test_a_flood_is_settled_and_dropped(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Of a device that floods so many beats are stored and no more; it is named once and thrown out; others go on."""
    plain = Device(0, "demo", "door", "door", None, None, (), False, 1)
    with desk.store.writing() as transaction:
        transaction.add_device(plain._replace(key_hash=b"d" * 32, key_generation=1))
    flood = [(TOPIC, body(number)) for number in range(2, FLOOD + 2)]
    told = desk.run(*flood, (topics.heartbeat("demo", "door"), body(1, True)))
    assert len(told) == FLOOD + 1 and all(is_settled for _, is_settled in told)
    assert stored(desk) == BEATS + 1
    assert [topic for topic, _ in desk.answers] == [topics.answer("demo", "door", 1)]
    assert desk.broker.heard == [("expel", "cam")]
    assert desk.counted == {"too_many_beats": FLOOD + 1 - BEATS, "expelled": 1}
    assert ["cam" in record.getMessage() for record in caplog.records] == [True, True]


def test_a_flood_to_a_topic_that_is_none(desk: Desk) -> None:
    """A device that floods below its own id, and in a workspace that cannot be, is thrown out too."""
    desk.run(*[("firstlight/no such/cam/heartbeat", b"x")] * FLOOD)
    assert desk.broker.heard == [("expel", "cam")]


def test_no_more_answers_than_one_a_second(desk: Desk) -> None:
    """A device that asks with each beat has all of them stored, and is answered a few times."""
    desk.run(*[(TOPIC, body(number, True)) for number in range(2, ANSWERS + 12)])
    assert stored(desk) == ANSWERS + 11
    assert len(desk.answers) == ANSWERS


def test_last_will(desk: Desk) -> None:
    """A last will is noted beside the status."""
    assert desk.run((topics.gone("demo", "cam"), b"{}")) == [("0", True)]
    assert last(desk).gone_at_ms == START_MS


@pytest.mark.parametrize(("after_ms", "is_told"), [(59_999, False), (60_000, True)])
def test_rotate_asked_at_another_hub(desk: Desk, after_ms: int, is_told: bool) -> None:
    """What another hub on this database wrote is heard of by the first asking beat after a minute."""

    def elsewhere() -> None:
        with desk.store.writing() as transaction:
            transaction.put_device(last(desk)._replace(rotate_asked_at_ms=START_MS))
        desk.now_ms += after_ms

    assert desk.run((TOPIC, body(2)), (TOPIC, body(3, True)), before=elsewhere) == [("0", True), ("1", True)]
    assert [told.get("rotate", False) for _, told in desk.answers] == [is_told]
