"""A small real HTTPS server that speaks the device half of docs/protocol.md and does as a test tells it."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import trustme

from firstlight.core.model import Beat
from firstlight.wire.heartbeat import BeatReply, decode_beat, encode_beat_reply
from firstlight.wire.problem import Problem, encode_problem

SERVER_TIME_S = 1_795_300_000.0
JSON_HEADERS = {"Content-Type": "application/json"}


class Answer(NamedTuple):
    """What the server sends back."""

    status: int
    body: bytes
    headers: dict[str, str] = JSON_HEADERS


class Request(NamedTuple):
    """What came in: ``beat`` is None for taking back; ``shown`` is the common name in the client's certificate."""

    path: str
    authorization: str
    connection: int
    size_bytes: int
    beat: Beat | None
    shown: str = ""


Rule = Callable[[Request], Answer]


def accepted(
    interval_s: int = 60, facts_wanted: bool = False, server_time_s: float = SERVER_TIME_S, rotate: bool = False
) -> Answer:
    """The answer to a beat that is on disk."""
    return Answer(200, encode_beat_reply(BeatReply(server_time_s, interval_s, facts_wanted, rotate)))


def refused(status: int, code: str, fingerprint: str = "") -> Answer:
    """A named no."""
    return Answer(status, encode_problem(Problem(code, "No.", "", fingerprint)))


def common_name(connection: Any) -> str:
    """Of the certificate that the other side has shown, "" without one."""
    subject = (connection.getpeercert() or {}).get("subject", ())
    return next((value for part in subject for name, value in part if name == "commonName"), "")


class PlatformServer:
    """The server: ``start`` and ``stop`` as often as wanted, on one port; ``rule`` decides each answer."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.authority = trustme.CA()
        self.ca_pem = self.authority.cert_pem.bytes().decode()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert("localhost", "127.0.0.1").configure_cert(self.context)
        self._came = threading.Condition()
        self.requests: list[Request] = []
        self.connections = 0
        self._port = 0
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"https://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listens, on the port of the last time if there was one."""
        self._server = _Server(("127.0.0.1", self._port), self, self.context)
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def stop(self) -> None:
        """Stops listening and cuts every connection."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.cut()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def answer(self, request: Request) -> Answer:
        """Records the request and asks the rule."""
        answer = self.rule(request)
        with self._came:
            self.requests.append(request)
            self._came.notify_all()
        return answer

    @property
    def beats(self) -> list[Beat]:
        """Every beat that came in."""
        return [request.beat for request in self.requests if request.beat is not None]

    def wait(self, is_enough: Callable[[], bool], what: str, deadline_s: float = 20.0) -> None:
        """Waits until the requests so far are enough."""
        with self._came:
            assert self._came.wait_for(is_enough, deadline_s), f"never came: {what}"

    def wait_beats(self, count: int) -> None:
        """Waits for so many beats in all."""
        self.wait(lambda: len(self.beats) >= count, f"{count} beats")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], owner: PlatformServer, context: ssl.SSLContext) -> None:
        super().__init__(address, _Handler)
        self.owner = owner
        self._context = context
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            secured = self._context.wrap_socket(request, server_side=True)
        except OSError:
            request.close()
            return
        with self._lock:
            self.owner.connections += 1
            self._open.add(secured)
        try:
            super().process_request_thread(secured, client_address)
        finally:
            with self._lock:
                self._open.discard(secured)

    def cut(self) -> None:
        with self._lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that was cut is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65_536
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.number = self.server.owner.connections

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        beat = decode_beat(body) if self.path.endswith("/heartbeat") else None
        shown = common_name(self.connection)
        request = Request(self.path, self.headers.get("Authorization", ""), self.number, len(body), beat, shown)
        answer = self.server.owner.answer(request)
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Tests speak for themselves."""
