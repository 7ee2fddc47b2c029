"""What can be wrong around the service: its settings, the rights of its files, its unit, its directory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from firstlight.platforms.hub.management import Created
from firstlight.sources.invitation import read_invitation
from tests.e2e.conftest import wait_until
from tests.system.box import AGENT, Box
from tests.system.conftest import MakeBox
from tests.system.hub_site import Desk, HubSite
from tests.system.image import imaged

STATE, CONFIG = "/var/lib/private/firstlight", "/etc/firstlight/agent.toml"
OVERRIDES = "/etc/systemd/system/firstlight.service.d"


@pytest.fixture(scope="module")
def whole(make_box: MakeBox, bundles: list[Path]) -> Box:
    """A booted box with an agent that was never enrolled."""
    one = imaged(make_box, bundles)
    one.boot()
    return one


@pytest.fixture(scope="module")
def enrolled(whole: Box, hub: HubSite) -> Box:
    """Enrolled by hand as root, which starts the service."""
    device = hub.desk.create(whole.name)
    said = enroll(whole, device)
    assert "The service firstlight was started; it runs after each boot. See: " in said
    whole.wait_online()
    assert "nothing to do" in enroll(whole, device)
    return whole


@pytest.fixture
def box(enrolled: Box) -> Iterator[Box]:
    """Online before each test, and again after it without what the test did to it."""
    yield enrolled
    enrolled.sh(f"rm -rf {OVERRIDES}; printf '%s' 'state_dir = \"/var/lib/firstlight\"' >{CONFIG}")
    enrolled.run("systemctl", "daemon-reload")
    enrolled.run("systemctl", "restart", "firstlight")
    enrolled.wait_online()


def enroll(box: Box, device: Created, *words: str) -> str:
    """``firstlight enroll`` by root; what it says."""
    known = read_invitation(device.install_command)
    hub = ("--hub", known.endpoint.url, "--pin", *known.trust.pins)
    return box.run(AGENT, "enroll", "-", *hub, *words, stdin=device.install_id.reveal()).stdout


def restart(box: Box) -> str:
    """Starts the service anew; what it logged since, once it logged something."""
    mark = box.run("journalctl", "--no-pager", "--lines=0", "--show-cursor").stdout.partition("-- cursor: ")[2].strip()
    box.sh("systemctl restart firstlight || true")
    line = ("journalctl", "--no-pager", "--output=cat", "--unit=firstlight", f"--after-cursor={mark}")
    wait_until("it logged", lambda: re.search(r"\[\w+\]|Online", box.run(*line).stdout))
    return box.run(*line).stdout


def override(box: Box, *lines: str) -> str:
    """Starts the service anew with a drop-in; what it logged."""
    box.drop_in("override", "\n".join(["[Service]", *lines, ""]))
    return restart(box)


def settings(box: Box, text: str) -> str:
    """Starts the service anew with other settings; what it logged."""
    box.path(CONFIG).write_text(text)
    return restart(box)


def test_the_unit_as_it_is(box: Box) -> None:
    """Nothing is missing of the sandbox, and nothing is said about it."""
    assert "sandbox" not in restart(box)
    box.wait_online()
    assert "weakened" not in box.status()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('colour = "red"', "has an unknown setting 'colour'"),
        ("state_dir = 7", "'state_dir' in /run/credentials/firstlight.service/agent.toml is not a text"),
        ("state_dir = ", "is not valid TOML"),
        ('proxy = "gopher://x"', "proxy"),
    ],
)
def test_settings_that_cannot_be_used(text: str, sentence: str, box: Box) -> None:
    """Named with what is wrong; systemd goes on starting it, so that it is online once they are corrected."""
    said = settings(box, f"{text}\n")
    assert sentence in said and "[settings_invalid]" in said
    assert box.unit("SubState") == "auto-restart"


def test_no_settings_at_all(box: Box) -> None:
    """Without the file the service starts all the same, with the directories that systemd gives it."""
    box.path(CONFIG).unlink()
    assert "Online" in restart(box)


def test_a_password_that_everyone_may_read(box: Box) -> None:
    """Refused by name, with the command that mends it."""
    box.sh("mkdir -p /srv/x && echo user:word >/srv/x/auth && chmod 644 /srv/x/auth")
    said = settings(box, 'proxy = "http://10.77.0.99:1"\nproxy_auth_file = "/srv/x/auth"\n')
    assert "is readable by everyone. [settings_invalid]" in said and "chmod 600 /srv/x/auth" in said
    assert "user:word" not in said


def test_a_registration_that_everyone_may_read(box: Box) -> None:
    """Made private again, and said."""
    box.run("chmod", "644", f"{STATE}/registration.json")
    said = restart(box)
    assert "registration.json could be read by others; it is private again." in said
    assert box.path(f"{STATE}/registration.json").stat().st_mode & 0o077 == 0
    box.wait_online()


# What DynamicUser=yes implies cannot be taken away alone.
AS_ROOT = ("DynamicUser=no", "User=root")
WEAK = {
    "DynamicUser": AS_ROOT,
    "ProtectSystem": (*AS_ROOT, "ProtectSystem=no"),
    "ProtectHome": ("ProtectHome=no",),
    "MemoryDenyWriteExecute": ("MemoryDenyWriteExecute=no",),
    "CapabilityBoundingSet": ("CapabilityBoundingSet=CAP_NET_RAW", "AmbientCapabilities=CAP_NET_RAW"),
}


@pytest.mark.parametrize("name", WEAK)
def test_a_sandbox_that_was_weakened(name: str, box: Box) -> None:
    """Which protection is gone is said in the journal and by status, with where to look; the beats go on."""
    said = override(box, *WEAK[name])
    box.wait_online()
    assert "[sandbox_weakened]" in said and "systemctl cat firstlight" in said
    assert name in said, said
    assert name in str(box.status()["weakened"])
    assert "[sandbox_weakened]" in box.run(AGENT, "status").stdout


def test_a_state_directory_that_is_read_only(box: Box) -> None:
    """One sentence says who does that; the beats go on, and status does not say that the agent has stopped."""
    said = override(box, "ReadOnlyPaths=/var/lib/private/firstlight")
    assert box.wait_state("beating")["unlocked"] is True
    assert "cannot be written: Read-only file system. [state_unwritable]" in said
    assert "a drop-in of the service, makes it read-only. See: systemctl cat firstlight" in said


def test_no_state_directory(box: Box) -> None:
    """One sentence names the line that is missing."""
    said = override(box, "StateDirectory=")
    assert "[state_unreadable]" in said
    assert "A drop-in takes StateDirectory=firstlight away from the service." in said


def test_a_state_directory_of_another_user(box: Box) -> None:
    """Handed over again by systemd at the next start, with all that is in it."""
    box.run("systemctl", "stop", "firstlight")
    box.run("chown", "-R", "4242:4242", STATE)
    assert "Online" in restart(box)


def test_state_files_of_another_user(box: Box) -> None:
    """Where only the files are another's, systemd does not see it: the agent says so, and the next step mends it."""
    box.run("systemctl", "stop", "firstlight")
    box.sh(f"chown 4242 {STATE}/registration*")
    said = restart(box)
    assert "registration.json cannot be read: Permission denied. [state_unreadable]" in said
    step = re.search(r"Hand it over to the service again: (.+)", said)
    assert step
    box.sh(step[1])
    box.wait_online()


def test_enrolling_without_starting(make_box: MakeBox, bundles: list[Path], desk: Desk) -> None:
    """With --no-start, and where the service is switched off, the service is left alone; the second is said."""
    box = imaged(make_box, bundles)
    box.boot()
    device = desk.create(box.name)
    assert "service" not in enroll(box, device, "--no-start")
    assert box.unit("ActiveState") == "inactive"
    box.run("systemctl", "disable", "firstlight")
    assert "switched off. To switch it on: systemctl enable --now firstlight" in enroll(box, device)
    assert box.unit("ActiveState") == "inactive"
    box.run("systemctl", "enable", "firstlight")
    assert "was started" in enroll(box, device)
    box.wait_online()
