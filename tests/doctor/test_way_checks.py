"""The way to the hub: name, proxy, port, TLS, pin and portal, each against a real server that is as wrong as can be."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from firstlight.cli import doctor_run
from firstlight.core.diagnosis import FAILURE, NOTE, PASS, SKIPPED, WARNING, Finding
from firstlight.core.model import Endpoint, Trust, parse_endpoint
from firstlight.transports import checks_way
from firstlight.transports.proxy import parse_proxy
from tests.contract.http_transports.certificates import EXPIRED, Identity, self_signed
from tests.contract.http_transports.servers import Peer, Server, answering_once, proxying, reply
from tests.doctor.conftest import Serve
from tests.doctor.findings import check

QUICK_S = 1.0
OK = answering_once(reply(b"ok"))


def silent(peer: Peer) -> None:
    """Takes the connection and never says a word."""
    with suppress(OSError):
        peer.wait_for_end()


def at(server: Server, host: str = "127.0.0.1") -> Endpoint:
    """The server as a hub's address."""
    return Endpoint("https", host, server.port)


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# -- dns -------------------------------------------------------------------------------------------------------------
def test_name_that_is_found(tmp_path: Path) -> None:
    """A real name passes with its address; an address needs no name server."""
    check(checks_way.dns("localhost"), "dns", PASS, "localhost is ")
    check(checks_way.dns("192.0.2.1"), "dns", PASS, "no name is needed")
    check(checks_way.dns("fd00::1"), "dns", PASS, "no name is needed")


def test_name_that_nobody_knows(tmp_path: Path) -> None:
    """A name that cannot resolve fails; the servers that were asked are named."""
    servers = tmp_path / "resolv.conf"
    servers.write_text("# none\nnameserver 192.0.2.53\nnameserver fd00::53\n")
    found = checks_way.dns("no-such-hub.invalid", resolv_conf=str(servers))
    check(found, "dns", FAILURE, "no-such-hub.invalid", "192.0.2.53, fd00::53", "[dns_failed]")
    none = checks_way.dns("no-such-hub.invalid", resolv_conf=str(tmp_path / "none"))
    check(none, "dns", FAILURE, "no DNS server is configured")


