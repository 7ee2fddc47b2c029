"""The way out through an HTTP proxy: what it is told, what it is not, and how its failures are named."""

import base64

import pytest

from firstlight.core.model import Trust
from firstlight.errors import UsageError
from firstlight.transports.http_session import HttpSession
from firstlight.transports.proxy import Proxy, parse_proxy
from tests.contract.http_transports.certificates import Identity
from tests.contract.http_transports.conftest import DEADLINE_S, SECRETS, Clients, Serve, call
from tests.contract.http_transports.servers import Peer, Script, Server, answering, dripping, proxying, reply
from tests.contract.http_transports.test_connections import free_port

OK = answering(reply(b"ok"))
USER = "box:sEcretOfProxy"
BASIC = "Basic " + base64.b64encode(USER.encode()).decode()


def proxy_at(server: Server, auth: str | None = None) -> Proxy:
    """The proxy as a setting would name it."""
    return parse_proxy(f"http://127.0.0.1:{server.port}", auth)


@pytest.mark.parametrize("auth", [None, USER], ids=["open", "with password"])
def test_calls_go_through_the_proxy(
    clients: Clients, serve: Serve, ca: Identity, hub: Identity, auth: str | None
) -> None:
    """The platform is reached through a proxy, its certificate checked as ever; a session keeps its tunnel."""
    origin, proxy = serve(OK, hub), serve(proxying(BASIC if auth else None))
    client = clients.make(Trust(ca.pem, (hub.pin,)), proxy_at(proxy, auth))
    for _ in range(3):
        assert client.exchange(call(origin.url()), DEADLINE_S).body == b"ok"
    tunnels = 1 if clients.keeps else 3
    assert (proxy.connections, origin.connections, len(origin.requests)) == (tunnels, tunnels, 3)


def test_each_side_learns_only_its_own_secret(clients: Clients, serve: Serve, ca: Identity, hub: Identity) -> None:
    """The proxy's password never reaches the platform; key, path and body never reach the proxy in clear."""
    origin, proxy = serve(OK, hub), serve(proxying(BASIC))
    clients.post(origin.url(), Trust(ca.pem), proxy_at(proxy, USER))

    assert b"roxy" not in b"".join(origin.requests)
    assert BASIC.encode() in b"".join(proxy.requests)
    assert not [one for one in SECRETS[:3] if one.encode() in b"".join([*proxy.heard, *proxy.requests])]
    assert f"CONNECT 127.0.0.1:{origin.port} HTTP/1.1\r\nHost: 127.0.0.1:{origin.port}\r\n".encode() in proxy.heard[0]


@pytest.mark.parametrize("auth", [None, "box:wrong"], ids=["without password", "wrong password"])
def test_proxy_that_wants_a_password_is_named(clients: Clients, serve: Serve, hub: Identity, auth: str | None) -> None:
    """A 407 is the proxy's, not the platform's, and says what to do."""
    origin, proxy = serve(OK, hub), serve(proxying(BASIC))
    error = clients.fail(origin.url(), proxy=proxy_at(proxy, auth))

    assert error.code == "proxy_auth_required"
    assert f"127.0.0.1:{proxy.port}" in error.message
    assert origin.connections == 0


def saying(raw: bytes) -> Script:
    """A proxy that answers so and waits."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(raw)
        peer.wait_for_end()

    return script


BAD_PROXIES = {
    "refuses": saying(reply(b"<html>not there</html>", "403 Forbidden")),
    "cannot reach it": saying(reply(b"", "502 Bad Gateway")),
    "dies at once": lambda peer: None,
    "dies when asked": lambda peer: peer.request() and None,
    "dies in its answer": lambda peer: (peer.request(), peer.send(b"HTTP/1.1 20"))[1],
    "is no proxy": saying(b"220 mail.example ESMTP\r\n\r\n"),
    "talks into the tunnel": saying(b"HTTP/1.1 200 OK\r\n\r\nhello"),
    "never ends its answer": dripping(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000),
    "never answers": saying(b""),
    "drips": dripping(b"", b"H"),
}


@pytest.mark.parametrize("name", BAD_PROXIES)
def test_proxy_that_fails_is_named(clients: Clients, serve: Serve, name: str) -> None:
    """Whatever goes wrong before the tunnel stands is the proxy's fault by name, within the deadline."""
    proxy = serve(BAD_PROXIES[name])
    error = clients.fail("https://hub.invalid", proxy=proxy_at(proxy, USER), deadline_s=0.3)
    assert error.code == "proxy_failed"
    assert f"127.0.0.1:{proxy.port}" in error.message


def test_proxy_that_is_not_there_is_named(clients: Clients) -> None:
    """A refused port, or a name without an address, is told as the proxy's."""
    for url in (f"127.0.0.1:{free_port()}", "proxy.invalid:3128"):
        error = clients.fail("https://hub.invalid", proxy=parse_proxy(url, None))
        assert error.code == "proxy_failed"
        assert url in error.message or "proxy.invalid" in error.message


