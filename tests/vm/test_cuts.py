"""Power cuts at random moments, on a disk that loses what was not flushed: nothing lost, nothing doubled.

One of each kind, always the same, for CI; ``make soak`` has as many as there is time for.
"""

from __future__ import annotations

import random

from tests.system.hub_site import HubSite
from tests.vm import trials
from tests.vm.conftest import Enrolled
from tests.vm.machine import Machine
from tests.vm.trials import Machines


def test_power_cut_while_enrolling(imaged: Machine, enrolled: Enrolled, make_machine: Machines, hub: HubSite) -> None:
    """Cut somewhere in enrolling, the same command makes the machine one device, online."""
    machine = make_machine(imaged)
    trials.cut_while_enrolling(machine, hub, random.Random(1), enrolled.install_s / 2)
    machine.end()


def test_power_cut_while_installing(enrolled: Enrolled, make_machine: Machines, hub: HubSite) -> None:
    """Cut somewhere in fetching and unpacking the agent, the same command makes the machine one device, online."""
    machine = make_machine()
    trials.cut_while_enrolling(machine, hub, random.Random(4), enrolled.install_s)
    machine.end()


def test_power_cut_while_beating(enrolled: Enrolled, hub: HubSite) -> None:
    """Cut while the hub takes every beat, the machine is back as the same device, with nothing missing or doubled."""
    trials.cut_while_beating(enrolled.machine, hub, enrolled.device.device_id, random.Random(6))


def test_power_cut_while_beats_are_kept(enrolled: Enrolled, hub: HubSite) -> None:
    """Cut while there is no hub: every beat that was on the disk arrives later, once."""
    trials.cut_while_keeping(enrolled.machine, hub, enrolled.device.device_id, random.Random(9))


def test_reboot_without_a_hub(enrolled: Enrolled, hub: HubSite) -> None:
    """Rebooted while there is no hub: nothing that was kept is missing."""
    trials.reboot(enrolled.machine, hub, enrolled.device.device_id, random.Random(11), with_hub=False)
