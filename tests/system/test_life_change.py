"""What changes around a box while it lives: its address, its network interface, its name."""

from __future__ import annotations

from tests.e2e.conftest import wait_until
from tests.system.conftest import Installed
from tests.system.history import beats, check_once
from tests.system.hub_site import HubSite
from tests.system.namespaces import SUBNET


def wait_beats_arrive(installed: Installed, hub: HubSite, within_s: float = 60) -> None:
    """Until the hub has had a beat that was made after now."""
    before = len(beats(hub, installed.device.device_id))
    wait_until("a beat arrives", lambda: len(beats(hub, installed.device.device_id)) > before + 1, within_s)


def test_new_address_while_running(installed: Installed, hub: HubSite) -> None:
    """Another address, as a DHCP server may give it: the open connection is dead, the same process finds its way."""
    box, pid = installed.box, installed.box.agent_pid
    number = int(box.address.rpartition(".")[2])
    new = f"{SUBNET}.{number + 100}"
    box.run("ip", "address", "delete", f"{box.address}/24", "dev", "host0")
    box.run("ip", "address", "add", f"{new}/24", "dev", "host0")
    box.address = new
    wait_beats_arrive(installed, hub)
    check_once(box, hub, installed.device.device_id)
    assert box.agent_pid == pid


def test_interface_renamed(installed: Installed, hub: HubSite) -> None:
    """The interface gets another name, as after a change of kernel or slot: same process, online, nothing lost."""
    box, pid = installed.box, installed.box.agent_pid
    box.sh("ip link set host0 down; ip link set host0 name eth7; ip link set eth7 up")
    assert box.address in box.run("ip", "address", "show", "dev", "eth7").stdout
    wait_beats_arrive(installed, hub)
    check_once(box, hub, installed.device.device_id)
    assert box.agent_pid == pid
    box.sh("ip link set eth7 down; ip link set eth7 name host0; ip link set host0 up")
    wait_beats_arrive(installed, hub)


def test_host_name_changed(installed: Installed, hub: HubSite) -> None:
    """Another host name and a reboot: the same device under its old id, which shows the new name."""
    box, device = installed.box, installed.device
    box.path("/etc/hostname").write_text("another-name\n")
    box.sh("echo 127.0.1.1 another-name >>/etc/hosts")
    box.reboot()
    box.wait_online()
    assert box.run("uname", "-n").stdout == "another-name\n"
    wait_until("it is shown", lambda: hub.desk.device(device.device_id)["hostname"] == "another-name")
    check_once(box, hub, device.device_id)
    assert box.status()["deviceId"] == device.device_id
