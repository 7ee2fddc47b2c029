"""Boxes made from one image: with one machine id, with one state directory."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.conftest import wait_until
from tests.system.box import AGENT, Box
from tests.system.conftest import Install, MakeBox
from tests.system.history import check_once
from tests.system.hub_site import HubSite
from tests.system.namespaces import Network

STATE = "/var/lib/private/firstlight"


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """A network for this file and its hub."""
    one = Network()
    yield one
    one.end()


@pytest.fixture(scope="module")
def hub(network: Network, bundles: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubSite]:
    """A hub that asks for a beat every three seconds."""
    one = HubSite(network, tmp_path_factory.mktemp("hub"), bundles, heartbeat_interval_s=3, online_window_s=15)
    yield one
    one.stop()


def is_told(box: Box) -> bool:
    """Whether the box knows of another one with its identity."""
    return box.status().get("clone") is True


def starts_and_is_seen(clone: Box, hub: HubSite, device_id: str) -> bool:
    """Starts the clone's agent -> whether the desk sees a clone within four beats."""
    clone.run("systemctl", "restart", "firstlight")
    deadline_s = time.monotonic() + 12
    while time.monotonic() < deadline_s:
        if hub.desk.device(device_id).get("clone") is True:
            return True
        select.select([], [], [], 0.2)
    return False


def test_one_machine_id_two_devices(make_box: MakeBox, install: Install, hub: HubSite) -> None:
    """Two boxes with one /etc/machine-id and a command each are two devices, online, and nobody warns."""
    first, second = make_box(boot=False), make_box(boot=False)
    for box in (first, second):
        box.path("/etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
        box.boot()
    installed = [install(box) for box in (first, second)]
    for one in installed:
        assert one.box.run("cat", "/etc/machine-id").stdout.startswith("0123456789abcdef")
        check_once(one.box, hub, one.device.device_id)
        assert "clone" not in hub.desk.device(one.device.device_id) and not is_told(one.box)
    first.reboot()
    check_once(first, hub, installed[0].device.device_id)


def test_one_state_directory_is_named(make_box: MakeBox, install: Install, hub: HubSite) -> None:
    """A box with another's whole state is named there, here and at the desk; reset and a command of its own mend it."""
    (first, device, _, _), (second, other, _, _) = install(make_box()), install(make_box())
    second.run("systemctl", "stop", "firstlight")
    first.run("tar", "-C", STATE, "--exclude=./running", "-cf", "/srv/state.tar", ".")
    second.path("/srv/state.tar").write_bytes(first.path("/srv/state.tar").read_bytes())
    second.sh(f"rm -rf {STATE}/* && tar -C {STATE} -xf /srv/state.tar")

    # Containers share their kernel's boot id, so these two are told apart only where one beats more than a second
    # after the other; with one interval they may keep step, until one of them starts anew.
    wait_until("the desk sees it", lambda: starts_and_is_seen(second, hub, device.device_id), 80)
    for box in (first, second):
        wait_until("the box knows", partial(is_told, box), 40)
        assert "[clone_suspected]" in box.run(AGENT, "status", check=False).stdout
        assert box.status()["deviceId"] == device.device_id

    second.run("systemctl", "stop", "firstlight")
    second.run(AGENT, "reset", "--yes")
    again = install(second)
    wait_until("the first one is online", lambda: first.live().get("state") == "beating")
    assert again.device.device_id not in (device.device_id, other.device_id)
    for box, device_id in ((first, device.device_id), (second, again.device.device_id)):
        box.wait_online()
        assert (box.status()["deviceId"], hub.desk.status(device_id)) == (device_id, "online")
