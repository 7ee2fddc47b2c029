"""``make bench``: measures what the agent and the hub cost, and holds it to the goals.

``python tests/bench/run.py [NAMES]`` runs all benches, or those that are named. Every figure is a ratio or a count
within one run, because this machine's speed is nobody's business. Exit status 1 if a goal is missed.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[2])
BENCHES = (
    *("enroll", "start", "wire", "beating", "ingest", "listing"),
    *("mqtt", "mqtt_ingest", "rabbit_ingest", "sessions", "boot", "size", "reading", "scan", "stick", "desk"),
)
# What is measured runs without the habits of this machine: its proxies, its trust, its byte code setting.
HABITS = ("PYTHON", "SSL_CERT", "REQUESTS_CA", "CURL_CA", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def main(words: list[str]) -> int:
    """Runs the benches that are named. Returns the exit status."""
    names = words or list(BENCHES)
    if unknown := [name for name in names if name not in BENCHES]:
        print(f"There is no bench {unknown[0]}; there are: {', '.join(BENCHES)}.", file=sys.stderr)
        return 2
    for name in [name for name in os.environ if name.upper().startswith(HABITS)]:
        del os.environ[name]
    sys.path[0] = ROOT
    sys.dont_write_bytecode = False
    return run(names)


def run(names: list[str]) -> int:
    """All of them in one scratch folder; a bench that breaks counts as missed, and the next one goes on."""
    from tests.bench.figures import Report
    from tests.bench.stage import Stage

    began_s = time.monotonic()
    report = Report()
    print(f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, {platform.python_implementation()}", end=" ")
    print(f"{platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(prefix="firstlight-bench-", ignore_cleanup_errors=True) as folder:
        stage = Stage(Path(folder))
        try:
            for name in names:
                try:
                    importlib.import_module(f"tests.bench.{name}").measure(stage, report)
                except Exception as error:
                    report.failed(name, f"{type(error).__name__}: {error}")
                finally:
                    stage.stop()
        finally:  # also when it is interrupted
            stage.clear()
    print(f"\n{len(names)} benches in {time.monotonic() - began_s:.0f} s; ", end="")
    print(f"missed: {'; '.join(report.missed)}" if report.missed else "every goal is reached")
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
