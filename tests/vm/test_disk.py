"""The disk of the machines loses at a power cut what a real disk loses: else tests of power cuts show nothing."""

from __future__ import annotations

import random

import pytest

from tests.vm.machine import Machine
from tests.vm.trials import Machines

BLOCKS = 64
FULL = f"dd if=/dev/zero bs=4096 count={BLOCKS} status=none | tr '\\0' {{}}"
COUNT = "tr -cd {} </srv/{} | wc -c"


@pytest.fixture(scope="module")
def machine(make_machine: Machines) -> Machine:
    """A machine that is on."""
    machine = make_machine()
    machine.boot()
    return machine


def test_only_what_was_synced_survives_a_power_cut(machine: Machine) -> None:
    """A file with fsync is there after a cut; one without is not, nor what the disk was given but not told to flush."""
    machine.sh(f"{FULL.format('A')} | dd of=/srv/synced bs=4096 conv=fsync status=none")
    machine.sh(f"{FULL.format('A')} | dd of=/srv/handed bs=4096 conv=fsync status=none; sync")
    machine.sh(f"{FULL.format('B')} | dd of=/srv/unsynced bs=4096 status=none")
    # Past the guest's own cache, straight to the disk, which acknowledges it.
    machine.sh(f"{FULL.format('B')} | dd of=/srv/handed bs=4096 iflag=fullblock oflag=direct conv=notrunc status=none")
    assert machine.sh(COUNT.format("B", "handed")).stdout.strip() == str(BLOCKS * 4096)

    assert machine.cut_power() >= BLOCKS
    machine.boot()

    assert machine.sh(COUNT.format("A", "synced")).stdout.strip() == str(BLOCKS * 4096)
    assert machine.sh(COUNT.format("B", "unsynced"), check=False).stdout.strip() == "0"
    assert machine.sh(COUNT.format("A", "handed")).stdout.strip() == str(BLOCKS * 4096)


def test_a_disk_may_have_written_a_part_in_any_order(machine: Machine) -> None:
    """Given a chance, some of the unflushed blocks survive a cut and others do not; the file system still mounts."""
    machine.sh(f"{FULL.format('A')} | dd of=/srv/part bs=4096 conv=fsync status=none; sync")
    machine.sh(f"{FULL.format('B')} | dd of=/srv/part bs=4096 iflag=fullblock oflag=direct conv=notrunc status=none")

    machine.cut_power(random.Random(3))
    machine.boot()

    assert 0 < int(machine.sh(COUNT.format("B", "part")).stdout) < BLOCKS * 4096
    assert machine.run("systemctl", "--failed", "--plain", "--no-legend").stdout == ""
