"""The HTTP server that twins are made of."""

from collections.abc import Iterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from firstlight.core.exchange import HttpCall
from firstlight.core.model import Trust
from firstlight.errors import UnreachableError
from firstlight.transports.http_calls import HttpCalls
from tests.twins.kit import faults
from tests.twins.kit.clock import TwinClock
from tests.twins.kit.http import Answer, BadBodyError, HttpServer, Request, read_json
from tests.twins.kit.tls import authority, make_context, make_server


async def echo(request: Request) -> Answer:
    """Says what was said."""
    try:
        return Answer(await read_json(request, 100), 201)
    except BadBodyError as error:
        return Answer({"error": str(error)}, 400)


APP = Starlette(routes=[Route("/echo", echo, methods=["POST"])])


@pytest.fixture
def server() -> Iterator[HttpServer]:
    """Plain, on loopback."""
    with HttpServer(APP) as one:
        yield one


def test_answers_and_notes(server: HttpServer) -> None:
    """A request is answered, and noted without its query and its body."""
    reply = httpx.post(f"{server.url}/echo?api_key=sEcret", json={"name": "sEcret"})
    assert (reply.status_code, reply.json()) == (201, {"name": "sEcret"})
    (seen,) = server.log.wait_for("http")
    assert (seen.what, seen.code) == ("POST /echo", 201)
    assert "sEcret" not in repr(server.log.entries)


@pytest.mark.parametrize("body", [b"x" * 101, b"{", b'{"a": NaN}', b"[" * 100, b"\xff"])
def test_a_bad_body_is_refused(server: HttpServer, body: bytes) -> None:
    """A body beyond the bound or that is no JSON comes back as the application's own error."""
    assert httpx.post(f"{server.url}/echo", content=body).status_code == 400


def test_speaks_tls() -> None:
    """Over TLS it shows a certificate of its own authority, which the agent's client believes by that alone."""
    ca = authority("twins")
    with HttpServer(APP, context=make_context(make_server(ca))) as server, HttpCalls(Trust(ca_pem=ca.pem)) as calls:
        assert server.url.startswith("https://")
        assert calls.exchange(HttpCall("POST", f"{server.url}/echo", body=b"[1]"), 10).body == b"[1]"


def test_trouble_comes_as_often_as_asked_for(server: HttpServer) -> None:
    """A storm of 429 lasts for so many requests of one path, and then all is well."""
    server.faults.add(faults.busy(7, error_code="X.1"), 2, method="POST", path="/echo")
    server.faults.add(faults.html(), path="/elsewhere")
    replies = [httpx.post(f"{server.url}/echo", json=1) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [429, 429, 201]
    assert replies[0].headers["retry-after"] == "7"
    assert replies[0].json() == {"error_code": "X.1"}
    assert httpx.post(f"{server.url}/elsewhere").headers["content-type"] == "text/html"


def test_a_cut_answer_ends_in_the_middle(server: HttpServer) -> None:
    """An answer that is cut is no answer, and the next request is answered again."""
    server.faults.add(faults.cut())
    server.faults.add(faults.broken(503), path="/echo")
    with HttpCalls(Trust()) as calls, pytest.raises(UnreachableError):
        calls.exchange(HttpCall("POST", f"{server.url}/echo", body=b"1"), 10)
    assert [httpx.post(f"{server.url}/echo", json=1).status_code for _ in range(2)] == [503, 201]


def test_the_clock_moves() -> None:
    """A held clock stands still until it is moved."""
    clock = TwinClock(1000.0, runs=False)
    told: list[float] = []
    clock.on_advance(lambda: told.append(clock.now_s()))
    assert clock.now_s() == clock.now_s() == 1000.0
    clock.advance(5)
    assert told == [1005.0]
    assert TwinClock(10.0).now_s() >= 10.0
