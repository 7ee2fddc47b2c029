"""First boot: an image with an invitation on it becomes a device without a hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import wait_until
from tests.system.box import AGENT, Box
from tests.system.conftest import MakeBox
from tests.system.hub_site import Desk, HubSite
from tests.system.image import FIRST_BOOT, imaged

FILE, RESULT = "/boot/firmware/firstlight.txt", "/boot/firmware/firstlight-result.txt"
STORED, SEALED = "/etc/credstore/firstlight.invitation", "/etc/credstore.encrypted/firstlight.invitation"


on_each_userland = pytest.mark.parametrize("box", ["bookworm", "trixie"], indirect=True)


@pytest.fixture
def box(request: pytest.FixtureRequest, make_box: MakeBox, bundles: list[Path]) -> Iterator[Box]:
    """A box from an image, still switched off; and again after the test: each takes some of what a machine has."""
    one = imaged(make_box, bundles, getattr(request, "param", "bookworm"))
    yield one
    one.cut_power()


def put(box: Box, text: str | bytes, name: str = FILE) -> None:
    """Puts a file on the box's disk, as a laptop does with its card."""
    path = box.path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def word(box: Box) -> str:
    """What a technician finds on the boot partition."""
    path = box.path(RESULT)
    return path.read_text() if path.exists() else ""


def check_enrolled(box: Box, desk: Desk, device_id: str) -> None:
    """Online as that device, by its own service, and nothing failed."""
    wait_until("the service runs", lambda: box.unit("ActiveState") == "active", 40)
    box.wait_online()
    assert box.status()["deviceId"] == device_id
    wait_until("the list says online", lambda: desk.status(device_id) == "online")
    wait_until("first boot is over", lambda: box.unit("ActiveState", FIRST_BOOT) == "inactive", 40)
    assert box.unit("Result", FIRST_BOOT) == "success"
    assert failed(box) == ""


def failed(box: Box) -> str:
    """Those of our units that failed."""
    return box.run("systemctl", "list-units", "--state=failed", "--plain", "--no-legend", "firstlight*").stdout


def test_without_an_invitation_all_is_quiet(box: Box) -> None:
    """An image that waits for its invitation: nothing failed, nothing runs, and status says the next step."""
    box.boot()
    for unit in ("firstlight.service", FIRST_BOOT):
        assert (box.unit("ActiveState", unit), box.unit("ConditionResult", unit)) == ("inactive", "no")
    assert failed(box) == ""
    assert "\nTo enroll: " in box.run(AGENT, "status", check=False).stdout


@on_each_userland
def test_a_file_on_the_boot_partition(box: Box, desk: Desk) -> None:
    """The command as printed, saved by Notepad: online by itself, the file gone, said in three places."""
    device = desk.create(box.name)
    put(box, f"{device.install_command}\r\n".encode("utf-16"))
    box.boot()
    check_enrolled(box, desk, device.device_id)
    sentence = f"This box is enrolled as {device.device_id} in workspace demo."
    assert not box.path(FILE).exists()
    assert sentence in word(box) and "[enrolled]" in word(box)
    assert sentence in box.journal(FIRST_BOOT) and sentence in box.console()
    said = word(box) + str(box.journal_lines("")) + box.console() + box.run("systemctl", "show", FIRST_BOOT).stdout
    assert device.install_id.reveal() not in said
    box.reboot()
    check_enrolled(box, desk, device.device_id)
    assert box.unit("ConditionResult", FIRST_BOOT) == "no"


@on_each_userland
def test_a_credential_of_the_machine(box: Box, desk: Desk) -> None:
    """Set by who starts the container or machine: used once, and not removable from here, which is said."""
    device = desk.create(box.name)
    box.boot(f"--set-credential=firstlight.invitation:{device.install_command.replace('%', '%%')}")
    check_enrolled(box, desk, device.device_id)
    assert "Only what started this machine can take the invitation away; it is not used again." in box.console()


def test_a_credential_in_the_store(box: Box, desk: Desk) -> None:
    """Put into /etc/credstore by who made the image: used, and removed from there."""
    device = desk.create(box.name)
    put(box, device.install_command, STORED)
    box.boot()
    check_enrolled(box, desk, device.device_id)
    assert not box.path(STORED).exists()


