"""The pasted command behind an HTTP proxy that is the only way to the hub."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import wait_until
from tests.system.box import Box
from tests.system.conftest import MakeBox
from tests.system.history import check_once
from tests.system.hub_site import HubSite
from tests.system.namespaces import PLAIN_ENV, SUBNET, WITH_US, Network

ADDRESS, PORT = f"{SUBNET}.254", 3128
PROXY = f"http://{ADDRESS}:{PORT}"


class Proxy:
    """tinyproxy beside the hub, on an address of its own.

    Args:
        network: where.
        folder: for its files.
    """

    def __init__(self, network: Network, folder: Path) -> None:
        self._log = folder / "log"
        self._log.touch()
        lines = [f"Port {PORT}", f"Listen {ADDRESS}", f'LogFile "{self._log}"', "LogLevel Connect", "Timeout 600"]
        (folder / "conf").write_text("\n".join([*lines, "MaxClients 50", ""]))
        network.holder.run("ip", "address", "add", f"{ADDRESS}/24", "dev", "switch")
        line = network.holder.inside("tinyproxy", "-d", "-c", str(folder / "conf"))
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen([*WITH_US, *line], stdin=quiet, stdout=quiet, stderr=quiet, env=PLAIN_ENV)
        wait_until("the proxy listens", lambda: f":{PORT} " in network.holder.run("ss", "-ltn"))

    def tunnels(self) -> int:
        """How many tunnels were asked for so far."""
        return self._log.read_text(errors="replace").count("CONNECT ")

    def end(self) -> None:
        """Stops it."""
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(scope="module")
def proxy(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The proxy."""
    one = Proxy(network, tmp_path_factory.mktemp("proxy"))
    yield one
    one.end()
    network.holder.run("ip", "address", "delete", f"{ADDRESS}/24", "dev", "switch")


@pytest.fixture
def box(make_box: MakeBox, network: Network) -> Box:
    """A box without a way of its own to the hub, not after a reboot either."""
    one = make_box()
    one.run("ip", "route", "add", "unreachable", f"{network.address}/32")
    return one


def test_enrolls_and_beats_through_it(box: Box, proxy: Proxy, hub: HubSite) -> None:
    """With https_proxy set, script, bundle, enrolling and beats take that way; the service keeps it over a reboot."""
    device = hub.desk.create(box.name)
    failed = box.sh(device.install_command, check=False)
    assert failed.returncode == 7 and hub.desk.install_id_state(device.device_id) == "open"

    asked = proxy.tunnels()
    done = box.sh(f"export https_proxy={PROXY}; {device.install_command}")
    assert done.stderr == ""
    assert proxy.tunnels() >= asked + 4
    assert f'proxy = "{PROXY}"' in box.path("/etc/firstlight/agent.toml").read_text()
    check_once(box, hub, device.device_id)

    asked = proxy.tunnels()
    box.reboot()
    check_once(box, hub, device.device_id)
    assert proxy.tunnels() > asked
    assert PROXY not in box.sh("cat /etc/systemd/system/firstlight.service").stdout


def test_proxy_that_is_down_is_named(box: Box, hub: HubSite) -> None:
    """A proxy where nobody listens: curl says so and nothing runs; nothing is left or spent."""
    device = hub.desk.create(box.name)
    done = box.sh(f"export https_proxy=http://{ADDRESS}:3129; {device.install_command}", check=False)
    assert done.returncode != 0 and "3129" in done.stderr
    assert not box.path("/opt/firstlight").exists()
    assert hub.desk.install_id_state(device.device_id) == "open"
