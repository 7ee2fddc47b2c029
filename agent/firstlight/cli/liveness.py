"""Whether the agent is alive, and whether what it published still says what is so.

It is alive while it holds its lock, which the kernel takes from it however it ends. Only where the lock cannot be
asked, or where the agent said that it could not take it (a disk that was full or read-only when it started), its pid
must do. What it published names the moment at which its next beat is due, by the clock that nobody sets: long after
that moment, it says nothing about now.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from firstlight.cli.durations import spoken
from firstlight.core.lifecycle import CHANGING
from firstlight.errors import HINTS
from firstlight.system.clock import SystemClock

# One turn at its slowest: two calls of 20 s (a beat, then asking to be taken back), each after 30 s of resolving a
# name (three servers asked twice, 5 s each), and a little for a busy box.
SLOWEST_TURN_S = 120.0
OF_A_LIVE_ONE = ("pid", "nextBeatInS", "nextBeatMonoS", "nextBeatAt")


def judged(published: dict[str, object], holder: int | None) -> dict[str, object]:
    """What was published, put right by what can be seen now.

    Args:
        published: the status that an agent wrote for this registration; empty when none did.
        holder: who holds the agent's lock, as ``StateDirectory.holder`` gives it.

    Returns:
        the status, its ``state`` now one of stopped, starting, online, cut_off, parked, changing, retired or
        not_responding.
    """
    if not holder and published.get("state") == CHANGING and _pid_without_lock(published):
        # Between two lives of one process nobody holds the lock.
        return {name: value for name, value in published.items() if not name.startswith("nextBeat")}
    has_no_lock = holder is None or (holder == 0 and published.get("unlocked") is True)
    pid = _pid_without_lock(published) if has_no_lock else holder
    if not pid:
        return {**{name: value for name, value in published.items() if name not in OF_A_LIVE_ONE}, "state": "stopped"}
    if pid > 0 and published.get("pid") not in _names_of(pid):
        kept = {name: value for name, value in published.items() if name not in OF_A_LIVE_ONE}
        return {**kept, "pid": pid, **_silent(pid, _age_s(pid), "since it started")}
    due_s = published.get("nextBeatMonoS")
    late_s = now_s() - due_s if isinstance(due_s, (int, float)) else 0.0
    if late_s > max(SLOWEST_TURN_S, _interval_s(published)):
        return {**published, **_silent(pid, late_s, "since its next heartbeat was due")}
    if published.get("state") == "beating":
        return {**published, "state": "online" if published.get("lastAcceptedAt") else "starting"}
    return published


def now_s() -> float:
    """Seconds since boot, as the agent counts them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _interval_s(published: dict[str, object]) -> float:
    # A wait is not shortened by the time that a box sleeps; after waking it may be late by all of it.
    interval_s = published.get("intervalS")
    return float(interval_s) if isinstance(interval_s, (int, float)) else 0.0


def _silent(pid: int, age_s: float, since: str) -> dict[str, object]:
    if age_s <= SLOWEST_TURN_S:
        return {"state": "starting", "reason": "", "message": "", "hint": ""}
    named = f" (pid {pid})" if pid > 0 else ""
    return {
        "state": "not_responding",
        "reason": "status_overdue",
        "message": f"The agent{named} runs, but told nothing {since}, {spoken(age_s)} ago.",
        "hint": HINTS["status_overdue"],
    }


def _pid_without_lock(published: dict[str, object]) -> int:
    """The pid in the status, if that process lives and is of this boot; 0 if not."""
    pid = published.get("pid")
    if not isinstance(pid, int) or not 0 < pid < 2**31 or published.get("bootId") != SystemClock().moment().boot_id:
        return 0
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return 0
    except PermissionError:
        return pid
    stat = _stat(pid)
    return 0 if stat and stat[0] in ("Z", "X") else pid


def _names_of(pid: int) -> list[int]:
    """The process's own pid in every namespace that it is in: in a container it knows itself by another one."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return [int(word) for word in line.split()[1:]]
    except (OSError, ValueError):
        pass
    return [pid]


def _age_s(pid: int) -> float:
    """How long a process has run."""
    stat = _stat(pid)
    return now_s() - int(stat[19]) / os.sysconf("SC_CLK_TCK") if len(stat) > 19 else 0.0


def _stat(pid: int) -> list[str]:
    """The fields of proc_pid_stat(5) from the state on; empty when they cannot be read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
