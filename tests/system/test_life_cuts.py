"""Power cuts at random moments of enrolling and of beating, with and without a hub: nothing lost, nothing doubled.

The seed is fixed, so a failure comes back. A cut here ends every process at once; what was written but not yet on the
disk survives it, unlike in tests/vm, where it does not.
"""

from __future__ import annotations

import random
import time

import pytest

from tests.e2e.conftest import wait_until
from tests.system.box import AGENT, Box
from tests.system.conftest import Installed, MakeBox
from tests.system.history import check_once, kept, processes
from tests.system.hub_site import HubSite

CUTS = 8
OURS = (".firstlight", "bin", "lib", "upgrade.json")


def rest(seconds: float) -> None:
    """Lets the clock run."""
    end_s = time.monotonic() + seconds
    wait_until("the moment has come", lambda: time.monotonic() >= end_s, seconds + 5)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_power_cut_while_enrolling(seed: int, make_box: MakeBox, hub: HubSite) -> None:
    """Cut twice somewhere in the pasted command, the same command makes it one device, online, and leaves no rest."""
    box, chance = make_box(), random.Random(seed)
    device = hub.desk.create(box.name)
    box.path("/srv/pasted").write_text(device.install_command)
    for _ in range(2):
        box.run("systemd-run", "--quiet", "--unit=pasted", "--setenv=HOME=/root", "sh", "/srv/pasted")
        rest(chance.uniform(0.1, 4.5))
        box.cut_power()
        box.boot()
    done = box.sh(device.install_command)
    assert done.stderr == ""
    check_once(box, hub, device.device_id)
    assert hub.desk.install_id_state(device.device_id) == "redeemed"
    assert {path.name for path in box.path("/opt/firstlight").iterdir()} <= set(OURS)
    assert len(list(box.path("/opt/firstlight/lib").iterdir())) == 1
    assert box.sh("find /etc /opt /var/lib -name '*.new' -o -name '*.new.*' -o -name '*.tmp'").stdout == ""


@pytest.fixture(scope="module")
def beating(installed: Installed) -> Installed:
    """A box that was online once."""
    installed.box.wait_online()
    return installed


def cut_and_boot(box: Box, moment_s: float) -> set[tuple[str, int]]:
    """Cuts the power some time after now; what waited on the disk at that moment."""
    rest(moment_s)
    waiting = kept(box)
    box.cut_power()
    box.boot()
    return waiting


def test_power_cuts_while_beating(beating: Installed, hub: HubSite) -> None:
    """Cut again and again while the hub takes every beat, the box is online again each time, and no beat is missing."""
    chance = random.Random(11)
    for _ in range(CUTS):
        cut_and_boot(beating.box, chance.uniform(0.0, 2.5))
    found = check_once(beating.box, hub, beating.device.device_id)
    assert processes(found) > CUTS // 2
    assert beating.box.run(AGENT, "status").returncode == 0


def test_power_cuts_while_beats_are_kept(beating: Installed, hub: HubSite) -> None:
    """Cut again and again while there is no hub: whatever was on the disk at a cut arrives later, once."""
    chance = random.Random(12)
    box, waiting = beating.box, set[tuple[str, int]]()
    with hub.away():
        box.wait_state("cut_off")
        for _ in range(CUTS):
            waiting |= cut_and_boot(box, chance.uniform(0.0, 4.0))
        box.wait_state("cut_off")
    assert waiting
    found = check_once(box, hub, beating.device.device_id, 60)
    assert waiting <= {(beat.boot_id, beat.sequence) for beat in found}
    assert {(beat.boot_id, beat.sequence) for beat in found if beat.late} >= waiting
