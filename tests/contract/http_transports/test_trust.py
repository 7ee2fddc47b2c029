"""Whom the clients believe, and that nothing is sent to anybody else."""

import ssl
from pathlib import Path

import pytest

from firstlight.core.model import Trust
from firstlight.errors import InvitationError
from firstlight.transports.tls import client_context, spki_pin
from tests.contract.http_transports.certificates import EXPIRED, NOT_YET_VALID, Identity, self_signed
from tests.contract.http_transports.conftest import Clients, Serve, call
from tests.contract.http_transports.servers import Peer, Server, answering, reply

OK = answering(reply(b"ok"))
WRONG_PIN = "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="


def assert_heard_nothing(server: Server) -> None:
    """Not one byte of a request got through, on any of the server's connections."""
    server.wait_until_left()
    assert b"".join(server.heard) == b""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_server_of_the_right_ca_is_believed(
    clients: Clients, serve: Serve, ca: Identity, hub: Identity, host: str
) -> None:
    """A certificate that the given CA signed for this name or address is trusted."""
    server = serve(OK, hub)
    assert clients.post(server.url(host=host), Trust(ca_pem=ca.pem)).body == b"ok"


def test_server_of_another_ca_is_refused(clients: Clients, serve: Serve, other_ca: Identity, hub: Identity) -> None:
    """A certificate of another CA is refused before a byte is sent, and the error names who issued it."""
    server = serve(OK, hub)
    error = clients.fail(server.url(), Trust(ca_pem=other_ca.pem))

    assert error.code == "tls_untrusted"
    assert 'issued by "the hub\'s CA"' in error.message
    assert_heard_nothing(server)


def test_given_intermediate_is_an_anchor(clients: Clients, serve: Serve, ca: Identity) -> None:
    """What was handed over as the CA is enough, also when a root above it is not known."""
    site = ca.issue(is_ca=True, title="a site's CA")
    server = serve(OK, site.issue("127.0.0.1"))
    assert clients.post(server.url(), Trust(ca_pem=site.pem)).status == 200


def test_pinned_self_signed_server_is_believed(clients: Clients, serve: Serve) -> None:
    """The right key alone is enough: not the name, not a CA."""
    identity = self_signed("elsewhere.example")
    server = serve(OK, identity)
    assert clients.post(server.url(), Trust(pins=(WRONG_PIN, identity.pin))).body == b"ok"


def test_wrong_pin_is_refused_before_a_byte_is_sent(clients: Clients, serve: Serve) -> None:
    """A server with another key hears nothing, and the error shows which key it has."""
    identity = self_signed("127.0.0.1")
    server = serve(OK, identity)
    error = clients.fail(server.url(), Trust(pins=(WRONG_PIN,)))

    assert error.code == "tls_pin_mismatch"
    assert identity.pin in error.message
    assert_heard_nothing(server)


def test_pin_and_ca_must_both_hold(
    clients: Clients, serve: Serve, ca: Identity, other_ca: Identity, hub: Identity
) -> None:
    """With both given, the right CA does not excuse a wrong pin, nor the right pin a wrong CA."""
    server = serve(OK, hub)
    assert clients.post(server.url(), Trust(ca.pem, (hub.pin,))).status == 200
    server.requests.clear()
    server.heard.clear()

    assert clients.fail(server.url(), Trust(ca.pem, (WRONG_PIN,))).code == "tls_pin_mismatch"
    assert clients.fail(server.url(), Trust(other_ca.pem, (hub.pin,))).code == "tls_untrusted"
    for client in clients.made:
        client.close()
    assert_heard_nothing(server)


@pytest.mark.parametrize("names", [("elsewhere.example",), ("127.0.0.2",)])
def test_certificate_for_another_name_is_refused(
    clients: Clients, serve: Serve, ca: Identity, names: tuple[str, ...]
) -> None:
    """The right CA does not help a certificate for another name or address."""
    server = serve(OK, ca.issue(*names))
    assert clients.fail(server.url(), Trust(ca.pem)).code == "tls_wrong_name"
    assert clients.fail(server.url(host="localhost"), Trust(ca.pem), check_dates=False).code == "tls_wrong_name"
    assert_heard_nothing(server)


@pytest.mark.parametrize("dates", [EXPIRED, NOT_YET_VALID], ids=["expired", "not yet valid"])
def test_dates_count_unless_the_clock_is_known_to_be_wrong(
    clients: Clients, serve: Serve, ca: Identity, dates: tuple[object, object]
) -> None:
    """A certificate outside its dates is refused, and accepted when asked not to look at dates."""
    server = serve(OK, ca.issue("127.0.0.1", dates=dates))  # type: ignore[arg-type]
    assert clients.fail(server.url(), Trust(ca.pem)).code == "tls_expired"
    assert_heard_nothing(server)
    assert clients.post(server.url(), Trust(ca.pem), check_dates=False).body == b"ok"


