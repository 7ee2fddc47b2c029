"""The twin over HTTP: the management API (seed 003 and the API pages), and where devices publish."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.twins.kit.http import Answer, BadBodyError, read_json
from tests.twins.qubitro.state import Device, State

TAG = re.compile(r"[A-Za-z0-9_]+\Z")
LIMITS = {"name": 100, "description": 500}
SOURCES = {"seed": ("http", "mqtt"), "newer": ("http", "mqtt", "intemo-wifi")}
MOST_ROWS = 1000


class NoError(Exception):
    """An answer that is no yes."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


Handler = Callable[[Request], Awaitable[Response]]


class Api:
    """Its routes.

    Args:
        state: what it works on.
        drop: cuts a device's MQTT link.
    """

    def __init__(self, state: State, drop: Callable[[str], object]) -> None:
        self.state, self.drop = state, drop

    def app(self) -> Starlette:
        """All routes as an application."""
        devices = "/v2/projects/{project}/devices"
        one = f"{devices}/{{device}}"
        routes = [
            ("/v2/projects", self.projects, "GET"),
            (devices, self.create, "POST"),
            (devices, self.listing, "GET"),
            (one, self.show, "GET"),
            (one, self.remove, "DELETE"),
            (f"{one}/data", self.data, "GET"),
            ("/integrations/http", self.publish, "POST"),
        ]
        return Starlette(
            routes=[Route(path, self._guarded(handler), methods=[method]) for path, handler, method in routes],
            exception_handlers={404: _missing, 405: _missing},
        )

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            try:
                return await handler(request)
            except NoError as error:
                body: dict[str, object] = {"status": error.status, "message": str(error)}
                if self.state.errors_are_200:
                    return Answer({"success": False, **body}, 200)
                return Answer(body, error.status)

        return guarded

    # ---- the operator's side ----

    async def projects(self, request: Request) -> Response:
        """``GET /v2/projects``: those of the key."""
        return self._said("list projects", [{"id": project} for project in sorted(self._key(request))])

    async def create(self, request: Request) -> Response:
        """``POST /v2/projects/{project}/devices``."""
        project = self._project(request)
        wanted = self._wanted(await _body(request))
        device = self.state.add_device(project, wanted)
        data = {**device.public(), **self._credentials(device)}
        return self._said("create device", data, 201, "Device created successfully.")

    async def listing(self, request: Request) -> Response:
        """``GET /v2/projects/{project}/devices``: the newest ``last_seen`` first, no credentials."""
        project = self._project(request)
        with self.state.lock:
            found = sorted(self.state.projects[project].values(), key=lambda one: -(one.seen_s or 0.0))
            rows = [device.public() for device in found]
        if self.state.dialect == "newer":
            return Answer(rows)
        return self._said("list devices", rows)

    async def show(self, request: Request) -> Response:
        """``GET /v2/projects/{project}/devices/{device}``, with the credentials."""
        device = self._device(request)
        return self._said("get device", {**device.public(), **self._credentials(device)})

    async def remove(self, request: Request) -> Response:
        """``DELETE /v2/projects/{project}/devices/{device}``: its link, if any, is cut."""
        device = self._device(request)
        with self.state.lock:
            del self.state.projects[request.path_params["project"]][device.id]
        self.drop(device.id)
        return self._said("delete device", None)

    async def data(self, request: Request) -> Response:
        """``GET …/data``: the newest first, ``page`` from 1, ``limit`` up to 1000."""
        device = self._device(request)
        try:
            page = int(request.query_params.get("page", "1"))
            limit = int(request.query_params.get("limit", "100"))
        except ValueError:
            raise NoError(400, "page and limit must be numbers.") from None
        if page < 1 or not 1 <= limit <= MOST_ROWS:
            raise NoError(400, "page must be at least 1, limit between 1 and 1000.")
        with self.state.lock:
            rows = list(device.rows)[::-1]
        return self._said("get data", rows[(page - 1) * limit : page * limit])

    def _key(self, request: Request) -> frozenset[str]:
        kind, _, key = request.headers.get("authorization", "").partition(" ")
        with self.state.lock:
            known = [mine for mine in self.state.keys if secrets.compare_digest(mine.encode(), key.strip().encode())]
            if kind.lower() != "bearer" or not known:
                raise NoError(401, "Authentication failed or was not provided.")
            return self.state.keys[known[0]]

    def _project(self, request: Request) -> str:
        mine = self._key(request)
        project = str(request.path_params["project"])
        with self.state.lock:
            if project not in self.state.projects:
                raise NoError(404, "The requested resource could not be found.")
        if project not in mine:
            raise NoError(403, "The authenticated user does not have access to the requested resource.")
        return project

    def _device(self, request: Request) -> Device:
        project = self._project(request)
        with self.state.lock:
            device = self.state.projects[project].get(str(request.path_params["device"]))
        if device is None:
            raise NoError(404, "The requested resource could not be found.")
        return device

    def _wanted(self, body: Any) -> dict[str, object]:
        """The fields of seed 003, checked; unknown ones are passed over."""
        if not isinstance(body, dict):
            raise NoError(400, "The body must be an object.")
        found: dict[str, object] = {}
        for name, limit in LIMITS.items():
            value = body.get(name)
            if not isinstance(value, str) or not 1 <= len(value) <= limit:
                raise NoError(400, f"{name} is required: a string of at most {limit} characters.")
            found[name] = value
        sources = SOURCES[self.state.dialect]
        if body.get("source") not in sources:
            raise NoError(400, f"source must be one of: {', '.join(sources)}.")
        tags = body.get("tags", [])
        if not isinstance(tags, list) or not all(isinstance(tag, str) and TAG.match(tag) for tag in tags):
            raise NoError(400, "tags must be an array of strings of letters, digits and underscores.")
        for name in ("brand", "model"):
            value = body.get(name, "Custom")
            if not isinstance(value, str):
                raise NoError(400, f"{name} must be a string.")
            found[name] = value or "Custom"
        return {**found, "source": body["source"], "tags": list(tags)}

    def _credentials(self, device: Device) -> dict[str, object]:
        place = "metadata" if self.state.dialect == "seed" else "device_credentials"
        return {place: {"device_id": device.id, "device_token": device.token}}

    def _said(self, action: str, data: object, status: int = 200, message: str = "") -> Response:
        body = {"success": True, "action": action, "status": status, "message": message or "OK", "data": data}
        return Answer(body, self.state.created_status if status == 201 else status)

    # ---- the device's side ----

    async def publish(self, request: Request) -> Response:
        """``POST /integrations/http`` with the raw token after "Basic"."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        device = self.state.by_token(token) if token.isascii() else None
        if kind != "Basic" or device is None:
            raise NoError(401, "Authentication failed or was not provided.")
        if device.source != "http":
            raise NoError(403, "The source of this device is not http.")
        if not self.state.take(device, await _body(request)):
            raise NoError(400, "The body must be a flat object of keys and values.")
        return Response(self.state.publish_body, media_type="application/json" if self.state.publish_body else None)


async def _body(request: Request) -> Any:
    try:
        return await read_json(request)
    except BadBodyError as error:
        raise NoError(400, f"The request could not be understood: {error}.") from None


async def _missing(request: Request, error: Exception) -> Response:
    return Answer({"status": 404, "message": "The requested resource could not be found."}, 404)
