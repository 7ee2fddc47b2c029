"""Bytes of a steady beat on the wire, both directions, with TLS, TCP and IP."""

from __future__ import annotations

import time

from tests.bench.figures import Figure, Report
from tests.bench.peers import COLUMNS, KEEPALIVES_S, Peer
from tests.bench.processes import BenchError, wait_until
from tests.bench.stage import Box, Hub, Stage
from tests.bench.wiretap import Traffic, open_tap

INTERVAL_S = 6
BEATS = 4
SETTLE_S = 1.0
AT_MOST_BYTES = 900.0


def measure(stage: Stage, report: Report) -> None:
    """Steady beats of the agent and of the peers, at the same time, each to an address of its own."""
    hub = Hub(stage, heartbeat_interval_s=INTERVAL_S)
    with open_tap(hub.endpoint.port, 1 + len(KEEPALIVES_S)) as tap:
        method = f"real hub over TLS, {BEATS} beats, one every {INTERVAL_S} s; {tap.method}"
        report.head("wire", method, COLUMNS)
        box = Box(stage, hub)
        box.move(tap.urls[0])
        box.run_agent()
        peers = [Peer(stage, hub, keepalive_s, INTERVAL_S) for keepalive_s in KEEPALIVES_S]
        for peer, url in zip(peers, tap.urls[1:], strict=True):
            peer.start(url)
        counts = [box.beats, *(peer.beats for peer in peers)]
        # The first two beats may open connections and carry facts; what comes after is steady.
        wait_until("two beats of each", lambda: all(count() >= 2 for count in counts), 60)
        tap.watch(SETTLE_S)
        before = [(count(), traffic) for count, traffic in zip(counts, tap.traffic(), strict=True)]
        ends_s = time.monotonic() + BEATS * INTERVAL_S
        while time.monotonic() < ends_s or min(count() - b for count, (b, _) in zip(counts, before, strict=True)) < 3:
            tap.watch(SETTLE_S)
        tap.watch(SETTLE_S)
        beats = [count() - b for count, (b, _) in zip(counts, before, strict=True)]
        spent = [now.minus(then) for now, (_, then) in zip(tap.traffic(), before, strict=True)]
    if not spent[0].total_bytes:
        raise BenchError("nothing was seen on the wire")
    _show(report, spent, beats, tap.is_exact)


def _show(report: Report, spent: list[Traffic], beats: list[int], is_exact: bool) -> None:
    per_beat = [Traffic(*(part / count for part in traffic)) for traffic, count in zip(spent, beats, strict=True)]
    ours, others = per_beat[0], per_beat[1:]
    total = tuple(other.total_bytes for other in others)
    goal = AT_MOST_BYTES if is_exact else None
    report.add(Figure("a steady beat, both directions", ours.total_bytes, "B", goal, beside=total))
    if not is_exact:
        report.note(f"not judged (the goal is {AT_MOST_BYTES:g} B): packets can be captured as root only")
    report.add(Figure("  of it to the hub", ours.up_bytes, "B", beside=tuple(other.up_bytes for other in others)))
    report.add(Figure("  of it from the hub", ours.down_bytes, "B", beside=tuple(other.down_bytes for other in others)))
    report.add(Figure("segments", ours.segments, "", beside=tuple(other.segments for other in others)))
