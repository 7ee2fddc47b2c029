"""The management interface: /v5/iot/{project_id}/devices."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.twins.huawei import fields, records, signing
from tests.twins.huawei.errors import ApiError, bad_input, malformed, no_device, no_entry, not_yours
from tests.twins.huawei.state import Device, Operator, State, compact
from tests.twins.kit.http import LIMIT_BYTES, Answer, BadBodyError, read_body

MARKER = re.compile(r"[0-9a-f]{24}\Z")
Handler = Callable[[Request, bytes], Response]


class Api:
    """The operators' half.

    Args:
        state: shared with the devices' half.
        tell: called with a device whose desired values have changed, for it to be told.
        drop: called with the id of a device whose link is to end, and why.
    """

    def __init__(self, state: State, tell: Callable[[Device], object], drop: Callable[[str, str], object]) -> None:
        self.state, self.tell, self.drop = state, tell, drop

    def routes(self) -> list[Route]:
        """For Starlette."""
        base = "/v5/iot/{project_id}/devices"
        one = base + "/{device_id}"
        table: list[tuple[str, str, Handler]] = [
            (base, "POST", self.create),
            (base, "GET", self.list),
            (one, "GET", self.show),
            (one, "DELETE", self.delete),
            (one + "/reset-fingerprint", "POST", self.reset_fingerprint),
            (one + "/action", "POST", self.reset_secret),
            (one + "/freeze", "POST", self.freeze),
            (one + "/unfreeze", "POST", self.unfreeze),
            (one + "/shadow", "GET", self.show_shadow),
            (one + "/shadow", "PUT", self.set_shadow),
        ]
        return [Route(path, self._guarded(handler), methods=[method]) for path, method, handler in table]

    def _guarded(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            body = b""
            async for piece in request.stream():
                body += piece
                if len(body) > LIMIT_BYTES:
                    return malformed().answer()
            try:
                with self.state.lock:
                    self._let_in(request, body)
                    self.state.sweep()
                    return handler(request, body)
            except ApiError as error:
                return error.answer()

        return endpoint

    # ---- who may ----

    def _let_in(self, request: Request, body: bytes) -> None:
        operator = self._operator(request, body)
        if operator.expires_s <= self.state.clock.now_s():
            raise no_entry("token expires")
        if operator.project_id != request.path_params["project_id"]:
            raise not_yours()
        if request.method != "GET" and not operator.may_write:
            raise not_yours()
        instance = request.headers.get("instance-id")
        if instance != self.state.instance_id and (instance is not None or self.state.needs_instance):
            raise bad_input("Instance-Id is not valid.")

    def _operator(self, request: Request, body: bytes) -> Operator:
        token = request.headers.get("x-auth-token")
        if token is not None:
            operator = self.state.tokens.get(token)
            if operator is None:
                raise no_entry("decrypt token fail")
            return operator
        claim = signing.read_claim(request.headers.get("authorization", ""))
        if claim is None:
            raise no_entry("no token and no signature")
        operator = self.state.access_keys.get(claim.access_key)
        path = request.scope.get("raw_path", b"").decode() or request.url.path
        signed = signing.Signed(request.method, path, request.url.query, dict(request.headers), body)
        if operator is None or not signing.is_true(claim, operator.secret_key, signed, self.state.clock.now_s()):
            raise no_entry("verify aksk signature fail")
        return operator

    def _device(self, request: Request) -> Device:
        device = self.state.devices.get(request.path_params["device_id"])
        if device is None or device.project_id != request.path_params["project_id"]:
            raise no_device()
        return device

    # ---- what they may do ----

    def create(self, request: Request, body: bytes) -> Response:
        """Seed 002."""
        device = records.make(self.state, request.path_params["project_id"], fields.check_create(parsed(body)))
        return Answer(records.told(self.state, device), 201)

    def show(self, request: Request, body: bytes) -> Response:
        """One device."""
        return Answer(records.told(self.state, self._device(request)))

    def delete(self, request: Request, body: bytes) -> Response:
        """Gone, with all below it; its link ends."""
        for device_id in self.state.remove(self._device(request)):
            self.drop(device_id, "deleted")
        return Response(status_code=204)

    def list(self, request: Request, body: bytes) -> Response:
        """Newest first; ``marker`` is the record id of the last one of the page before."""
        asked = request.query_params
        limit = fields.number_in(asked.get("limit"), 10, 1, 50, out_of_range("000017", "limit"))
        offset = fields.number_in(asked.get("offset"), 0, 0, 500, bad_input("offset is not valid."))
        marker = asked.get("marker", "f" * 24)
        if not MARKER.match(marker):
            raise out_of_range("000018", "marker")
        found = [device for device in self.state.devices.values() if self._fits(device, request)]
        found.sort(key=lambda device: device.record_id, reverse=True)
        page = [device for device in found if device.record_id < marker][offset : offset + limit]
        about = {"count": len(found), "marker": page[-1].record_id if page else None}
        return Answer({"devices": [records.told_simply(self.state, device) for device in page], "page": about})

    def _fits(self, device: Device, request: Request) -> bool:
        asked = request.query_params
        if device.project_id != request.path_params["project_id"]:
            return False
        for name in ("product_id", "node_id", "device_name", "app_id"):
            if asked.get(name) not in (None, getattr(device, name)):
                return False
        gateway_id = asked.get("gateway_id")
        if gateway_id is not None:
            is_child = device.gateway_id == gateway_id and not device.is_direct
            is_below = asked.get("is_cascade_query") == "true" and self.state.is_below(device.device_id, gateway_id)
            if not is_child and not is_below:
                return False
        return self._is_of_then(device, asked.get("start_time"), asked.get("end_time"))

    def _is_of_then(self, device: Device, start: str | None, end: str | None) -> bool:
        for each in (start, end):
            if each is not None and not records.is_compact_time(each):
                raise ApiError(400, "IOTDA.000009", "Invalid input. Invalid time format.")
        if start is not None and end is not None and start > end:
            raise ApiError(400, "IOTDA.000010", "Invalid input. The start time must be earlier than the end time.")
        at = compact(device.created_s)
        return (start is None or start <= at) and (end is None or at <= end)

    def reset_fingerprint(self, request: Request, body: bytes) -> Response:
        """Another fingerprint, or none: then the next certificate that is shown is pinned."""
        device, asked = self._device(request), an_object(parsed(body))
        fingerprint = asked.get("fingerprint")
        if device.auth_type != "CERTIFICATES":
            raise bad_input("The device does not use certificates.")
        if fingerprint is not None:
            fields.check_fingerprint(fingerprint)
        name = slot(asked.get("fingerprint_type"), "fingerprint")
        setattr(device, name, (fingerprint or "").lower())
        self._perhaps_drop(device, asked)
        kind = asked.get("fingerprint_type") or "PRIMARY"
        return Answer({"device_id": device.device_id, "fingerprint": fingerprint or "", "fingerprint_type": kind})

    def reset_secret(self, request: Request, body: bytes) -> Response:
        """Another secret; told in the clear, this once."""
        device, asked = self._device(request), an_object(parsed(body))
        if request.query_params.get("action_id") != "resetSecret" or device.auth_type != "SECRET":
            raise bad_input()
        secret = asked.get("secret") or secrets.token_hex(16)
        fields.check_secret(secret)
        setattr(device, slot(asked.get("secret_type"), "secret"), secret)
        self._perhaps_drop(device, asked)
        kind = asked.get("secret_type") or "PRIMARY"
        return Answer({"device_id": device.device_id, "secret": secret, "secret_type": kind})

    def _perhaps_drop(self, device: Device, asked: dict[str, Any]) -> None:
        forced = asked.get("force_disconnect", False)
        if not isinstance(forced, bool):
            raise bad_input("force_disconnect is not valid.")
        if forced:
            self.drop(device.device_id, "reset")

    def freeze(self, request: Request, body: bytes) -> Response:
        """It may no longer connect."""
        device = self._device(request)
        device.is_frozen = True
        self.drop(device.device_id, "frozen")
        return Response(status_code=204)

    def unfreeze(self, request: Request, body: bytes) -> Response:
        """It may again."""
        self._device(request).is_frozen = False
        return Response(status_code=204)

    def show_shadow(self, request: Request, body: bytes) -> Response:
        """What is desired and what was reported."""
        device = self._device(request)
        return Answer({"device_id": device.device_id, "shadow": records.told_shadow(device)})

    def set_shadow(self, request: Request, body: bytes) -> Response:
        """Other desired values; a linked device is told of what differs from its report."""
        device = self._device(request)
        wanted = fields.check_shadow(an_object(parsed(body)).get("shadow"))
        product = self.state.products[device.product_id]
        for each in wanted:
            records.set_desired(product, device.shadow, each["service_id"], each["desired"])
            part = device.shadow[each["service_id"]]
            part.desired_s, part.version = self.state.clock.now_s(), part.version + 1
        self.tell(device)
        return Answer({"device_id": device.device_id, "shadow": records.told_shadow(device)})


def out_of_range(code: str, name: str) -> ApiError:
    """400: a number of a list's question."""
    return ApiError(400, f"IOTDA.{code}", f"Invalid input. The specified parameter '{name}' is out of range.")


def parsed(body: bytes) -> Any:
    """A body as JSON.

    Raises:
        ApiError: it is none.
    """
    try:
        return read_body(body)
    except BadBodyError:
        raise malformed() from None


def an_object(value: Any) -> dict[str, Any]:
    """The same, where it must be an object."""
    if not isinstance(value, dict):
        raise malformed()
    return value


def slot(kind: Any, name: str) -> str:
    """Which of two proofs is meant: PRIMARY, the usual one, or SECONDARY."""
    if kind not in (None, "PRIMARY", "SECONDARY"):
        raise bad_input(f"{name}_type is not valid.")
    return f"secondary_{name}" if kind == "SECONDARY" else name
