"""Receipts come in: the page that a phone's camera opens, which reports by itself, and the desk's import.

The page needs no login: a receipt counts by its signature. It loads nothing from anywhere and works without a script.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated

import jinja2
from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, JSONResponse, Response

from firstlight.errors import FirstlightError, UnreachableError
from firstlight.wire.bounded import WireError
from firstlight.wire.problem import Problem
from firstlight.wire.receipt import MAX_TEXT
from firstlight_hub.api.description import documented
from firstlight_hub.api.devices import by_hand_object, read_body
from firstlight_hub.api.parts import OurParts, Parts, WhoCalls, get_parts
from firstlight_hub.api.problems import STATUS, answer, problem_of
from firstlight_hub.api.strangers import Strangers
from firstlight_hub.model import UPDATE, Refusal, iso
from firstlight_hub.service.access import demand
from firstlight_hub.service.receipts import Judged

TEMPLATE = Path(__file__).with_name("receipt.html.j2")
PAGE = "text/html"
REFUSALS = (400, 401, 403, 404, 409, 410)
OF_ANYBODY = (*REFUSALS, 503)

router = APIRouter()


@router.get("/R/{receipt}", **documented("The page of a receipt", 200, PAGE, *OF_ANYBODY))
@router.get("/r/{receipt}", include_in_schema=False)
def show_receipt(receipt: str, request: Request, parts: OurParts) -> Response:
    """What a receipt says and whether it is genuine, for a person with a phone; the page reports it by itself."""
    try:
        judged = _of_anybody(request, receipt, parts.receipts.look_at)
    except (FirstlightError, WireError) as error:
        return _refused(error)
    return _page(200, judged=judged, is_asking=judged.is_new)


@router.post("/R/{receipt}", **documented("Report a receipt", 201, "Recorded", 200, *OF_ANYBODY))
@router.post("/r/{receipt}", include_in_schema=False)
async def report_receipt(receipt: str, request: Request) -> Response:
    """Records a heartbeat that came by hand: 201, and 200 where it is recorded already. HTML for browsers."""
    parts = get_parts(request)  # the form's body, which is empty, is not read
    return await run_in_threadpool(_report, parts, receipt, request)


def _report(parts: Parts, receipt: str, request: Request) -> Response:
    wants_page = PAGE in request.headers.get("accept", "")
    try:
        judged = _of_anybody(request, receipt, parts.receipts.record)
    except (FirstlightError, WireError) as error:
        return _refused(error) if wants_page else answer(error)
    return _page(201 if judged.is_new else 200, judged=judged) if wants_page else _recorded(judged)


def _of_anybody(request: Request, receipt: str, judge: Callable[[str], Judged]) -> Judged:
    """What comes of a receipt that needs no key; whoever brings many bad ones waits.

    Raises:
        UnreachableError: ``hub_busy``: it was too many; and what ``judge`` raises.
    """
    state = request.app.state
    if not hasattr(state, "strangers"):
        state.strangers = Strangers()
    strangers: Strangers = state.strangers
    address = request.client.host if request.client else ""
    strangers.admit(address)
    try:
        return judge(receipt)
    except (Refusal, WireError):
        strangers.refused(address)
        raise


@router.post(
    "/{workspace}/devices/v2/receipts",
    **documented("Import a receipt", 201, "Recorded", 200, *REFUSALS, 413, 415, body="Receipt"),
)
def import_receipt(
    workspace: str, caller: WhoCalls, body: Annotated[dict[str, object], Depends(read_body)], parts: OurParts
) -> Response:
    """Records a receipt whose text or link an operator has. Scope: device:update."""
    demand(caller, workspace, UPDATE)
    text = body.get("receipt")
    if not isinstance(text, str) or not 0 < len(text) <= MAX_TEXT:
        raise Refusal("bad_request", f"receipt is not a text of 1 to {MAX_TEXT} characters.")
    return _recorded(parts.receipts.record(text, workspace))


def _recorded(judged: Judged) -> Response:
    told = {
        "deviceId": judged.device.id,
        "name": judged.device.name,
        "isNew": judged.is_new,
        "byHand": by_hand_object(judged.by_hand),
    }
    return JSONResponse(told, 201 if judged.is_new else 200, {"Cache-Control": "no-store"})


def _refused(error: FirstlightError | WireError) -> Response:
    answered = _page(STATUS[error.code], problem=problem_of(error))
    if isinstance(error, UnreachableError) and error.retry_after_s:
        answered.headers["Retry-After"] = str(round(error.retry_after_s))
    return answered


def _page(
    status: int, *, judged: Judged | None = None, problem: Problem | None = None, is_asking: bool = False
) -> Response:
    nonce = secrets.token_urlsafe(16)
    text = _template().render(
        nonce=nonce,
        problem=problem,
        device=judged and judged.device,
        by_hand=judged and judged.by_hand,
        made_at=judged and _said(judged.by_hand.made_at_ms),
        received_at=judged and _said(judged.by_hand.received_at_ms),
        is_new=judged and judged.is_new,
        is_asking=is_asking,
    )
    allowed = f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; form-action 'self'"
    headers = {
        "Content-Security-Policy": f"{allowed}; base-uri 'none'; frame-ancestors 'none'",
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(text, status, headers)


def _said(at_ms: int) -> str:
    return f"{(iso(at_ms) or '')[:16].replace('T', ' ')} UTC"


@cache
def _template() -> jinja2.Template:
    surroundings = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return surroundings.from_string(TEMPLATE.read_text("utf-8"))
