"""The real agent behind a real proxy: the hub's name is known to the proxy alone, so nothing arrives another way."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from firstlight.core.model import Registration, parse_endpoint
from firstlight.system.store import StateDirectory
from tests.e2e.conftest import Box, Hub, wait_until
from tests.system.mosquitto_site import free_port

pytestmark = pytest.mark.system

NAME = "behind.firstlight.test"  # .test is nobody's, RFC 6761
LOGIN, WRONG = "box:sEcretOfProxy", "box:sEcretOfProxy2"
WAYS = ("http", "mqtt", "websocket")


class Tinyproxy:
    """tinyproxy with a hosts file of its own.

    Args:
        folder: for its files.
        login: USER:PASSWORD that it asks for, "" = open to all.
    """

    def __init__(self, folder: Path, login: str = "") -> None:
        self.port, self._log = free_port(), folder / "log"
        (folder / "hosts").write_text(f"127.0.0.1 localhost {NAME}\n")
        lines = [f"Port {self.port}", "Listen 127.0.0.1", f'LogFile "{self._log}"', "LogLevel Connect"]
        lines += ["Timeout 600", "MaxClients 50"] + ([f"BasicAuth {login.replace(':', ' ')}"] if login else [])
        (folder / "conf").write_text("\n".join([*lines, ""]))
        self._log.touch()
        script = 'mount --bind "$1/hosts" /etc/hosts && exec tinyproxy -d -c "$1/conf"'
        line = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", str(folder)]
        self.process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until("the proxy listens", self._listens)

    @property
    def url(self) -> str:
        """Its address, as the setting has it."""
        return f"http://127.0.0.1:{self.port}"

    def asked_for(self, port: int) -> int:
        """How many tunnels to a port of the hub's name were asked for."""
        return self._log.read_text(errors="replace").count(f"CONNECT {NAME}:{port} ")

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5):
            return True
        return False

    def end(self) -> None:
        """Stops it."""
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with mosquitto, under a name that this machine does not know."""
    one = Hub(tmp_path_factory.mktemp("hub"), is_served=False, heartbeat_interval_s=1, online_window_s=3)
    hosts: str = [NAME, "127.0.0.1"]  # type: ignore[assignment]
    one.configure(hosts=hosts, mqtt="mosquitto", mqtt_port=free_port(), mqtt_certificate_port=free_port())
    one.configure(mqtt_websocket_port=free_port())
    one.serve()
    one.endpoint = parse_endpoint(f"https://127.0.0.1:{one.port}")  # the desk's way, beside the proxy
    yield one
    one.stop()


@pytest.fixture(scope="module")
def proxies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Tinyproxy]]:
    """One that is open, and one that wants a password."""
    made = {name: Tinyproxy(tmp_path_factory.mktemp(name), login) for name, login in (("open", ""), ("closed", LOGIN))}
    yield made
    for one in made.values():
        one.end()


@pytest.fixture
def box(tmp_path: Path, hub: Hub) -> Iterator[Box]:
    """A box that knows no way to the hub."""
    one = Box(tmp_path, hub)
    yield one
    for process in one.processes:
        process.terminate()
        process.communicate(timeout=20)


def registration(box: Box) -> Registration:
    """The one on the box's disk."""
    found = StateDirectory(str(box.state_dir)).load_registration()
    assert found is not None
    return found


def words(folder: Path, proxy: Tinyproxy, login: str = "") -> tuple[str, ...]:
    """The options for a proxy, with its password in a file."""
    if not login:
        return ("--proxy", proxy.url)
    file = folder / "proxy-password"
    file.write_text(login + "\n")
    file.chmod(0o600)
    return ("--proxy", proxy.url, "--proxy-auth-file", str(file))


