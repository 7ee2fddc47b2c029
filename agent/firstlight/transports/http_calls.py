"""One-off calls: enrolling and the desk verbs. Over httpx, with a transport of our own beneath it.

httpx has a public seam for transports, and httpcore, the engine inside it, one for the network. So connecting,
proxies, TLS and deadlines are the very code that beats use (``connect.py``), and a failure has one name in both.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from types import TracebackType
from typing import Any, cast

import httpcore
import httpx

from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.model import Identity, Trust
from firstlight.errors import UnreachableError
from firstlight.transports.connect import Connection, Deadline, reach
from firstlight.transports.proxy import Proxy
from firstlight.transports.request import MAX_HEAD_BYTES, MAX_HEADERS, Target, request_headers, target_of
from firstlight.transports.tls import client_context

HEAD_END = b"\r\n\r\n"
VERSIONS = (b"HTTP/1.0", b"HTTP/1.1")
HEAD_TOO_LARGE = 431
NO_CONTENT = 204

# httpx tells each address at INFO, and an address may hold an installId.
logging.getLogger("httpx").setLevel(logging.WARNING)


class HttpCalls:
    """Calls one after another, each once and on a connection of its own. A context manager.

    Nothing is kept between calls: a call that creates something cannot be sent again when a kept connection turns out
    to be closed, and what a server says unasked after one answer (httpcore would take it for the next) goes to nobody.
    Who makes a thousand calls may keep the connection all the same: it is looked at before each call, and one that has
    ended, or on which something came unasked, is replaced; so is one whose answer did not say how long it is. Where it
    breaks in that very moment, the call fails.

    Args:
        trust: how the platform is recognised.
        proxy: the way out, or None for the straight one.
        check_dates: whether certificates' dates count (see ``client_context``).
        identity: the client certificate to show, or None.
        keeps: whether the connection is kept for the next call.

    Raises:
        InvitationError: ``ca_malformed``.
        StateError: the certificate or its key cannot be used.
    """

    def __init__(
        self,
        trust: Trust,
        proxy: Proxy | None = None,
        *,
        check_dates: bool = True,
        identity: Identity | None = None,
        keeps: bool = False,
    ) -> None:
        self._context = client_context(trust, check_dates=check_dates, identity=identity)
        self._network = _Network(self._context, proxy)
        self._keeps, self._is_whole = keeps, False
        self._kept: httpx.Client | None = None

    def exchange(self, call: HttpCall, deadline_s: float) -> HttpReply:
        """Sends one call, once, and waits for its reply, at most ``deadline_s`` seconds in all, name resolution aside.

        Raises:
            UnreachableError: with the code of what went wrong.
        """
        parts: list[bytes] = []
        return self.fetch(call, deadline_s, lambda status, part: parts.append(part))._replace(body=b"".join(parts))

    def fetch(self, call: HttpCall, deadline_s: float, take: Callable[[int, bytes], object]) -> HttpReply:
        """As ``exchange``, but hands the answer's body over piece by piece: for what does not belong into memory.

        Args:
            call: its ``limit_bytes`` counts here too.
            deadline_s: for the whole of it.
            take: gets the status and the next piece; what it raises ends the exchange.

        Returns:
            the reply, its body empty.

        Raises:
            UnreachableError: with the code of what went wrong; pieces were handed over before, perhaps.
        """
        target = target_of(call)
        self._network.begin(target, deadline_s)
        # Sent as it is: a request that the client itself builds would carry headers that nobody asked for.
        request = httpx.Request(
            call.method,
            call.url,
            headers=request_headers(call, target),
            content=call.body,
            extensions={"target": target},
        )
        try:
            with (
                self._client() as client,
                closing(client.send(request, stream=True, follow_redirects=False)) as response,
            ):
                return self._read(call, response, take)
        except httpcore.RemoteProtocolError as error:
            raise self._unreadable(error) from None

    @contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        """For one call; what is kept goes with the first call that fails."""
        kept = self._kept or httpx.Client(
            transport=_Transport(self._context, self._network, keeps=self._keeps), trust_env=False
        )
        self._kept = None
        try:
            yield kept
        except BaseException:
            kept.close()
            raise
        if self._keeps and self._is_whole:
            self._kept = kept
        else:
            kept.close()

    def close(self) -> None:
        """Ends what was kept; otherwise each call closes what it opened."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def __enter__(self) -> HttpCalls:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, call: HttpCall, response: httpx.Response, take: Callable[[int, bytes], object]) -> HttpReply:
        raw = cast("list[tuple[bytes, bytes]]", response.extensions["raw_headers"])
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw}
        if not 200 <= response.status_code < 600 or response.extensions["http_version"] not in VERSIONS:
            raise UnreachableError("reply_malformed", f"{self._network.peer} did not answer in HTTP.")
        size_bytes = sum(len(name) + len(value) + 4 for name, value in raw)
        if len(raw) > MAX_HEADERS or size_bytes > MAX_HEAD_BYTES:
            raise self._too_large()
        left_bytes = call.limit_bytes
        if call.method != "HEAD" and int(headers.get("content-length", "0")) > left_bytes:
            raise self._too_large()
        for part in response.iter_raw():
            left_bytes -= len(part)
            if left_bytes < 0:
                raise self._too_large()
            take(response.status_code, part)
        told = "0" if response.status_code == NO_CONTENT else headers.get("content-length", "")
        self._is_whole = told.isdigit() and self._network.came_behind_head() == int(told)
        return HttpReply(response.status_code, headers, b"")

    def _too_large(self) -> UnreachableError:
        return UnreachableError("reply_too_large", f"The answer of {self._network.peer} is larger than expected.")

    def _unreadable(self, error: httpcore.RemoteProtocolError) -> UnreachableError:
        """What h11 says is not shown: it may quote the answer."""
        if self._network.has_ended:
            said = f"{self._network.peer} closed the connection before its answer was whole."
            return UnreachableError("reply_cut", said)
        # What httpcore wraps is h11's own error, which has the status that a server would answer it with.
        if getattr(error.args[0], "error_status_hint", 0) == HEAD_TOO_LARGE:
            return self._too_large()
        return UnreachableError("reply_malformed", f"{self._network.peer} did not answer in HTTP.")


