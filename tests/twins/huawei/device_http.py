"""The devices' half over HTTPS: a token for the password, reports with the token."""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.twins.huawei import logins
from tests.twins.huawei.api import an_object, parsed
from tests.twins.huawei.device_events import Events
from tests.twins.huawei.errors import ApiError, bad_input
from tests.twins.huawei.state import Device, State
from tests.twins.kit.http import Answer

LASTS_S = 86_399
OLD_LASTS_S = 30.0
MOST_BYTES = 1_048_576
HASHED = re.compile(r"[0-9a-f]{64}\Z")


@dataclass
class Session:
    """What an access token is good for."""

    device_id: str
    expires_s: float


class DeviceHttp:
    """``/v5/device-auth`` and ``/v5/devices/{device_id}/sys/…``."""

    def __init__(self, state: State, events: Events) -> None:
        self.state, self.events = state, events
        self.lasts_s = LASTS_S
        self.sessions: dict[str, Session] = {}
        self._rates: Counter[tuple[str, int]] = Counter()

    def routes(self) -> list[Route]:
        """For Starlette."""
        base = "/v5/devices/{device_id}/sys"
        return [
            Route("/v5/device-auth", self._login, methods=["POST"]),
            Route(base + "/properties/report", self._guarded(self._report), methods=["POST"]),
            Route(base + "/messages/up", self._guarded(self._message), methods=["POST"]),
            Route(base + "/gateway/sub-devices/properties/report", self._guarded(self._children), methods=["POST"]),
        ]

    def end_tokens(self, device_id: str) -> None:
        """Every token of a device is void from now on."""
        with self.state.lock:
            self.sessions = {text: each for text, each in self.sessions.items() if each.device_id != device_id}

    async def _login(self, request: Request) -> Response:
        try:
            body = an_object(parsed(await take(request, 4096)))
            with self.state.lock:
                return Answer(self._new_token(body))
        except ApiError as error:
            return error.answer()

    def _new_token(self, body: dict[str, Any]) -> dict[str, Any]:
        device_id, sign_type = body.get("device_id"), body.get("sign_type")
        timestamp, password = body.get("timestamp"), body.get("password")
        if isinstance(sign_type, bool) or sign_type not in (0, 1):
            raise bad_input("sign_type is not valid.")
        if not isinstance(device_id, str) or not isinstance(timestamp, str) or not logins.TIMESTAMP.match(timestamp):
            raise bad_input("device_id or timestamp is not valid.")
        if not isinstance(password, str) or not HASHED.match(password):
            raise bad_input("password is not valid.")
        device = self.state.device(device_id)
        if device is None or device.is_frozen or not device.is_direct:
            raise unauthorised()
        if not logins.knows_secret(self.state, device, str(sign_type), timestamp, password):
            raise unauthorised()
        now_s = self.state.clock.now_s()
        for each in self.sessions.values():
            if each.device_id == device_id:
                each.expires_s = min(each.expires_s, now_s + OLD_LASTS_S)
        token = secrets.token_hex(32)
        self.sessions[token] = Session(device_id, now_s + self.lasts_s)
        return {"access_token": token, "expires_in": self.lasts_s}

    def _guarded(self, handler: Callable[[Device, Any], None]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                body = await take(request, MOST_BYTES)
                with self.state.lock:
                    device = self._device(request)
                    handler(device, an_object(parsed(body)))
                return Response(status_code=200)
            except ApiError as error:
                return error.answer()

        return endpoint

    def _device(self, request: Request) -> Device:
        """Whose token it is; counts the message."""
        now_s = self.state.clock.now_s()
        session = self.sessions.get(request.headers.get("access_token", ""))
        device = self.state.device(request.path_params["device_id"])
        if session is None or device is None or session.device_id != device.device_id or session.expires_s <= now_s:
            raise ApiError(403, "IOTDA.000004", "Invalid access token.")
        if device.is_frozen:
            raise unauthorised()
        self._rates[device.device_id, int(now_s)] += 1
        if self.state.reports_per_s and self._rates[device.device_id, int(now_s)] > self.state.reports_per_s:
            raise ApiError(403, "IOTDA.021101", "Request reached the maximum rate of the device.")
        if not self.state.count(device.device_id):
            raise ApiError(403, "IOTDA.021102", "Request reached the maximum rate of the tenant.")
        return device

    def _report(self, device: Device, body: Any) -> None:
        if not self.events.report(device, body):
            raise bad_input()
        self._alive(device)

    def _message(self, device: Device, body: Any) -> None:
        self.state.events.append((device.device_id, "", "message", body))
        self._alive(device)

    def _children(self, device: Device, body: Any) -> None:
        if self.events.report_children(device, body):
            raise ApiError(400, "IOTDA.021104", "The sub-device does not exist or is not below this gateway.")
        self._alive(device)

    def _alive(self, device: Device) -> None:
        now_s = self.state.clock.now_s()
        device.become("ONLINE", now_s)
        device.data_s = now_s


def unauthorised() -> ApiError:
    """401: unknown, frozen, not direct, or the wrong password."""
    return ApiError(401, "IOTDA.000002", "The request is unauthorized.")


async def take(request: Request, most_bytes: int) -> bytes:
    """A body within bounds.

    Raises:
        ApiError: 403 IOTDA.021105, it is larger.
    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > most_bytes:
            raise ApiError(403, "IOTDA.021105", "The reported data exceeds 1 MB.")
    return body
