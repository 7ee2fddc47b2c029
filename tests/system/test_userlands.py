"""The pasted command on each Debian: what it needs is there, or it says in one sentence what is not."""

from __future__ import annotations

import pytest

from tests.system.conftest import PYTHONS, Install, Installed, MakeBox, on_each_userland
from tests.system.hub_site import HubSite

SYSTEMD = {"bullseye": "247", "bookworm": "252", "trixie": "257"}


@pytest.mark.parametrize("userland", list(PYTHONS))
def test_the_tree_is_the_system_it_is_named_after(make_box: MakeBox, userland: str) -> None:
    """A box of a userland has that Debian's Python and systemd, and all of its units started."""
    box = make_box(userland=userland)

    assert f"VERSION_CODENAME={userland}" in box.sh("cat /etc/os-release").stdout
    assert box.run("python3", "--version").stdout.startswith(f"Python {PYTHONS[userland]}.")
    assert box.run("systemctl", "--version").stdout.split()[1] == SYSTEMD[userland]
    assert box.run("systemctl", "--failed", "--plain", "--no-legend").stdout == ""


@on_each_userland
def test_the_pasted_command_brings_a_box_online_and_it_stays_so(install: Install, hub: HubSite, userland: str) -> None:
    """On each Debian the agent runs on: one command, online, a reboot, online again as the same device."""
    installed: Installed = install(userland=userland)
    box, device = installed.box, installed.device

    assert installed.done.stderr == ""
    assert hub.desk.status(device.device_id) == "online"
    assert box.run("systemctl", "is-enabled", "firstlight").stdout.strip() == "enabled"

    first = box.live()
    box.reboot()
    box.wait_online()

    assert box.live()["deviceId"] == first["deviceId"] == device.device_id
    assert hub.desk.status(device.device_id) == "online"
    assert box.unit("NRestarts") == "0"


@on_each_userland
def test_the_sandbox_holds_on_each_systemd(install: Install, userland: str) -> None:
    """No line of the unit is unknown to a systemd it runs on, and the agent has neither root nor capabilities there."""
    box = install(userland=userland).box

    said = box.run("systemd-analyze", "verify", "--man=no", "/etc/systemd/system/firstlight.service")
    assert said.stderr == said.stdout == ""
    status = box.sh(f"cat /proc/{box.agent_pid}/status").stdout
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert "0" not in fields["Uid"].split()
    assert fields["CapEff"] == fields["CapBnd"] == "0" * 16
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"


def test_a_python_that_is_too_old_is_refused_in_one_sentence(make_box: MakeBox, hub: HubSite) -> None:
    """Debian 11 has Python 3.9: nothing is installed, the installId is not spent, and the reader knows what to do."""
    box = make_box(userland="bullseye")
    device = hub.desk.create("too-old")
    before = box.files("/opt", "/etc", "/usr", "/var/lib")

    done = box.sh(device.install_command, check=False)

    assert done.returncode == 1
    sentence, hint = done.stderr.strip().splitlines()
    assert "The agent needs Python 3.10 to 3.13" in sentence
    assert "3.9 is too old" in sentence
    assert "Debian 12" in hint
    assert box.files("/opt", "/etc", "/usr", "/var/lib") == before
    assert hub.desk.install_id_state(device.device_id) == "open"
