"""The pasted command as an ordinary user: everything in the home, no service, no root at any moment."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import wait_until
from tests.system.box import Box
from tests.system.conftest import MakeBox
from tests.system.hub_site import HubSite

PREFIX = "/home/ada/firstlight"


@pytest.fixture
def box(make_box: MakeBox) -> Box:
    """A booted box with an ordinary user."""
    one = make_box()
    one.run("useradd", "--create-home", "--shell", "/bin/sh", "ada")
    return one


def as_user(script: str) -> tuple[str, ...]:
    """The words that run a line as that user, with what a login gives."""
    return ("runuser", "--login", "ada", "--command", script)


def test_into_the_home(box: Box, hub: HubSite) -> None:
    """With --prefix it installs, enrolls and beats as that user, all in the home; uninstalled, nothing is left."""
    before = box.files()
    device = hub.desk.create(box.name)
    pasted = device.install_command.replace("| sudo sh", f"| sh -s -- --prefix {PREFIX}")
    done = box.run(*as_user(pasted))
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1].strip() == f"{PREFIX}/bin/firstlight run"
    ours = {name for name in box.files() if name not in before}
    assert ours and all(name.startswith(PREFIX) for name in ours)
    uid = box.path("/home/ada").stat().st_uid
    assert {box.path(name).lstat().st_uid for name in ours} == {uid}
    assert box.unit("LoadState") == "not-found"

    box.run("systemd-run", "--quiet", "--unit=by-hand", "--uid=ada", f"{PREFIX}/bin/firstlight", "run")
    wait_until("it is online", lambda: hub.desk.status(device.device_id) == "online")
    online = box.run(*as_user(f"{PREFIX}/bin/firstlight status --wait-online 20"), check=False)
    assert online.returncode == 0, online.stdout
    assert box.run(*as_user(pasted)).stdout.startswith("firstlight: nothing to do: this box is enrolled and online")

    gone = box.run(*as_user(f"{pasted} --uninstall --purge"))
    assert "removed" in gone.stdout and gone.stderr == ""
    wait_until("its agent has ended", lambda: box.unit("ActiveState", "by-hand.service") != "active")
    assert box.files().keys() - before.keys() == set()
    wait_until("the list says offline", lambda: hub.desk.status(device.device_id) == "offline")


def test_without_sudo_the_way_out_is_named(box: Box, hub: HubSite) -> None:
    """Run without root and without --prefix, the script says both ways, and leaves nothing."""
    device = hub.desk.create(box.name)
    before = box.files("/home", "/opt", "/etc")
    done = box.run(*as_user(device.install_command.replace("| sudo sh", "| sh")), check=False)
    assert done.returncode == 1 and "--prefix" in done.stderr and "sudo" in done.stderr
    assert box.files("/home", "/opt", "/etc") == before
    assert hub.desk.install_id_state(device.device_id) == "open"
