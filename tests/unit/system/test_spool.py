"""Kept beats on a real disk: order, bounds, kills at any byte, full disks, damage."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import firstlight
from firstlight.core.model import Metrics, MissedBeat, Moment
from firstlight.system.spool import NAME, REFUSED, DiskSpool
from firstlight.wire.heartbeat import missed_object, read_missed

PACKAGE_ROOT = str(Path(firstlight.__file__).parent.parent)


def missed(number: int) -> MissedBeat:
    """A kept beat that can be told by its sequence number."""
    return MissedBeat(number, Moment("ab" * 16, float(number), 1_795_000_000.0), Metrics(load1=0.5), "dns_failed")


def spool_in(folder: Path, max_records: int = 1440, max_bytes: int = 524_288) -> DiskSpool:
    """The spool of that folder, as a start of the agent finds it."""
    return DiskSpool(str(folder), missed_object, read_missed, max_records=max_records, max_bytes=max_bytes)


def numbers(spool: DiskSpool) -> list[int]:
    """What it holds, oldest first."""
    return [one.sequence for one in spool.peek(10_000)]


def test_beats_come_back_whole_and_in_order(tmp_path: Path) -> None:
    """What was added is peeked in order, by this process and by the next."""
    spool = spool_in(tmp_path)
    for number in range(5):
        spool.add(missed(number))

    assert spool.peek(2) == (missed(0), missed(1))
    again = spool_in(tmp_path)
    assert len(again) == 5 and again.peek(10) == tuple(missed(number) for number in range(5))
    assert (tmp_path / NAME).stat().st_mode & 0o077 == 0


@given(st.lists(st.integers(min_value=-3, max_value=4), max_size=40), st.integers(min_value=1, max_value=6))
def test_any_history_matches_a_plain_list(
    tmp_path_factory: pytest.TempPathFactory, history: list[int], bound: int
) -> None:
    """Adding, dropping and restarting in any order leave what a bounded list would hold."""
    folder = tmp_path_factory.mktemp("spool")
    spool, number = spool_in(folder, bound), 0
    model: list[int] = []
    for act in history:
        if act > 0:
            for _ in range(act):
                spool.add(missed(number))
                model = [*model, number][-bound:]
                number += 1
        elif act == 0:
            spool = spool_in(folder, bound)
        else:
            spool.drop(-act)
            model = model[-act:]
        assert numbers(spool) == model
        assert len(spool) == len(model)
    assert numbers(spool_in(folder, bound)) == model


def test_the_file_stays_bounded(tmp_path: Path) -> None:
    """However many beats are missed, file and count stay bounded, the newest are there, losses are counted."""
    spool = spool_in(tmp_path, max_records=50, max_bytes=4096)
    for number in range(1000):
        spool.add(missed(number))
        assert (tmp_path / NAME).stat().st_size <= 4096

    held = numbers(spool)
    assert held == list(range(1000 - len(held), 1000)) and len(held) > 10
    assert spool.dropped == 1000 - len(held)
    assert numbers(spool_in(tmp_path, max_records=50, max_bytes=4096)) == held


def test_handing_everything_over_empties_the_file(tmp_path: Path) -> None:
    """After the last drop nothing is left on disk."""
    spool = spool_in(tmp_path)
    for number in range(10):
        spool.add(missed(number))
    spool.drop(4)
    assert numbers(spool_in(tmp_path)) == list(range(4, 10))
    spool.drop(6)

    assert (tmp_path / NAME).stat().st_size == 0 and len(spool) == 0
    spool.add(missed(10))
    assert numbers(spool) == [10]


def test_a_file_cut_at_any_byte_loses_only_its_end(tmp_path: Path) -> None:
    """Cut the file anywhere, as a kill in the middle of a write would: every whole beat before the cut is there."""
    spool = spool_in(tmp_path)
    for number in range(6):
        spool.add(missed(number))
    spool.drop(2)
    spool.add(missed(6))
    whole = (tmp_path / NAME).read_bytes()
    for cut in range(len(whole) + 1):
        (tmp_path / NAME).write_bytes(whole[:cut])
        lines = [line for line in whole[:cut].split(b"\n")[:-1]]
        kept = [line for line in lines if b"dropped" not in line]
        done = 2 if len(kept) < len(lines) else 0
        found = spool_in(tmp_path)
        assert numbers(found) == list(range(done, len(kept)))
        found.add(missed(99))
        assert numbers(spool_in(tmp_path)) == [*range(done, len(kept)), 99]


def test_damage_in_the_middle_costs_only_itself(tmp_path: Path) -> None:
    """Junk lines, an endless line and zeros of a power cut are passed over; what is whole is handed over."""
    spool = spool_in(tmp_path)
    spool.add(missed(0))
    with (tmp_path / NAME).open("ab") as file:
        file.write(b'{"seq": "no"}\n' + b"\0" * 3000 + b"\n[1]\n" + b'{"dropped": x}\n')
    spool_in(tmp_path).add(missed(1))

    found = spool_in(tmp_path)
    assert numbers(found) == [0, 1]
    found.drop(1)
    assert numbers(found) == [1] and numbers(spool_in(tmp_path)) == [1]


def test_a_file_of_absurd_size_is_set_aside(tmp_path: Path) -> None:
    """A spool that no agent can have written is not read, and not deleted."""
    (tmp_path / NAME).write_bytes(b"x\n" * 10_000)
    spool = spool_in(tmp_path, max_bytes=4096)
    spool.add(missed(1))

    assert numbers(spool) == [1]
    assert (tmp_path / (NAME + ".damaged")).stat().st_size == 20_000


def test_a_full_disk_is_counted_and_nothing_is_torn(tmp_path: Path) -> None:
    """With not one more byte to be had, adding and dropping never raise, losses are counted, old beats stay whole."""
    spool = spool_in(tmp_path)
    for number in range(3):
        spool.add(missed(number))
    size = (tmp_path / NAME).stat().st_size
    script = (
        f"import sys, resource; sys.path[:0] = [{PACKAGE_ROOT!r}]\n"
        "from firstlight.system.spool import DiskSpool\n"
        "from firstlight.wire.heartbeat import missed_object, read_missed\n"
        "spool = DiskSpool(sys.argv[1], missed_object, read_missed)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size + 40}, {size + 40}))\n"
        "one = spool.peek(1)[0]\n"
        "for number in (7, 8): spool.add(one._replace(sequence=number))\n"
        "spool.set_aside(1)\n"
        "print(spool.dropped, len(spool), [one.sequence for one in spool.peek(9)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60
    )

    assert done.stdout == "2 2 [1, 2]\n", done.stderr
    assert numbers(spool_in(tmp_path)) in ([0, 1, 2], [1, 2])


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    """A symbolic link where the spool should be is neither read nor written; beats count as dropped."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"")
    (tmp_path / NAME).symlink_to(elsewhere)
    spool = spool_in(tmp_path)
    spool.add(missed(1))

    assert (len(spool), spool.dropped, elsewhere.read_bytes()) == (0, 1, b"")


