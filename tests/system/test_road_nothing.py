"""An uninstall that leaves nothing: the whole disk, memory file systems, units, users and processes as before."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import wait_until
from tests.system.conftest import MakeBox
from tests.system.hub_site import Desk
from tests.system.traces import disk, state


@pytest.mark.parametrize("reboot", [False, True], ids=["at once", "after a reboot"])
def test_nothing_is_left(reboot: bool, make_box: MakeBox, desk: Desk) -> None:
    """Installed, online, uninstalled with --purge: no file, mode, owner, unit, user, mount, process more or less."""
    box = make_box()
    box.sh("sudo true; mkdir -p -m 700 /var/lib/private; systemctl daemon-reload; systemctl restart systemd-journald")
    before, had = disk(box), state(box)
    device = desk.create(box.name)
    box.sh(device.install_command)
    if reboot:
        box.reboot()
        box.wait_online()
        box.run("systemctl", "restart", "firstlight")
        box.wait_online()
    assert disk(box) != before and state(box) != had
    done = box.sh(f"{device.install_command} -s -- --uninstall --purge")
    assert done.stderr == ""
    assert disk(box) == before
    assert state(box) == had
    assert box.run("systemctl", "--failed", "--no-legend").stdout == ""
    wait_until("the list says offline", lambda: desk.status(device.device_id) == "offline")


def test_nothing_is_left_without_systemd(make_box: MakeBox, desk: Desk) -> None:
    """The same on a box that systemd did not boot, with an agent started by hand that still runs."""
    box = make_box(boot=False)
    box.sh_without_systemd("sudo true")
    before = disk(box)
    device = desk.create(box.name)
    by_hand = (
        "{ /opt/firstlight/bin/firstlight run & } 2>/dev/null; /opt/firstlight/bin/firstlight status --wait-online 20"
    )
    gone = f"{device.install_command} -s -- --uninstall --purge"
    done = box.sh_without_systemd(f"{device.install_command} && {by_hand} && {gone}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "was stopped" in done.stdout
    assert disk(box) == before


def test_uninstall_after_every_kind_of_trouble(make_box: MakeBox, desk: Desk) -> None:
    """An install that was killed in the middle, and one whose hub has removed the device, leave nothing either."""
    box = make_box()
    box.sh("sudo true; mkdir -p -m 700 /var/lib/private")
    before = disk(box)
    device = desk.create(box.name)
    box.sh(device.install_command)
    desk.call("DELETE", f"/{device.device_id}")
    wait_until("the unit ends", lambda: box.unit("ActiveState") == "failed")
    box.sh("mkdir /opt/firstlight/.new.abcdef; echo >/opt/firstlight/.new.abcdef/bundle")
    done = box.sh("sh /opt/firstlight/lib/*/share/uninstall.sh yes")
    assert done.stderr == ""
    assert disk(box) == before
    assert box.run("systemctl", "--failed", "--no-legend").stdout == ""
