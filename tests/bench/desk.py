"""A thousand devices from a table: how long the desk takes for them against a hub."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

from tests.bench.figures import Figure, Report
from tests.bench.processes import BenchError, all_cpu_s
from tests.bench.stage import BIN, WORKSPACE, Hub, Stage

DEVICES = 1_000
AT_MOST_S = 20.0
AGAIN_S = 5.0


def measure(stage: Stage, report: Report) -> None:
    """One run with boot files, and the same command again, which has nothing left to make."""
    method = f"{DEVICES} devices with boot files, a real hub on loopback over TLS without a limiter, one run each"
    report.head("desk", method)
    hub = Hub(stage, heartbeat_interval_s=60)
    room = stage.room("desk")
    table, boot, key = room / "boxes.csv", room / "boot", room / "operator.key"
    boot.mkdir()
    key.touch(0o600)
    key.write_text(hub.api_key.reveal())
    table.write_text("name,serial,tags\n" + "".join(f"Camera {n},SN-{n:04},dock\n" for n in range(DEVICES)))
    words = [str(BIN / "firstlight"), "device", "create", "--csv", str(table), "--boot", str(boot), "--json"]
    words += ["--hub", hub.endpoint.url, "--pin", hub.pin, "--workspace", WORKSPACE, "--api-key-file", str(key)]

    before_s = all_cpu_s(hub.pid)
    took_s, desk_s = _run(stage, words)
    hub_s = all_cpu_s(hub.pid) - before_s
    _check(boot)
    again_s, _ = _run(stage, words)
    report.add(Figure(f"{DEVICES} devices made", took_s, "s", AT_MOST_S))
    report.add(Figure("the same command again", again_s, "s", AGAIN_S))
    report.note(f"CPU: desk {desk_s:.1f} s, hub {hub_s:.1f} s")


def _run(stage: Stage, words: list[str]) -> tuple[float, float]:
    """Seconds that a run takes, and the desk's CPU in them; raises BenchError where it did not make all."""
    began_s, before = time.monotonic(), os.times()
    done = subprocess.run(words, capture_output=True, text=True, env=stage.env, check=False)
    took_s, after = time.monotonic() - began_s, os.times()
    if done.returncode or len({one["deviceId"] for one in json.loads(done.stdout)}) != DEVICES:
        raise BenchError(f"the run ended with {done.returncode}: {done.stderr[:500]}")
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return took_s, cpu_s


def _check(boot: Path) -> None:
    files = list(boot.iterdir())
    if len(files) != DEVICES or any(path.stat().st_mode & 0o077 for path in files):
        raise BenchError(f"there are {len(files)} boot files, or others may read them")
