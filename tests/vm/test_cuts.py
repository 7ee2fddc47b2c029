"""Power cuts at random moments, on a disk that loses what was not flushed: nothing lost, nothing doubled.

A few of them, always the same; ``make soak`` has as many as there is time for.
"""

from __future__ import annotations

import random

import pytest

from tests.system.hub_site import HubSite
from tests.vm import trials
from tests.vm.conftest import Enrolled, Ready
from tests.vm.trials import Machines


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_power_cut_while_enrolling(seed: int, ready: Ready, make_machine: Machines, hub: HubSite) -> None:
    """Cut somewhere in enrolling, the same command makes the machine one device, online."""
    machine = make_machine(ready.machine)
    trials.cut_while_enrolling(machine, hub, random.Random(seed), ready.enroll_s)
    machine.cut_power()


@pytest.mark.parametrize("seed", [4, 5])
def test_power_cut_while_installing(seed: int, ready: Ready, make_machine: Machines, hub: HubSite) -> None:
    """Cut somewhere in fetching and unpacking the agent, the same command makes the machine one device, online."""
    machine = make_machine()
    trials.cut_while_enrolling(machine, hub, random.Random(seed), ready.enroll_s * 2)
    machine.cut_power()


@pytest.mark.parametrize("seed", [6, 7, 8])
def test_power_cut_while_beating(seed: int, enrolled: Enrolled, hub: HubSite) -> None:
    """Cut while the hub takes every beat, the machine is back as the same device, with nothing missing or doubled."""
    trials.cut_while_beating(enrolled.machine, hub, enrolled.device.device_id, random.Random(seed))


@pytest.mark.parametrize("seed", [9, 10])
def test_power_cut_while_beats_are_kept(seed: int, enrolled: Enrolled, hub: HubSite) -> None:
    """Cut while there is no hub: every beat that was on the disk arrives later, once."""
    trials.cut_while_keeping(enrolled.machine, hub, enrolled.device.device_id, random.Random(seed))


def test_reboot_without_a_hub(enrolled: Enrolled, hub: HubSite) -> None:
    """Rebooted while there is no hub: nothing that was kept is missing."""
    trials.reboot(enrolled.machine, hub, enrolled.device.device_id, random.Random(11), with_hub=False)
