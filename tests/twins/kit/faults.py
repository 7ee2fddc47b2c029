"""Trouble between a twin and its clients, on demand: storms of 429, 5xx, HTML instead of JSON, cut answers."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field

from starlette.types import Send


@dataclass
class Fault:
    """An answer in place of the twin's own.

    Args:
        status: of HTTP.
        body: what is sent.
        content_type: of it.
        headers: further ones, lower case.
        cut_after: so many bytes of the body are sent, then the connection ends; None = all of it.
        is_late: the twin has acted on the request before its answer is replaced.
    """

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    is_late: bool = False

    async def answer(self, send: Send) -> None:
        """Sends it."""
        headers = {"content-type": self.content_type, "content-length": str(len(self.body)), **self.headers}
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": pairs})
        body = self.body if self.cut_after is None else self.body[: self.cut_after]
        if self.cut_after is None:
            await send({"type": "http.response.body", "body": body})
        else:
            await send({"type": "http.response.body", "body": body, "more_body": True})
            raise CutError


class CutError(Exception):
    """Makes the server end the connection in the middle of an answer."""


def busy(retry_after_s: int | None = 1, **body: object) -> Fault:
    """429; ``body`` in the vendor's error shape."""
    headers = {} if retry_after_s is None else {"retry-after": str(retry_after_s)}
    return Fault(429, json.dumps(body).encode(), headers=headers)


def broken(status: int = 500, **body: object) -> Fault:
    """A 5xx; ``body`` in the vendor's error shape."""
    return Fault(status, json.dumps(body).encode())


def html(status: int = 200) -> Fault:
    """A page for people, as a captive portal or a proxy sends it."""
    return Fault(status, b"<!doctype html><html><body>Please sign in.</body></html>", "text/html")


def cut(after: int = 10, *, is_late: bool = False) -> Fault:
    """An answer that ends in the middle; ``is_late``: of a request that was carried out."""
    return Fault(200, b'{"data": "' + b"x" * 1000 + b'"}', cut_after=after, is_late=is_late)


class Faults:
    """Which requests meet which trouble: the first that fits is used up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[str, str, Fault]] = []

    def add(self, fault: Fault, times: int = 1, *, method: str = "", path: str = "") -> None:
        """The next so many requests of that method whose path has that text are answered so."""
        with self._lock:
            self._waiting += [(method, path, fault)] * times

    def clear(self) -> None:
        """No more trouble."""
        with self._lock:
            self._waiting.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """What the next request meets."""
        with self._lock:
            for at, (wanted, part, fault) in enumerate(self._waiting):
                if wanted in ("", method) and part in path:
                    del self._waiting[at]
                    return fault
        return None
