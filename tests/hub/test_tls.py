"""The hub's own CA and certificate, judged by OpenSSL as a client would."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from firstlight_hub import tls
from firstlight_hub.folder import HubFolder

NOW = datetime.now(timezone.utc)
HOSTS = ("hub.example", "192.0.2.7", "fd00::7")


@pytest.fixture
def folder(tmp_path: Path) -> HubFolder:
    """A hub's folder, freshly made."""
    made = HubFolder(tmp_path / "hub")
    made.create(HOSTS, 8443, "demo")
    made.finish(HOSTS, 8443, "demo")
    return made


def handshake(folder: HubFolder, name: str) -> str:
    """A TLS handshake over a real socket pair, as strict as Python 3.13 is by default -> the protocol's version."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder.server_certificate, folder.server_key)
    asking = ssl.create_default_context(cadata=folder.ca_pem())
    asking.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            serving.wrap_socket(theirs, server_side=True).close()
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with asking.wrap_socket(ours, server_hostname=name) as connection:
            return str(connection.version())
    finally:
        ours.close()
        thread.join(10)


@pytest.mark.parametrize("name", [*HOSTS, "localhost", "127.0.0.1", "::1"])
def test_strict_client_trusts_every_name(folder: HubFolder, name: str) -> None:
    """VERIFY_X509_STRICT accepts CA and leaf for all hosts and for loopback."""
    assert handshake(folder, name) == "TLSv1.3"


def test_strict_client_refuses_another_name(folder: HubFolder) -> None:
    """A name that is not in the certificate does not pass."""
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(folder, "other.example")


def test_new_host_gets_a_new_certificate_with_the_same_pin(folder: HubFolder) -> None:
    """When the hosts change the leaf is issued anew and pins survive; without a change nothing happens."""
    pin, before = folder.pin(), folder.server_certificate.read_bytes()
    assert folder.renew_certificate(HOSTS, NOW) is False
    assert folder.renew_certificate(HOSTS[:1], NOW) is False
    assert folder.server_certificate.read_bytes() == before
    assert folder.renew_certificate((*HOSTS, "moved.example"), NOW) is True
    assert (folder.pin(), handshake(folder, "moved.example")) == (pin, "TLSv1.3")


@pytest.mark.parametrize(("days", "renewed"), [(0, False), (365, False), (367, True), (500, True), (-2, True)])
def test_certificate_is_renewed_in_time(folder: HubFolder, days: int, renewed: bool) -> None:
    """Thirty days before its end, after it, and while it is not valid yet, a new one is issued for the same key."""
    pin = folder.pin()
    assert folder.renew_certificate(HOSTS, NOW + timedelta(days=days)) is renewed
    assert folder.pin() == pin


def test_lost_certificate_is_made_again(folder: HubFolder) -> None:
    """A missing or damaged certificate is no reason not to serve: key and CA are what counts."""
    folder.server_certificate.unlink()
    assert folder.renew_certificate(HOSTS, NOW) is True
    folder.server_certificate.write_text("junk")
    assert folder.renew_certificate(HOSTS, NOW) is True
    assert handshake(folder, "hub.example") == "TLSv1.3"


def test_lifetimes(folder: HubFolder) -> None:
    """The CA lives twenty years, the leaf 397 days, both from a day ago, so that a slow clock may see them."""
    ca = x509.load_pem_x509_certificate(folder.ca_pem().encode())
    leaf = x509.load_pem_x509_certificate(folder.server_certificate.read_bytes())
    assert ca.not_valid_after_utc - ca.not_valid_before_utc == timedelta(days=7300)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(days=397)
    assert leaf.not_valid_before_utc <= NOW - timedelta(hours=23)
    assert tls.pin(tls.read_key(folder.server_key.read_bytes()).public_key()) == folder.pin()


@pytest.mark.parametrize("years", [0, 5, 19])
def test_box_that_was_off_for_years_trusts_the_hub_of_then(folder: HubFolder, years: int) -> None:
    """It kept the CA and the pin of today; what the hub shows then passes by both, with dates that hold then."""
    ca, pin = x509.load_pem_x509_certificate(folder.ca_pem().encode()), folder.pin()
    then = NOW + timedelta(days=365 * years)
    assert folder.renew_certificate(HOSTS, then) is (years > 0)
    shown = x509.load_pem_x509_certificates(folder.server_certificate.read_bytes())
    assert folder.pin() == pin

    def judge(at: datetime) -> None:
        policy = PolicyBuilder().store(Store([ca])).time(at)
        policy.build_server_verifier(x509.DNSName("hub.example")).verify(shown[0], shown[1:])

    judge(then)
    with pytest.raises(VerificationError):
        judge(then + timedelta(days=400))
