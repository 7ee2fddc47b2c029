"""Puts the API together: routes, how every no is answered, and what lives as long as the server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route

from firstlight.errors import FirstlightError
from firstlight.wire.bounded import WireError
from firstlight.wire.problem import Problem
from firstlight_hub import __version__
from firstlight_hub.api import box, devices, receipts, workspace
from firstlight_hub.api.description import describe
from firstlight_hub.api.parts import Parts
from firstlight_hub.api.problems import FAULT, answer, problem_response
from firstlight_hub.ingest.group_commit import GroupCommit, Write
from firstlight_hub.ingest.http_ingest import ROUTE, HeartbeatEndpoint
from firstlight_hub.model import Refusal

PRUNE_EVERY_S = 60.0
PRUNE_AT_ONCE = 2000
NAMES = {404: ("not_found", "There is nothing at this address."), 405: ("method_not_allowed", "Not this method here.")}


class HubApp(FastAPI):
    """FastAPI, but beats go past everything else: that alone saves nearly half of what a beat costs (measured)."""

    def __init__(self, heartbeat: HeartbeatEndpoint, living: Callable[[FastAPI], Any]) -> None:
        super().__init__(title="Firstlight hub", docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=living)
        self._heartbeat = heartbeat

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers one request."""
        if self._heartbeat.takes(scope):
            await self._heartbeat(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def build_app(parts: Parts, write_beats: Write) -> FastAPI:
    """The hub's ASGI application.

    Args:
        parts: the use cases.
        write_beats: writes a group of beats in one transaction.
    """
    commits = GroupCommit(write_beats)

    @contextlib.asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        pruning = asyncio.create_task(_prune_now_and_then(parts))
        try:
            yield
        finally:
            pruning.cancel()
            await commits.close()

    heartbeat = HeartbeatEndpoint(parts.beats, commits)
    app = HubApp(heartbeat, living)
    app.state.parts = parts
    app.state.commits = commits
    beat = Route(ROUTE, heartbeat, methods=["POST"])  # for the other methods: 405, as everywhere
    app.router.routes.insert(0, beat)
    app.include_router(box.router)
    app.include_router(receipts.router)  # before those that would take its path for a device
    app.include_router(devices.router)
    app.include_router(workspace.router)
    page: list[dict[str, Any]] = []

    def openapi() -> dict[str, Any]:
        if not page:
            page.append(describe(app, __version__))
        return page[0]

    app.openapi = openapi  # type: ignore[method-assign]
    routers = (box.router, receipts.router, devices.router, workspace.router)
    _answer_problems(app, [beat, *(route for router in routers for route in router.routes)])
    return app


def _answer_problems(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    async def ours(request: Request, error: Any) -> Response:
        return answer(error)

    async def malformed(request: Request, error: Any) -> Response:
        first = error.errors()[0]
        return answer(Refusal("bad_request", f"{first['loc'][-1]} is not valid: {first['msg']}."))

    async def starlettes(request: Request, error: Any) -> Response:
        code, message = NAMES.get(error.status_code, ("bad_request", str(error.detail)))
        headers = {"Allow": _allowed(routes, request)} if error.status_code == 405 else {}
        return problem_response(error.status_code, Problem(code, message), headers)

    async def fault(request: Request, error: Exception) -> Response:
        return problem_response(500, FAULT)

    handlers: dict[type[Exception], Callable[[Request, Any], Any]] = {
        FirstlightError: ours,
        WireError: ours,
        RequestValidationError: malformed,
        HTTPException: starlettes,
        Exception: fault,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def _allowed(routes: Sequence[BaseRoute], request: Request) -> str:
    """Every method that some route has for this path: Starlette names those of the first one only."""
    found: set[str] = set()
    for route in routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    if not found:  # the app's own: /openapi.json
        found.add("GET")
    return ", ".join(sorted(found))


async def _prune_now_and_then(parts: Parts) -> None:
    while True:
        with contextlib.suppress(FirstlightError):  # the next time will do
            while await run_in_threadpool(parts.beats.prune, PRUNE_AT_ONCE):
                pass
        await asyncio.sleep(PRUNE_EVERY_S)