def test_without_dates_all_the_rest_still_counts(
    clients: Clients, serve: Serve, other_ca: Identity, hub: Identity
) -> None:
    """Not looking at dates does not make another CA or another key acceptable."""
    server = serve(OK, hub)
    assert clients.fail(server.url(), Trust(other_ca.pem), check_dates=False).code == "tls_untrusted"
    assert clients.fail(server.url(), Trust(pins=(WRONG_PIN,)), check_dates=False).code == "tls_pin_mismatch"
    assert_heard_nothing(server)


def test_without_ca_and_pin_the_system_decides(
    clients: Clients,
    serve: Serve,
    ca: Identity,
    hub: Identity,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system's store does not know the hub's CA until it is put there, and is never believed without dates."""
    server = serve(OK, hub)
    assert clients.fail(server.url(), Trust()).code == "tls_untrusted"

    (tmp_path / "bundle.pem").write_text(ca.pem, encoding="ascii")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "bundle.pem"))
    assert clients.post(server.url(), Trust()).status == 200
    expired = serve(OK, ca.issue("127.0.0.1", dates=EXPIRED))
    assert clients.fail(expired.url(), Trust(), check_dates=False).code == "tls_expired"


def test_plain_http_port_is_not_tls(clients: Clients, serve: Serve, ca: Identity) -> None:
    """TLS to a port that speaks plain HTTP is named as such."""

    def complain(peer: Peer) -> None:
        peer.sock.recv(65_536)
        peer.send(reply(status="400 Bad Request"))

    server = serve(complain)
    error = clients.fail(server.url().replace("http:", "https:"), Trust(ca.pem))
    assert error.code == "tls_failed"
    assert f"127.0.0.1:{server.port}" in error.message


def test_handshake_that_nobody_answers_ends_in_time(clients: Clients, serve: Serve, ca: Identity) -> None:
    """A port that takes the connection and stays silent holds the caller no longer than the deadline."""
    server = serve(Peer.wait_for_end)
    url = server.url().replace("http:", "https:")
    assert clients.fail(url, Trust(ca.pem), deadline_s=0.3).code == "tls_failed"


def test_handshake_that_is_hung_up_on_is_named(clients: Clients, serve: Serve, ca: Identity) -> None:
    """A port that closes during the handshake is not mistaken for a cut answer."""
    server = serve(lambda peer: None)
    assert clients.fail(server.url().replace("http:", "https:"), Trust(ca.pem)).code == "tls_failed"


def test_broken_ca_is_the_invitations_fault(clients: Clients) -> None:
    """A CA that is not a certificate is refused before anything is opened."""
    for broken in ("nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "schl\u00fcssel"):
        with pytest.raises(InvitationError) as caught:
            clients.make(Trust(broken)).exchange(call("https://127.0.0.1:1/"), 1)
        assert caught.value.code == "ca_malformed"


def test_context_alone_checks_its_pins(serve: Serve, hub: Identity) -> None:
    """Whoever uses the context by another way than a socket does not get round its pins either."""
    for pin, is_right in ((hub.pin, True), (WRONG_PIN, False)):
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = client_context(Trust(pins=(pin,))).wrap_bio(to_client, to_server)
        server = hub.server_context.wrap_bio(to_server, to_client, server_side=True)
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        with pytest.raises(ssl.SSLWantReadError):
            server.do_handshake()
        if is_right:
            client.do_handshake()
        else:
            with pytest.raises(ssl.SSLError, match=r"sha256//"):
                client.do_handshake()


def test_old_tls_is_off() -> None:
    """TLS 1.0 and 1.1 are not spoken."""
    assert client_context(Trust()).minimum_version is ssl.TLSVersion.TLSv1_2


def test_pin_is_that_of_an_independent_reader(ca: Identity, hub: Identity) -> None:
    """The short walk over a certificate finds the same public key as a full parser."""
    for identity in (ca, hub, self_signed("a.example", title="x" * 64)):
        assert spki_pin(identity.der) == identity.pin


def test_pin_of_anything_but_a_certificate_is_a_value_error(hub: Identity) -> None:
    """Every beginning of a certificate, and noise, is refused and never trips the reader otherwise."""
    for size in range(0, len(hub.der) // 2):
        with pytest.raises(ValueError, match="certificate"):
            spki_pin(hub.der[:size])
    for noise in (b"\x30\x80" * 40, b"\x30\x84\xff\xff\xff\xff", b"\x30" * 300, bytes(70_000)):
        with pytest.raises(ValueError, match="certificate"):
            spki_pin(noise)
