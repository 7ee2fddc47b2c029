"""``POST /broker/{token}/user | vhost | resource | topic``: RabbitMQ's questions. Not part of the public API."""

from __future__ import annotations

import hmac

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from firstlight.core.model import Secret
from firstlight.errors import FirstlightError
from firstlight.wire.bounded import WireError
from firstlight.wire.problem import Problem
from firstlight_hub.api.problems import answer, problem_response, read_bounded
from firstlight_hub.rabbitmq.auth import DENY, RULES, Logins, read_form

ROUTE = "/broker/{token}/{question}"
MAX_QUESTION_BYTES = 8192


def make_route(logins: Logins, token: Secret) -> Route:
    """Where RabbitMQ asks: addresses that nobody knows without the token."""
    expected = token.reveal().encode()

    async def decide(request: Request) -> Response:
        shown, question = request.path_params["token"], request.path_params["question"]
        is_right = hmac.compare_digest(shown.encode("utf-8", "surrogateescape"), expected)
        if not is_right or request.method != "POST" or question not in RULES:
            return problem_response(404, Problem("not_found", "There is nothing at this address."))
        try:
            body = await read_bounded(dict(request.scope["headers"]), request.receive, MAX_QUESTION_BYTES)
            form = read_form(body)
            told = await run_in_threadpool(logins.decide, question, form) if form else DENY
        except WireError:
            told = DENY
        except FirstlightError as error:  # no word of ours: RabbitMQ refuses for now, and remembers nothing
            return answer(error)
        return PlainTextResponse(told)

    return Route(ROUTE, decide, methods=["GET", "POST"], include_in_schema=False)
