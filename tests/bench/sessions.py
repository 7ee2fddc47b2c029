"""Five thousand live TLS sessions against one hub, over HTTP and over MQTT: memory for each, CPU of all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from firstlight.wire.facts import facts_hash
from tests.bench.figures import Figure, Report
from tests.bench.processes import BenchError, all_cpu_s, on_core, private_dirty_mb
from tests.bench.stage import FACTS, WORKSPACE, Hub, Stage, free_port

SESSIONS, INTERVAL_S, SECONDS = 5000, 60, 20.0


def measure(stage: Stage, report: Report) -> None:
    """One transport after the other, each against a fresh hub."""
    method = f"{SESSIONS} TLS sessions held, each beating every {INTERVAL_S} s, for {SECONDS:g} s; stated, not judged"
    report.head("sessions", method, ("MQTT, hub", "MQTT, mosquitto"))
    columns = _over(stage, "http") + _over(stage, "mqtt")
    for what, unit, values in zip(
        ("memory for each session", "CPU for each connection and its first beat", "CPU while they beat"),
        ("kB", "ms", "% of a core"),
        zip(*columns, strict=True),
        strict=True,
    ):
        report.add(Figure(what, values[0], unit, beside=tuple(values[1:])))


def _over(stage: Stage, kind: str) -> list[tuple[float, float, float]]:
    """For the hub, and for MQTT its broker too: kB a session, CPU ms a connection, CPU % while they beat."""
    more: dict[str, int | str] = {}
    if kind == "mqtt":
        more = {"mqtt": "mosquitto", "mqtt_port": free_port(), "mqtt_certificate_port": free_port()}
    cores = sorted(os.sched_getaffinity(0))
    with on_core(cores[0]):
        hub = Hub(stage, devices=SESSIONS, heartbeat_interval_s=INTERVAL_S, settings=more)
    pids = [hub.pid, *_children(hub.pid)][: 2 if kind == "mqtt" else 1]
    told = {
        "kind": kind,
        "port": more.get("mqtt_port", hub.endpoint.port),
        "workspace": WORKSPACE,
        "factsHash": facts_hash(FACTS),
        "intervalS": INTERVAL_S,
        "seconds": SECONDS,
        "devices": hub.keys,
    }
    file = stage.room("crowd") / "crowd.json"
    file.write_text(json.dumps(told))
    before = [(private_dirty_mb(pid), all_cpu_s(pid)) for pid in pids]
    with on_core(cores[-1]):
        crowd = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("crowd.py")), str(file)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
    try:
        _heard(crowd, f"held {SESSIONS}")
        held = [(private_dirty_mb(pid), all_cpu_s(pid)) for pid in pids]
        _say(crowd)
        beats = _heard(crowd, "beats ")
        after_s = [all_cpu_s(pid) for pid in pids]
    finally:
        crowd.kill()
        crowd.communicate()
        stage.stop()
    if int(beats.split()[1]) < SESSIONS * SECONDS / INTERVAL_S * 0.9:
        raise BenchError(f"only {beats} in {SECONDS:g} s")
    return [
        ((mb - mb0) * 1024 / SESSIONS, (cpu_s - cpu0_s) * 1000 / SESSIONS, (end_s - cpu_s) / SECONDS * 100)
        for (mb0, cpu0_s), (mb, cpu_s), end_s in zip(before, held, after_s, strict=True)
    ]


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _heard(crowd: subprocess.Popen[str], wanted: str) -> str:
    assert crowd.stdout is not None
    line = crowd.stdout.readline()
    if not line.startswith(wanted):
        raise BenchError(f"the crowd said {line!r} and ended with {crowd.poll()}")
    return line


def _say(crowd: subprocess.Popen[str]) -> None:
    assert crowd.stdin is not None
    crowd.stdin.write("\n")
    crowd.stdin.flush()
