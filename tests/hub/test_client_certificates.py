"""Devices that show a certificate: in real handshakes with a served hub, and through a proxy's header."""

from __future__ import annotations

import base64
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from firstlight.transports.connect import OWN_CERTIFICATE
from firstlight_hub import tls
from firstlight_hub.authorities import Authority
from firstlight_hub.client_certificate import MAX_HEADER
from firstlight_hub.folder import HubFolder
from tests.hub.hub_world import JSON, Box, refusal
from tests.hub.identities import DAY, certify, new_authority, now, trusting
from tests.hub.served import PATIENCE_S, Served, change, command, make

HEADER = "Client-Cert"
STRANGER = "127.0.0.2"  # the hub trusts 127.0.0.1 as a proxy


class Enrolled(NamedTuple):
    """A device with a certificate."""

    box: Box
    device_id: str
    certificate_pem: str

    @property
    def path(self) -> str:
        """Where its beats go."""
        return f"/demo/devices/v2/{self.device_id}/heartbeat"

    @property
    def names(self) -> dict[str, str]:
        """The subject of its certificate."""
        return {"O": "demo", "CN": self.device_id, "serialNumber": "1"}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running hub that gives out certificates and trusts a proxy on 127.0.0.1."""
    folder = tmp_path_factory.mktemp("certificates") / "hub"
    key = make(folder)
    change(folder, credential="certificate", trusted_proxies=["127.0.0.1"])
    with Served(folder, key) as found:
        yield found


@pytest.fixture(scope="module")
def authority(hub: Served) -> Authority:
    """The hub's CA."""
    return HubFolder(hub.folder).authorities().present


def enroll(hub: Served) -> Enrolled:
    """Creates a device and redeems its installId."""
    device_id, install_id, _ = hub.create()
    box = Box()
    answer = hub.redeem(install_id, box)
    assert answer.status_code == 201, answer.text
    assert answer.json()["credential"] == "certificate"
    return Enrolled(box, device_id, answer.json()["certificatePem"])


@pytest.fixture(scope="module")
def device(hub: Served) -> Enrolled:
    """A device of that hub."""
    return enroll(hub)


def client(hub: Served, shown: str = "", key: Box | None = None, source: str | None = None) -> httpx.Client:
    """A client that trusts the hub, and shows a certificate where one is given."""
    context = trusting((hub.folder / "ca.pem").read_text(), shown, key.private if key else None)
    transport = httpx.HTTPTransport(verify=context, local_address=source)
    return httpx.Client(base_url=hub.url, transport=transport, timeout=PATIENCE_S)


def beat(calling: httpx.Client, device: Enrolled, **headers: str) -> httpx.Response:
    """One beat, without Authorization."""
    return calling.post(device.path, content=device.box.beat_body(), headers={**JSON, **headers})


def pem(certificate: x509.Certificate) -> str:
    """A certificate as PEM."""
    return tls.certificate_pem(certificate).decode()


def in_header(certificate_pem: str) -> str:
    """RFC 9440's form."""
    der = tls.certificate_der(x509.load_pem_x509_certificate(certificate_pem.encode()))
    return f":{base64.b64encode(der).decode()}:"


def test_certificate_says_whose_it_is(device: Enrolled, authority: Authority) -> None:
    """Subject, purpose and key are as the contract has them."""
    certificate = x509.load_pem_x509_certificate(device.certificate_pem.encode())
    assert set(certificate.subject.rfc4514_string().split(",")) == {
        f"CN={device.device_id}",
        "O=demo",
        "2.5.4.5=1",
    }
    assert certificate.public_key() == device.box.private.public_key()
    certificate.verify_directly_issued_by(authority.certificate)


def test_right_certificate_beats(hub: Served, device: Enrolled) -> None:
    """Shown in the handshake it is all that a beat needs, many times on one connection."""
    with client(hub, device.certificate_pem, device.box) as calling:
        assert [beat(calling, device).status_code for _ in range(3)] == [200, 200, 200]


def test_certificate_of_another_device_is_refused(hub: Served, device: Enrolled) -> None:
    """On another device's path, or another workspace's, it is no credential."""
    other = enroll(hub)
    with client(hub, other.certificate_pem, other.box) as calling:
        assert refusal(beat(calling, device)) == (401, "key_invalid")
        elsewhere = f"/plain/devices/v2/{other.device_id}/heartbeat"
        answer = calling.post(elsewhere, content=other.box.beat_body(), headers=JSON)
        assert refusal(answer) == (401, "key_invalid")
        assert beat(calling, other).status_code == 200


def test_without_a_certificate_the_hub_is_reached(hub: Served, device: Enrolled) -> None:
    """A box whose certificate is gone can still ask; a beat needs a credential."""
    with client(hub) as calling:
        assert calling.get("/health").status_code == 200
        assert refusal(beat(calling, device)) == (401, "key_invalid")


def test_key_in_the_header_goes_before_the_certificate(hub: Served, device: Enrolled) -> None:
    """With Authorization it is the key that counts, and a wrong one is refused."""
    with client(hub, device.certificate_pem, device.box) as calling:
        assert refusal(beat(calling, device, Authorization="Bearer 1.wrong")) == (401, "key_invalid")


