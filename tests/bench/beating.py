"""What the process that stays for months costs: at the real cadence for minutes, and over ten thousand beats."""

from __future__ import annotations

import time
from collections.abc import Callable
from select import select
from typing import NamedTuple

from tests.bench import processes
from tests.bench.figures import Figure, Report
from tests.bench.peers import COLUMNS, KEEPALIVES_S, Peer
from tests.bench.processes import BenchError, wait_until
from tests.bench.stage import WATCHDOG_S, Box, Hub, Stage

INTERVAL_S = 60
WINDOW_S = 140.0
LOOK_EVERY_S, GROWTH_LOOK_S = 2.0, 0.2
DIRTY_MB, THREADS, WAKE_UPS, CONNECTIONS, GROWTH_KB = 9.0, 1, 4.0, 1, 100.0
# Memory settles over the first two thousand beats, then stays: measured to 30,000. The end is held to DIRTY_MB too, so
# that nothing can hide in the beginning.
EARLY, WARM, BEATS = 100, 2000, 10_000
HASTE = 1e6
PATIENCE_S = 240.0


class Costs(NamedTuple):
    """Of one process over the window."""

    dirty_mb: float
    threads: int
    wake_ups: float
    pushed_aside: float
    cpu_ms: float
    connections: int
    beats: int


class Watched:
    """A process under observation, from ``begin`` to ``end``."""

    def __init__(self, pid: int, box: Box, beats: Callable[[], int]) -> None:
        self.pid, self.box, self._beats = pid, box, beats
        self._ports: set[int] = set()

    def begin(self) -> None:
        """Counting begins."""
        self._ports.clear()
        self.look()
        self._before = self._beats()
        self._switches, self._cpu_ms = processes.switches(self.pid), processes.cpu_ms(self.pid)
        self._pushed_aside = processes.switches(self.pid, "nonvoluntary")

    def look(self) -> None:
        """Now and then: which connections there are. It does not wake the process."""
        self._ports |= processes.open_ports(self.pid)
        self.box.hear()

    def end(self) -> Costs:
        """What it cost; a beat counts as a minute, though the window may hold a little more silence than that."""
        beats = self._beats() - self._before
        minutes = beats * INTERVAL_S / 60
        if beats < WINDOW_S // INTERVAL_S:
            raise BenchError(f"only {beats} beats in {WINDOW_S:.0f} s: {self.box.log.read_text()[-300:]}")
        return Costs(
            dirty_mb=processes.private_dirty_mb(self.pid),
            threads=processes.threads(self.pid),
            wake_ups=(processes.switches(self.pid) - self._switches) / minutes,
            pushed_aside=(processes.switches(self.pid, "nonvoluntary") - self._pushed_aside) / minutes,
            cpu_ms=(processes.cpu_ms(self.pid) - self._cpu_ms) / minutes,
            connections=len(self._ports),
            beats=beats,
        )


def measure(stage: Stage, report: Report) -> None:
    """The cadence first, then the long haul."""
    method = f"real hub over TLS, every {INTERVAL_S} s for {WINDOW_S / 60:.1f} minutes, all side by side"
    report.head("beating", method, COLUMNS)
    hub = Hub(stage, heartbeat_interval_s=INTERVAL_S)
    peers = [Peer(stage, hub, keepalive_s, INTERVAL_S) for keepalive_s in KEEPALIVES_S]
    _show(report, _cadence(stage, hub, peers))
    logs_to = peers[0].logs_to
    stage.stop()
    _growth(stage, report)
    report.note(f"watchdog on ({WATCHDOG_S} s) for all; wake-ups are context switches of all threads; the peers use")
    report.note(f"psutil and {logs_to}, on the same interpreter and libraries")


def _cadence(stage: Stage, hub: Hub, peers: list[Peer]) -> list[Costs]:
    box = Box(stage, hub)
    watched = [Watched(box.run_agent(), box, box.beats)]
    watched += [Watched(peer.start(), peer.box, peer.beats) for peer in peers]
    wait_until("all of them beat", lambda: box.beats() and all(peer.beats() for peer in peers), 20)
    select([], [], [], LOOK_EVERY_S)
    for one in watched:
        one.begin()
    ends_s = time.monotonic() + WINDOW_S
    while time.monotonic() < ends_s:
        select([], [], [], LOOK_EVERY_S)
        for one in watched:
            one.look()
    costs = [one.end() for one in watched]
    if not box.feedings:
        raise BenchError("the agent never fed the watchdog")
    return costs


def _show(report: Report, costs: list[Costs]) -> None:
    ours, others = costs[0], costs[1:]

    def add(what: str, take: Callable[[Costs], float], unit: str = "", goal: float | None = None) -> None:
        report.add(Figure(what, take(ours), unit, goal, beside=tuple(take(other) for other in others)))

    add("private dirty memory", lambda cost: cost.dirty_mb, "MB", DIRTY_MB)
    add("threads", lambda cost: cost.threads, "", THREADS)
    add("wake-ups a minute", lambda cost: cost.wake_ups, "", WAKE_UPS)
    add("  of them involuntary", lambda cost: cost.pushed_aside)
    add("connections opened or kept in the window", lambda cost: cost.connections, "", CONNECTIONS)
    add("CPU a minute", lambda cost: cost.cpu_ms, "ms")
    add("beats in the window", lambda cost: cost.beats)


def _hear(boxes: list[Box]) -> None:
    for box in boxes:
        box.hear(0.002)


def _growth(stage: Stage, report: Report) -> None:
    """Memory early, once it has settled, and ten thousand beats later, without waits between them."""
    hub = Hub(stage, heartbeat_interval_s=INTERVAL_S)
    box = Box(stage, hub)
    peers = [Peer(stage, hub, keepalive_s, 0) for keepalive_s in KEEPALIVES_S]
    runs = [(box.run_hastily(HASTE), box.beats)] + [(peer.start(), peer.beats) for peer in peers]
    marks = (EARLY, WARM, WARM + BEATS)
    seen: dict[int, list[float]] = {pid: [] for pid, _ in runs}

    def all_are_through() -> bool:
        for pid, beats in runs:
            if len(seen[pid]) < len(marks) and beats() >= marks[len(seen[pid])]:
                seen[pid].append(processes.private_dirty_mb(pid))
        return all(len(found) == len(marks) for found in seen.values())

    boxes = [box, *(peer.box for peer in peers)]
    deadline_s = time.monotonic() + PATIENCE_S
    while not all_are_through():
        if time.monotonic() > deadline_s:
            raise BenchError(f"only {[beats() for _, beats in runs]} beats in {PATIENCE_S:.0f} s")
        looks_s = time.monotonic() + GROWTH_LOOK_S
        while time.monotonic() < looks_s:
            _hear(boxes)  # a service manager that does not listen would slow the peers down
    early, settled, end = zip(*(seen[pid] for pid, _ in runs), strict=True)
    settling = [(now - then) * 1024 for now, then in zip(settled, early, strict=True)]
    grown = [(now - then) * 1024 for now, then in zip(end, settled, strict=True)]
    report.add(Figure(f"settling, beat {EARLY} to {WARM}", settling[0], "kB", beside=tuple(settling[1:])))
    report.add(Figure(f"growth over {BEATS} beats after that", grown[0], "kB", GROWTH_KB, beside=tuple(grown[1:])))
    report.add(Figure("private dirty memory at the end of them", end[0], "MB", DIRTY_MB, beside=tuple(end[1:])))
