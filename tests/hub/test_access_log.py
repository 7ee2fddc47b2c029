"""The access log has no secret in it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from firstlight_hub.access_log import AccessLog, redact


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/devices/v2/abcdefghijklmnopqrstuvwxyz/install.sh", "/devices/v2/***/install.sh"),
        ("/devices/v2/abcdefghijklmnopqrstuvwxyz", "/devices/v2/***"),
        ("/demo/devices/v2/cam-1/heartbeat", "/demo/devices/v2/cam-1/heartbeat"),
        ("//devices/v2/abcdefghijklmnopqrstuvwxyz/install.sh", "//devices/v2/***/install.sh"),
        ("/devices//v2/abcdefghijklmnopqrstuvwxyz/install.sh", "/devices//v2/***/install.sh"),
        ("/x/abcdefghijklmnopqrstuvwxyz.sh", "/x/***.sh"),
        ("/api_key=flk_ab-c_d/flk_ef/gh", "/api_key=***"),
        ("/xflk_ef/gh", "/xflk_***"),
        ("/demo?api_key=short&x=y", "/demo?***"),
        ("/demo/1." + "aB_-" * 11, "/demo/1.***"),
        ("/demo/devices/v2/dock-cam-3-gefnk7rmfs/heartbeat", "/demo/devices/v2/dock-cam-3-gefnk7rmfs/heartbeat"),
        ("/a\nb\x1b[31m", "/a?b?[31m"),
    ],
)
def test_paths_lose_install_ids_and_odd_characters(path: str, expected: str) -> None:
    """An installId is a secret, and a line stays one line."""
    assert redact(path) == expected


def test_line_has_no_query_and_no_key() -> None:
    """api_key in the query and the Authorization header never reach the line; status and time do."""
    lines: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 410, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def nothing(*message: Any) -> None:
        pass

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/devices/v2/" + "s" * 26 + "/install.sh",
        "query_string": b"api_key=hush",
        "headers": [(b"authorization", b"Bearer hush")],
        "client": ("192.0.2.1", 4711),
    }
    asyncio.run(AccessLog(app, lines.append)(scope, nothing, nothing))
    (line,) = lines
    assert line.startswith("192.0.2.1 GET /devices/v2/***/install.sh 410 ")
    assert "hush" not in line
