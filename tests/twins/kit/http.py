"""An HTTP server of a twin: any ASGI application in uvicorn, in a thread and on a port of its own."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from types import TracebackType
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.twins.kit.clock import TwinClock
from tests.twins.kit.faults import CutError, Faults
from tests.twins.kit.log import Log, Seen

PATIENCE_S = 20.0
LIMIT_BYTES = 1_048_576

__all__ = ["Answer", "BadBodyError", "HttpServer", "Request", "read_body", "read_json"]


class BadBodyError(ValueError):
    """A request's body is too large, or no JSON."""


class Answer(JSONResponse):
    """JSON in ASCII: what a client sent with half a surrogate pair comes back as it was."""

    def render(self, content: Any) -> bytes:
        """As the base."""
        return json.dumps(content, allow_nan=False).encode()


async def read_json(request: Request, limit_bytes: int = LIMIT_BYTES) -> Any:
    """The body of a request, read within bounds.

    Raises:
        BadBodyError: it is larger, or no JSON (NaN is none).
    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > limit_bytes:
            raise BadBodyError(f"more than {limit_bytes} bytes")
    return read_body(body)


def read_body(body: bytes) -> Any:
    """A body that is within bounds already.

    Raises:
        BadBodyError: it is no JSON (NaN is none).
    """
    try:
        return json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise BadBodyError("not JSON") from None


def _refuse(name: str) -> float:
    raise ValueError(name)


class HttpServer:
    """Serves from the moment it is made until ``stop`` (or as a context manager).

    Args:
        app: any ASGI application. It runs in the server's thread; a lock of the twin's guards what tests look at.
        context: for https://; None = http://.
        clock: for the log.
        faults: trouble in front of the application.
        port: of loopback, 0 = any that is free.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        context: ssl.SSLContext | None = None,
        clock: TwinClock | None = None,
        log: Log | None = None,
        faults: Faults | None = None,
        port: int = 0,
    ) -> None:
        self.clock, self.log, self.faults = clock or TwinClock(), log or Log(), faults or Faults()
        self.errors: list[Exception] = []
        self._app = app
        self._listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._front,
                loop="asyncio",
                interface="asgi3",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=1,
                ssl_context_factory=(lambda config, usual: context) if context else None,
            )
        )
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), name="http twin")
        self._thread.start()

    def stop(self) -> None:
        """Ends it and its thread.

        Raises:
            AssertionError: the application had raised something: a fault of the twin's own.
        """
        self._server.should_exit = True
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the HTTP server does not stop"
        self._listener.close()
        assert not self.errors, f"the twin has failed: {self.errors}"

    def __enter__(self) -> HttpServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    async def _front(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Notes the request, without its query, headers and body, and lets trouble have its turn."""
        if scope["type"] != "http":
            return
        told = {"status": 0, "size": 0}

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                told["status"] = message["status"]
            told["size"] += len(message.get("body", b""))
            await send(message)

        fault = self.faults.take(scope["method"], scope["path"])
        try:
            if fault is None:
                await self._app(scope, receive, noting)
            else:
                if fault.is_late:
                    await self._app(scope, receive, _nowhere)
                await fault.answer(noting)
        except CutError:
            pass  # an answer shorter than it said to be: the server closes the connection
        except Exception as error:
            self.errors.append(error)
            raise
        finally:
            what = f"{scope['method']} {scope['path']}"
            self.log.add(Seen(self.clock.now_s(), "http", "", what, told["status"], told["size"]))


async def _nowhere(message: Message) -> None:
    """Swallows the answer that a fault replaces."""