def test_names_are_resolved_by_the_proxy(clients: Clients, serve: Serve, ca: Identity) -> None:
    """A box without DNS of its own reaches a platform by name through its proxy."""

    def hub_here(peer: Peer) -> None:
        peer.secure(ca.issue("hub.invalid").server_context)
        OK(peer)

    proxy = serve(proxying(on_open=hub_here))
    assert clients.post("https://hub.invalid", Trust(ca.pem), proxy_at(proxy)).body == b"ok"


def test_interceptor_is_not_believed(
    clients: Clients, serve: Serve, ca: Identity, other_ca: Identity, hub: Identity
) -> None:
    """A proxy that puts its own certificate in the way hears nothing, and is named by the CA it uses."""
    fake = other_ca.issue("127.0.0.1")

    def intercept(peer: Peer) -> None:
        peer.secure(fake.server_context)
        OK(peer)

    proxy = serve(proxying(on_open=intercept))
    error = clients.fail("https://127.0.0.1", Trust(ca.pem), proxy_at(proxy))
    assert error.code == "tls_untrusted"
    assert "Big Interceptor Inc." in error.message

    error = clients.fail("https://127.0.0.1", Trust(pins=(hub.pin,)), proxy_at(proxy))
    assert error.code == "tls_pin_mismatch"
    assert "Big Interceptor Inc." in error.message
    proxy.wait_until_left()
    assert not [request for request in proxy.requests if not request.startswith(b"CONNECT ")]


def test_proxy_that_dies_later_cuts_the_answer(clients: Clients, serve: Serve, ca: Identity, hub: Identity) -> None:
    """Once the tunnel stands, its end is that of the connection."""

    def die(peer: Peer) -> None:
        peer.secure(hub.server_context)
        peer.request()

    proxy = serve(proxying(on_open=die))
    assert clients.fail("https://127.0.0.1", Trust(ca.pem), proxy_at(proxy)).code == "reply_cut"


def test_loopback_needs_no_proxy(clients: Clients, serve: Serve) -> None:
    """Plain http:// is for this machine only, and so never goes through a proxy."""
    origin, proxy = serve(OK), serve(proxying())
    assert clients.post(origin.url(), proxy=proxy_at(proxy)).body == b"ok"
    assert proxy.connections == 0


def test_session_counts_connections_through_a_proxy(serve: Serve, ca: Identity, hub: Identity) -> None:
    """A tunnel that broke while idle is opened again."""

    def once(peer: Peer) -> None:
        peer.secure(hub.server_context)
        peer.request()
        peer.send(reply(b"ok"))

    proxy = serve(proxying(on_open=once))
    session = HttpSession(Trust(ca.pem), proxy_at(proxy))
    for count in (1, 2, 3):
        assert session.exchange(call("https://127.0.0.1"), DEADLINE_S).body == b"ok"
        proxy.wait_until_left()
        assert session.connections == count
    session.close()


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("http://proxy:3128", ("proxy", 3128)),
        ("proxy.example:8080/", ("proxy.example", 8080)),
        (" http://[fd00::1]:3128\n", ("fd00::1", 3128)),
    ],
)
def test_proxy_setting_is_read(url: str, wanted: tuple[str, int]) -> None:
    """A proxy is a host and a port."""
    assert parse_proxy(url, None)[:2] == wanted


@pytest.mark.parametrize(
    "url",
    [
        *("", "proxy", "http://proxy", "http://proxy:0", "proxy:70000", "https://proxy:1", "socks5://proxy:1"),
        *("http://box:sEcretOfProxy@proxy:3128", "http://proxy:3128/path", "http://pro xy:1", "p\r\nx:1", "p" * 5000),
    ],
)
def test_proxy_setting_that_cannot_be_used_is_refused(url: str) -> None:
    """Anything else is refused without showing it: there may be a password in it."""
    with pytest.raises(UsageError) as caught:
        parse_proxy(url, None)
    assert caught.value.code == "settings_invalid"
    assert "sEcret" not in str(caught.value)


def test_proxy_password_is_one_line_and_never_shown() -> None:
    """USER:PASSWORD with or without its line end, any characters, and nothing of it in a repr."""
    proxy = parse_proxy("proxy:3128", "b\u00f6x:sEcretOfProxy:\u20ac\n")
    assert proxy.authorization is not None
    shown = base64.b64decode(proxy.authorization.reveal().removeprefix("Basic ")).decode()
    assert shown == "b\u00f6x:sEcretOfProxy:\u20ac"
    assert "Basic" not in repr(proxy)
    for bad in ("", "sEcretOfProxy", "a:b\nX: y", "a:b\0", "a:" + "b" * 600):
        with pytest.raises(UsageError) as caught:
            parse_proxy("proxy:3128", bad)
        assert "sEcret" not in str(caught.value)
