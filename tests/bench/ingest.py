"""How many beats a second the hub accepts and commits on one core, beside an endpoint that stores nothing."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from firstlight.wire.facts import facts_hash
from tests.bench.figures import Figure, Report, median, spread
from tests.bench.load import CONNECTIONS, Load, Target
from tests.bench.processes import BenchError, all_cpu_s, on_core
from tests.bench.stage import FACTS, WORKSPACE, Hub, Stage, read_line

DEVICES = 1000
ROUNDS, ROUND_S = 9, 1.5
AT_LEAST = 0.3


def measure(stage: Stage, report: Report) -> None:
    """Both servers on one core, in turn; the load on another."""
    cores = sorted(os.sched_getaffinity(0))
    where = "server on one core, load on another" if len(cores) > 1 else "server and load share the only core"
    method = f"{DEVICES} devices, {CONNECTIONS} kept connections, no TLS, {where}; medians of {ROUNDS} x {ROUND_S:g} s"
    report.head("ingest", method)
    with on_core(cores[0]):
        hub = Hub(stage, is_plain=True, devices=DEVICES, heartbeat_interval_s=60)
        bare_pid, bare_port = _start_bare(stage)
    servers = {"hub": (hub.pid, hub.endpoint.port), "bare": (bare_pid, bare_port)}
    rates: dict[str, list[float]] = {name: [] for name in servers}
    costs: dict[str, list[float]] = {name: [] for name in servers}
    loads = {n: Load(Target(port, WORKSPACE, hub.keys, facts_hash(FACTS))) for n, (_, port) in servers.items()}
    accepted = 0
    with on_core(cores[-1]):
        for number in range(ROUNDS + 1):
            for name, (pid, _) in servers.items():
                before_s = all_cpu_s(pid)
                result = loads[name].run(ROUND_S)
                spent_s = all_cpu_s(pid) - before_s
                if result.refused:
                    raise BenchError(f"{name}: {result.refused} beats refused:\n{hub.log.read_text()[-500:]}")
                accepted += result.accepted if name == "hub" else 0
                if number:  # the first one warms both up
                    rates[name].append(result.per_second)
                    costs[name].append(spent_s / result.accepted * 1e6)
    stored = _stored(hub)
    if stored != accepted:
        raise BenchError(f"{accepted} beats were accepted, {stored} are in the database")
    _show(report, rates, costs)
    report.note(f"all {accepted} accepted beats were found in the database")


def _show(report: Report, rates: dict[str, list[float]], costs: dict[str, list[float]]) -> None:
    rate = {name: median(found) for name, found in rates.items()}
    cost = {name: median(found) for name, found in costs.items()}
    report.add(
        Figure("accepted and committed a second, of the bare one's", rate["hub"] / rate["bare"], "x", at_least=AT_LEAST)
    )
    # The same by CPU time: others on this machine cannot lift it by slowing one of the two down.
    report.add(
        Figure(
            "accepted and committed a CPU second, of the bare one's", cost["bare"] / cost["hub"], "x", at_least=AT_LEAST
        )
    )
    report.add(Figure("the hub", rate["hub"], "/s"))
    report.add(Figure("Starlette, parses and stores nothing", rate["bare"], "/s"))
    report.note(f"single rounds: hub {spread(rates['hub'])}; bare {spread(rates['bare'])}")
    report.note(f"CPU of the server: hub {cost['hub']:.0f} us a beat, bare {cost['bare']:.0f} us")


def _start_bare(stage: Stage) -> tuple[int, int]:
    came, told = os.pipe()
    words = [sys.executable, str(Path(__file__).with_name("bare.py")), str(told)]
    pid = stage.start(words, stage.room("bare") / "log", None, told)
    os.close(told)
    return pid, int(read_line(came))


def _stored(hub: Hub) -> int:
    with closing(sqlite3.connect(hub.folder / "hub.sqlite3")) as connection:
        found: int = connection.execute("SELECT count(*) FROM beat").fetchone()[0]
    return found
