"""From a hub that is the service of one box to a fresh box beside it, over TLS with the pin."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import wait_until
from tests.system.box import AGENT, Box
from tests.system.conftest import MakeBox
from tests.system.hub_on_box import UNIT, desk_of, make_hub_box
from tests.system.hub_site import Desk
from tests.system.namespaces import Network
from tests.system.pasting import Pasting, slow


@pytest.fixture(scope="module")
def hub_box(make_box: MakeBox) -> Box:
    """A box with a hub."""
    return make_hub_box(make_box)


@pytest.fixture(scope="module")
def own_desk(hub_box: Box, network: Network) -> Desk:
    """The operator of that hub."""
    return desk_of(hub_box, network)


def test_root_with_systemd(hub_box: Box, own_desk: Desk, make_box: MakeBox) -> None:
    """The command with its pin makes a service that is online; after reboots of the hub's box and of its own, too."""
    box = make_box()
    device = own_desk.create(box.name)
    assert "--pinnedpubkey 'sha256//" in device.install_command
    assert f"https://{hub_box.address}:8443/" in device.install_command
    done = box.sh(device.install_command)
    assert done.stderr == "" and own_desk.status(device.device_id) == "online"

    hub_box.reboot()
    wait_until("the hub is back and has a new beat", lambda: own_desk.status(device.device_id) == "online", 40)
    box.reboot()
    box.wait_online()
    assert own_desk.device(device.device_id)["hostname"] == box.name


def test_wrong_pin_runs_nothing(own_desk: Desk, make_box: MakeBox) -> None:
    """Somebody in between has another key: curl ends with 90, nothing runs, nothing is left, nothing is spent."""
    box = make_box(boot=False)
    device = own_desk.create(box.name)
    pin = device.install_command.split("sha256//")[1][:43]
    before = box.files("/opt", "/etc", "/usr/local", "/var/lib")
    done = box.sh_without_systemd(device.install_command.replace(pin, "A" * 43))
    assert done.returncode == 90
    assert box.files("/opt", "/etc", "/usr/local", "/var/lib") == before
    assert own_desk.install_id_state(device.device_id) == "open"


def test_root_without_systemd(own_desk: Desk, make_box: MakeBox) -> None:
    """On a box that systemd did not boot the command installs and enrolls, and its last line beats."""
    box = make_box(boot=False)
    device = own_desk.create(box.name)
    done = box.sh_without_systemd(device.install_command)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].strip() == f"{AGENT} run"
    wait_until("the beat of the enrolling is old", lambda: own_desk.status(device.device_id) == "offline")
    agent = box.start_without_systemd(f"{AGENT} run")
    try:
        wait_until("the list says online", lambda: own_desk.status(device.device_id) == "online")
    finally:
        agent.terminate()
        agent.wait(20)


@pytest.mark.parametrize("how", ["KILL", "stop"])
def test_hub_ends_in_the_middle(how: str, hub_box: Box, own_desk: Desk, make_box: MakeBox, network: Network) -> None:
    """The hub ends half-way through the bundle: said, nothing left, nothing spent; later the command works."""
    box = make_box()
    device = own_desk.create(box.name)
    with slow(network, box):
        pasting = Pasting(box, device.install_command)
        pasting.wait_downloading()
        if how == "KILL":
            hub_box.run("systemctl", "kill", "--signal=KILL", UNIT)
        hub_box.run("systemctl", "stop", UNIT)
        done = pasting.wait_end()
    assert done.returncode == 1 and "could not be fetched" in done.stderr, done.stdout + done.stderr
    assert not box.path("/opt/firstlight").exists() and not box.path("/etc/firstlight").exists()
    hub_box.run("systemctl", "start", UNIT)
    assert own_desk.install_id_state(device.device_id) == "open"
    assert box.sh(device.install_command).stderr == ""
    assert own_desk.status(device.device_id) == "online"
