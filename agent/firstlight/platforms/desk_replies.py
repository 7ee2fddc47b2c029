"""What management halves share: a call with a bearer key, and what a platform's answer means.

Of the desk alone: the beating process does not load this.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.model import Secret
from firstlight.errors import RefusedError, UnreachableError
from firstlight.wire import bounded

PAGE_BYTES = 16_777_216
CODES = {401: "unauthorized", 403: "forbidden", 404: "not_found"}
LATER = (408, 425, 429, 503)
MAX_REASON = 1024
MAX_WAIT_S = 3600.0
NO_NAMES: Mapping[str, str] = MappingProxyType({})


class Reason(NamedTuple):
    """Why a platform said no.

    Args:
        name: the platform's own code, "" where it gives none.
        message: its sentence, or what stands for one.
    """

    name: str
    message: str


def call(method: str, url: str, key: Secret, body: dict[str, object] | None = None) -> HttpCall:
    """A call with the operator's key as bearer; ``body`` as JSON, null where a value is None."""
    headers: tuple[tuple[str, str], ...] = (("Authorization", f"Bearer {key.reveal()}"),)
    if body is None:
        return HttpCall(method, url, headers, limit_bytes=PAGE_BYTES)
    raw = json.dumps(body, separators=(",", ":")).encode()
    return HttpCall(method, url, (*headers, ("Content-Type", "application/json")), raw, PAGE_BYTES)


def accepted(
    reply: HttpReply, wanted: tuple[int, ...], who: str, names: Mapping[str, str] = NO_NAMES
) -> dict[str, object]:
    """The JSON object of an answer that is a yes; an empty one where a 204 says nothing.

    Args:
        reply: what came back.
        wanted: statuses that are a yes.
        who: the platform's name, for people.
        names: the platform's own code -> ours, where the status says less.

    Raises:
        RefusedError: the platform said no; the code is one of ``names``, else by the status.
        UnreachableError: ``redirected``, ``platform_busy`` with the seconds to wait, ``platform_error``,
            ``not_the_platform`` or ``reply_malformed``.
    """
    if reply.status in wanted:
        if not reply.body:
            return {}
        try:
            return bounded.decode_object(reply.body, PAGE_BYTES)
        except bounded.WireError as error:
            raise unreadable(who, error) from None
    if 300 <= reply.status < 400:
        raise UnreachableError("redirected", f"The address answered {reply.status}, a redirect.")
    if reply.status < 500 and reply.body.lstrip()[:1] == b"<":
        raise UnreachableError("not_the_platform", f"A page for people came back instead of {who}'s answer.")
    reason = reason_of(reply.body)
    said = f"{who} answered {reply.status}: {_sentence(reason)}"
    if reply.status in LATER:
        raise UnreachableError("platform_busy", said, retry_after_s=retry_after_s(reply))
    if reply.status >= 500 or reply.status < 300:
        raise UnreachableError(names.get(reason.name, "platform_error"), said)
    raise RefusedError(names.get(reason.name) or CODES.get(reply.status, "bad_request"), said)


def unreadable(who: str, error: bounded.WireError) -> UnreachableError:
    """An answer that is not what the platform's pages say."""
    return UnreachableError("reply_malformed", f"The answer of {who} cannot be read: {error}.")


def reason_of(body: bytes) -> Reason:
    """What an error answer says, in any of the shapes seen: ``error`` as text or object, a bare text, or a page.

    Never raises; of a page of HTML or other junk nothing is kept.
    """
    try:
        found = json.loads(body.decode("utf-8", "replace")) if len(body) <= bounded.MAX_REPLY_BYTES else None
    except (ValueError, RecursionError):
        text = body[:MAX_REASON].decode("utf-8", "replace")
        return Reason("", "" if "<" in text else _printable(text))
    error = found.get("error") if isinstance(found, dict) else found
    if isinstance(error, dict):
        name, message = error.get("type"), error.get("message")
        return Reason(_printable(name)[:64], _printable(message))
    if isinstance(error, str) and error.isupper() and error.replace("_", "").isalnum():
        return Reason(error[:64], "")
    return Reason("", _printable(error))


def retry_after_s(reply: HttpReply) -> float | None:
    """Seconds that ``Retry-After``, or else ``RateLimit-Reset``, asks to wait, at most an hour; None = neither does.

    A date counts from the answer's own ``Date``.
    """
    asked = reply.headers.get("retry-after", "").strip() or reply.headers.get("ratelimit-reset", "").strip()
    if asked.isascii() and asked.isdigit():
        return min(float(asked[:9]), MAX_WAIT_S)
    from email.utils import parsedate_to_datetime

    try:
        until, now = (parsedate_to_datetime(text) for text in (asked, reply.headers.get("date", "")))
        return min(max(0.0, (until - now).total_seconds()), MAX_WAIT_S)
    except (ValueError, TypeError, IndexError):
        return None


def _sentence(reason: Reason) -> str:
    if not reason.message:
        return f"{reason.name}." if reason.name else "without a reason."
    return f"{reason.message} ({reason.name})" if reason.name else reason.message


def _printable(value: object) -> str:
    return "".join(c for c in value[:MAX_REASON] if c.isprintable()).strip() if isinstance(value, str) else ""