class _Transport(httpx.BaseTransport):
    """httpx's seam to the engine: httpcore over our own network."""

    def __init__(self, context: ssl.SSLContext, network: _Network, *, keeps: bool) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=context, max_connections=1, max_keepalive_connections=int(keeps), network_backend=network
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One request, one answer. The client sees no header of it: it would read redirects, cookies and encodings."""
        target: Target = request.extensions["target"]
        url = httpcore.URL(
            scheme="https" if target.is_secure else "http", host=target.host, port=target.port, target=target.path
        )
        sent = httpcore.Request(request.method, url, headers=request.headers.raw, content=request.stream)
        answer = self._pool.handle_request(sent)
        told = {"raw_headers": answer.headers, "http_version": answer.extensions["http_version"]}
        return httpx.Response(answer.status, stream=_Body(answer), extensions=told)

    def close(self) -> None:
        """Ends the connection, if there is one."""
        self._pool.close()


class _Body(httpx.SyncByteStream):
    """An answer's body on its way from httpcore to httpx."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


class _Network(httpcore.NetworkBackend):
    """httpcore's seam to the network: opens the one connection that an exchange has."""

    def __init__(self, context: ssl.SSLContext, proxy: Proxy | None) -> None:
        self._context = context
        self._proxy = proxy
        self._is_secure = True
        self._deadline = Deadline(0)
        self._stream: _Stream | None = None
        self.peer = ""

    def begin(self, target: Target, deadline_s: float) -> None:
        """A new exchange: all that httpcore asks for until the next one belongs to it."""
        self._deadline.start(deadline_s)
        self._is_secure = target.is_secure
        self.peer = target.peer
        if self._stream:
            self._stream.begin()

    def came_behind_head(self) -> int:
        """Bytes of this exchange's answer behind its head, as they came; -1 where there is none."""
        return self._stream.behind_head if self._stream else -1

    @property
    def has_ended(self) -> bool:
        """Whether the other side has closed the connection."""
        return self._stream is not None and self._stream.connection.has_ended

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """The connection as the request needs it, tunnel and TLS included."""
        if self._is_secure:
            connection = reach(host, port, self._deadline, self._context, self._proxy)
        else:
            connection = reach(host, port, self._deadline)
        self._stream = _Stream(connection)
        return self._stream


class _Stream(httpcore.NetworkStream):
    """A connection in httpcore's terms. Its time-outs are not used: the deadline covers them all.

    It counts what comes: httpcore would keep what comes behind an answer, and take it for the next one.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.begin()

    def begin(self) -> None:
        """Another exchange."""
        self._head, self.behind_head = b"", -1

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self.connection.read(max_bytes)
        if self.behind_head >= 0:
            self.behind_head += len(data)
        elif len(self._head) <= MAX_HEAD_BYTES:
            self._head += data
            end = self._head.find(HEAD_END)
            if end >= 0:
                self.behind_head, self._head = len(self._head) - end - len(HEAD_END), b""
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.connection.write(buffer)

    def close(self) -> None:
        self.connection.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return self  # it speaks TLS already

    def get_extra_info(self, info: str) -> Any:
        # httpcore asks whether something came on a connection at rest; and whether TLS has agreed on HTTP/2: never.
        return not self.connection.is_quiet() if info == "is_readable" else None
