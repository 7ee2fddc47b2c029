"""First boot of a machine with firmware, a boot partition and a kernel line of its own: it enrolls by nobody's hand."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import wait_until
from tests.system.any_box import AGENT
from tests.system.hub_site import HubSite
from tests.system.image import FIRST_BOOT
from tests.vm import trials
from tests.vm.machine import Machine
from tests.vm.trials import Machines

FILE, RESULT = "/boot/firmware/firstlight.txt", "/boot/firmware/firstlight-result.txt"
NOT_FROM_HERE = "can take the invitation away; it is not used again."


@pytest.fixture
def machine(make_machine: Machines, imaged: Machine) -> Iterator[Machine]:
    """A machine whose disk was written from an image; off."""
    one = make_machine(imaged)
    yield one
    one.end()


def check_enrolled(machine: Machine, hub: HubSite, device_id: str) -> str:
    """Online as that device by its own service, first boot over, nothing failed -> what first boot said."""
    wait_until("it is enrolled", lambda: machine.live().get("deviceId") == device_id, trials.PATIENCE_S)
    machine.wait_online(trials.PATIENCE_S)
    wait_until("first boot is over", lambda: machine.unit("ActiveState", FIRST_BOOT) == "inactive", trials.PATIENCE_S)
    assert machine.unit("Result", FIRST_BOOT) == "success"
    assert machine.run("systemctl", "--failed", "--plain", "--no-legend").stdout == ""
    assert hub.desk.status(device_id) == "online"
    return machine.journal(FIRST_BOOT)


def test_the_kernel_line(machine: Machine, hub: HubSite) -> None:
    """What the boot loader was told is used once; the same line at the next boot harms nothing."""
    device = hub.desk.create(machine.name)
    words = f'firstlight.invitation="{device.install_command}"'
    machine.boot(kernel_words=words)
    assert device.install_id.reveal() in machine.read("/proc/cmdline")
    said = check_enrolled(machine, hub, device.device_id)
    assert f"Only the boot loader's settings {NOT_FROM_HERE}" in said
    machine.run("sync")
    machine.cut_power()

    machine.boot(kernel_words=words)
    check_enrolled(machine, hub, device.device_id)
    assert hub.desk.install_id_state(device.device_id) == "redeemed"


def test_a_file_on_a_fat_boot_partition(machine: Machine, hub: HubSite, tmp_path: Path) -> None:
    """Written by a laptop onto a FAT card: used, gone also after a power cut, and what came of it lies there."""
    device = hub.desk.create(machine.name)
    card, note = tmp_path / "card", tmp_path / "note"
    note.write_bytes(f"{device.install_command}\r\n".encode("utf-16"))
    tool("mkfs.vfat", "-C", "-n", "bootfs", str(card), "16384")
    tool("mcopy", "-i", str(card), str(note), "::firstlight.txt")

    machine.boot(card=card)
    said = check_enrolled(machine, hub, device.device_id)
    assert f"{FILE} was removed." in said
    assert machine.sh("findmnt -no FSTYPE /boot/firmware").stdout.strip() == "vfat"
    machine.cut_power()

    listed = tool("mdir", "-b", "-i", str(card), "::")
    assert "firstlight.txt" not in listed and "firstlight-result.txt" in listed
    told = tool("mtype", "-i", str(card), "::firstlight-result.txt")
    assert f"This box is enrolled as {device.device_id}" in told and device.install_id.reveal() not in told


def test_a_credential_of_the_firmware(machine: Machine, hub: HubSite) -> None:
    """Handed over by who starts the machine, as SMBIOS strings: systemd takes it from there to the unit."""
    device = hub.desk.create(machine.name)
    value = device.install_command.replace(",", ",,")  # QEMU's own quoting
    machine.boot("-smbios", f"type=11,value=io.systemd.credential:firstlight.invitation={value}")
    said = check_enrolled(machine, hub, device.device_id)
    assert f"Only what started this machine {NOT_FROM_HERE}" in said
    assert device.install_id.reveal() not in machine.run("systemctl", "show", FIRST_BOOT).stdout
    assert '"firstBoot"' not in machine.run(AGENT, "status", "--json").stdout


def tool(*words: str) -> str:
    """Runs a program of dosfstools or mtools -> what it printed."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout
