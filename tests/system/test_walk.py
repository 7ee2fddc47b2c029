"""The life of a box on each userland: install, online, reboot, kill, upgrade, roll back, uninstall, nothing left."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

import firstlight
from tests.e2e.conftest import wait_until
from tests.system.box import AGENT, Box
from tests.system.conftest import MakeBox, on_each_userland
from tests.system.history import check_once
from tests.system.hub_site import HubSite
from tests.system.namespaces import Network
from tests.system.releases import ENDS_AT_ONCE, FORMER, former_tree, install_former, later, remade
from tests.system.traces import disk, state

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """A network for this file and its hub."""
    one = Network()
    yield one
    one.end()


@pytest.fixture(scope="module")
def hub(network: Network, bundles: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubSite]:
    """A hub of this file's own: later versions on its shelf are nobody else's."""
    one = HubSite(network, tmp_path_factory.mktemp("hub"), bundles)
    yield one
    one.stop()


@pytest.fixture(scope="module")
def versions(bundles: list[Path], hub: HubSite, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A later version that is good, and one after it that ends as soon as it beats; both signed, on the hub's shelf."""
    (own,) = [one for one in bundles if platform.machine() in one.name]
    into = tmp_path_factory.mktemp("releases")
    hub.put_on_shelf(remade(own, later(1), into))
    hub.put_on_shelf(remade(own, later(2), into, ENDS_AT_ONCE))
    return later(1), later(2)


def roll_out(hub: HubSite, version: str, device_id: str) -> None:
    """Has the hub offer a version to one box; what it offered before has ended."""
    if progress(hub).get("state", "ended") != "ended":
        hub.cli("rollout end")
    hub.cli("rollout start", "--version", version, "--device", device_id)


def progress(hub: HubSite) -> dict[str, object]:
    """How far the roll-out has come."""
    found = json.loads(hub.cli("rollout show", "--json")) or {}
    assert isinstance(found, dict)
    return found


def wait_upgraded(box: Box, version: str) -> None:
    """Until a version runs, is accepted and is what the box would go back to."""
    wait_until(f"{version} runs", lambda: box.live().get("agentVersion") == version, 90)
    wait_until("it is proved", lambda: f"/{version}-" in box.read(f"{AGENT}-proven"), 60)
    wait_until("the upgrade is over", lambda: not box.path("/opt/firstlight/upgrade.json").exists(), 30)


def check_goes_back(box: Box, hub: HubSite, device_id: str, version: str) -> None:
    """A broken release is offered: the box goes back by itself, says why, and the roll-out halts."""
    runs = str(box.live()["agentVersion"])
    # How long the hub's word is waited for, in place of ten minutes.
    box.drop_in("patience", PATIENCE, "firstlight-upgrade.service")
    roll_out(hub, version, device_id)
    try:
        wait_until("the hub knows that it failed", lambda: progress(hub)["failed"], 120)
    except AssertionError as error:
        raise AssertionError(box.journal("firstlight-upgrade.service") + box.journal()[-3000:]) from error
    found = progress(hub)["failed"]
    assert isinstance(found, list) and [each["device"] for each in found] == [device_id]
    assert found[0]["code"].startswith("upgrade_"), found
    wait_until("it has halted", lambda: progress(hub)["state"] == "halted", 30)
    hub.cli("rollout end")
    check_once(box, hub, device_id)
    assert box.live()["agentVersion"] == runs
    assert f"/{runs}-" in box.read(AGENT) and f"/{runs}-" in box.read(f"{AGENT}-proven")
    assert not box.path("/opt/firstlight/upgrade.json").exists()


PATIENCE = "[Service]\nExecStart=\nExecStart=/opt/firstlight/bin/firstlight-proven upgrade --wished --patience 12\n"


@on_each_userland
def test_walk(userland: str, make_box: MakeBox, hub: HubSite, versions: tuple[str, str]) -> None:
    """Install, online, reboot, kill, upgrade by the hub, a bad release goes back by itself, uninstall: nothing left."""
    good, bad = versions
    box = make_box(userland=userland)
    box.sh("sudo true; mkdir -p -m 700 /var/lib/private; systemctl daemon-reload; systemctl restart systemd-journald")
    before, had = disk(box), state(box)
    device = hub.desk.create(box.name)
    assert box.sh(device.install_command).stderr == ""
    check_once(box, hub, device.device_id)

    box.reboot()
    check_once(box, hub, device.device_id)
    killed = box.agent_pid
    box.sh(f"kill -KILL {killed}")
    wait_until("another process beats", lambda: box.live().get("pid") not in (None, killed))
    check_once(box, hub, device.device_id)

    roll_out(hub, good, device.device_id)
    wait_upgraded(box, good)
    wait_until("the hub knows", lambda: progress(hub)["done"] == 1, 30)
    hub.cli("rollout end")
    check_once(box, hub, device.device_id)

    check_goes_back(box, hub, device.device_id, bad)
    box.reboot()
    check_once(box, hub, device.device_id)
    assert box.live()["agentVersion"] == good

    box.sh("rm -r /etc/systemd/system/firstlight-upgrade.service.d")
    gone = box.sh(f"{device.install_command} -s -- --uninstall --purge")
    assert gone.stderr == ""
    assert disk(box) == before
    assert state(box) == had


def test_from_the_former_version(make_box: MakeBox, hub: HubSite) -> None:
    """A box that the former version's script installed runs the new command: the same device, now of this version."""
    tree = former_tree()
    if tree is None:
        pytest.skip("this checkout has no history, so there is no former version to install")
    donor = make_box()
    other = hub.desk.create("donor")
    donor.sh(other.install_command)
    donor.sh("tar -C /opt/firstlight/lib/*/lib -cf /srv/lib.tar .")

    box = make_box(binds={tree: "/srv/former"})
    box.path("/var/lib.tar").write_bytes(donor.path("/srv/lib.tar").read_bytes())
    box.sh("mkdir /var/libraries && tar -C /var/libraries -xf /var/lib.tar")
    device = hub.desk.create(box.name)
    url, pin = device.install_command.split("'")[3].partition("/devices")[0], device.install_command.split("'")[1]
    install_former(box, tree, "/var/libraries", (device.install_id.reveal(), url, pin))
    box.wait_online()
    assert box.live()["agentVersion"] == FORMER
    assert not box.path(f"{AGENT}-proven").exists()

    done = box.sh(device.install_command)
    assert done.stderr == ""
    check_once(box, hub, device.device_id)
    assert box.live()["agentVersion"] == firstlight.__version__
    assert box.path(f"{AGENT}-proven").exists() and list(box.path("/etc/firstlight/trust.d").iterdir())
    assert box.unit("ActiveState", "firstlight-upgrade.path") == "active"
    again = box.sh(device.install_command)
    assert again.stdout.startswith("firstlight: nothing to do: "), again.stdout
    gone = box.sh(f"{device.install_command} -s -- --uninstall --purge")
    assert gone.stderr == "" and not box.path("/opt/firstlight").exists() and not box.path("/etc/firstlight").exists()
