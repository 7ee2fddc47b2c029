"""From ``firstlight enroll`` called to the first beat accepted: how long, and how much of it the agent works."""

from __future__ import annotations

from tests.bench.figures import Figure, Report, median, spread
from tests.bench.stage import BIN, Hub, Stage, enroll

ROUNDS = 9
WALL_S, CPU_S = 1.5, 0.7


def measure(stage: Stage, report: Report) -> None:
    """Installed by install.sh and by pip, in turn."""
    method = f"a new device each time, a real hub on loopback over TLS, medians of {ROUNDS}, interleaved"
    report.head("enroll", method)
    hub = Hub(stage, heartbeat_interval_s=60)
    agents = {"install.sh": stage.agent, "pip": [str(BIN / "firstlight")]}
    walls: dict[str, list[float]] = {name: [] for name in agents}
    cpus: dict[str, list[float]] = {name: [] for name in agents}
    for number in range(ROUNDS + 1):
        for name, agent in agents.items():
            wall_s, cpu_s = enroll(stage, agent, hub, stage.room("state") / "state")
            if number:  # the first one warms the file cache
                walls[name].append(wall_s)
                cpus[name].append(cpu_s)
    for name in agents:
        report.add(Figure(f"called to first beat accepted, by {name}", median(walls[name]), "s", WALL_S))
        report.add(Figure(f"CPU of the agent in it, by {name}", median(cpus[name]), "s", CPU_S))
    report.note(f"single ones by install.sh: {spread(walls['install.sh'])}; CPU {spread(cpus['install.sh'])}")
