"""From a picture of a label to a provisioned box: how long a technician waits, beside what Python itself takes."""

from __future__ import annotations

import json

from tests.bench.figures import Figure, Report, median, spread
from tests.bench.processes import Cost, run_once
from tests.bench.stage import BIN, Stage
from tests.scan.label import Desk, picture

ROUNDS = 15
AT_MOST_S = 0.5
# What the road needs of libraries and of our own modules, and nothing done with it.
IMPORTS = (
    "import PIL.Image, PIL.ImageOps, PIL.PngImagePlugin, zxingcpp, cbor2, base45;"
    "from firstlight.cli import scan, provisioning, upgrade_bundle; from firstlight.wire import parts, payload;"
    "from firstlight.sources import picture, picture_cascade, picture_engines; from firstlight.system import keys"
)


def measure(stage: Stage, report: Report) -> None:
    """``firstlight scan --image`` on a fresh box each time, the interpreter alone and with the imports beside it."""
    report.head("scan", f"a label's PNG to provisioned.json fsynced, medians of {ROUNDS}, interleaved")
    folder, desk = stage.room("scan"), Desk.make()
    desk.trust(folder / "trust.d")
    text = desk.text()
    picture(text).save(folder / "label.png")
    python = str(BIN / "python")
    costs: dict[str, list[Cost]] = {"pass": [], "imports": [], "scan": []}
    for number in range(ROUNDS + 1):
        (folder / "agent.toml").write_text(f"state_dir = {json.dumps(str(folder / f'state{number}'))}\n")
        line = [str(BIN / "firstlight"), "scan", "--config", str(folder / "agent.toml")]
        runs = {
            "pass": [python, "-c", "pass"],
            "imports": [python, "-c", IMPORTS],
            "scan": [*line, "--no-start", "--image", str(folder / "label.png")],
        }
        for name, words in runs.items():
            cost = run_once(words, stage.env, says="provisioned as gate-3" if name == "scan" else "")
            if number:  # the first one warms the file cache
                costs[name].append(cost)
    wall = {name: median(each.wall_s for each in found) for name, found in costs.items()}
    cpu = {name: median(each.cpu_s for each in found) for name, found in costs.items()}
    beside = "beside the interpreter's start"
    report.add(Figure(f"picture to provisioned, {beside}: wall", wall["scan"] - wall["pass"], "s", AT_MOST_S))
    report.add(Figure(f"picture to provisioned, {beside}: CPU", cpu["scan"] - cpu["pass"], "s", AT_MOST_S))
    report.add(Figure("the same, as a multiple of interpreter and imports: wall", wall["scan"] / wall["imports"], "x"))
    report.add(Figure("the same, as a multiple of interpreter and imports: CPU", cpu["scan"] / cpu["imports"], "x"))
    report.add(Figure("characters of the payload", len(text), "", 600))
    report.note(f"python {wall['pass'] * 1e3:.0f} ms, with imports {wall['imports'] * 1e3:.0f} ms wall")
    report.note(f"single ones: {spread([each.wall_s for each in costs['scan']])} s")