@pytest.fixture
def deaf_resolver() -> Iterator[socket.socket]:
    """A name server that takes every question and answers none; asked through its one connected client."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(server.getsockname())
            yield client
            # What waits for an answer ends with the test, on any word.
            server.settimeout(5)
            with suppress(OSError):
                server.sendto(b"end", server.recvfrom(512)[1])


def test_name_server_that_never_answers(deaf_resolver: socket.socket) -> None:
    """A resolver that hangs costs its time and no more, and what needs the name is left out because of it."""

    def resolve(*question: object, **more: object) -> list[object]:
        deaf_resolver.send(b"hub.example?")
        deaf_resolver.recv(512)
        return []

    def needless() -> Finding:
        raise AssertionError("nothing that needs the name is asked")

    performs = {name: needless for name in ("settings", "state", "trust", "route", "proxy", "port")}
    performs["dns"] = lambda: checks_way.dns("hub.example", resolve=resolve)
    for name in ("state", "trust", "route"):
        performs[name] = lambda name=name: Finding(name, PASS, "As it should be.")  # type: ignore[misc]
    found = doctor_run.perform(performs, ("port",), deadlines={"dns": 0.2})
    check(found["dns"], "dns", FAILURE, "gave no answer")
    check(found["port"], "port", SKIPPED, "because dns failed")
    check(found["proxy"], "proxy", SKIPPED, "because dns failed")


# -- proxy -----------------------------------------------------------------------------------------------------------
def test_proxy_that_lets_through(serve: Serve, hub_identity: Identity) -> None:
    """A direct way passes and says why; a proxy with and without password opens the tunnel."""
    hub = serve(OK, hub_identity)
    check(checks_way.proxy(at(hub), None, "none is set"), "proxy", PASS, "No proxy: none is set")
    for password, auth in ((None, None), ("Basic dXNlcjpwYXNz", "user:pass")):
        server = serve(proxying(password))
        way = parse_proxy(f"127.0.0.1:{server.port}", auth)
        check(checks_way.proxy(at(hub), way, "in the settings", QUICK_S), "proxy", PASS, "lets this box through")


@pytest.mark.parametrize("auth", [None, "user:wrong"])
def test_proxy_that_wants_a_password(serve: Serve, hub_identity: Identity, auth: str | None) -> None:
    """A missing and a wrong password are told, and none is shown."""
    server = serve(proxying("Basic dXNlcjpwYXNz"))
    way = parse_proxy(f"127.0.0.1:{server.port}", auth)
    found = checks_way.proxy(at(serve(OK, hub_identity)), way, "in the settings", QUICK_S)
    check(found, "proxy", FAILURE, "[proxy_auth_required]", "in the settings", "proxy_auth_file")
    assert "wrong" not in str(found)


def test_proxy_that_is_not_there() -> None:
    """A proxy that nobody serves is told with its address and where it is set."""
    way = parse_proxy(f"127.0.0.1:{free_port()}", None)
    found = checks_way.proxy(parse_endpoint("https://hub.example"), way, "in the environment", QUICK_S)
    check(found, "proxy", FAILURE, f":{way.port}", "in the environment", "[proxy_failed]")


# -- port ------------------------------------------------------------------------------------------------------------
def test_port(serve: Serve) -> None:
    """A port that takes a connection passes; one where nobody listens is refused by name."""
    check(checks_way.port(at(serve(silent)), None, QUICK_S), "port", PASS)
    nobody = Endpoint("https", "127.0.0.1", free_port())
    check(checks_way.port(nobody, None, QUICK_S), "port", FAILURE, "[connect_refused]")


# -- tls and pin -----------------------------------------------------------------------------------------------------
def test_hub_that_is_trusted(serve: Serve, ca: Identity, hub_identity: Identity) -> None:
    """The hub's own certificate passes by its CA, by its pin, and both; what was shown is told."""
    server = serve(silent, hub_identity)
    for trust in (Trust(ca.pem), Trust("", (hub_identity.pin,)), Trust(ca.pem, (hub_identity.pin,))):
        shown = checks_way.handshake(at(server), trust, None, check_dates=True, deadline_s=QUICK_S)
        check(checks_way.tls(shown), "tls", PASS, "'hub.example', issued by 'hub CA'")
        check(checks_way.pin(shown, trust.pins, has_ca=bool(trust.ca_pem)), "pin", PASS, hub_identity.pin)


def test_interceptor_is_named(serve: Serve, ca: Identity, interceptor: Identity) -> None:
    """A firewall that opens TLS is named from the certificate that it shows."""
    shown = checks_way.handshake(at(serve(silent, interceptor)), Trust(ca.pem), None, check_dates=True)
    check(checks_way.tls(shown), "tls", FAILURE, "issued by 'Corporate TLS Inspection'", "without inspection")


def test_pin_of_another(serve: Serve, hub_identity: Identity, interceptor: Identity) -> None:
    """Another key than the pinned one is shown beside the expected, with whose certificate it is."""
    trust = Trust("", (hub_identity.pin,))
    shown = checks_way.handshake(at(serve(silent, interceptor)), trust, None, check_dates=True, deadline_s=QUICK_S)
    check(checks_way.tls(shown), "tls", PASS)
    found = checks_way.pin(shown, trust.pins, has_ca=False)
    check(found, "pin", FAILURE, interceptor.pin, hub_identity.pin, "Corporate TLS Inspection", "[tls_pin_mismatch]")


def test_certificates_out_of_their_dates_and_names(serve: Serve, ca: Identity) -> None:
    """An ended certificate, one for another name, and a server that speaks no TLS."""
    cases = {
        "[tls_expired]": serve(silent, ca.issue("127.0.0.1", dates=EXPIRED)),
        "[tls_wrong_name]": serve(silent, ca.issue("other.example")),
        "[tls_failed]": serve(answering_once(reply(b"ok"))),
    }
    for code, server in cases.items():
        shown = checks_way.handshake(at(server), Trust(ca.pem), None, check_dates=True, deadline_s=QUICK_S)
        check(checks_way.tls(shown), "tls", FAILURE, code)