@on_each_userland
def test_an_encrypted_credential(box: Box, desk: Desk) -> None:
    """Sealed with this machine's key, with the drop-in of the manual: opened by systemd, used and removed."""
    box.boot()
    device = desk.create(box.name)
    put(box, device.install_command, "/run/plain")
    seal = "systemd-creds encrypt --with-key=host --name=firstlight.invitation"
    box.sh(f"mkdir -p -m 0700 /etc/credstore.encrypted && {seal} /run/plain {SEALED} && rm /run/plain")
    assert device.install_id.reveal().encode() not in box.path(SEALED).read_bytes()
    box.drop_in("sealed", f"[Service]\nLoadCredentialEncrypted=firstlight.invitation:{SEALED}\n", FIRST_BOOT)
    box.reboot()
    check_enrolled(box, desk, device.device_id)
    assert not box.path(SEALED).exists()


def test_the_hub_comes_later(box: Box, hub: HubSite) -> None:
    """No hub, a reboot, a power cut, still no hub: the boot is not held up, and in the end it enrolls by itself."""
    device = hub.desk.create(box.name)
    put(box, device.install_command)
    with hub.away():
        box.boot()
        wait_until("it says so", lambda: "[connect_refused]" in word(box))
        assert box.unit("ActiveState", FIRST_BOOT) == "active"
        assert "first boot" in box.run(AGENT, "status", check=False).stdout or failed(box) == ""
        box.reboot()
        wait_until("it runs again", lambda: box.unit("ActiveState", FIRST_BOOT) == "active")
        box.cut_power()
        box.boot()
        wait_until("it runs again", lambda: box.unit("ActiveState", FIRST_BOOT) == "active")
    check_enrolled(box, hub.desk, device.device_id)
    assert not box.path(FILE).exists() and "[enrolled]" in word(box)


def test_a_refused_invitation(box: Box, desk: Desk) -> None:
    """The unit ends with 78 and is not started again, nor does a reboot ask the hub anew; another file is taken."""
    device = desk.create(box.name)
    put(box, device.install_command.replace(device.install_id.reveal(), "n" * 24))
    for times in (1, 2):
        box.boot() if times == 1 else box.reboot()
        wait_until("the unit ends", lambda: box.unit("ActiveState", FIRST_BOOT) == "failed")
        assert (box.unit("ExecMainStatus", FIRST_BOOT), box.unit("NRestarts", FIRST_BOOT)) == ("78", "0")
        assert "[install_id_unknown]" in word(box)
    assert "refused this invitation before" in box.journal(FIRST_BOOT)
    assert "[install_id_unknown]" in box.run(AGENT, "status", check=False).stdout
    put(box, device.install_command)
    box.reboot()
    check_enrolled(box, desk, device.device_id)


@pytest.mark.parametrize(
    ("text", "code"),
    [("hello box", "invitation_malformed"), ("FL1:ABC", "payload_malformed"), ("", "invitation_malformed")],
)
def test_a_wrong_text(text: str, code: str, box: Box) -> None:
    """Named where a technician looks, with what was wanted; the file stays to be corrected and nothing spins."""
    put(box, text)
    box.boot()
    wait_until("the unit ends", lambda: box.unit("ActiveState", FIRST_BOOT) == "failed")
    assert (box.unit("ExecMainStatus", FIRST_BOOT), box.unit("NRestarts", FIRST_BOOT)) == ("65", "0")
    assert f"[{code}]" in word(box) and f"[{code}]" in box.console()
    assert box.path(FILE).exists()


def test_a_read_only_boot_partition(box: Box, desk: Desk) -> None:
    """What cannot be removed is said; the box goes on, and the invitation is not used a second time."""
    device = desk.create(box.name)
    box.boot()
    put(box, device.install_command)
    box.sh("mount --bind /boot/firmware /boot/firmware && mount -o remount,bind,ro /boot/firmware")
    box.run("systemctl", "start", FIRST_BOOT)
    check_enrolled(box, desk, device.device_id)
    assert "cannot be removed (Read-only file system); it is not used again." in box.journal(FIRST_BOOT)
    box.run("systemctl", "stop", "firstlight")
    box.run(AGENT, "reset", "--yes")
    box.run("systemctl", "start", FIRST_BOOT)
    wait_until("first boot is over", lambda: box.unit("ActiveState", FIRST_BOOT) == "inactive")
    assert box.status()["state"] == "not_enrolled"
