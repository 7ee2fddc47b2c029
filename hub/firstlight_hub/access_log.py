"""One line for each request, without anything that is a secret: no query, and no installId."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

INSTALL_ID = re.compile(r"^/devices/v2/[^/]+")
ODD = re.compile(r"[^!-~]")
MAX_PATH = 200


def redact(path: str) -> str:
    """A path as it may be logged: an installId becomes ``***``, odd characters become ``?``."""
    return ODD.sub("?", INSTALL_ID.sub("/devices/v2/***", path))[:MAX_PATH]


class AccessLog:
    """Plain ASGI around the app.

    Args:
        app: what answers.
        write: takes one line, without its end.
    """

    def __init__(self, app: Any, write: Callable[[str], None]) -> None:
        self._app = app
        self._write = write

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers as the app does, and writes one line about it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 500

        async def watched(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            took_ms = (time.monotonic() - began) * 1000
            client = (scope.get("client") or ("-",))[0]
            self._write(f"{client} {scope['method']} {redact(scope['path'])} {status} {took_ms:.1f} ms")
