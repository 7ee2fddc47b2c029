"""What a page of the list costs among many devices and among few, and the whole list at once."""

from __future__ import annotations

import http.client
import json
import os
import time
from typing import NamedTuple

from tests.bench import processes
from tests.bench.figures import Figure, Report, median
from tests.bench.processes import BenchError, on_core
from tests.bench.stage import WORKSPACE, Hub, Stage

FEW, MANY = 1_000, 100_000
PAGE = 100
ROUNDS = 100
AT_MOST = 1.5
PIECE_BYTES = 65_536


class Whole(NamedTuple):
    """The whole list: milliseconds to the first byte, seconds and megabytes in all, devices in it."""

    first_byte_ms: float
    seconds: float
    size_mb: float
    devices: int


def measure(stage: Stage, report: Report) -> None:
    """Pages at the start, in the middle and near the end; then everything."""
    cores = sorted(os.sched_getaffinity(0))
    method = f"a page of {PAGE} over HTTP (no TLS), both hubs on one core, medians of {ROUNDS}, interleaved"
    report.head("listing", method)
    # On one core, or one hub may share its core with a stranger and the other not.
    with on_core(cores[0]):
        few, many = (Lister(Hub(stage, is_plain=True, devices=count)) for count in (FEW, MANY))
    with on_core(cores[-1]):
        _pages(report, few, many)
        _whole(report, many)


def _pages(report: Report, few: Lister, many: Lister) -> None:
    for name, share in (("first", 0.0), ("middle", 0.5), ("last", 1.0)):
        times: tuple[list[float], list[float]] = ([], [])
        cpu: tuple[list[float], list[float]] = ([], [])
        for number in range(ROUNDS + 1):
            for which, (lister, count) in enumerate(((few, FEW), (many, MANY))):
                before_s = processes.all_cpu_s(lister.hub.pid)
                took_ms = lister.page(int((count - PAGE) * share))
                if number:  # the first one warms up
                    times[which].append(took_ms)
                    cpu[which].append(processes.all_cpu_s(lister.hub.pid) - before_s)
        small, large = median(times[0]), median(times[1])
        report.add(Figure(f"{name} page among {MANY}, of one among {FEW}", large / small, "x", AT_MOST))
        ratio = sum(cpu[1]) / sum(cpu[0])
        report.add(Figure(f"{name} page, CPU of the hub", ratio, "x", AT_MOST))
        report.note(f"{small:.2f} ms among {FEW}, {large:.2f} ms among {MANY}")


def _whole(report: Report, many: Lister) -> None:
    before_mb = processes.resident_mb(many.hub.pid)
    whole = many.whole()
    if whole.devices != MANY:
        raise BenchError(f"the whole list has {whole.devices} devices")
    report.add(Figure(f"whole list of {MANY}: first byte after", whole.first_byte_ms, "ms"))
    report.add(Figure(f"whole list of {MANY}: all after", whole.seconds, "s"))
    report.add(Figure(f"whole list of {MANY}: size", whole.size_mb, "MB"))
    report.add(Figure("memory of the hub before it", before_mb, "MB"))
    report.add(Figure("peak memory of the hub", processes.peak_mb(many.hub.pid), "MB"))


class Lister:
    """A client of one hub, on one kept connection."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._connection = http.client.HTTPConnection("127.0.0.1", hub.endpoint.port, timeout=60)
        self._headers = {"Authorization": f"Bearer {hub.api_key.reveal()}"}

    def page(self, after: int) -> float:
        """One page after so many devices; milliseconds."""
        began_s = time.perf_counter()
        cursor = f"&cursor={after:x}" if after else ""
        self._connection.request("GET", f"/{WORKSPACE}/devices/v2?limit={PAGE}{cursor}", headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        took_ms = (time.perf_counter() - began_s) * 1000
        if answer.status != 200 or len(json.loads(body)["data"]) != PAGE:
            raise BenchError(f"the hub answered {answer.status}: {body[:200]!r}")
        return took_ms

    def whole(self) -> Whole:
        """Everything, read as it comes and not kept."""
        began_s = time.perf_counter()
        self._connection.request("GET", f"/{WORKSPACE}/devices/v2", headers=self._headers)
        answer = self._connection.getresponse()
        size = devices = 0
        first_s = 0.0
        rest = b""
        while piece := answer.read1(PIECE_BYTES):
            first_s = first_s or time.perf_counter() - began_s
            size += len(piece)
            devices += (rest + piece).count(b'"created_at"')
            rest = piece[-11:]  # one less than what is counted
        return Whole(first_s * 1000, time.perf_counter() - began_s, size / 2**20, devices)
