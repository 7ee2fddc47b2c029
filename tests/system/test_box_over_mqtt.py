"""A box that beats over MQTT with a certificate, under its real unit: it changes its credential and survives."""

from __future__ import annotations

import json
import platform
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from firstlight.system.registration_file import decode
from tests.e2e.conftest import wait_until
from tests.system.box import AGENT, Box
from tests.system.conftest import Installed, MakeBox
from tests.system.hub_site import HubSite
from tests.system.namespaces import Network
from tests.system.upgrade_bundles import derived

NEWER = "0.3.0"
FILE = "/var/lib/private/firstlight/registration.json"


@pytest.fixture(scope="module")
def site(network: Network, bundles: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubSite]:
    """A hub with a mosquitto, beside that of the other files."""
    one = HubSite(network, tmp_path_factory.mktemp("mqtt"), bundles, port=8444, mqtt="mosquitto")
    yield one
    one.stop()


@pytest.fixture(scope="module")
def installed(make_box: MakeBox, site: HubSite) -> Installed:
    """A box on which the pasted command of such a device has run, and whose watchdog is short."""
    box = make_box()
    device = site.desk.create(box.name, "mqtt", "certificate")
    done = box.sh(device.install_command)
    box.drop_in("short-watchdog", "[Service]\nWatchdogSec=2\nRestartSec=1\n")
    box.run("systemctl", "restart", "firstlight")
    check_online(box)
    return Installed(box, device, done, 0.0)


def check_online(box: Box) -> None:
    """Online, and the broker itself takes its beats."""
    box.wait_online()

    def is_taken() -> bool:
        live = box.live()
        past = live.get("brokerRefuses") or live.get("brokerOutOfReach")
        return live.get("state") == "beating" and not past

    wait_until("the broker takes it", is_taken)
    assert (box.live()["transport"], box.live()["credential"]) == ("mqtt", "certificate")


def fingerprint(box: Box) -> str:
    """Of the key that the box's registration goes by."""
    return decode(box.path(FILE).read_bytes(), FILE).key_fingerprint


def test_online_over_the_broker(installed: Installed, site: HubSite) -> None:
    """The pasted command is all it takes."""
    box, device, _, _ = installed
    assert str(box.status()["broker"]).startswith(f"mqtts://{site.network.address}:8884")
    assert site.desk.status(device.device_id) == "online"


def test_rotate_by_root(installed: Installed, site: HubSite) -> None:
    """The sandboxed service replaces its own credential, fed watchdog and same process id all the while."""
    box, device, _, _ = installed
    before, pid, restarts = fingerprint(box), box.agent_pid, box.unit("NRestarts")
    done = box.run(AGENT, "rotate")
    assert fingerprint(box) != before, done.stdout
    check_online(box)
    assert (box.agent_pid, box.unit("NRestarts")) == (pid, restarts)
    assert "Watchdog timeout" not in box.journal()
    assert site.desk.status(device.device_id) == "online"


def test_rotate_against_a_hub_that_hangs(installed: Installed, site: HubSite) -> None:
    """The call of a change may hang for longer than the watchdog waits: it is fed all the same, and beats go on."""
    box, before, restarts = installed.box, fingerprint(installed.box), installed.box.unit("NRestarts")
    with site.frozen():
        done = box.run(AGENT, "rotate", "--patience", "5", check=False)
    assert done.returncode and "[rotation_failed]" in done.stderr
    check_online(box)
    assert (box.unit("NRestarts"), "Watchdog timeout" in box.journal()) == (restarts, False)
    box.run(AGENT, "rotate")
    assert fingerprint(box) != before
    check_online(box)


def test_rotate_at_the_desk(installed: Installed, site: HubSite) -> None:
    """The hub says it over the broker, and the box does it by itself."""
    box, device, _, _ = installed
    before, restarts = fingerprint(box), box.unit("NRestarts")
    site.desk.call("POST", f"/{device.device_id}/rotate")
    wait_until("another key", lambda: fingerprint(box) != before)
    check_online(box)
    assert box.unit("NRestarts") == restarts
    assert "Watchdog timeout" not in box.journal()


def test_online_again_after_a_kill(installed: Installed) -> None:
    """SIGKILL: systemd starts it again, with the credential that it rotated to."""
    box, before = installed.box, installed.box.agent_pid
    box.sh(f"kill -KILL {before}")
    wait_until("another process publishes", lambda: box.live().get("pid") not in (None, before))
    check_online(box)


def test_online_again_after_the_hubs_machine(installed: Installed, site: HubSite) -> None:
    """Hub and broker go and come back; nothing that was due meanwhile is missing in the end."""
    box, device, _, _ = installed
    with site.away():
        box.wait_state("cut_off")
    check_online(box)
    wait_until("the kept beats are delivered", lambda: box.live().get("spooled") == 0)
    assert box.live()["dropped"] == 0
    assert site.desk.status(device.device_id) == "online"


def test_online_again_after_a_reboot(installed: Installed, site: HubSite) -> None:
    """Rebooted, the box is online by itself, over the broker."""
    box, device, _, _ = installed
    box.reboot()
    check_online(box)
    assert box.status()["deviceId"] == device.device_id
    assert site.desk.status(device.device_id) == "online"


def test_a_release_that_is_rolled_out(installed: Installed, site: HubSite, bundles: list[Path], tmp_path: Path) -> None:
    """Offered over the broker, installed, proved and told over the broker again: the hub counts it as done."""
    box, device, _, _ = installed
    base = next(path for path in bundles if path.name.endswith(f"-{platform.machine()}.tar"))
    newer = derived(base, tmp_path, NEWER)
    site.put_on_shelf(newer)
    site.cli("rollout start", "--version", NEWER, "--device", device.device_id)

    def shown() -> dict[str, object]:
        found = json.loads(site.cli("rollout show", "--json"))
        assert isinstance(found, dict)
        return found

    def told() -> list[tuple[str, str | None]]:
        question = "SELECT version, code FROM upgrade WHERE ended_at_ms IS NOT NULL"
        with closing(sqlite3.connect(f"file:{site.database}?mode=ro", uri=True)) as connection:
            return connection.execute(question).fetchall()

    wait_until("the box has told how it went", lambda: told() == [(NEWER, "")], 120)
    assert shown()["done"] == 1 and not shown()["failed"]
    assert box.live()["agentVersion"] == NEWER
    check_online(box)


def test_removed_device_retires(installed: Installed, site: HubSite) -> None:
    """Removed on the hub: the broker puts it out, the hub tells it why, and the unit ends with 78."""
    box, device, _, _ = installed
    site.desk.call("DELETE", f"/{device.device_id}")
    wait_until("the unit ends", lambda: box.unit("ActiveState") == "failed")
    assert (box.unit("ExecMainStatus"), box.status()["state"]) == ("78", "retired")