def test_self_signed_hub_without_a_pin(serve: Serve) -> None:
    """A hub that nobody vouches for fails where no pin was given."""
    server = serve(silent, self_signed("127.0.0.1", title="a hub"))
    shown = checks_way.handshake(at(server), Trust(), None, check_dates=True, deadline_s=QUICK_S)
    check(checks_way.tls(shown), "tls", FAILURE, "'a hub'", "[tls_untrusted]")


# -- portal ----------------------------------------------------------------------------------------------------------
def portal(server: Server, *, other_port: int = 0) -> Finding:
    """The check at that server, as the hub's own port or as port 80 of its address."""
    hub = Endpoint("https", "127.0.0.1", other_port or server.port)
    return checks_way.portal(hub, None, is_hub_seen=False, ports=(server.port,), deadline_s=QUICK_S)


def test_no_portal(serve: Serve, hub_identity: Identity) -> None:
    """A hub that was seen needs no question; one that speaks only TLS answers nothing in plain HTTP."""
    server = serve(silent, hub_identity)
    check(checks_way.portal(at(server), None, is_hub_seen=True), "portal", PASS)
    assert server.connections == 0
    check(portal(server), "portal", PASS, "Nothing answers")
    behind = checks_way.portal(at(server), parse_proxy("proxy.example:3128", None), is_hub_seen=False)
    check(behind, "portal", SKIPPED, "proxy")


def test_portal_that_redirects(serve: Serve) -> None:
    """A redirect to a login page is told with where it leads; only the hub's own name was asked for."""
    server = serve(answering_once(reply(b"", "302 Found", "Location: http://login.hotel.example/start?x=1")))
    check(portal(server, other_port=free_port()), "portal", FAILURE, "login.hotel.example", "browser")
    assert server.requests == [b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"]


def test_portal_in_other_words(serve: Serve) -> None:
    """Status 511, a page on the hub's own port, and a page on port 80 that may be anybody's."""
    wanted = serve(answering_once(reply(b"log in", "511 Network Authentication Required")))
    check(portal(wanted, other_port=1), "portal", FAILURE, "wants a login")
    page = reply(b"<html>Welcome</html>", "200 OK", "Content-Type: text/html")
    check(portal(serve(answering_once(page))), "portal", FAILURE, "plain HTTP")
    check(portal(serve(answering_once(page)), other_port=1), "portal", WARNING, "may be a login page")


def test_web_server_beside_the_hub(serve: Serve) -> None:
    """A server that sends its visitors to its own address over TLS is no login page."""
    own = answering_once(reply(b"", "301 Moved", "Location: https://127.0.0.1/"))
    check(portal(serve(own), other_port=1), "portal", NOTE, "no login page")
    check(portal(serve(answering_once(reply(b"", "400 Bad Request")))), "portal", NOTE)


# -- the runner ------------------------------------------------------------------------------------------------------
def test_process_ends_while_a_check_hangs() -> None:
    """A check that never comes back keeps nobody: neither the others nor the end of the process."""
    import subprocess
    import sys

    program = (
        "import os; from firstlight.cli import doctor_run; from firstlight.core.diagnosis import passed;"
        "read, write = os.pipe();"
        "found = doctor_run.perform({'disk': lambda: os.read(read, 1), 'memory': lambda: passed('memory', 'Well.')},"
        " ('disk', 'memory'), deadlines={'disk': 0.2});"
        "print(found['disk'].severity, found['memory'].severity)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("failure pass\n", "", 0)


def test_whole_time_is_bounded() -> None:
    """When the time for all is up, the rest is left out and says so."""
    gate = threading.Event()

    def hang() -> Finding:
        gate.wait(60)
        return Finding("disk", PASS, "Late.")

    try:
        found = doctor_run.perform({"disk": hang, "memory": hang}, ("disk", "memory"), total_s=0.1)
    finally:
        gate.set()
    check(found["disk"], "disk", FAILURE, "no answer")
    check(found["memory"], "memory", SKIPPED, "the time was up")


def test_check_that_breaks_hides_no_other() -> None:
    """A fault of ours in one check is told as such."""

    def broken() -> Finding:
        raise KeyError(os.devnull)

    found = doctor_run.perform({"load": broken}, ("load",))
    check(found["load"], "load", WARNING, "[internal]", "--bundle")
