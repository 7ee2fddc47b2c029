"""A bundle on its way from a hub: lines that break are gone on with, and nothing but a bundle gets into the file."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firstlight.cli import upgrade_fetch
from firstlight.cli.upgrade_bundle import Host
from firstlight.core.model import Credential, Registration, Secret, Trust, parse_endpoint
from firstlight.errors import FirstlightError
from firstlight.transports.http_calls import HttpCalls
from firstlight.wire.bundle import MAX_BUNDLE

BODY = bytes(range(256)) * 2000
PATH = "/bundles/firstlight-0.3.0-x86_64.tar"
Answer = Callable[[http.server.BaseHTTPRequestHandler, int], None]


class Hub:
    """Answers one request after the other as it is told to; the last way is kept.

    Attributes:
        ways: how.
        ranges: what each request asked for.
    """

    def __init__(self, ways: list[Answer]) -> None:
        self.ways, self.ranges = ways, list[str]()
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = self.headers.get("Range", "")
                hub.ranges.append(asked)
                way = hub.ways.pop(0) if len(hub.ways) > 1 else hub.ways[0]
                way(self, int(asked.removeprefix("bytes=").removesuffix("-") or 0))

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        endpoint = parse_endpoint(f"http://127.0.0.1:{self.server.server_address[1]}")
        self.registration = Registration(
            "hub", endpoint, Trust(), "demo", "cam-1", Credential("secret", Secret("x")), 60, "sha256:0", "", 0.0
        )
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})

    def fetch(self, into: Path, most_bytes: int = MAX_BUNDLE) -> list[str]:
        """Fetches, with short pauses between two tries; what was told."""
        told: list[str] = []
        with HttpCalls(Trust()) as calls:
            upgrade_fetch.fetch(calls, self.registration, PATH, into, told.append, pause_s=0.01, most_bytes=most_bytes)
        return told


def good(request: http.server.BaseHTTPRequestHandler, start: int, cut: int = 0, body: bytes = BODY) -> None:
    """As a hub answers; ``cut`` = only so many bytes come."""
    part = body[start:]
    request.send_response(206 if start else 200)
    request.send_header("Content-Length", str(len(part)))
    if start:
        request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
    request.end_headers()
    request.wfile.write(part[:cut] if cut else part)
    request.close_connection = True


def cut(count: int) -> Answer:
    """An answer that breaks after so many bytes."""
    return lambda request, start: good(request, start, count)


def always_whole(request: http.server.BaseHTTPRequestHandler, start: int) -> None:
    """A hub that knows no ranges."""
    good(request, 0)


def said(status: int, **headers: str) -> Answer:
    """Another answer, with a page of text."""

    def answer(request: http.server.BaseHTTPRequestHandler, start: int) -> None:
        request.send_response(status)
        request.send_header("Content-Length", "9")
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(b"a portal\n")

    return answer


def wrong_part(request: http.server.BaseHTTPRequestHandler, start: int) -> None:
    """A part that nobody asked for."""
    said(206, Content_Range="bytes 0-8/9")(request, start)


@pytest.fixture
def hub() -> Iterator[Callable[..., Hub]]:
    """Makes one."""
    made: list[Hub] = []

    def make(*ways: Answer) -> Hub:
        made.append(Hub(list(ways)))
        made[-1].thread.start()
        return made[-1]

    yield make
    for one in made:
        one.server.shutdown()
        one.thread.join()
        one.server.server_close()


@pytest.mark.parametrize(
    ("ways", "ranges"),
    [
        ((good,), [""]),
        ((cut(100_000), good), ["", "bytes=100000-"]),
        ((cut(1000), cut(1000), cut(1000), good), ["", "bytes=1000-", "bytes=2000-", "bytes=3000-"]),
        ((cut(100_000), always_whole), ["", "bytes=100000-"]),
        ((said(503), good), ["", ""]),
    ],
    ids=["at once", "one break", "many breaks", "no ranges", "busy first"],
)
def test_it_arrives_whole(hub: Callable[..., Hub], tmp_path: Path, ways: tuple[Answer, ...], ranges: list[str]) -> None:
    """Wherever the line broke, the file is what the hub has, and only what is missing is asked for."""
    one = hub(*ways)
    told = one.fetch(tmp_path / "bundle")
    assert (tmp_path / "bundle").read_bytes() == BODY
    assert one.ranges == ranges and len(told) == len(ranges) - 1


@pytest.mark.parametrize(
    ("ways", "code"),
    [
        ((said(404),), "bundle_missing"),
        ((said(302, Location="/login"),), "redirected"),
        ((said(403),), "not_the_hub"),
        ((said(500),), "hub_error"),
        ((said(503),), "hub_busy"),
        ((cut(10),), "reply_cut"),
        ((cut(1000), wrong_part), "reply_malformed"),
    ],
    ids=["gone", "portal", "forbidden", "error", "always busy", "always cut", "wrong part"],
)
def test_what_does_not_arrive_is_named(
    hub: Callable[..., Hub], tmp_path: Path, ways: tuple[Answer, ...], code: str
) -> None:
    """After a bounded number of tries, with the name of what went wrong; no page of a portal is taken for a bundle."""
    one = hub(*ways)
    with pytest.raises(FirstlightError) as caught:
        one.fetch(tmp_path / "bundle")
    assert caught.value.code == code and len(one.ranges) <= upgrade_fetch.TRIES
    assert b"portal" not in (tmp_path / "bundle").read_bytes() or code == "reply_malformed"


def test_more_than_any_bundle_is_not_taken(hub: Callable[..., Hub], tmp_path: Path) -> None:
    """The bound counts while it comes, not afterwards."""
    one = hub(good)
    with pytest.raises(FirstlightError) as caught:
        one.fetch(tmp_path / "bundle", most_bytes=1000)
    assert caught.value.code == "reply_too_large" and (tmp_path / "bundle").stat().st_size <= 1000


def test_an_offer_that_is_none_is_refused(hub: Callable[..., Hub]) -> None:
    """Text where the hub's answer should be is not the hub's."""
    one = hub(said(200))
    with HttpCalls(Trust()) as calls, pytest.raises(FirstlightError) as caught:
        upgrade_fetch.offered(calls, one.registration, Host("3.11", "x86_64"))
    assert caught.value.code == "not_the_hub"
