"""The service through its life: reboots, kills, hangs, no hub, no network, and the end."""

from __future__ import annotations

from collections.abc import Callable

from tests.e2e.conftest import wait_until
from tests.system.box import AGENT, Box
from tests.system.conftest import Install, Installed
from tests.system.history import check_once, kept
from tests.system.hub_site import Desk, HubSite

ONLINE_WITHIN_S = 3.0


def test_online_again_after_reboot(
    installed: Installed, desk: Desk, record_property: Callable[[str, object], None]
) -> None:
    """Rebooted, the box is online by itself, as the same device, and at most 3 s after the network."""
    box, device, _, _ = installed
    box.reboot()
    box.wait_online()
    network_s, online_s = box.first_beat()
    record_property("first accepted beat after network-online", f"{online_s - network_s:.2f} s")
    assert online_s - network_s <= ONLINE_WITHIN_S
    assert box.status()["deviceId"] == device.device_id
    assert desk.status(device.device_id) == "online"


def test_online_again_after_a_power_cut(installed: Installed) -> None:
    """Switched off in the middle of everything, the box is online by itself afterwards."""
    box = installed.box
    box.cut_power()
    box.boot()
    box.wait_online()
    assert "repaired" not in box.journal()


def test_killed_agent_is_restarted(installed: Installed) -> None:
    """SIGKILL: systemd starts the agent again, and it is online."""
    box, before = installed.box, installed.box.agent_pid
    box.sh(f"kill -KILL {before}")
    wait_until("systemd started it again", lambda: box.unit("NRestarts") == "1")
    wait_until("another process publishes", lambda: box.live().get("pid") not in (None, before))
    box.wait_online()


def test_watchdog_ends_a_hang(installed: Installed) -> None:
    """An agent that does not move any more (SIGSTOP) is killed by the watchdog and started again."""
    box = installed.box
    box.drop_in("short-watchdog", "[Service]\nWatchdogSec=2\nRestartSec=1\n")
    box.run("systemctl", "restart", "firstlight")
    box.wait_online()
    before = box.agent_pid
    box.sh(f"kill -STOP {before}")
    wait_until("another process publishes", lambda: box.live().get("pid") not in (None, before))
    box.wait_online()
    assert "Watchdog timeout (limit 2s)!" in box.journal()


def test_unit_stops_promptly(installed: Installed) -> None:
    """A stop ends the agent well within its time-out, with 0; start brings it back."""
    box = installed.box
    box.run("systemctl", "stop", "firstlight")
    assert (box.unit("Result"), box.unit("ExecMainStatus")) == ("success", "0")
    stopped_us = int(box.unit("InactiveEnterTimestampMonotonic")) - int(box.unit("ActiveExitTimestampMonotonic"))
    assert stopped_us < 5_000_000
    assert box.status()["state"] == "stopped"
    box.run("systemctl", "start", "firstlight")
    box.wait_online()


def check_comes_back(box: Box, hub: HubSite, device_id: str, waiting: set[tuple[str, int]]) -> None:
    """Online without a hand; the hub has every beat that was kept on the box, and each beat once."""
    found = check_once(box, hub, device_id)
    assert box.live()["dropped"] == 0
    missing = waiting - {(beat.boot_id, beat.sequence) for beat in found}
    assert not missing, f"kept on the disk, but never delivered: {sorted(missing)}"


def test_hub_down_at_boot(installed: Installed, hub: HubSite) -> None:
    """Without a hub the unit is up all the same and says why it is cut off; when the hub is back, so is the box."""
    box, device, _, _ = installed
    with hub.away():
        box.reboot()
        found = box.wait_state("cut_off")
        assert found["reason"] == "connect_refused" and found["spooled"]
        assert box.unit("ActiveState") == "active"
        assert "Cut off" in box.unit("StatusText")
        shown = box.run(AGENT, "status", check=False)
        assert shown.returncode == 3 and "connect_refused" in shown.stdout
        assert "4" in {line["PRIORITY"] for line in box.journal_lines() if "connect_refused" in line["MESSAGE"]}
        waiting = kept(box)
        assert waiting
    check_comes_back(box, hub, device.device_id, waiting)


def test_no_network_at_boot(installed: Installed, hub: HubSite) -> None:
    """With the cable pulled the unit is up and says so; with the cable back, the box is online and delivers."""
    box, device, _, _ = installed
    box.unplug()
    box.reboot()
    try:
        found = box.wait_state("cut_off")
        assert found["reason"] == "network_unreachable" and found["spooled"]
        assert box.unit("ActiveState") == "active"
        waiting = kept(box)
        assert waiting
    finally:
        box.plug_in()
    check_comes_back(box, hub, device.device_id, waiting)


def test_removed_device_ends_and_can_begin_anew(install: Install, installed: Installed, desk: Desk) -> None:
    """Removed on the hub: the unit ends with 78, is not restarted and says so; reset and a new command begin anew."""
    box, device, _, _ = installed
    desk.call("DELETE", f"/{device.device_id}")
    wait_until("the unit ends", lambda: box.unit("ActiveState") == "failed")
    assert (box.unit("ExecMainStatus"), box.unit("SubState")) == ("78", "failed")
    assert box.status()["state"] == "retired"
    box.reboot()
    assert (box.unit("ActiveState"), box.unit("ConditionResult")) == ("inactive", "no")
    assert box.status()["state"] == "retired"

    box.run(AGENT, "reset", "--yes")
    again = install(box)
    assert desk.status(again.device.device_id) == "online"
    assert again.device.device_id != device.device_id
