"""How long a technician waits for the command line, as multiples of what Python itself takes to start."""

from __future__ import annotations

import re
import shutil
import subprocess

from tests.bench.figures import Figure, Report, median
from tests.bench.processes import Cost, run_once
from tests.bench.stage import BIN, Box, Hub, Stage

ROUNDS = 40
AT_MOST = 3.0
# A program that fails at once is fast: each must have said this.
SAYS = {"pass": "", "--help": "usage: firstlight", "status": "device  "}
COLLECTED = re.compile(r"Collected *: *(\d+)")


def measure(stage: Stage, report: Report) -> None:
    """``--help`` and ``status`` of both ways to install, beside ``python -c pass`` of the same environment."""
    report.head("start", f"beside python -c pass of the same environment, medians of {ROUNDS}, interleaved")
    state = str(Box(stage, Hub(stage)).state_dir)
    pip, launcher = str(BIN / "firstlight"), stage.agent
    forms = {
        "pip": {"pass": [str(BIN / "python"), "-c", "pass"], "--help": [pip, "--help"]},
        "install.sh": {"pass": [stage.python, "-c", "pass"], "--help": [*launcher, "--help"]},
    }
    forms["pip"]["status"] = [pip, "status", "--state-dir", state]
    forms["install.sh"]["status"] = [*launcher, "status", "--state-dir", state]
    costs: dict[tuple[str, str], list[Cost]] = {}
    for number in range(ROUNDS + 1):
        for form, commands in forms.items():
            for name, words in commands.items():
                cost = run_once(words, stage.env, says=SAYS[name])
                if number:  # the first one warms the file cache
                    costs.setdefault((form, name), []).append(cost)
    for form, commands in forms.items():
        wall = {name: median(cost.wall_s for cost in costs[form, name]) for name in commands}
        cpu = {name: median(cost.cpu_s for cost in costs[form, name]) for name in commands}
        instructions = {name: count(words, stage.env) for name, words in commands.items()}
        for name in ("--help", "status"):
            goal = AT_MOST if name == "--help" else None
            what = f"firstlight {name}, by {form}"
            report.add(Figure(f"{what}: wall", wall[name] / wall["pass"], "x", goal))
            report.add(Figure(f"{what}: CPU", cpu[name] / cpu["pass"], "x", goal))
            if instructions["pass"]:
                ratio = instructions[name] / instructions["pass"]
                report.add(Figure(f"{what}: instructions (callgrind)", ratio, "x", goal))
        said = f"python -c pass {wall['pass'] * 1e3:.1f} ms, --help {wall['--help'] * 1e3:.1f} ms"
        report.note(f"{form}: {said}, status {wall['status'] * 1e3:.1f} ms wall")
    if shutil.which("valgrind") is None:
        report.note("valgrind is not here: instructions were not counted")


def count(words: list[str], env: dict[str, str]) -> int:
    """Instructions of one run, which do not depend on what else the machine does; 0 without valgrind."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        return 0
    tool = [valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    done = subprocess.run([*tool, *words], env=env, capture_output=True, text=True, timeout=120, check=False)
    found = COLLECTED.search(done.stderr)
    return int(found[1]) if found else 0
