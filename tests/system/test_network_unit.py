"""A network from a code on a booted box: the path unit sees the wish, root's half does it in its sandbox."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from firstlight.core.model import Secret
from firstlight.core.provision import Network
from tests.e2e.conftest import wait_until
from tests.scan.label import Desk
from tests.system.box import AGENT, Box
from tests.system.conftest import MakeBox
from tests.system.image import imaged

UNIT = "firstlight-network.service"
SETTINGS = "/etc/firstlight/agent.toml"
PROFILE = "/etc/NetworkManager/system-connections/firstlight.nmconnection"
ASKED = "/var/lib/firstlight/asked"
CODE = r"WIFI:T:WPA;S:Yard\;7;P:correct horse\\;;"
# Notes what it is asked, in the one place that the sandbox lets it write to.
NMCLI = f'#!/bin/sh\nprintf "%s\\n" "$*" >>{ASKED}\n[ "$1 $2" != "connection delete" ] || rm -f {PROFILE}\n'


@pytest.fixture(scope="module")
def box(make_box: MakeBox, bundles: list[Path]) -> Box:
    """A box that nobody has provisioned, with a stand-in for NetworkManager's command."""
    one = imaged(make_box, bundles)
    one.boot()
    one.sh("mkdir -p /etc/NetworkManager/system-connections")
    one.path("/usr/bin/nmcli").write_text(NMCLI)
    one.path("/usr/bin/nmcli").chmod(0o755)
    return one


def scanned(box: Box) -> str:
    """What ``firstlight scan`` says of the Wi-Fi's code."""
    done = box.run(AGENT, "scan", "--stdin", stdin=CODE, check=False)
    return done.stdout + done.stderr


def allow(box: Box) -> None:
    """Has the settings let codes set the network up."""
    text = box.read(SETTINGS)
    if "apply_network" not in text:
        box.path(SETTINGS).write_text(f'{text}apply_network = "yes"\n')


def test_not_allowed(box: Box) -> None:
    """As installed a Wi-Fi's code changes nothing, and it is said what to set."""
    assert box.unit("ActiveState", "firstlight-network.path") == "active"
    assert "apply_network" in scanned(box)
    assert not box.path(PROFILE).exists()


def test_a_wish_that_nobody_allowed(box: Box) -> None:
    """A wish that the agent's user leaves all the same is taken away and not done."""
    box.sh("mkdir -p -m 0700 /var/lib/firstlight && echo '{}' >/var/lib/firstlight/network-wish.json")
    wait_until("it was looked at", lambda: box.unit("Result", UNIT) == "exit-code", 40)
    wait_until("it is gone", lambda: not box.path("/var/lib/firstlight/network-wish.json").exists())
    assert not box.path(PROFILE).exists() and not box.path(ASKED).exists()
    box.run("systemctl", "reset-failed", UNIT)


def test_joined_and_forgotten(box: Box) -> None:
    """Allowed: the profile is there, root's alone; NetworkManager was asked without a secret; a reset removes it."""
    allow(box)
    assert "This box has joined the Wi-Fi 'Yard;7'." in scanned(box)
    profile = box.path(PROFILE)
    assert (stat.S_IMODE(profile.stat().st_mode), profile.stat().st_uid) == (0o600, 0)
    assert "psk=correct horse\\\\\n" in profile.read_text()
    assert "connection load" in box.read(ASKED) and "correct" not in box.read(ASKED)
    wait_until("the unit is over", lambda: box.unit("ActiveState", UNIT) == "inactive")
    assert box.unit("Result", UNIT) == "success"
    shown = str(box.journal_lines("")) + box.run("systemctl", "show", UNIT).stdout
    assert "correct horse" not in shown
    assert "was removed" in box.run(AGENT, "reset", "--yes").stdout
    assert not profile.exists() and not box.path("/var/lib/firstlight/network-result.json").exists()


def test_a_network_in_a_signed_code(box: Box, tmp_path: Path) -> None:
    """The network block of a payload is set up too, and the box is provisioned whether it was or not."""
    allow(box)
    desk = Desk.make()
    desk.trust(tmp_path)
    box.sh("mkdir -p /etc/firstlight/trust.d")
    box.path(f"/etc/firstlight/trust.d/{desk.key_id}.pub").write_bytes((tmp_path / f"{desk.key_id}.pub").read_bytes())
    text = desk.text(network=Network("Site", Secret("battery staple"), is_hidden=True))
    done = box.run(AGENT, "scan", "--stdin", "--no-start", stdin=text)
    assert "provisioned as gate-3" in done.stdout and "has joined the Wi-Fi 'Site'" in done.stdout
    assert "psk=battery staple\n" in box.read(PROFILE) and "hidden=true" in box.read(PROFILE)
    assert "battery staple" not in done.stdout + done.stderr + box.read(ASKED)
    assert box.path("/var/lib/firstlight/provisioned.json").exists()
    box.run(AGENT, "reset", "--yes")
    assert not box.path(PROFILE).exists()


def test_a_flood_of_wishes_and_links(box: Box) -> None:
    """A link in place of the wish leads root nowhere, and the unit is not started for ever."""
    allow(box)
    box.sh("ln -s /etc/shadow /var/lib/firstlight/network-wish.json")
    wait_until("it was refused", lambda: box.unit("Result", UNIT) == "exit-code", 40)
    wait_until("it is gone", lambda: not box.path("/var/lib/firstlight/network-wish.json").is_symlink())
    assert box.path("/etc/shadow").exists() and not box.path(PROFILE).exists()
    box.run("systemctl", "reset-failed", UNIT)
