"""What the clients make of every kind of answer, and that no answer outlasts the deadline or outgrows the limit."""

import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firstlight.core.exchange import HttpCall
from firstlight.core.model import Trust
from firstlight.errors import InvitationError, UnreachableError, UsageError
from firstlight.transports.http_session import HttpSession
from tests.contract.http_transports.certificates import Identity
from tests.contract.http_transports.conftest import DEADLINE_S, SECRETS, Clients, Serve, call
from tests.contract.http_transports.servers import PATIENCE_S, Peer, answering, answering_once, dripping, reply

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PORTAL = b"<html><body>Please log in to the guest network</body></html>"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"

ANSWERS = {
    "200": (reply(b'{"a":1}', "200 OK", "X-A: b"), 200, b'{"a":1}'),
    "200 empty": (reply(), 200, b""),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "304": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, b""),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx", 200, b"x"),
    "html": (reply(PORTAL, "200 OK", "Content-Type: text/html"), 200, PORTAL),
    "redirect": (reply(b"", "302 Found", "Location: http://127.0.0.1:1/elsewhere"), 302, b""),
    "broken redirect": (reply(b"", "301 Moved", "Location: http://[broken"), 301, b""),
    "429": (reply(b"slow down", "429 Too Many", "Retry-After: 7"), 429, b"slow down"),
    "503": (reply(b"", "503 Busy"), 503, b""),
    "chunked": (CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 200, b"abcde"),
    "chunked fully": (CHUNKED + b"003;why=not\r\nabc\r\n0\r\nX-Sum: 3\r\n\r\n", 200, b"abc"),
    "chunked empty": (CHUNKED + b"0\r\n\r\n", 200, b""),
    "continue": (b"HTTP/1.1 100 Continue\r\n\r\n" + reply(b"ok"), 200, b"ok"),
    "interim": (INTERIM + INTERIM + reply(b"ok"), 200, b"ok"),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200, b"ok"),
    "same length twice": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answer_is_given_as_it_came(clients: Clients, serve: Serve, name: str) -> None:
    """Status and body of every whole answer are handed on, twice in a row; a session's connection stays."""
    raw, status, body = ANSWERS[name]
    server = serve(answering(raw))
    client = clients.make()
    for _ in range(2):
        got = client.exchange(call(server.url()), DEADLINE_S)
        assert (got.status, got.body) == (status, body)
    # Calls that keep do so where the answer says how long it is.
    wanted = {1} if isinstance(client, HttpSession) else {1, 2} if clients.keeps else {2}
    assert server.connections in wanted


@pytest.mark.parametrize("name", ANSWERS)
def test_answer_may_come_in_any_pieces(clients: Clients, serve: Serve, name: str) -> None:
    """An answer that arrives byte by byte is the same answer."""
    raw, status, body = ANSWERS[name]
    server = serve(answering(*(raw[at : at + 1] for at in range(len(raw)))))
    got = clients.post(server.url())
    assert (got.status, got.body) == (status, body)


def test_body_may_end_with_the_connection(clients: Clients, serve: Serve) -> None:
    """A body without a length reaches to the end of the connection."""
    server = serve(answering_once(b"HTTP/1.0 200 OK\r\n\r\n", b"abc", b"def"))
    assert clients.post(server.url()).body == b"abcdef"


def test_redirect_is_not_followed(clients: Clients, serve: Serve) -> None:
    """The place that a redirect names is never asked."""
    elsewhere = serve(answering(reply(b"fooled")))
    server = serve(answering(reply(b"", "307 Temporary Redirect", f"Location: {elsewhere.url()}")))
    got = clients.post(server.url())

    assert (got.status, got.headers["location"]) == (307, elsewhere.url())
    assert elsewhere.connections == 0


def test_headers_are_by_lower_case_name(clients: Clients, serve: Serve) -> None:
    """Names are lowered, a folded value is one line, bytes are Latin-1, and of a repeated header the last counts."""
    server = serve(answering(reply(b"", "200 OK", "X-One: 1", "X-ONE: 2", "Retry-After:  7 ", "X-Fold: a\r\n  b")))
    headers = clients.post(server.url()).headers
    assert {name: headers[name] for name in ("x-one", "retry-after", "x-fold")} == {
        "x-one": "2",
        "retry-after": "7",
        "x-fold": "a b",
    }


