"""Full and read-only disks: a named error while enrolling, with nothing spent; no end to the beats while running."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.conftest import wait_until
from tests.system.box import AGENT, Box
from tests.system.conftest import Install, MakeBox
from tests.system.hub_site import Desk, HubSite

STATE_DIR = "/var/lib/private/firstlight"
FILL = "head -c 1G /dev/zero >{0}/filler 2>/dev/null || test -s {0}/filler"


@pytest.fixture
def box(make_box: MakeBox) -> Box:
    """A box whose state directory is a small disk of its own."""
    one = make_box()
    one.sh(
        f"mkdir -p -m 700 /var/lib/private && mkdir -m 700 {STATE_DIR} && ln -s private/firstlight /var/lib/firstlight"
        f" && mount -t tmpfs -o size=256k,mode=700 tmpfs {STATE_DIR}"
    )
    return one


@pytest.mark.parametrize(
    ("spoil", "mend"),
    [
        (FILL.format(STATE_DIR), f"rm {STATE_DIR}/filler"),
        (f"mount -o remount,ro {STATE_DIR}", "mount -o remount,rw {0}"),
    ],
    ids=["full", "read-only"],
)
def test_enrolling_needs_a_disk(spoil: str, mend: str, box: Box, desk: Desk, install: Install) -> None:
    """A state directory that cannot be written is named before the installId is spent; afterwards the command works."""
    device = desk.create(box.name)
    box.sh(spoil)
    done = box.sh(device.install_command, check=False)
    assert done.returncode == 74
    assert "[state_unwritable]" in done.stderr and "Free some space" in done.stderr
    assert desk.install_id_state(device.device_id) == "open"
    assert desk.status(device.device_id) == "unknown"

    box.sh(mend.format(STATE_DIR))
    box.sh(device.install_command)
    assert desk.status(device.device_id) == "online"


@contextmanager
def full(box: Box) -> Iterator[None]:
    """The box's whole disk is full while the ``with`` block runs."""
    box.sh(FILL.format("/var"))
    assert box.sh("echo more >/var/more", check=False).returncode != 0
    try:
        yield
    finally:
        box.sh("rm -f /var/filler /var/more")


def test_beats_go_on_while_the_disk_is_full(make_box: MakeBox, install: Install, hub: HubSite) -> None:
    """The running agent stays up and online without a byte of free disk, also over a time without the hub."""
    box, device, _, _ = install(make_box(disk_size="200m"))
    pid = box.agent_pid
    with full(box):
        before = str(hub.desk.device(device.device_id)["last_heartbeat"])
        wait_until("beats go on", lambda: str(hub.desk.device(device.device_id).get("last_heartbeat")) > before)
        with hub.away():
            found = box.wait_state("cut_off")
        box.wait_state("beating")
        assert box.run(AGENT, "status").returncode == 0
    assert found["dropped"] or found["spooled"]
    assert (box.agent_pid, box.unit("NRestarts")) == (pid, "0")


def test_start_on_a_full_disk(make_box: MakeBox, install: Install, desk: Desk) -> None:
    """Rebooted, and the agent started, with a full disk, the box is online all the same."""
    box, device, _, _ = install(make_box(disk_size="200m"))
    with full(box):
        box.reboot()
        box.wait_online()
        box.sh("cat /dev/zero >>/var/filler 2>/dev/null", check=False)  # the journal made room for itself
        assert box.sh("echo more >/var/more", check=False).returncode != 0
        box.run("systemctl", "restart", "firstlight", check=False)
        box.wait_online()
        assert desk.status(device.device_id) == "online"
