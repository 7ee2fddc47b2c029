"""What a process costs, as the kernel counts it. MB are 1024 kB, as in /proc."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from select import select
from typing import NamedTuple

ESTABLISHED = "01"
POLL_S = 0.1


class BenchError(Exception):
    """Something that a bench needs did not come about; the text says what."""


class Cost(NamedTuple):
    """What one run of a program cost; the CPU time is that of the program and of all that it started."""

    wall_s: float
    cpu_s: float
    output: str


def run_once(words: Sequence[str], env: Mapping[str, str], stdin: str = "", until: str = "", says: str = "") -> Cost:
    """Runs a program to its end.

    Args:
        words: the command line.
        env: its whole environment.
        stdin: what it reads.
        until: the wall time ends with the first line of output that holds this; "" = with the process.
        says: must stand in the output.

    Raises:
        BenchError: it ended with something else than 0, or never wrote such a line.
    """
    began_s = time.perf_counter()
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(stdin)
    process.stdin.close()
    lines, wall_s = [], 0.0
    for line in process.stdout:
        lines.append(line)
        if until and until in line and not wall_s:
            wall_s = time.perf_counter() - began_s
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    output = "".join(lines)
    ended_s = time.perf_counter() - began_s
    if process.returncode not in (0, 3) or (until and not wall_s) or says not in output:
        raise BenchError(f"{' '.join(words[:2])} ended with {process.returncode}:\n{output}")
    return Cost(wall_s or ended_s, usage.ru_utime + usage.ru_stime, output)


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """What this process does, and what it starts, inside the block stays on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def wait_until(what: str, ask: Callable[[], object], patience_s: float) -> None:
    """Asks again and again until the answer is truthy. Raises BenchError when patience ends."""
    deadline_s = time.monotonic() + patience_s
    while not ask():
        if time.monotonic() > deadline_s:
            raise BenchError(f"waited {patience_s:.0f} s in vain until {what}")
        select([], [], [], POLL_S)


def private_dirty_mb(pid: int) -> float:
    """Memory that is this process's own and cannot be dropped."""
    return _kilobytes(f"/proc/{pid}/smaps_rollup", "Private_Dirty:") / 1024


def peak_mb(pid: int) -> float:
    """The most memory that was resident at any time."""
    return _kilobytes(f"/proc/{pid}/status", "VmHWM:") / 1024


def resident_mb(pid: int) -> float:
    """Memory that is resident now."""
    return _kilobytes(f"/proc/{pid}/status", "VmRSS:") / 1024


def threads(pid: int) -> int:
    """How many threads it has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def switches(pid: int, kind: str = "") -> int:
    """Context switches of all its threads so far, or only the ``nonvoluntary`` ones: each wake-up is one."""
    return sum(
        int(line.split()[1])
        for task in Path(f"/proc/{pid}/task").iterdir()
        for line in (task / "status").read_text().splitlines()
        if f"{kind}_ctxt_switches" in line or (not kind and "ctxt_switches" in line)
    )


def cpu_ms(pid: int) -> float:
    """CPU time of its main thread so far."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6


def all_cpu_s(pid: int) -> float:
    """CPU time of all its threads so far, user and system, in steps of a clock tick."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def open_ports(pid: int) -> set[int]:
    """The local ports of its established TCP connections."""
    held = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            held.add(str(descriptor.readlink()))
        except OSError:
            continue
    found = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == ESTABLISHED and f"socket:[{fields[9]}]" in held:
            found.add(int(fields[1].partition(":")[2], 16))
    return found


def _kilobytes(file: str, name: str) -> int:
    for line in Path(file).read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise BenchError(f"{file} has no {name}")
