"""How connections are opened, kept, lost and opened again."""

import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from firstlight.core.exchange import HttpCall
from firstlight.core.model import (
    Beat,
    Credential,
    Endpoint,
    Metrics,
    Moment,
    Registration,
    Secret,
    Trust,
)
from firstlight.platforms.hub import device
from firstlight.transports.http_session import HttpSession
from firstlight.transports.proxy import Proxy
from tests.contract.http_transports.certificates import Identity
from tests.contract.http_transports.conftest import DEADLINE_S, Clients, Serve, call
from tests.contract.http_transports.servers import Peer, answering, answering_once, proxying, relayed, reply

OK = answering(reply(b"ok"))
STEADY_BEAT_BYTES = 900
TCP_IP_BYTES = 52


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


def open_files() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a count needs no paths


@pytest.fixture
def blackhole() -> Iterator[int]:
    """A port whose queue of connections is full: what is sent to it is dropped, as by a firewall."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    port = listener.getsockname()[1]
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", port))
        fillers.append(filler)
    select.select([], fillers[:1], [], 1)
    yield port
    for sock in (listener, *fillers):
        sock.close()


def test_refused_port_is_named(clients: Clients) -> None:
    """A port that nobody listens on is told from all other troubles."""
    port = free_port()
    error = clients.fail(f"https://127.0.0.1:{port}")
    assert error.code == "connect_refused"
    assert f"127.0.0.1:{port}" in error.message


@pytest.mark.parametrize(("max_idle_s", "connections"), [(60.0, 1), (0.0, 2)])
def test_a_connection_that_was_idle_for_long_is_not_relied_on(
    serve: Serve, max_idle_s: float, connections: int
) -> None:
    """NAT may have forgotten it, and a call would wait out its time: a new one is opened instead, at once."""
    server = serve(OK)
    session = HttpSession(Trust(), max_idle_s=max_idle_s)
    with closing(session):
        for _ in range(2):
            assert session.exchange(call(server.url()), DEADLINE_S).status == 200
        assert session.connections == connections


def test_name_without_an_address_is_named(clients: Clients) -> None:
    """A name that does not exist is told from a server that does not answer."""
    error = clients.fail("https://hub.invalid")
    assert error.code == "dns_failed"
    assert "hub.invalid" in error.message


def test_port_that_swallows_everything_ends_at_the_deadline(clients: Clients, blackhole: int) -> None:
    """A firewall that drops packets holds the caller no longer than the deadline."""
    assert clients.fail(f"http://127.0.0.1:{blackhole}", deadline_s=0.3).code == "connect_timeout"


def test_address_without_a_way_is_named(clients: Clients) -> None:
    """A network that this machine cannot reach is told from one that does not answer."""
    error = clients.fail("https://[100::1]", deadline_s=0.3)
    assert error.code in ("network_unreachable", "connect_timeout")  # as the machine's routes are
    assert "[100::1]:443" in error.message


def test_name_that_no_certificate_can_have_is_named(clients: Clients, serve: Serve) -> None:
    """An odd host name ends in a named error, also where a proxy takes it for good."""
    assert clients.fail("https://.hub.invalid").code == "dns_failed"
    proxy = Proxy("127.0.0.1", serve(proxying(on_open=Peer.wait_for_end)).port)
    assert clients.fail("https://.hub.invalid", proxy=proxy).code == "tls_failed"


def test_every_address_of_a_name_is_tried(clients: Clients, serve: Serve, ca: Identity, hub: Identity) -> None:
    """A server on only one of localhost's addresses is found."""
    assert clients.post(serve(OK, hub).url(host="localhost"), Trust(ca.pem)).body == b"ok"


def test_connection_of_a_session_is_kept(serve: Serve, ca: Identity, hub: Identity) -> None:
    """Fifty beats in a row need one connection."""
    server = serve(OK, hub)
    with closing(HttpSession(Trust(ca.pem))) as session:
        for _ in range(50):
            assert session.exchange(call(server.url()), DEADLINE_S).body == b"ok"
        assert session.connections == 1
    assert (server.connections, len(server.requests)) == (1, 50)