@pytest.mark.parametrize("kind", ["open", "closed"])
@pytest.mark.parametrize("way", WAYS)
def test_everything_goes_through_the_proxy(
    hub: Hub, proxies: dict[str, Tinyproxy], box: Box, tmp_path: Path, way: str, kind: str
) -> None:
    """Enrolling, beats and both ways of rotating, each way of travelling, with and without a password."""
    proxy, credential = proxies[kind], "certificate" if way == "mqtt" else "secret"
    options = words(tmp_path, proxy, LOGIN if kind == "closed" else "")
    created = hub.create(f"{way} {kind}")
    asked = proxy.asked_for(hub.port)
    box.enroll(created.install_id.reveal(), "--transport", way, "--credential", credential, *options)
    assert proxy.asked_for(hub.port) > asked
    found = registration(box)
    assert found.endpoint.host == NAME

    box.cli("rotate", "--state-dir", str(box.state_dir), *options)
    second = registration(box)
    assert second.key_fingerprint != found.key_fingerprint

    place = found.broker if found.transport == "mqtt" and found.broker is not None else found.endpoint
    asked = proxy.asked_for(place.port)
    box.env.update(FIRSTLIGHT_PROXY=proxy.url)
    if kind == "closed":
        box.env.update(FIRSTLIGHT_PROXY_AUTH_FILE=options[-1])
    agent = box.run()
    wait_until("it is online", lambda: box.status()["state"] == "online")
    assert not box.status().get("brokerRefuses") and not box.status().get("brokerOutOfReach") and place.host == NAME
    assert proxy.asked_for(place.port) == asked + 1, "one tunnel carries all beats"
    wait_until("the hub sees it", lambda: hub.status(found.device_id) == "online")

    box.cli("rotate", "--state-dir", str(box.state_dir))
    assert registration(box).key_fingerprint != second.key_fingerprint
    wait_until("it is online again", lambda: box.status()["state"] == "online")
    assert agent.poll() is None
    assert LOGIN.partition(":")[2] not in Path(f"/proc/{agent.pid}/cmdline").read_text()


@pytest.mark.parametrize("login", ["", WRONG])
def test_a_password_that_the_proxy_does_not_take(
    hub: Hub, proxies: dict[str, Tinyproxy], box: Box, tmp_path: Path, login: str
) -> None:
    """Named when enrolling, when rotating and in the running agent's status, over HTTP and MQTT; nothing is spent."""
    install_id = hub.create().install_id.reveal()
    refused = box.enroll(install_id, *words(tmp_path, proxies["closed"], login), "--patience", "1", check=False)
    assert refused.returncode == 69 and "[proxy_auth_required]" in refused.stderr
    asked_too_much = "does not accept the password" if login else "asks for a password"
    assert asked_too_much in refused.stderr

    right = words(tmp_path, proxies["closed"], LOGIN)
    box.enroll(install_id, "--transport", "mqtt", *right)
    before = registration(box)
    wrong = words(tmp_path, proxies["closed"], login)
    refused = box.cli("rotate", "--state-dir", str(box.state_dir), *wrong, check=False)
    assert refused.returncode == 69 and "proxy_auth_required" in refused.stderr and registration(box) == before

    box.env.update(FIRSTLIGHT_PROXY=proxies["closed"].url)
    if login:
        box.env.update(FIRSTLIGHT_PROXY_AUTH_FILE=wrong[-1])
    box.run()
    wait_until("it says so", lambda: box.status().get("reason") == "proxy_auth_required")
    found = box.status()
    assert found["state"] == "cut_off" and asked_too_much in str(found["message"]) and found["hint"]
    assert login.partition(":")[2] not in str(found) or not login


def test_without_the_proxy_there_is_no_way(hub: Hub, proxies: dict[str, Tinyproxy], box: Box, tmp_path: Path) -> None:
    """What shows that the tests above prove anything: beside the proxy nobody knows the hub's name."""
    refused = box.enroll(hub.create().install_id.reveal(), "--patience", "1", check=False)
    assert refused.returncode == 69 and "[dns_failed]" in refused.stderr
