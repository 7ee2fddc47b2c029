"""How many beats a second the hub takes from mosquitto on one core, acknowledged after the commit.

The broker keeps a queue for the hub and one for the same subscriber that stores nothing; both are filled while nobody
listens, and each is then emptied as fast as its owner can.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from select import select

from firstlight.wire.facts import facts_hash
from tests.bench.figures import Figure, Report, median, spread
from tests.bench.mqtt_flood import flood
from tests.bench.processes import BenchError, on_core, wait_until
from tests.bench.stage import FACTS, WORKSPACE, Hub, Stage, free_port, read_line

DEVICES, BEATS, ROUNDS = 1000, 60_000, 3
AT_LEAST_RATIO, AT_LEAST = 0.35, 20_000.0
LOOK_S, PATIENCE_S = 0.02, 60.0
CONFIGURATION = """\
listener {port} 127.0.0.1
allow_anonymous true
max_inflight_messages 0
max_queued_messages 0
max_queued_bytes 0
set_tcp_nodelay true
pid_file {folder}/pid
"""


def measure(stage: Stage, report: Report) -> None:
    """Hub and bare subscriber in turn on one core; broker and flood on another."""
    method = f"{BEATS} beats of {DEVICES} devices wait in mosquitto; subscriber on one core, broker on another"
    report.head("mqtt_ingest", f"{method}; medians of {ROUNDS}")
    cores = sorted(os.sched_getaffinity(0))
    with on_core(cores[-1]):
        folder, port = _broker(stage)
    settings: dict[str, int | str] = {
        "mqtt": "external",
        "broker_url": f"mqtt://127.0.0.1:{port}",
        "broker_files": str(folder),
        "broker_pid_file": str(folder / "pid"),
        "broker_password_file": str(folder / "password"),
    }
    with on_core(cores[0]):
        hub = Hub(stage, devices=DEVICES, heartbeat_interval_s=60, settings=settings)
        database = folder / "bare.sqlite3"
        _snapshot(hub, database)
        _bare(stage, database, port, 0)
    hub.stop()
    ids = [device_id for device_id, _ in hub.keys]
    rates: dict[str, list[float]] = {"hub": [], "bare": []}
    for number in range(ROUNDS):
        with on_core(cores[-1]):
            flood(port, WORKSPACE, ids, facts_hash(FACTS), 1 + number * BEATS, BEATS)
        with on_core(cores[0]):
            rates["bare"].append(_bare(stage, database, port, BEATS))
        with on_core(cores[-1]):
            rates["hub"].append(drained(hub, (number + 1) * BEATS, cores[0]))
        hub.stop()
    _show(report, rates)


def _broker(stage: Stage) -> tuple[Path, int]:
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise BenchError("there is no mosquitto on this machine")
    folder, port = stage.room("broker"), free_port()
    folder.chmod(0o755)  # started as root it becomes another user
    (folder / "conf").write_text(CONFIGURATION.format(port=port, folder=folder) + f"user {_user()}\n")
    (folder / "password").write_text("not asked for\n")
    (folder / "password").chmod(0o600)
    stage.start([program, "-c", str(folder / "conf")], folder / "log")
    wait_until("the broker has its pid file", (folder / "pid").exists, 10)
    return folder, port


def _user() -> str:
    return "root" if os.geteuid() == 0 else str(os.environ.get("USER", "nobody"))


def _snapshot(hub: Hub, target: Path) -> None:
    """The bare subscriber looks devices up as the hub does, in a copy."""
    with closing(sqlite3.connect(hub.folder / "hub.sqlite3")) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)


def _bare(stage: Stage, database: Path, port: int, count: int) -> float:
    """Beats a second of the bare subscriber; with count 0 it only leaves its name at the broker."""
    room = stage.room("bare")
    told = {"database": str(database), "broker": f"mqtt://127.0.0.1:{port}", "count": count}
    (room / "bare.json").write_text(json.dumps(told))
    came, gives = os.pipe()
    words = [sys.executable, str(Path(__file__).with_name("mqtt_bare.py")), str(room / "bare.json"), str(gives)]
    stage.start(words, room / "log", None, gives)
    os.close(gives)
    said = read_line(came)
    if not said:
        raise BenchError((room / "log").read_text()[-500:])
    return float(said)


def drained(hub: Hub, total: int, core: int) -> float:
    """Starts the hub on a core and counts what is on disk until all of it is; beats a second."""
    with closing(sqlite3.connect(hub.folder / "hub.sqlite3")) as connection:

        def stored() -> int:
            found: int = connection.execute("SELECT coalesce(max(number), 0) FROM beat").fetchone()[0]
            return found

        before = stored()
        with on_core(core):
            hub.start()
        deadline_s = time.monotonic() + PATIENCE_S
        while (had := stored()) == before:
            _look(deadline_s)
        began_s = time.monotonic()
        while (now := stored()) < total:
            _look(deadline_s)
        return (now - had) / (time.monotonic() - began_s)


def _look(deadline_s: float) -> None:
    if time.monotonic() > deadline_s:
        raise BenchError(f"the hub did not take all beats in {PATIENCE_S:.0f} s")
    select([], [], [], LOOK_S)


def _show(report: Report, rates: dict[str, list[float]]) -> None:
    rate = {name: median(found) for name, found in rates.items()}
    ratio = rate["hub"] / rate["bare"]
    report.add(Figure("taken and committed a second, of the bare one's", ratio, "x", at_least=AT_LEAST_RATIO))
    report.add(Figure("the hub", rate["hub"], "/s", at_least=AT_LEAST))
    report.add(Figure("the same subscriber, which stores nothing", rate["bare"], "/s"))
    report.note(f"single rounds: hub {spread(rates['hub'])}; bare {spread(rates['bare'])}")