@pytest.mark.parametrize("is_secure", [False, True], ids=["http", "https"])
def test_connection_closed_while_idle_costs_only_a_new_one(
    clients: Clients, serve: Serve, ca: Identity, hub: Identity, is_secure: bool
) -> None:
    """A server that closes after each answer, without saying so, loses no call."""
    server = serve(answering_once(reply(b"ok")), hub if is_secure else None)
    client = clients.make(Trust(ca.pem))
    for count in range(1, 4):
        assert client.exchange(call(server.url()), DEADLINE_S).body == b"ok"
        server.wait_until_left()
        assert server.connections == len(server.requests) == count
        if isinstance(client, HttpSession):
            assert client.connections == count


def test_announced_end_is_respected(clients: Clients, serve: Serve) -> None:
    """After Connection: close the next call takes a new connection, though the old one still stands."""
    server = serve(answering(reply(b"ok", "200 OK", "Connection: close")))
    client = clients.make()
    for _ in range(2):
        assert client.exchange(call(server.url()), DEADLINE_S).body == b"ok"
    assert server.connections == 2


def hanging_up_at_the_second(peer: Peer) -> None:
    """Closes the first connection when its second request comes; answers everything else."""
    peer.request()
    peer.send(reply(b"ok"))
    if peer.request() and peer.position > 1:
        peer.send(reply(b"ok"))


def test_session_sends_a_beat_again_that_met_a_closing_connection(serve: Serve) -> None:
    """A kept connection that the server closes in the very moment a beat arrives: the beat goes out on a new one."""
    server = serve(hanging_up_at_the_second)
    with closing(HttpSession(Trust())) as session:
        for _ in range(2):
            assert session.exchange(call(server.url()), DEADLINE_S).body == b"ok"
        assert session.connections == server.connections == 2
        assert len(server.requests) == 3


def test_session_does_not_send_again_what_was_half_answered(serve: Serve) -> None:
    """Once anything of an answer has come, a cut is a cut; and so it is on a new connection."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(reply(b"ok"))
        peer.request()
        peer.send(b"HTTP/1.1 2")

    server = serve(script)
    found = Clients(HttpSession)
    client = found.make()
    client.exchange(call(server.url()), DEADLINE_S)
    assert found.fail(server.url(), client=client).code == "reply_cut"
    assert len(server.requests) == 2
    client.close()


def test_words_that_nobody_asked_for_are_not_taken_for_an_answer(clients: Clients, serve: Serve) -> None:
    """What a server sends after its answer ends the connection, and never answers the next call."""

    def script(peer: Peer) -> None:
        while request := peer.request():
            asked = request.partition(b"POST /")[2][:1]
            peer.send(reply(asked) + reply(b"stale"))

    server = serve(script)
    client = clients.make()
    for asked in (b"1", b"2", b"3"):
        assert client.exchange(HttpCall("POST", server.url(f"/{asked.decode()}")), DEADLINE_S).body == asked
    assert server.connections == 3


def test_after_an_error_the_next_call_connects_anew(clients: Clients, serve: Serve) -> None:
    """An answer that was cut, too large, malformed or late leaves no connection behind, and the next call works."""
    bad = [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", reply(b"x" * 2000), b"nonsense\r\n\r\n", b""]

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(bad[peer.position // 2] if peer.position % 2 else reply(b"ok"))
        if peer.position > 1:
            peer.wait_for_end()

    server = serve(script)
    client = clients.make()
    for code in ("reply_cut", "reply_too_large", "reply_malformed", "reply_timeout"):
        got = clients.fail(server.url(), deadline_s=0.3, limit_bytes=1000, client=client)
        assert got.code == code
        assert client.exchange(call(server.url(), limit_bytes=1000), DEADLINE_S).body == b"ok"
        client.close()
    assert server.connections == 8


def test_client_can_be_used_after_closing(clients: Clients, serve: Serve) -> None:
    """Closing ends the connection, not the client, and twice is once."""
    server = serve(OK)
    client = clients.make()
    for _ in range(2):
        assert client.exchange(call(server.url()), DEADLINE_S).status == 200
        client.close()
        client.close()
    assert server.connections == 2


def test_other_place_gets_another_connection(clients: Clients, serve: Serve) -> None:
    """A call to another port does not go to the one that happens to be open."""
    one, other = serve(answering(reply(b"one"))), serve(answering(reply(b"other")))
    client = clients.make()
    for _ in range(2):
        assert client.exchange(call(one.url()), DEADLINE_S).body == b"one"
        assert client.exchange(call(other.url()), DEADLINE_S).body == b"other"


def test_session_asks_about_dates_at_each_connection(serve: Serve, ca: Identity, hub: Identity) -> None:
    """A clock that was set meanwhile counts from the next connection on."""
    server = serve(answering_once(reply(b"ok")), hub)
    answers = iter([False, True, False])
    with closing(HttpSession(Trust(ca.pem), check_dates=lambda: next(answers))) as session:
        for _ in range(3):
            assert session.exchange(call(server.url()), DEADLINE_S).body == b"ok"
            server.wait_until_left()
    assert next(answers, None) is None


def test_request_leaves_in_one_piece(serve: Serve, ca: Identity, hub: Identity) -> None:
    """A beat's head and body are one TLS record: a second one would cost a segment and its answer."""
    server = serve(OK, hub)
    with closing(HttpSession(Trust(ca.pem))) as session:
        session.exchange(call(server.url()), DEADLINE_S)
    assert server.heard[0] == server.requests[0]


