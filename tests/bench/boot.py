"""A booted box: from the first line of the script to the first accepted beat, and from a boot to the first beat.

Both by the steady clock of the box's own journal. Boots containers, so it needs root and the packages of the system
tests; without them nothing is measured, and that is said.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.figures import Figure, Report, median, spread

if TYPE_CHECKING:
    from tests.bench.stage import Stage
    from tests.system.box import Box
    from tests.system.hub_site import HubSite

ROOT = Path(__file__).resolve().parents[2]
BOXES, BOOTS = 3, 5
INSTALLED_WITHIN_S, BEAT_WITHIN_S = 15.0, 3.0
TOOLS = ("systemd-nspawn", "mmdebstrap", "ip", "nsenter")
PASTED = "pasted.service"


def measure(stage: Stage, report: Report) -> None:
    """Fresh boxes and a real hub over TLS with the pin, on one virtual switch."""
    method = f"{BOXES} fresh Debian 12 boxes, {BOOTS} boots of each, medians; a real hub over TLS with the pin"
    report.head("boot", method)
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if os.geteuid() != 0 or missing:
        report.note(f"not measured: needs root{' and ' + ', '.join(missing) if missing else ''} (make test-system)")
        return
    with ExitStack() as ends:
        installs, boots, starts = _measured(stage, ends)
    report.add(Figure("first line of the script to first accepted beat", median(installs), "s", INSTALLED_WITHIN_S))
    report.add(Figure("network-online.target to first accepted beat", median(boots), "s", BEAT_WITHIN_S))
    report.add(Figure("the agent's start to its first accepted beat", median(starts), "s"))
    report.note(f"single ones: script {spread(installs)}; boot {spread(boots)}; agent {spread(starts)}")


def _measured(stage: Stage, ends: ExitStack) -> tuple[list[float], list[float], list[float]]:
    """Seconds: of each install, from each network-online to a beat, from each start of the agent to a beat."""
    from tests.system.box import Box
    from tests.system.hub_site import HubSite
    from tests.system.namespaces import Network

    (tree,) = _made("root.sh", str(ROOT / ".cache/system"), "bookworm")
    bundles = _made("bundles.sh", sys.executable, str(ROOT / ".cache/system/bundles"))
    network = Network()
    ends.callback(network.end)
    hub = HubSite(network, stage.room("hub"), bundles, heartbeat_interval_s=60, online_window_s=300)
    ends.callback(hub.stop)
    scratch = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="fl-")))
    installs, boots, starts = [], [], []
    for number in range(BOXES):
        folder = scratch / f"box{number}"
        folder.mkdir()
        box = Box(folder.name, tree, folder, network)
        ends.callback(box.end)
        box.boot()
        installs.append(_install_s(box, hub))
        for _ in range(BOOTS):
            box.reboot()
            box.wait_online()
            beat_s = _first_beat_s(box)
            boots.append(beat_s - _unit_s(box, "network-online.target", "ActiveEnter"))
            starts.append(beat_s - _unit_s(box, "firstlight.service", "ExecMainStart"))
    return installs, boots, starts


def _made(script: str, *words: str) -> list[Path]:
    """The paths that one of the system tests' scripts prints."""
    line = [str(ROOT / "tests/system" / script), *words]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True, timeout=900)
    return [Path(name) for name in done.stdout.splitlines()]


def _install_s(box: Box, hub: HubSite) -> float:
    """Runs the pasted command; how long until the first beat was accepted."""
    box.path("/srv/pasted").write_text(hub.desk.create(box.name).install_command)
    box.run("systemd-run", "--quiet", "--wait", f"--unit={PASTED}", "--setenv=HOME=/root", "sh", "/srv/pasted")
    began = [line for line in box.journal_lines(PASTED) if line["MESSAGE"].startswith("Started ")]
    return _first_beat_s(box) - int(began[0]["__MONOTONIC_TIMESTAMP"]) / 1e6


def _first_beat_s(box: Box) -> float:
    """When this boot's agent said first that a beat was accepted."""
    boot_id = box.run("journalctl", "--boot", "--no-pager", "--output=json", "--lines=1").stdout
    said = [line for line in box.journal_lines() if line["_BOOT_ID"] in boot_id]
    return min(int(line["__MONOTONIC_TIMESTAMP"]) for line in said if line["MESSAGE"].startswith("Online: ")) / 1e6


def _unit_s(box: Box, unit: str, event: str) -> float:
    """When something happened to a unit."""
    return int(box.unit(f"{event}TimestampMonotonic", unit)) / 1e6
