"""A real proxy that ends TLS before the hub: haproxy hands device certificates over, and nobody else can."""

from __future__ import annotations

import base64
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from firstlight_hub import tls
from firstlight_hub.authorities import Authority
from firstlight_hub.folder import HubFolder
from tests.hub.hub_world import JSON, Box, refusal
from tests.hub.identities import DAY, certify, new_authority, now, trusting
from tests.hub.served import PATIENCE_S, Served, change, make

pytestmark = pytest.mark.system

PROXY = "127.0.0.7"  # from which haproxy speaks to the hub
STRANGER = "127.0.0.8"
PUBLIC = "https://hub.example"
CONFIGURATION = """\
global
    log stderr format raw local0
defaults
    mode http
    timeout connect 10s
    timeout client 60s
    timeout server 60s
frontend boxes
    bind fd@{descriptor} ssl crt {server} ca-file {ca} verify optional {lenient}
    http-request del-header Client-Cert
    http-request set-header Client-Cert :%[ssl_c_der,base64]: if {{ ssl_c_used }}
    default_backend hub
backend hub
    source {proxy}
    server hub 127.0.0.1:{port}
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A hub behind a proxy, in plain HTTP on loopback, that gives out certificates."""
    folder = tmp_path_factory.mktemp("proxied") / "hub"
    key = make(folder)
    change(folder, behind_proxy=True, public_url=PUBLIC, credential="certificate", trusted_proxies=[PROXY])
    with Served(folder, key) as found:
        found.client.close()
        found.client = httpx.Client(base_url=f"http://127.0.0.1:{found.told['port']}", timeout=PATIENCE_S)
        yield found


