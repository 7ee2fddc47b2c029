"""The yardstick of the hub: a Starlette endpoint that parses the same body, stores nothing, and answers the same.

``python tests/bench/bare.py FD`` listens on a free port, writes it to that descriptor, and serves until it is ended.
"""

from __future__ import annotations

import os
import socket
import sys
import time

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def beat(request: Request) -> JSONResponse:
    """Parses and answers."""
    body = await request.json()
    if not isinstance(body, dict):
        return JSONResponse({"error": {"type": "request_malformed"}}, 400)
    return JSONResponse({"serverTime": round(time.time(), 3), "intervalS": 60})


def main(told: int) -> None:
    """Serves, with the options that the hub gives to uvicorn."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    app = Starlette(routes=[Route("/{workspace}/devices/v2/{device_id}/heartbeat", beat, methods=["POST"])])
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=135,
    )
    listening.listen(config.backlog)
    os.write(told, b"%d\n" % listening.getsockname()[1])
    os.close(told)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main(int(sys.argv[1]))
