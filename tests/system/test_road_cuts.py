"""The pasted command that does not get to its end: a connection cut, a kill, a power cut, a disk that runs full."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import wait_until
from tests.system.box import Box
from tests.system.conftest import MakeBox
from tests.system.history import check_once
from tests.system.hub_site import HubSite
from tests.system.namespaces import Network
from tests.system.pasting import Pasting, slow

PLACES = ("/opt", "/etc", "/usr/local", "/root", "/var/lib/firstlight", "/var/lib/private", "/tmp", "/var/tmp")
NEVER_OURS = ("/etc/systemd/system/system", "/etc/.updated")


def ours(box: Box) -> set[str]:
    """What is where the script could have put something."""
    places = [place for place in PLACES if box.path(place).exists()]
    return {name for name in box.files(*places) if "systemd-private" not in name}


def check_second_run(box: Box, hub: HubSite, device_id: str, command: str) -> None:
    """The same command again comes to its end, one device is online, and no rest of the first run is left."""
    done = box.sh(command)
    assert done.stderr == ""
    check_once(box, hub, device_id)
    assert not list(box.path("/opt/firstlight").glob(".new.*"))
    assert len(list(box.path("/opt/firstlight/lib").iterdir())) == 1


def test_connection_cut_in_the_middle(make_box: MakeBox, hub: HubSite, network: Network) -> None:
    """The hub goes away half-way through the bundle: one sentence, nothing left, nothing spent; again, it works."""
    box = make_box()
    device = hub.desk.create(box.name)
    before = ours(box)
    with slow(network, box):
        pasting = Pasting(box, device.install_command)
        pasting.wait_downloading()
        with hub.away():
            done = pasting.wait_end()
    assert done.returncode == 1
    sentence, step = done.stderr.splitlines()
    assert sentence.startswith("firstlight: ") and "could not be fetched" in sentence
    assert "The installId is not spent." in step
    assert ours(box) == before
    assert hub.desk.install_id_state(device.device_id) == "open"
    check_second_run(box, hub, device.device_id, device.install_command)


@pytest.mark.parametrize("how", ["kill", "power cut"])
def test_end_in_the_middle_of_the_download(how: str, make_box: MakeBox, hub: HubSite, network: Network) -> None:
    """Killed, or without power, in the middle of the bundle: the next run clears that away and comes to its end."""
    box = make_box()
    device = hub.desk.create(box.name)
    with slow(network, box):
        pasting = Pasting(box, device.install_command)
        pasting.wait_downloading()
        if how == "kill":
            pasting.kill()
        else:
            box.cut_power()
            box.boot()
    (left,) = box.path("/opt/firstlight").glob(".new.*")
    if how != "kill":  # somebody has the number of the script by now
        left.rename(left.with_name(f".new.1.{left.name.split('.', 3)[3]}"))
    check_second_run(box, hub, device.device_id, device.install_command)


def test_uninstall_after_a_kill(make_box: MakeBox, hub: HubSite, network: Network) -> None:
    """Killed in the middle of its first download, it can be told to go: it says that nothing is here, and so it is."""
    box = make_box()
    device = hub.desk.create(box.name)
    before = ours(box)
    with slow(network, box):
        pasting = Pasting(box, device.install_command)
        pasting.wait_downloading()
        pasting.kill()
    done = box.sh(f"{device.install_command} -s -- --uninstall", check=False)
    assert done.returncode == 1 and "There is no firstlight" in done.stderr
    assert ours(box) == before


def test_kill_while_unpacking(make_box: MakeBox, hub: HubSite) -> None:
    """Killed in the middle of unpacking, the next run clears that away and comes to its end."""
    box = make_box()
    device = hub.desk.create(box.name)
    pasting = Pasting(box, device.install_command)
    wait_until("it unpacks", lambda: [*box.path("/opt/firstlight").glob(".new.*/new/lib/*")], 30)
    pasting.kill()
    check_second_run(box, hub, device.device_id, device.install_command)


def test_full_disk_before(make_box: MakeBox, hub: HubSite) -> None:
    """Too little room is named with its figure before anything is fetched; nothing is left, nothing spent."""
    box = make_box(disk_size="200m")
    device = hub.desk.create(box.name)
    before = ours(box)
    box.sh("head -c 1G /dev/zero >/var/filler 2>/dev/null || test -s /var/filler")
    done = box.sh(device.install_command, check=False)
    assert done.returncode == 1 and " MB free; " in done.stderr and " MB are needed." in done.stderr
    assert ours(box) == before
    assert hub.desk.install_id_state(device.device_id) == "open"
    box.sh("rm /var/filler")
    check_second_run(box, hub, device.device_id, device.install_command)


@pytest.mark.parametrize("room_mb", [1, 12, 22])
def test_disk_runs_full_in_the_middle(room_mb: int, make_box: MakeBox, hub: HubSite, network: Network) -> None:
    """Somebody else fills the disk while the bundle comes or is unpacked: said, cleared away, nothing spent."""
    box = make_box(disk_size="200m")
    device = hub.desk.create(box.name)
    before = ours(box)
    box.sh(f"head -c {room_mb}M /dev/zero >/var/room")
    with slow(network, box):
        pasting = Pasting(box, device.install_command)
        pasting.wait_downloading()
        box.sh("head -c 1G /dev/zero >/var/filler 2>/dev/null; sync; rm /var/room", check=False)
    done = pasting.wait_end()
    assert done.returncode == 1, done.stdout
    assert len(done.stderr.splitlines()) == 2, done.stderr
    sentence, step = done.stderr.splitlines()
    assert sentence.startswith("firstlight: ") and "No space left" in sentence, done.stderr
    assert "Check disk" in step or "Free some space" in step
    assert ours(box) == before
    assert hub.desk.install_id_state(device.device_id) == "open"
    box.sh("rm /var/filler")
    check_second_run(box, hub, device.device_id, device.install_command)


def test_two_runs_at_once(make_box: MakeBox, hub: HubSite) -> None:
    """The command pasted twice at the same moment: one device, online; one of the two may say that it is locked."""
    box = make_box()
    device = hub.desk.create(box.name)
    pasting = Pasting(box, device.install_command)
    second = box.sh(device.install_command, check=False)
    first = pasting.wait_end()
    for done in (first, second):
        assert done.stderr == "" if done.returncode == 0 else "[state_locked]" in done.stderr, done.stdout + done.stderr
    assert 0 in (first.returncode, second.returncode)
    check_second_run(box, hub, device.device_id, device.install_command)