@pytest.mark.parametrize("has_failed", [False, True], ids=["answered", "failed"])
def test_reconnecting_leaves_nothing_open(
    clients: Clients, serve: Serve, ca: Identity, hub: Identity, has_failed: bool
) -> None:
    """Three hundred connections later this process has as many files open as before."""
    server = serve(answering_once(b"" if has_failed else reply(b"ok")), hub)
    client = clients.make(Trust(ca.pem))
    before = open_files()
    for _ in range(300):
        if has_failed:
            clients.fail(server.url(), client=client)
        else:
            client.exchange(call(server.url()), DEADLINE_S)
            client.close()
    server.wait_until_left()
    assert open_files() <= before


def test_steady_beat_stays_within_its_bytes(serve: Serve, ca: Identity, hub: Identity) -> None:
    """A beat with all its metrics over TLS, its answer and the TCP/IP around both take at most 900 bytes."""
    answer = b'{"serverTime":1790000000.123,"intervalS":60}'
    server = serve(answering(reply(answer, "200 OK", "content-type: application/json")), hub)
    listener = socket.create_server(("127.0.0.1", 0))
    segments: list[int] = []

    def relay() -> None:
        side, _ = listener.accept()
        with side, socket.create_connection(("127.0.0.1", server.port)) as origin:
            segments.extend(len(data) for _, data in relayed(side, origin))

    thread = threading.Thread(target=relay)
    thread.start()
    credential = Credential("secret", Secret("k" * 43))
    registration = Registration(
        "hub",
        Endpoint("https", "127.0.0.1", listener.getsockname()[1]),
        Trust(ca.pem),
        "a-workspace",
        "d" * 20,
        credential,
        60,
        "sha256:00",
        "",
        0.0,
    )
    counts = []
    with closing(HttpSession(registration.trust)) as session:
        for sequence in range(1000, 1010):
            moment = Moment("b" * 32, 1_234_567.891, 1_790_000_000.123)
            beat = Beat(sequence, moment, Metrics(0.15, 0.4321, 0.7654, 48.5), "0.1.0", None, "f" * 16)
            assert session.exchange(device.beat(registration, beat), DEADLINE_S).body == answer
            counts.append(sum(segments) + TCP_IP_BYTES * (len(segments) + 1))  # and one bare acknowledgement
            segments.clear()
    thread.join(DEADLINE_S)
    listener.close()
    print(f"bytes of a steady beat: {counts[1:]}; with the connection: {counts[0]}")  # noqa: T201
    assert max(counts[1:]) <= STEADY_BEAT_BYTES
