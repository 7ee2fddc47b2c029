"""One line for each request, without anything that is a secret: no query, no key and no installId."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

KEY = re.compile(r"flk_.*", re.DOTALL)
VALUES = re.compile(r"([?&;=])[^/]*")  # a query that was meant, or written with %3F
LONG = re.compile(r"[A-Za-z0-9_-]{16,}")
# As the hub makes them: unlike these, its installIds have no "-" and its keys have other letters too.
DEVICE_ID = re.compile(r"[a-z0-9-]+-[a-km-np-z2-9]{10}")
ODD = re.compile(r"[^!-~]")
MAX_PATH = 200


def redact(path: str) -> str:
    """A path as it may be logged, however nearly right it is.

    Whatever could be an installId or a key becomes ``***``: every run of sixteen letters and more that is not a device
    id, all that follows ``flk_``, every value. Odd characters become ``?``.
    """
    bounded = path[: 4 * MAX_PATH]
    masked = LONG.sub(_mask, VALUES.sub(r"\1***", KEY.sub("flk_***", bounded)))
    return ODD.sub("?", masked)[:MAX_PATH]


def _mask(run: re.Match[str]) -> str:
    return run[0] if DEVICE_ID.fullmatch(run[0]) else "***"


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
