"""Every no as an answer: which status a code has, and how bodies come in bounded."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from starlette.responses import Response

from firstlight.errors import HINTS, FirstlightError, UnreachableError
from firstlight.wire.bounded import WireError
from firstlight.wire.problem import Problem, encode_problem

STATUS = {
    "bad_request": 400,
    "request_malformed": 400,
    "csr_invalid": 400,
    "receipt_malformed": 400,
    "receipt_newer": 400,
    "proxy_not_trusted": 400,
    "unauthorized": 401,
    "key_invalid": 401,
    "certificate_refused": 401,
    "credential_revoked": 401,
    "forbidden": 403,
    "take_back_not_allowed": 403,
    "receipt_forged": 403,
    "not_found": 404,
    "install_id_unknown": 404,
    "device_unknown": 404,
    "receipt_unknown_device": 404,
    "receipt_wrong_hub": 404,
    "receipt_wrong_workspace": 404,
    "method_not_allowed": 405,
    "install_id_taken": 409,
    "transport_unavailable": 409,
    "clone_suspected": 409,
    "receipt_replayed": 409,
    "receipt_key_other": 409,
    "install_id_expired": 410,
    "install_id_revoked": 410,
    "device_removed": 410,
    "request_too_large": 413,
    "unsupported_media_type": 415,
    "hub_busy": 503,
    "database_unusable": 503,
}
RETRY_AFTER_S = 10
BODY_WITHIN_S = 15.0

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
FAULT = Problem("internal", "The hub failed; its log says more.")


class WrongMediaType(WireError):
    """A body that is not JSON by its own word."""

    def __init__(self) -> None:
        super().__init__("the body is not application/json", "unsupported_media_type")


def problem_response(status: int, problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """A problem as an HTTP answer."""
    return Response(encode_problem(problem), status, dict(headers or {}), "application/json")


def problem_of(error: FirstlightError | WireError) -> Problem:
    """An error of ours in the words of the wire."""
    if isinstance(error, WireError):
        text = str(error)
        return Problem(error.code, f"{text[0].upper()}{text[1:]}.", HINTS.get(error.code, ""))
    return Problem(error.code, error.message, error.hint, getattr(error, "key_fingerprint", ""))


def answer(error: FirstlightError | WireError) -> Response:
    """What an error of ours is answered with."""
    problem = problem_of(error)
    if isinstance(error, WireError):
        return problem_response(STATUS[error.code], problem)
    status = STATUS.get(error.code, 500)
    headers = {}
    if status == 503:
        asked = error.retry_after_s if isinstance(error, UnreachableError) else None
        headers["Retry-After"] = str(round(asked or RETRY_AFTER_S))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return problem_response(status, problem, headers)


def is_json(headers: Mapping[bytes, bytes]) -> None:
    """Raises WireError for a body of another media type; none at all passes, the body then speaks for itself."""
    media_type = headers.get(b"content-type")
    if media_type is not None and media_type.split(b";")[0].strip().lower() != b"application/json":
        raise WrongMediaType


async def read_bounded(
    headers: Mapping[bytes, bytes],
    receive: Receive,
    limit_bytes: int,
    within_s: float = BODY_WITHIN_S,
) -> bytes:
    """The request's body, at most ``limit_bytes``; a larger one is refused before it is read.

    Raises:
        WireError: ``request_too_large``, or ``request_malformed`` when the other side went away, or took longer than
            ``within_s`` seconds.
    """
    said = headers.get(b"content-length", b"")
    if said.isdigit() and int(said[:20]) > limit_bytes:
        raise WireError(f"the body has more than {limit_bytes} bytes", "request_too_large")
    task, is_late = asyncio.current_task(), False

    def end() -> None:
        nonlocal is_late
        is_late = True
        if task is not None:
            task.cancel()

    # Not asyncio.wait_for, which makes a task for each message: every beat comes through here.
    timer = asyncio.get_running_loop().call_later(within_s, end)
    try:
        return await _read(receive, limit_bytes)
    except asyncio.CancelledError:
        if not is_late:
            raise
        if sys.version_info >= (3, 11) and task is not None:
            task.uncancel()
        raise WireError(f"the body did not come within {within_s:g} seconds") from None
    finally:
        timer.cancel()


async def _read(receive: Receive, limit_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise WireError("the body was cut off")
        part = message.get("body", b"")
        size += len(part)
        if size > limit_bytes:
            raise WireError(f"the body has more than {limit_bytes} bytes", "request_too_large")
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)
