"""What a receipt needs of the box: numbers that never come twice, an untouched spool, what is known of the time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from firstlight.core.model import Metrics, MissedBeat, Moment
from firstlight.errors import StateError
from firstlight.system import receipts
from firstlight.system.clock import SystemClock
from firstlight.system.spool import DiskSpool
from firstlight.system.store import StateDirectory
from firstlight.wire.heartbeat import missed_object, read_missed

BOOT = "ab" * 16
COUNTS = (
    "import sys; from firstlight.system import receipts; from firstlight.system.store import StateDirectory\n"
    "store = StateDirectory(sys.argv[1])\n"
    "for _ in range(25): print(receipts.next_number(store))\n"
)


class Cut(Exception):
    """The power went."""


@pytest.fixture
def store(tmp_path: Path) -> StateDirectory:
    """An empty state directory."""
    made = StateDirectory(str(tmp_path / "state"))
    made.prepare()
    return made


def test_numbers_grow(store: StateDirectory) -> None:
    """The first receipt is number 1, and each later one has the next number."""
    assert [receipts.next_number(store) for _ in range(3)] == [1, 2, 3]


def test_a_power_cut_at_any_step_never_gives_a_number_twice(store: StateDirectory) -> None:
    """Whatever step is cut, what was given before is never given again."""
    given = [receipts.next_number(store)]
    steps: list[str] = []
    receipts.next_number(StateDirectory(store.path, steps.append))
    given.append(2)
    assert len(steps) >= 4
    for number in range(len(steps)):
        left = [number]

        def cut(name: str, left: list[int] = left) -> None:
            if left[0] == 0:
                raise Cut(name)
            left[0] -= 1

        with pytest.raises(Cut):
            receipts.next_number(StateDirectory(store.path, cut))
        given.append(receipts.next_number(store))
    assert given == sorted(set(given))


def test_many_at_once_have_many_numbers(store: StateDirectory) -> None:
    """Four processes at once: no number twice, none left out."""
    line = [sys.executable, "-c", COUNTS, store.path]
    running = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    found = [int(word) for process in running for word in process.communicate(timeout=60)[0].split()]
    assert sorted(found) == list(range(1, 101))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', '{"format": 1, "last": -1}', '{"last": true}'])
def test_a_damaged_counter_jumps_ahead(store: StateDirectory, content: str) -> None:
    """What it was nobody knows; the seconds since 1970 are more than counting ever reaches."""
    assert receipts.next_number(store) == 1
    Path(store.path, receipts.COUNTER).write_text(content)
    store.save_seen(time.time() + 1000)  # a clock that runs behind what was seen does not set the counter back
    first = receipts.next_number(store)
    assert first > time.time() + 900
    assert receipts.next_number(store) == first + 1


def test_a_later_counter_is_left_alone(store: StateDirectory) -> None:
    """What a later version wrote is not overwritten."""
    Path(store.path, receipts.COUNTER).write_text('{"format": 2, "last": 5}')
    with pytest.raises(StateError) as caught:
        receipts.next_number(store)
    assert caught.value.code == "state_newer"


def test_a_link_in_its_place_is_not_followed(store: StateDirectory, tmp_path: Path) -> None:
    """Somebody who owns the state directory leads nobody to another file."""
    goal = tmp_path / "goal"
    for name in (receipts.COUNTER, receipts.LOCK):
        Path(store.path, name).symlink_to(goal)
    with pytest.raises(StateError):
        receipts.next_number(store)
    assert not goal.exists()


def beats(count: int) -> list[MissedBeat]:
    """Beats of one boot."""
    return [MissedBeat(number, Moment(BOOT, number * 60.0, 1e9), Metrics(), "dns_failed") for number in range(count)]


def test_the_spool_is_read_as_the_agent_reads_it(store: StateDirectory) -> None:
    """Beats that were handed over, and those that the bound pushed out, are not among those that wait."""
    spool = DiskSpool(store.path, missed_object, read_missed, max_records=1_440)
    assert receipts.waiting_beats(store.path, read_missed) == ()
    for beat in beats(1_500):
        spool.add(beat)
    spool.drop(10)
    waiting = receipts.waiting_beats(store.path, read_missed)
    assert waiting == DiskSpool(store.path, missed_object, read_missed).peek(5_000) == tuple(beats(1_500)[70:])


def test_a_torn_line_is_nobodys_beat_and_stays(store: StateDirectory) -> None:
    """The agent may be in the middle of a line: it is not counted, and not cut off under its hands."""
    spool = DiskSpool(store.path, missed_object, read_missed)
    for beat in beats(2):
        spool.add(beat)
    file = Path(store.path, "spool.jsonl")
    torn = file.read_bytes() + b'{"seq": 7, "boo'
    file.write_bytes(torn + b"")
    assert [beat.sequence for beat in receipts.waiting_beats(store.path, read_missed)] == [0, 1]
    assert file.read_bytes() == torn


@pytest.mark.parametrize("content", [b"junk\n\x00\xff\n", b"[" * 100_000 + b"\n", b'{"dropped": 99999999}\n', b"\n\n"])
def test_a_damaged_spool_is_an_empty_one(store: StateDirectory, content: bytes) -> None:
    """A receipt is never held up by what lies in the spool."""
    Path(store.path, "spool.jsonl").write_bytes(content)
    assert receipts.waiting_beats(store.path, read_missed) == ()


def test_what_a_platform_said_of_the_time(store: StateDirectory) -> None:
    """Within one boot it is known how long ago that was; in another, or from a former version, only what was said."""
    now = Moment(BOOT, 5_000.0, 1_795_000_000.0)
    assert receipts.last_told(store, now) == (0, None)
    store.save_seen(1_794_999_000.0, Moment(BOOT, 4_000.0, 0.0))
    assert receipts.last_told(store, now) == (1_794_999_000, 1_000)
    assert receipts.last_told(store, now._replace(boot_id="cd" * 16)) == (1_794_999_000, None)
    assert receipts.last_told(store, now._replace(monotonic_s=3_000.0)) == (1_794_999_000, None)
    store.save_seen(1_794_999_000.0)
    assert receipts.last_told(store, now) == (1_794_999_000, None)


def test_when_the_clock_is_believed(tmp_path: Path) -> None:
    """By what a platform said in this boot, by the network's time service, else by the clock's own judgement."""
    now, nowhere = SystemClock().moment(), str(tmp_path / "nothing")
    clock = SystemClock(now.wall_s)
    at_s = int(now.wall_s)
    assert receipts.trusts_clock(clock, now, at_s - 500, 500, nowhere)
    assert not receipts.trusts_clock(clock, now, at_s - 90_000, 500, nowhere)
    assert receipts.trusts_clock(clock, now, 0, None, nowhere)
    behind = SystemClock(now.wall_s + 10 * 86_400)
    assert not receipts.trusts_clock(behind, now, 0, None, nowhere)
    Path(nowhere).touch()
    assert receipts.trusts_clock(behind, now, 0, None, nowhere)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for another user")
def test_what_root_makes_is_the_agents(store: StateDirectory) -> None:
    """After a receipt as root the service's user can make one too."""
    os.chown(store.path, 12_345, 12_345)
    receipts.next_number(store)
    owners = {Path(store.path, name).stat().st_uid for name in (receipts.COUNTER, receipts.LOCK)}
    assert owners == {12_345}
    assert json.loads(Path(store.path, receipts.COUNTER).read_text()) == {"format": 1, "last": 1}
