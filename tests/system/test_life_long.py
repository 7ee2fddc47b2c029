"""Long times of trouble: ten minutes without a network, an hour with a full disk.

``haste`` in the agent's run file makes each of its waits that many times shorter and its monotonic clock that many
times faster, so an hour of beats, of growing waits between attempts and of kept beats passes in seconds. What takes
real time (connecting, writing) stays as it is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import wait_until
from tests.system.box import Box
from tests.system.conftest import Install, Installed, MakeBox
from tests.system.history import check_once
from tests.system.hub_site import HubSite
from tests.system.namespaces import Network

HASTE = 300.0
MINUTE_S = 60.0 / HASTE
RUN_FILE = "/var/lib/private/firstlight/run.json"


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """A network for this file: its hub asks for a beat a minute, as a real one does."""
    one = Network()
    yield one
    one.end()


@pytest.fixture(scope="module")
def hub(network: Network, bundles: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubSite]:
    """A hub with the settings of every day."""
    one = HubSite(network, tmp_path_factory.mktemp("hub"), bundles, heartbeat_interval_s=60, online_window_s=300)
    yield one
    one.stop()


@pytest.fixture
def hasty(make_box: MakeBox, install: Install) -> Installed:
    """An installed box with a small disk, whose agent lives 300 times faster from now on."""
    one = install(make_box(disk_size="250m"))
    box = one.box
    box.run("systemctl", "stop", "firstlight")
    file = box.path(RUN_FILE)
    file.write_text(json.dumps({**json.loads(file.read_text()), "haste": HASTE}))
    box.run("systemctl", "start", "firstlight")
    box.wait_online()
    return one


def live_minutes(count: float) -> None:
    """Lets so many of the agent's minutes pass."""
    end_s = time.monotonic() + count * MINUTE_S
    wait_until(f"{count} minutes have passed", lambda: time.monotonic() >= end_s, count * MINUTE_S + 5)


def test_network_ten_minutes_late(hasty: Installed, hub: HubSite) -> None:
    """The cable comes ten minutes after the boot: kept beats since then are delivered, and the box is online, once."""
    box = hasty.box
    box.unplug()
    box.reboot()
    try:
        box.wait_state("cut_off")
        live_minutes(10)
        found = box.live()
        assert found["reason"] == "network_unreachable" and int(str(found["spooled"])) >= 4
    finally:
        box.plug_in()
    history = check_once(box, hub, hasty.device.device_id)
    assert len([beat for beat in history if beat.late]) >= int(str(found["spooled"]))
    assert (box.live()["dropped"], box.unit("NRestarts")) == (0, "0")


def test_disk_full_for_an_hour(hasty: Installed, hub: HubSite) -> None:
    """A full disk for an hour, half of it without a hub: beats that fit nowhere are counted, nothing else is lost."""
    box, pid = hasty.box, hasty.box.agent_pid
    fill_disk(box)
    live_minutes(30)
    assert box.live()["state"] == "beating"
    with hub.away():
        box.wait_state("cut_off")
        live_minutes(30)
        fill_disk(box)  # the journal may have made room for itself
        lost = int(str(box.live()["dropped"]))
        box.sh("rm -f /var/filler*")
        live_minutes(10)
        assert int(str(box.live()["spooled"])) > 0
    box.wait_state("beating", 40)
    wait_until("the kept beats are delivered", lambda: box.live().get("spooled") == 0, 40)
    assert hub.desk.status(hasty.device.device_id) == "online"
    assert int(str(box.live()["dropped"])) >= lost > 0
    assert (box.agent_pid, box.unit("NRestarts")) == (pid, "0")


def fill_disk(box: Box) -> None:
    """Takes all that is free on the box's disk, to the last byte."""
    box.sh("for n in 1 2 3; do cat /dev/zero >>/var/filler$n 2>/dev/null; done", check=False)
    assert box.sh("echo more >/var/filler-more", check=False).returncode != 0