def test_certificate_for_a_key_that_the_device_has_not_is_refused(
    hub: Served, device: Enrolled, authority: Authority
) -> None:
    """The CA's signature alone is not enough: the store knows the key."""
    thief = Box()
    with client(hub, pem(certify(authority, thief.private, device.names)), thief) as calling:
        assert refusal(beat(calling, device)) == (401, "key_invalid")


@pytest.mark.parametrize("names", [{"CN": "someone"}, {"O": "demo", "CN": "x", "serialNumber": "first"}])
def test_certificate_that_is_not_a_devices_is_refused(hub: Served, authority: Authority, names: dict[str, str]) -> None:
    """Another certificate of the same CA, as an external one may have given out, is no device's."""
    box = Box()
    with client(hub, pem(certify(authority, box.private, names)), box) as calling:
        assert refusal(beat(calling, Enrolled(box, "x", ""))) == (401, "key_invalid")
        assert calling.get("/health").status_code == 200


def expired(authority: Authority, device: Enrolled) -> x509.Certificate:
    """It ended a minute ago."""
    return certify(authority, device.box.private, device.names, begins=now() - 2 * DAY, ends=now() - DAY / 1440)


def early(authority: Authority, device: Enrolled) -> x509.Certificate:
    """It begins tomorrow."""
    return certify(authority, device.box.private, device.names, begins=now() + DAY, ends=now() + 2 * DAY)


def foreign(authority: Authority, device: Enrolled) -> x509.Certificate:
    """Another CA signed it."""
    return certify(new_authority(), device.box.private, device.names)


def imitated(authority: Authority, device: Enrolled) -> x509.Certificate:
    """Another CA of the same name signed it."""
    key = tls.make_key()
    same_name = tls.make_ca(key, now(), authority.certificate.subject)
    return certify(Authority(same_name, key), device.box.private, device.names)


def for_servers(authority: Authority, device: Enrolled) -> x509.Certificate:
    """It is for a server, not for a client."""
    return certify(authority, device.box.private, device.names, purpose=ExtendedKeyUsageOID.SERVER_AUTH)


Bad = Callable[[Authority, Enrolled], x509.Certificate]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("bad", [expired, early, foreign, imitated, for_servers])
def test_bad_certificate_ends_the_handshake(
    hub: Served, device: Enrolled, authority: Authority, bad: Bad, version: ssl.TLSVersion
) -> None:
    """OpenSSL refuses it before one byte of a request is read, and the agent is told by an alert that it knows."""
    context = trusting(authority.pem, pem(bad(authority, device)), device.box.private)
    context.maximum_version = version

    def ask() -> None:
        plain = socket.create_connection(("127.0.0.1", hub.told["port"]), PATIENCE_S)
        with plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as secured:
            secured.sendall(b"GET /health HTTP/1.1\r\nhost: hub\r\n\r\n")
            secured.recv(4096)

    with pytest.raises(ssl.SSLError) as refused:
        ask()
    assert refused.value.reason in OWN_CERTIFICATE
    with client(hub) as calling:
        assert calling.get("/health").status_code == 200


def test_certificate_ends_with_the_key_it_is_for(hub: Served) -> None:
    """A device that got a new key by a new installId is let in with the new certificate only, at once."""
    device = enroll(hub)
    with client(hub, device.certificate_pem, device.box) as calling:
        assert beat(calling, device).status_code == 200
        headers = {"Authorization": f"Bearer {hub.key}"}
        hub.client.delete(f"/demo/devices/v2/{device.device_id}", headers=headers).raise_for_status()
        assert refusal(beat(calling, device)) == (410, "device_removed")


def test_lost_device_is_taken_back_by_its_certificate(tmp_path: Path) -> None:
    """A hub restored from a backup knows its own signature; another key's certificate request does not do."""
    folder, backup = tmp_path / "hub", tmp_path / "backup"
    key = make(folder)
    change(folder, credential="certificate", take_back=True)
    assert command("backup", "--dir", folder, backup).returncode == 0
    with Served(folder, key) as before:
        lost = enroll(before)
    with Served(backup, key) as restored, client(restored, lost.certificate_pem, lost.box) as calling:
        assert refusal(beat(calling, lost)) == (404, "device_unknown")
        path = lost.path.replace("heartbeat", "take-back")
        other = calling.post(path, content=Box().take_back_body(), headers=JSON)
        assert refusal(other) == (401, "key_invalid")
        answer = calling.post(path, content=lost.box.take_back_body(), headers=JSON)
        assert answer.status_code == 200, answer.text
        assert beat(calling, lost).status_code == 200
        with client(restored) as bare:
            assert refusal(bare.post(path, content=lost.box.take_back_body(), headers=JSON)) == (401, "key_invalid")


