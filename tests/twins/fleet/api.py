"""The twin over HTTP: devices of the company whose secret is shown."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.twins.fleet.items import CLIENT_STATUSES, complaint, kept
from tests.twins.fleet.state import Company, Device, Holder, State
from tests.twins.kit.http import Answer, BadBodyError, read_json

PREFIX = "/platform/v1"
USUAL_PAGE, MOST = 50, 100
DEVICE_ID = re.compile(r"[1-9][0-9]*\Z")
READ, WRITE = "READ", "WRITE"


class NoError(Exception):
    """An answer that is no yes; ``error`` is a code or a sentence."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


Handler = Callable[[Request, Company], Awaitable[Response]]


class Api:
    """Its routes."""

    def __init__(self, state: State) -> None:
        self.state = state

    def app(self) -> Starlette:
        """All routes as an application."""
        devices, one = f"{PREFIX}/devices", f"{PREFIX}/devices/{{device_id}}"
        routes = (
            (devices, "GET", READ, self.listing),
            (devices, "POST", WRITE, self.create),
            (one, "GET", READ, self.show),
            (one, "PATCH", WRITE, self.change),
            (one, "DELETE", WRITE, self.remove),
        )
        made = [Route(path, self._guarded(handler, scope), methods=[method]) for path, method, scope, handler in routes]
        return Starlette(routes=made, exception_handlers={404: _missing, 405: _missing})

    def _guarded(self, handler: Handler, scope: str) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            headers: dict[str, str] = {}
            try:
                if not self.state.limiter_is_up:
                    raise NoError(503, "Rate limiter unavailable")
                holder = self._holder(request)
                with self.state.lock:
                    headers = self.state.count(holder)
                if "retry-after" in headers:
                    raise NoError(429, "Too many requests")
                if scope not in holder.scopes:
                    raise NoError(403, "INSUFFICIENT_SCOPE")
                response = await handler(request, holder.company)
            except NoError as error:
                response = Answer({"error": str(error)}, error.status)
            response.headers.update(headers)
            return response

        return guarded

    async def listing(self, request: Request, company: Company) -> Response:
        """``GET /devices``: search, user_id, client_status, limit, offset."""
        asked = request.query_params
        limit = _number(asked.get("limit", str(USUAL_PAGE)), "limit", 1, MOST)
        offset = _number(asked.get("offset", "0"), "offset", 0, 10**9)
        if asked.get("client_status", "AVAILABLE") not in CLIENT_STATUSES:
            raise NoError(400, "client_status: Invalid enum value")
        with self.state.lock:
            found = [device for device in company.alive() if _fits(device, asked.get("search", ""))]
            if "user_id" in asked:
                user = _number(asked["user_id"], "user_id", 1, 2**53)
                found = [device for device in found if device.item.get("user_id") == user]
            if "client_status" in asked:
                found = [device for device in found if device.client_status == asked["client_status"]]
            page = [device.told() for device in found[offset : offset + limit]]
        return Answer({"data": page, "meta": {"total": len(found), "limit": limit, "offset": offset}})

    async def create(self, request: Request, company: Company) -> Response:
        """``POST /devices``: a batch; usually all of it or nothing."""
        body = await _body(request)
        items = body.get("devices") if isinstance(body, dict) else None
        if not isinstance(items, list) or not items:
            raise NoError(400, "devices: Array must contain at least 1 element(s)")
        with self.state.lock:
            if company.is_gone:
                raise NoError(404, "COMPANY_NOT_FOUND")
            if not self.state.has_actor:
                raise NoError(500, "PLATFORM_DEVICE_ACTOR_NOT_FOUND")
            serials = {_serial(device.item) for device in company.alive()} - {""}
            made: list[Device] = []
            good: list[dict[str, Any]] = []
            first = ""
            for index, item in enumerate(items):
                said = _refusal(index, item, company, serials)
                if said and not self.state.is_partial:
                    raise NoError(400, said)
                first = first or said
                if not said:
                    good.append(item)
                    serials |= {_serial(item)} - {""}
            if not good:
                raise NoError(400, first)
            for item in good[: self.state.makes_at_most]:
                made.append(self.state.add(company, item))
            if len(made) < len(good):
                raise NoError(500, "DEVICE_PROVISIONING_FAILED")
            return Answer({"data": {"devices": [device.told() for device in made]}}, 201)

    async def show(self, request: Request, company: Company) -> Response:
        """``GET /devices/{device_id}``."""
        with self.state.lock:
            return Answer({"data": self._device(request, company).told()})

    async def change(self, request: Request, company: Company) -> Response:
        """``PATCH /devices/{device_id}``: at least one field; null clears."""
        body = await _body(request)
        with self.state.lock:
            device = self._mine(request, company)
            if said := complaint(body, is_patch=True):
                raise NoError(400, said)
            changes = kept(body)
            if not changes:
                raise NoError(400, "EMPTY_PATCH_BODY")
            device.item = {name: one for name, one in {**device.item, **changes}.items() if one is not None}
            return Answer({"data": device.told()})

    async def remove(self, request: Request, company: Company) -> Response:
        """``DELETE /devices/{device_id}``: kept, and shown no more."""
        with self.state.lock:
            device = self._mine(request, company)
            device.is_removed = True
            return Answer({"data": device.told()})

    def _holder(self, request: Request) -> Holder:
        kind, _, text = request.headers.get("authorization", "").partition(" ")
        with self.state.lock:
            known = [one for one in self.state.secrets if secrets.compare_digest(one.encode(), text.strip().encode())]
            if kind.lower() != "bearer" or not known:
                raise NoError(401, "Unauthorized")
            return self.state.secrets[known[0]]

    def _device(self, request: Request, company: Company) -> Device:
        text = str(request.path_params["device_id"])
        if not DEVICE_ID.match(text):
            raise NoError(400, "device_id: Invalid")
        device = company.devices.get(int(text)) if len(text) < 16 else None
        if device is None or device.is_removed:
            raise NoError(404, "DEVICE_NOT_FOUND")
        return device

    def _mine(self, request: Request, company: Company) -> Device:
        device = self._device(request, company)
        if device.is_fleets:
            raise NoError(403, "DEVICE_MUTATION_FORBIDDEN")
        return device


def _refusal(index: int, item: Any, company: Company, serials: set[str]) -> str:
    """Why an item cannot be made, "" = it can. A serial number is good for one device (the pages say no more)."""
    if said := complaint(item):
        return f"devices.{index}.{said}"
    if "serial_number" in item and (not item["serial_number"].strip() or _serial(item) in serials):
        return "INVALID_SERIAL_NUMBER"
    return "INVALID_USER" if item.get("user_id", 1) not in company.users else ""


def _serial(item: dict[str, Any]) -> str:
    return str(item.get("serial_number") or "").strip().casefold()


def _fits(device: Device, search: str) -> bool:
    """Full text: every word somewhere in the device."""
    text = json.dumps(list(device.item.values()), ensure_ascii=False).casefold()
    return all(word in text for word in search.casefold().split())


def _number(text: str, name: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 17 and low <= int(text) <= high):
        raise NoError(400, f"{name}: Expected an integer between {low} and {high}")
    return int(text)


async def _body(request: Request) -> Any:
    try:
        return await read_json(request)
    except BadBodyError as error:
        raise NoError(400, f"The body cannot be read: {error}") from None


async def _missing(request: Request, error: Exception) -> Response:
    return Answer({"error": "NOT_FOUND"}, 404)
