"""Boxes that lack something: no running systemd, one download tool only, no Python."""

from __future__ import annotations

import subprocess

import pytest

from tests.e2e.conftest import wait_until
from tests.system.box import AGENT, Box
from tests.system.conftest import MakeBox
from tests.system.hub_site import Desk


def refused(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines with which the script gave up: one sentence and the next step."""
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and lines[0].startswith("firstlight: ") and lines[1].startswith("  "), done.stderr
    return lines


def test_without_systemd_the_script_says_how_to_run(make_box: MakeBox, desk: Desk) -> None:
    """Not booted: the same command installs and enrolls; its last line runs the agent, and the list says online."""
    box = make_box(boot=False)
    device = desk.create(box.name)
    done = box.sh_without_systemd(device.install_command)
    assert (done.returncode, done.stderr) == (0, "")
    *_, sentence, command = done.stdout.splitlines()
    assert sentence == "firstlight: this box is enrolled; it beats while this runs:"
    assert command.strip() == f"{AGENT} run"
    assert not box.path("/etc/systemd/system/firstlight.service").exists()

    wait_until("the first beat is old", lambda: desk.status(device.device_id) == "offline")
    agent = box.start_without_systemd(command)
    try:
        wait_until("the list says online", lambda: desk.status(device.device_id) == "online")
    finally:
        agent.terminate()
        agent.wait(20)
    again = box.sh_without_systemd(device.install_command)
    assert again.stdout.startswith("firstlight: nothing to do: ")


@pytest.mark.parametrize("gone", ["curl", "curl wget"])
def test_other_tools_will_do(gone: str, make_box: MakeBox, desk: Desk) -> None:
    """Without curl, and without wget too, a box that got the script by other means is enrolled all the same."""
    box = make_box(boot=False)
    device = desk.create(box.name)
    fetched = box.sh_without_systemd(device.install_command.replace("| sudo sh", ">/srv/script"))
    assert fetched.returncode == 0, fetched.stderr
    remove(box, gone)
    done = box.sh_without_systemd("sh /srv/script")
    assert (done.returncode, done.stderr) == (0, "")
    assert desk.status(device.device_id) == "online"


def test_without_python_one_sentence(make_box: MakeBox, desk: Desk) -> None:
    """Without Python the script names the package; nothing is left behind and the installId is good for later."""
    box = make_box(boot=False)
    device = desk.create(box.name)
    remove(box, "python3 python3.11")
    before = box.files("/opt", "/etc", "/usr/local", "/var/lib")
    sentence, step = refused(box.sh_without_systemd(device.install_command))
    assert sentence == "firstlight: The agent needs Python 3.10 to 3.13; here, there is none."
    assert "apt-get install python3" in step
    assert box.files("/opt", "/etc", "/usr/local", "/var/lib") == before
    assert desk.install_id_state(device.device_id) == "open"


def remove(box: Box, names: str) -> None:
    """Takes programs off a box."""
    for name in names.split():
        box.path(f"/usr/bin/{name}").unlink()