def test_head_has_no_body(clients: Clients, serve: Serve) -> None:
    """The length in an answer to HEAD speaks of a body that does not come."""
    server = serve(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n"))
    got = clients.make().exchange(call(server.url(), None, method="HEAD"), DEADLINE_S)
    assert (got.status, got.body) == (200, b"")


def test_request_is_minimal(clients: Clients, serve: Serve) -> None:
    """Beside what the call says, only Host and Content-Length are sent; a GET has no Content-Length."""
    server = serve(answering(reply()))
    client = clients.make()
    client.exchange(call(server.url()), DEADLINE_S)
    client.exchange(call(server.url("/a"), None, method="GET"), DEADLINE_S)
    client.exchange(HttpCall("POST", server.url("/a?b=%20c")), DEADLINE_S)

    head = f"\r\nHost: 127.0.0.1:{server.port}\r\n"
    authorization = "Authorization: Bearer sEcretInHeader\r\n"
    assert server.requests == [
        f"POST /sEcretInPath HTTP/1.1{head}{authorization}Content-Length: 12\r\n\r\nsEcretInBody".encode(),
        f"GET /a/sEcretInPath HTTP/1.1{head}{authorization}\r\n".encode(),
        f"POST /a?b=%20c HTTP/1.1{head}Content-Length: 0\r\n\r\n".encode(),
    ]


CUT = {
    "at once": b"",
    "in the status line": b"HTTP/1.1 20",
    "after the status line": b"HTTP/1.1 200 OK\r\n",
    "in the headers": b"HTTP/1.1 200 OK\r\nContent-Le",
    "before the empty line": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
    "after an interim answer": INTERIM,
    "before the body": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    "in the body": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcd",
    "in a chunk's size": CHUNKED + b"5",
    "in a chunk": CHUNKED + b"5\r\nabcd",
    "between chunks": CHUNKED + b"5\r\nabcde\r\n",
    "before the last line": CHUNKED + b"5\r\nabcde\r\n0\r\n",
}


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("is_secure", [False, True], ids=["http", "https"])
def test_cut_answer_is_no_answer(
    clients: Clients, serve: Serve, ca: Identity, hub: Identity, name: str, is_secure: bool
) -> None:
    """Wherever an answer breaks off, the call fails; what had come is not taken for the whole."""
    server = serve(answering_once(CUT[name]), hub if is_secure else None)
    assert clients.fail(server.url(), Trust(ca.pem)).code == "reply_cut"
    assert len(server.requests) == 1


NOT_HTTP = {
    "noise": b"\x00\x01\x02\x03" * 8 + b"\r\n\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "html": PORTAL + b"\r\n\r\n",
    "status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
    "status too low": b"HTTP/1.1 099 No\r\n\r\n",
    "status too high": b"HTTP/1.1 700 No\r\nContent-Length: 0\r\n\r\n",
    "other version": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "header without colon": b"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 0\r\n\r\n",
    "fold without header": b"HTTP/1.1 200 OK\r\n  folded\r\nContent-Length: 0\r\n\r\n",
    "zero byte in a header": b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
    "chunk longer than its size": CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n",
    "length of letters": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
    "endless length": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nxx",
    "chunk of letters": CHUNKED + b"xyz\r\nabc\r\n0\r\n\r\n",
    "switched protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
}


@pytest.mark.parametrize("name", NOT_HTTP)
def test_answer_that_is_not_http_is_named(clients: Clients, serve: Serve, name: str) -> None:
    """Something that does not speak HTTP, or not clearly, is refused at once and not waited for."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(NOT_HTTP[name])
        peer.wait_for_end()

    assert clients.fail(serve(script).url()).code == "reply_malformed"


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    raw=st.sampled_from(sorted(raw for raw, _, _ in ANSWERS.values())),
    at=st.floats(0, 1),
    cut=st.integers(0, 12),
    noise=st.binary(max_size=12)
    | st.sampled_from([b"\r\n", b"\r", b"\n", b":", b"\0", b" ", b"0\r\n\r\n", b"\r\n \r\n"]),
)
def test_damaged_answer_is_read_or_named(
    clients: Clients, serve: Serve, raw: bytes, at: float, cut: int, noise: bytes
) -> None:
    """Whatever happens to an answer on its way, the outcome is an answer or a named error."""
    start = int(at * len(raw))
    server = serve(answering_once(raw[:start] + noise + raw[start + cut :]))
    try:
        got = clients.post(server.url())
    except UnreachableError as error:
        assert error.code in ("reply_cut", "reply_malformed", "reply_too_large")
    else:
        assert 200 <= got.status < 600
    finally:
        server.stop()


TOO_LARGE = {
    "declared": b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n",
    "declared hugely": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "chunked": CHUNKED + b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n",
    "to the end": b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001,
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % at for at in range(150)) + b"\r\n",
    "long header": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_answer_over_the_limit_is_refused(clients: Clients, serve: Serve, name: str) -> None:
    """More than the call's limit, or more headers than anybody sends, ends the exchange."""
    server = serve(answering_once(TOO_LARGE[name]))
    assert clients.fail(server.url(), limit_bytes=1000).code == "reply_too_large"


def test_answer_of_just_the_limit_is_taken(clients: Clients, serve: Serve) -> None:
    """The limit itself is allowed, with a length or in chunks of one byte."""
    client = clients.make()
    for raw in (reply(b"x" * 1000), CHUNKED + b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n"):
        server = serve(answering(raw))
        assert client.exchange(call(server.url(), limit_bytes=1000), DEADLINE_S).body == b"x" * 1000


ENDLESS = {
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-More: and more of it\r\n" * 200),
    "one header": (b"HTTP/1.1 200 OK\r\nX: ", b"y" * 8192),
    "status line": (b"HTTP/1.1 200 ", b"y" * 8192),
    "body": (b"HTTP/1.1 200 OK\r\n\r\n", b"y" * 8192),
    "chunks": (CHUNKED, b"5\r\nabcde\r\n" * 500),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_answer_without_end_is_refused(clients: Clients, serve: Serve, name: str) -> None:
    """An answer that never ends is given up at the limit, long before the deadline."""
    assert clients.fail(serve(dripping(*ENDLESS[name])).url()).code == "reply_too_large"


DRIPS = {
    "nothing": (b"", b""),
    "status line": (b"", b"H"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X"),
    "interim answers": (b"", INTERIM),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", b"x"),
    "body to the end": (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
    "chunks": (CHUNKED, b"1\r\nx\r\n"),
    "trailers": (CHUNKED + b"0\r\n", b"X: y\r\n"),
}


@pytest.mark.parametrize("name", DRIPS)
@pytest.mark.parametrize("is_secure", [False, True], ids=["http", "https"])
def test_dripping_answer_ends_at_the_deadline(
    clients: Clients, serve: Serve, ca: Identity, hub: Identity, name: str, is_secure: bool
) -> None:
    """A byte now and then does not keep an exchange alive: the deadline is for the whole of it."""
    server = serve(dripping(*DRIPS[name]), hub if is_secure else None)
    deadline_s = 0.8 if is_secure else 0.15  # the handshake has to be over by then, on a busy machine too
    assert clients.fail(server.url(), Trust(ca.pem), deadline_s=deadline_s).code == "reply_timeout"


@pytest.mark.parametrize("is_secure", [False, True], ids=["http", "https"])
def test_request_that_nobody_reads_ends_at_the_deadline(
    clients: Clients, serve: Serve, ca: Identity, hub: Identity, is_secure: bool
) -> None:
    """A server that takes no more bytes holds the caller no longer than the deadline."""

    def script(peer: Peer) -> None:
        peer.server.stopping.wait(PATIENCE_S)

    server = serve(script, hub if is_secure else None)
    client = clients.make(Trust(ca.pem))
    with pytest.raises(UnreachableError, match="reply_timeout"):
        client.exchange(call(server.url(), bytes(20_000_000)), 0.3)


def test_answer_that_comes_before_the_request_is_over_is_read(clients: Clients, serve: Serve) -> None:
    """A server that says no after the headers, and closes, is heard, also when the rest cannot be sent any more."""

    def script(peer: Peer) -> None:
        peer.sock.recv(64)
        peer.send(reply(b"too large", "413 Content Too Large", "Connection: close"))

    got = clients.make().exchange(call(serve(script).url(), b"x" * 300), DEADLINE_S)
    assert (got.status, got.body) == (413, b"too large")


def test_call_that_would_break_its_line_is_never_sent(clients: Clients, serve: Serve) -> None:
    """Line breaks in method, address or header are refused here, and not shown."""
    server = serve(answering(reply()))
    client = clients.make()
    for broken in (
        HttpCall("PO\r\nST", server.url()),
        HttpCall("GET", server.url("/a\r\nX: y")),
        HttpCall("GET", server.url("/a b")),
        HttpCall("GET", server.url(), (("X", "sEcretInHeader\r\nY: z"),)),
        HttpCall("GET", server.url(), (("X\n", "y"),)),
    ):
        with pytest.raises(UsageError) as caught:
            client.exchange(broken, 1)
        assert "sEcret" not in str(caught.value)
    assert server.connections == 0


def test_plain_http_stays_on_this_machine(clients: Clients) -> None:
    """An http:// address of another machine is refused before its name is looked up."""
    with pytest.raises(InvitationError) as caught:
        clients.post("http://hub.invalid/")
    assert caught.value.code == "endpoint_insecure"


def test_addresses_are_not_logged(clients: Clients, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """An address may hold an installId: no log line of any library tells it, whatever the level."""
    caplog.set_level(logging.DEBUG)

    clients.post(serve(answering(reply(b"{}"))).url())

    assert not [secret for secret in SECRETS if secret in caplog.text]
