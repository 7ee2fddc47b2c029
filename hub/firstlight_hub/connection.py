"""One connection: its heads are bounded, whoever is slow is let go, and an answer leaves in one write."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from typing import Any, ClassVar, cast

import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from firstlight.errors import HINTS
from firstlight.wire.problem import Problem, encode_problem
from firstlight_hub.client_certificate import SHOWN, DeviceCertificate, shown_in_handshake

MAX_HELD_BYTES = 65_536
MAX_HEAD_BYTES = 32_768
MAX_BODY_BYTES = 1_048_576  # far above any body that we take: a refused one may still run out for a moment
SLICE_BYTES = 16_384
SPARE_FILES = 64  # descriptors that connections leave to the database and to everything else
WANTED_FILES = 65_536

IDLE, HEAD, BODY = "idle", "head", "body"


class HubLoop(uvloop.Loop):
    """uvloop, which gives a TLS handshake fifteen seconds instead of sixty, and the goodbye ten instead of thirty."""

    handshake_s: ClassVar[float] = 15.0
    goodbye_s: ClassVar[float] = 10.0

    async def create_server(self, *where: Any, **more: Any) -> Any:
        """As the base: listens."""
        if more.get("ssl") is not None:
            more = {"ssl_handshake_timeout": self.handshake_s, "ssl_shutdown_timeout": self.goodbye_s, **more}
        return await super().create_server(*where, **more)


def raise_file_limit() -> None:
    """Lets this process have as many connections as the system allows: the usual 1024 are too few for one hub."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, WANTED_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class HubProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with bounds in bytes and in seconds, on a transport that gathers.

    A head of up to 32 KiB passes, one of 64 KiB never does. The seconds are attributes, for a subclass to change.
    """

    head_s: ClassVar[float] = 15.0  # from the connection, or from the first byte of a later head, to the head's end
    body_s: ClassVar[float] = 20.0  # a little longer than the app waits, so that the app can say why
    linger_s: ClassVar[float] = 2.0  # for the rest of a body that was answered before it had come

    _phase = HEAD
    _heads = 0
    _counted_bytes = 0
    _watched: tuple[str, int] = (IDLE, 0)
    _deadline: asyncio.TimerHandle | None = None
    _shown: DeviceCertificate | str | None = None  # by the other side, in the handshake

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As the base: a connection is there. Refuses it where it would take the last file descriptors."""
        super().connection_made(cast(asyncio.Transport, _Gathering(transport, self.loop)))
        secured = transport.get_extra_info("ssl_object")
        if secured is not None:
            self._shown = shown_in_handshake(secured)
        if _is_last(transport):
            self._refuse(b"503 Service Unavailable", "hub_busy", "The hub has as many connections as it can hold.")
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """As the base: it is gone."""
        self._stop_watching()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As the base, in slices, each of which is counted."""
        for at in range(0, len(data), SLICE_BYTES):
            if self.transport.is_closing():
                return
            self._feed(data if len(data) <= SLICE_BYTES else data[at : at + SLICE_BYTES])
        self._watch()

    def _feed(self, part: bytes) -> None:
        if self._phase is IDLE:
            self._phase = HEAD
        before = (self._phase, self._heads)
        super().data_received(part)
        if before != (self._phase, self._heads):
            self._counted_bytes = 0  # something ended or began within this slice, which is small enough not to count
            return
        self._counted_bytes += len(part)
        if self._phase is HEAD and self._counted_bytes > MAX_HEAD_BYTES:
            said = f"The request's head has more than {MAX_HEAD_BYTES} bytes."
            self._refuse(b"431 Request Header Fields Too Large", "request_too_large", said)
        elif self._phase is BODY and self._counted_bytes > MAX_BODY_BYTES:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """As the base: a head begins."""
        self._phase, self._heads = HEAD, self._heads + 1
        super().on_message_begin()
        if self._shown is not None:
            cast(dict[str, Any], self.scope)[SHOWN] = self._shown

    def on_headers_complete(self) -> None:
        """As the base: the head is there."""
        super().on_headers_complete()
        self._phase = BODY

    def on_message_complete(self) -> None:
        """As the base: the body is there."""
        super().on_message_complete()
        self._phase = IDLE
        if self.cycle.response_complete and self.timeout_keep_alive_task is None and not self.transport.is_closing():
            wait_s = self.timeout_keep_alive
            self.timeout_keep_alive_task = self.loop.call_later(wait_s, self.timeout_keep_alive_handler)

    def on_response_complete(self) -> None:
        """As the base; a body that nobody waits for any more must end soon."""
        super().on_response_complete()
        if self._phase is BODY:
            self._stop_watching()
            self._deadline = self.loop.call_later(self.linger_s, self._expire)

    def _watch(self) -> None:
        now = (self._phase, self._heads)
        if now == self._watched or self.transport.is_closing():
            return
        self._stop_watching()
        self._watched = now
        if self._phase is not IDLE:
            wait_s = self.head_s if self._phase is HEAD else self.body_s
            self._deadline = self.loop.call_later(wait_s, self._expire)

    def _stop_watching(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self.transport.abort()

    def _refuse(self, status: bytes, code: str, message: str) -> None:
        body = encode_problem(Problem(code, message, HINTS.get(code, "")))
        retry = b"retry-after: 10\r\n" if status.startswith(b"503") else b""
        head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\n%scontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, retry, len(body)) + body)
        self.transport.close()
        self._stop_watching()
        self._deadline = self.loop.call_later(1, self._expire)  # does not wait for a goodbye


def _is_last(transport: asyncio.BaseTransport) -> bool:
    """The kernel gives the lowest free number, so a high one means that all below are taken."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    connected = transport.get_extra_info("socket")
    return connected is not None and limit != resource.RLIM_INFINITY and connected.fileno() >= limit - SPARE_FILES


class _Gathering:
    """A transport that holds what is written within one turn of the loop and then writes it at once."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._held_bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Takes it in; large answers are passed on as they come, so that the client's pace still counts."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes >= MAX_HELD_BYTES:
            self._flush()

    def close(self) -> None:
        """Writes what is held, then closes."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            data, self._held, self._held_bytes = b"".join(self._held), [], 0
            self._transport.write(data)