@contextmanager
def haproxy(hub: Served, folder: Path, lenient: str) -> Iterator[str]:
    """Haproxy before that hub -> its address."""
    program = shutil.which("haproxy")
    assert program, "install the packages in tests/system/packages.txt"
    (folder / "server.pem").write_bytes(
        (hub.folder / "server.pem").read_bytes() + (hub.folder / "server.key").read_bytes()
    )
    listening = socket.create_server(("127.0.0.1", 0))
    with closing(listening):
        words = {"server": folder / "server.pem", "ca": hub.folder / "ca.pem", "lenient": lenient, "proxy": PROXY}
        file = folder / "haproxy.cfg"
        text = CONFIGURATION.format(descriptor=listening.fileno(), port=hub.told["port"], **words)
        file.write_text(text)
        process = subprocess.Popen(
            [program, "-db", "-f", str(file)], pass_fds=[listening.fileno()], stdout=sys.stderr, stderr=sys.stderr
        )
        try:
            yield f"https://127.0.0.1:{listening.getsockname()[1]}"  # it listens already: haproxy inherits the socket
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def proxy(hub: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One that lets every certificate pass, so that the hub alone is asked."""
    with haproxy(hub, tmp_path_factory.mktemp("haproxy"), "crt-ignore-err all ca-ignore-err all") as address:
        yield address


class Device:
    """A device of that hub, with a certificate."""

    def __init__(self, hub: Served) -> None:
        self.box = Box()
        self.id, install_id, _ = hub.create()
        answer = hub.redeem(install_id, self.box)
        assert answer.status_code == 201, answer.text
        self.certificate_pem: str = answer.json()["certificatePem"]
        assert "caPem" not in answer.json()

    @property
    def names(self) -> dict[str, str]:
        """The subject of its certificate."""
        return {"O": "demo", "CN": self.id, "serialNumber": "1"}

    def beat(self, calling: httpx.Client, **headers: str) -> httpx.Response:
        """One beat, without Authorization."""
        path = f"/demo/devices/v2/{self.id}/heartbeat"
        return calling.post(path, content=self.box.beat_body(), headers={**JSON, **headers})

    def header(self) -> str:
        """Its certificate, as a proxy would hand it over."""
        der = tls.certificate_der(x509.load_pem_x509_certificate(self.certificate_pem.encode()))
        return f":{base64.b64encode(der).decode()}:"


@pytest.fixture(scope="module")
def device(hub: Served) -> Device:
    """One device for all tests."""
    return Device(hub)


def through(hub: Served, address: str, shown: str = "", box: Box | None = None) -> httpx.Client:
    """A client of the proxy."""
    context = trusting((hub.folder / "ca.pem").read_text(), shown, box.private if box else None)
    return httpx.Client(base_url=address, verify=context, timeout=PATIENCE_S)


def test_certificate_beats_through_the_proxy(hub: Served, proxy: str, device: Device) -> None:
    """Haproxy ends TLS, the hub still knows whose beat it is, and only on this device's path."""
    with through(hub, proxy, device.certificate_pem, device.box) as calling:
        assert [device.beat(calling).status_code for _ in range(3)] == [200, 200, 200]
        assert refusal(Device(hub).beat(calling)) == (401, "key_invalid")


def test_without_a_certificate_there_is_no_credential(hub: Served, proxy: str, device: Device) -> None:
    """A box without one reaches the hub and is asked for one."""
    with through(hub, proxy) as calling:
        assert calling.get("/health").status_code == 200
        assert refusal(device.beat(calling)) == (401, "key_invalid")


def test_header_of_a_client_does_not_pass_the_proxy(hub: Served, proxy: str, device: Device) -> None:
    """The proxy takes away what a client sends, and puts its own in its place."""
    thief = Device(hub)
    with through(hub, proxy) as calling:
        assert refusal(device.beat(calling, **{"Client-Cert": device.header()})) == (401, "key_invalid")
    with through(hub, proxy, thief.certificate_pem, thief.box) as calling:
        assert refusal(device.beat(calling, **{"Client-Cert": device.header()})) == (401, "key_invalid")


def test_header_of_another_peer_is_refused(hub: Served, device: Device) -> None:
    """Whoever speaks to the hub from another address than the proxy's cannot hand over a certificate."""
    for source in (STRANGER, "127.0.0.1"):
        transport = httpx.HTTPTransport(local_address=source)
        with httpx.Client(base_url=hub.client.base_url, transport=transport, timeout=PATIENCE_S) as calling:
            assert refusal(device.beat(calling, **{"Client-Cert": device.header()})) == (400, "proxy_not_trusted")


def test_hub_checks_what_the_proxy_lets_pass(hub: Served, proxy: str, device: Device) -> None:
    """Another CA's certificate and one that ended are refused by the hub itself."""
    own = HubFolder(hub.folder).authorities().present
    ends = now() - DAY / 1440
    for authority, reason in ((new_authority(), "key_invalid"), (own, "certificate_refused")):
        shown = certified(authority, device, ends if authority is own else now() + DAY)
        with through(hub, proxy, shown, device.box) as calling:
            assert refusal(device.beat(calling)) == (401, reason)
            assert calling.get("/health").status_code == 200


def test_revoked_certificate_through_the_proxy(hub: Served, proxy: str) -> None:
    """What the operator ended is refused by name at the next beat, whatever the proxy thinks of it."""
    device, operator = Device(hub), {"Authorization": f"Bearer {hub.key}"}
    with through(hub, proxy, device.certificate_pem, device.box) as calling:
        assert device.beat(calling).status_code == 200
        ended = hub.client.delete(f"/demo/devices/v2/{device.id}/credential", headers=operator)
        assert ended.status_code == 204
        assert refusal(device.beat(calling)) == (401, "credential_revoked")


def certified(authority: Authority, device: Device, ends: datetime) -> str:
    """A certificate for the device's own key and name."""
    made = certify(authority, device.box.private, device.names, begins=now() - 3 * DAY, ends=ends)
    return tls.certificate_pem(made).decode()


def test_proxy_that_checks_too_ends_the_handshake(hub: Served, device: Device, tmp_path: Path) -> None:
    """Without the lenient words haproxy itself refuses what the hub's CA did not sign, and serves the others."""
    with haproxy(hub, tmp_path, "") as strict:
        shown = certified(new_authority(), device, now() + DAY)
        with through(hub, strict, shown, device.box) as calling, pytest.raises(httpx.TransportError):
            device.beat(calling)
        with through(hub, strict, device.certificate_pem, device.box) as calling:
            assert device.beat(calling).status_code == 200