@pytest.mark.parametrize("form", ["rfc9440", "nginx"])
def test_trusted_proxy_hands_the_certificate_over(hub: Served, device: Enrolled, form: str) -> None:
    """In both forms it counts like one that was shown to the hub itself."""
    value = in_header(device.certificate_pem)
    if form == "nginx":
        value = urllib.parse.quote(device.certificate_pem, safe="")
    with client(hub) as calling:
        assert beat(calling, device, **{HEADER: value}).status_code == 200
        assert beat(calling, device, **{HEADER: value}).status_code == 200
        other = enroll(hub)
        assert refusal(beat(calling, other, **{HEADER: value})) == (401, "key_invalid")


@pytest.mark.parametrize("value", ["right", "", "junk"])
@pytest.mark.parametrize("what", ["beat", "health"])
def test_header_of_a_stranger_is_refused(hub: Served, device: Enrolled, value: str, what: str) -> None:
    """Whoever else sends the header is refused, with whatever it says and whatever is asked."""
    sent = {HEADER.lower(): in_header(device.certificate_pem) if value == "right" else value}
    with client(hub, device.certificate_pem, device.box, source=STRANGER) as calling:
        answer = beat(calling, device, **sent) if what == "beat" else calling.get("/health", headers=sent)
        assert refusal(answer) == (400, "proxy_not_trusted")
        assert beat(calling, device).status_code == 200


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (expired, "certificate_refused"),
        (early, "certificate_refused"),
        (foreign, "key_invalid"),
        (imitated, "key_invalid"),
        (for_servers, "key_invalid"),
    ],
)
def test_bad_certificate_from_the_proxy_is_refused(
    hub: Served, device: Enrolled, authority: Authority, bad: Bad, reason: str
) -> None:
    """The hub checks signature, dates and purpose itself; what needs no certificate is answered all the same."""
    sent = {HEADER: in_header(pem(bad(authority, device)))}
    with client(hub) as calling:
        assert refusal(beat(calling, device, **sent)) == (401, reason)
        assert calling.get("/health", headers=sent).status_code == 200


@pytest.mark.parametrize(
    "value",
    [
        "junk",
        "::",
        ":AAAA:",
        ":" + "A" * 4001 + ":",
        ":!!:",
        "-----BEGIN CERTIFICATE-----",
        "%ZZ%00%ff",
        ":" + "A" * MAX_HEADER + ":",
    ],
)
def test_header_that_cannot_be_read_is_refused(hub: Served, device: Enrolled, value: str) -> None:
    """Garbage and what is too long are named, and the hub goes on."""
    with client(hub) as calling:
        assert refusal(beat(calling, device, **{HEADER: value})) == (400, "request_malformed")
        assert calling.get("/health").status_code == 200


def test_header_that_is_there_twice_is_refused(hub: Served, device: Enrolled) -> None:
    """A proxy that adds its header to the client's own does not decide which one counts."""
    value = in_header(device.certificate_pem)
    headers = [(HEADER, value), (HEADER, value), *JSON.items()]
    with client(hub) as calling:
        answer = calling.post(device.path, content=device.box.beat_body(), headers=headers)
    assert refusal(answer) == (400, "request_malformed")


def test_empty_header_is_as_none(hub: Served, device: Enrolled) -> None:
    """A proxy that saw no certificate may say so."""
    with client(hub) as calling:
        assert refusal(beat(calling, device, **{HEADER: ""})) == (401, "key_invalid")
        assert calling.get("/health", headers={HEADER: ""}).status_code == 200


def test_nobody_is_trusted_by_default(tmp_path: Path) -> None:
    """Without trusted_proxies the header is refused from this machine too."""
    folder = tmp_path / "hub"
    with Served(folder, make(folder), "--plain-http-on-loopback") as plain:
        answer = plain.client.get("/health", headers={HEADER: ":AAAA:"})
    assert refusal(answer) == (400, "proxy_not_trusted")


def status_until(wanted: int, ask: Callable[[], httpx.Response]) -> httpx.Response:
    """Asks until it is answered so, or patience ends -> the last answer."""
    until_s = time.monotonic() + PATIENCE_S
    while True:
        answer = ask()
        if answer.status_code == wanted or time.monotonic() > until_s:
            return answer


def test_certificates_of_a_ca_end_when_its_file_is_taken_away(hub: Served, tmp_path: Path) -> None:
    """While the hub serves: neither a handshake nor a proxy's header lets in what only that CA signed."""
    device, other = enroll(hub), new_authority()
    theirs = pem(certify(other, device.box.private, device.names))

    def shows() -> httpx.Response:
        with client(hub, theirs, device.box) as calling:
            try:
                return beat(calling, device)
            except httpx.TransportError:  # the handshake was refused: the hub has not seen the file yet
                return httpx.Response(0)

    def hands_over() -> httpx.Response:
        with client(hub) as calling:
            return beat(calling, device, **{HEADER: in_header(theirs)})

    kept = tmp_path / "kept.pem"
    kept.write_text(other.pem)
    file = kept.replace(hub.folder / "ca-former-7.pem")
    try:
        assert status_until(200, shows).status_code == 200
        assert status_until(200, hands_over).status_code == 200
    finally:
        file.unlink()
    for ask in (shows, hands_over):
        assert refusal(status_until(401, ask)) == (401, "key_invalid")
    with client(hub, device.certificate_pem, device.box) as calling:
        assert beat(calling, device).status_code == 200
