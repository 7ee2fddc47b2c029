"""The pasted command on a machine with a kernel of its own, and its reboots."""

from __future__ import annotations

from tests.system.hub_site import HubSite
from tests.vm.conftest import Enrolled, Record


def test_the_pasted_command_brings_the_machine_online(enrolled: Enrolled, hub: HubSite) -> None:
    """Over TLS with the pin: enabled, running, and the hub lists it as online."""
    machine, device, _ = enrolled
    machine.wait_online(60)
    assert machine.unit("UnitFileState") == "enabled"
    assert hub.desk.status(device.device_id) == "online"


def test_there_is_no_way_out_but_to_the_hub(enrolled: Enrolled) -> None:
    """The machine reaches the hub's network and nothing else: there is no route."""
    assert "Network is unreachable" in enrolled.machine.sh("ip route get 192.0.2.1", check=False).stderr


def test_after_a_reboot_the_first_beat_follows_the_network(
    enrolled: Enrolled, hub: HubSite, record_property: Record
) -> None:
    """From network-online.target to the first accepted beat is a small part of what the boot took until there."""
    machine, device, _ = enrolled
    machine.reboot()
    machine.wait_online(120)
    network_s, online_s = machine.first_beat()
    record_property("network-online after the kernel's start", f"{network_s:.1f} s")
    record_property("first accepted beat after network-online", f"{online_s - network_s:.1f} s")
    # Not in seconds: an emulated processor is ten times slower than a real one, and others may use it too.
    assert 0 < online_s - network_s < network_s / 2
    assert hub.desk.status(device.device_id) == "online"