def test_what_the_platform_cannot_read_is_set_aside(tmp_path: Path) -> None:
    """The carried part goes to a file of its own; the rest stays."""
    spool = spool_in(tmp_path)
    for number in range(5):
        spool.add(missed(number))
    spool.set_aside(3)

    assert numbers(spool) == [3, 4]
    assert (tmp_path / REFUSED).read_bytes().count(b"\n") == 3


def test_kills_while_adding_leave_an_unbroken_row(tmp_path: Path) -> None:
    """Kill -9 somewhere among thousands of appends and rewrites: what is there is a row without gaps or doubles."""
    script = (
        f"import sys; sys.path[:0] = [{PACKAGE_ROOT!r}]\n"
        "from firstlight.system.spool import DiskSpool\n"
        "from firstlight.core.model import *\n"
        "from firstlight.wire.heartbeat import missed_object, read_missed\n"
        "spool = DiskSpool(sys.argv[1], missed_object, read_missed, max_bytes=8192)\n"
        "start = int(sys.argv[2])\n"
        "for number in range(start, start + 100000):\n"
        "    spool.add(MissedBeat(number, Moment('ab' * 16, 1.0, 2.0), Metrics(), 'dns_failed'))\n"
        "    if number == start + 200: print('busy', flush=True)\n"
    )
    start = 0
    for _ in range(5):
        child = subprocess.Popen(
            [sys.executable, "-I", "-c", script, str(tmp_path), str(start)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None and child.stdout.readline() == "busy\n"
        os.kill(child.pid, signal.SIGKILL)
        child.wait(20)
        child.stdout.close()
        held = numbers(spool_in(tmp_path, max_bytes=8192))
        assert len(held) > 10 and held == list(range(held[0], held[0] + len(held)))
        start = held[-1] + 1
