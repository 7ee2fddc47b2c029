"""What systemd itself thinks of the units: their keys, their sandboxes, and the drop-in for newer ones."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache

import pytest

from tests.e2e.conftest import wait_until
from tests.system.box import Box
from tests.system.conftest import CHECKOUT, MakeBox, on_each_userland

BoxOf = Callable[[str], Box]
UNITS = CHECKOUT / "systemd"
FOLDER = "/etc/systemd/system"
DROP_IN = "firstlight-restart.conf"
# Exposure in tenths, 100 is worst: the gate. Units with a camera or a USB stick may have 15; the rest of a root unit's
# points are the network, being root, and the rights on files that it is root for.
GATE = {
    "firstlight.service": 12,
    "firstlight-hub.service": 20,
    "firstlight-firstboot.service": 21,
    "firstlight-upgrade.service": 21,
    "firstlight-network.service": 13,
    "firstlight-hooks.service": 10,
    "firstlight-provision.service": 6,
    "firstlight-stick.service": 8,
}


@pytest.fixture(scope="module")
def box_of(make_box: MakeBox) -> BoxOf:
    """A box of a userland with every unit, and something in the place of each program."""

    @cache
    def of(userland: str) -> Box:
        one = make_box(userland=userland)
        for unit in (*UNITS.glob("*.service"), *UNITS.glob("*.path")):
            text = unit.read_text()
            one.path(f"{FOLDER}/{unit.name}").write_text(text)
            for program in re.findall(r"(?m)^Exec\w+=[-@:+!|]*(/opt/\S+)", text):
                one.sh(f"mkdir -p {program.rpartition('/')[0]} && ln -sf /bin/true {program}")
        return one

    return of


def test_every_service_has_its_gate() -> None:
    """No service is shipped without a limit for its exposure."""
    assert {unit.name for unit in UNITS.glob("*.service")} == set(GATE)
    assert "ProcSubset" not in re.sub(r"(?m)^#.*", "", (UNITS / "firstlight.service").read_text())


@on_each_userland
@pytest.mark.parametrize("unit", GATE)
def test_exposure_stays_low(unit: str, userland: str, box_of: BoxOf) -> None:
    """Systemd's own measure of a unit's exposure stays below its gate; what remains is explained in its README."""
    box = box_of(userland)
    line = ("systemd-analyze", "security", "--offline=true", f"--threshold={GATE[unit]}", "--json=short")
    done = box.run(*line, f"{FOLDER}/{unit}", check=False)
    open_points = {point["name"]: point["exposure"] for point in json.loads(done.stdout) if point["exposure"]}
    assert done.returncode == 0, open_points


@on_each_userland
def test_systemd_has_nothing_to_say(userland: str, box_of: BoxOf) -> None:
    """Every unit and path is verified without one word, by the oldest and the newest systemd here."""
    box = box_of(userland)
    for unit in (*UNITS.glob("*.service"), *UNITS.glob("*.path")):
        done = box.run("systemd-analyze", "verify", "--man=no", f"{FOLDER}/{unit.name}", check=False)
        assert (done.returncode, done.stderr) == (0, ""), unit.name


def test_drop_in_where_systemd_knows_it(box_of: BoxOf) -> None:
    """On systemd 257 it is verified without a word, and counts: restarts come slower and slower."""
    box = box_of("trixie")
    box.drop_in(DROP_IN.removesuffix(".conf"), (UNITS / DROP_IN).read_text())
    done = box.run("systemd-analyze", "verify", "--man=no", f"{FOLDER}/firstlight.service", check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (box.unit("RestartSteps"), box.unit("RestartMaxDelayUSec"), box.unit("RestartUSec")) == ("10", "5min", "5s")


def test_agent_that_cannot_run_is_started_ever_slower(box_of: BoxOf) -> None:
    """With the drop-in, the wait for the next start grows from one start to the next, and none is the last."""
    box = box_of("trixie")
    box.drop_in(DROP_IN.removesuffix(".conf"), (UNITS / DROP_IN).read_text())
    broken = "[Unit]\nConditionPathExists=\n[Service]\nType=exec\nRestartSec=100ms\nExecStart=\nExecStart=/bin/false\n"
    box.drop_in("zz-broken", broken)
    box.run("systemctl", "start", "firstlight", check=False)
    try:
        wait_until("it was started again", lambda: int(box.unit("NRestarts")) >= 3)
        assert box.unit("RestartUSec") == "100ms"
        assert box.unit("RestartUSecNext") not in ("100ms", "infinity", "")
        assert box.unit("ActiveState") == "activating"
    finally:
        box.run("systemctl", "stop", "firstlight")
