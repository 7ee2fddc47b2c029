"""What the application interface answers: records, pages and errors (``error_code`` and ``error_msg``)."""

from __future__ import annotations

import re

from firstlight.core.exchange import HttpReply
from firstlight.core.management import Listed
from firstlight.errors import RefusedError, UnreachableError
from firstlight.platforms.huawei import https
from firstlight.wire.bounded import WireError, decode_object

PAGE_BYTES = 4_194_304
BY_STATUS = {401: "unauthorized", 403: "forbidden", 404: "not_found"}
BY_CODE = {
    "IOTDA.000002": "unauthorized",
    "IOTDA.000003": "unauthorized",
    "IOTDA.000004": "forbidden",
    "IOTDA.000021": "forbidden",
    "IOTDA.001000": "not_found",
    "IOTDA.001002": "forbidden",
    "IOTDA.014000": "not_found",
    "IOTDA.014031": "device_exists",
}
BUSY = frozenset({"IOTDA.021101", "IOTDA.021102"})
# The platform's word -> ours. FREEZED: so some of its pages.
STATUS = {"ONLINE": "online", "OFFLINE": "offline", "ABNORMAL": "offline", "FROZEN": "offline", "FREEZED": "offline"}
STAMP = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)T(\d\d):?(\d\d):?(\d\d)(?:[.:]\d{1,6})?Z\Z")


def accepted(reply: HttpReply, *wanted: int) -> dict[str, object]:
    """The body of an answer with one of these statuses, {} where it has none.

    Raises:
        RefusedError: a named no, also one that comes with status 200.
        UnreachableError: ``platform_busy``, ``platform_error``, ``redirected``, ``not_the_platform``…
    """
    problem = https.read_problem(reply.body)
    if reply.status not in wanted or problem.code:
        raise _no(reply, problem)
    if not reply.body:
        return {}
    try:
        return decode_object(reply.body, PAGE_BYTES)
    except WireError as error:
        raise UnreachableError("reply_malformed", f"The platform's answer cannot be read: {error}.") from None


def _no(reply: HttpReply, problem: https.Problem) -> RefusedError | UnreachableError:
    status = reply.status
    said = f"Huawei IoTDA answered {status}"
    if status == 429 or problem.code in BUSY:
        return UnreachableError("platform_busy", f"{said}: it limits this user.", retry_after_s=_wait_s(reply))
    if 300 <= status < 400:
        return UnreachableError("redirected", f"The address answered {status}, a redirect.")
    if status >= 500:
        return UnreachableError("platform_error", f"{said}: {problem.message or 'without a reason'}.")
    if not problem.code and status not in BY_STATUS:
        return UnreachableError("not_the_platform", f"The address answered {status}, not in the platform's words.")
    shown = f"{problem.message} ({problem.code})" if problem.code else "without a reason"
    return RefusedError(BY_CODE.get(problem.code) or BY_STATUS.get(status, "bad_request"), f"{said}: {shown}.")


def _wait_s(reply: HttpReply) -> float:
    return https.retry_after_s(reply) or https.BUSY_S


def listed(record: dict[str, object]) -> Listed:
    """A record -> what every platform can tell. Raises WireError.

    The platform tells no last heartbeat; what it tells is when the link came up or went down last (``show`` only: the
    list has no instants).
    """
    device_id = _text(record, "device_id")
    if not device_id:
        raise WireError("device_id is missing")
    raw = _text(record, "status")
    last = instant(_text(record, "connection_status_update_time"))
    name = _text(record, "device_name") or _text(record, "node_id")
    return Listed(device_id, name, STATUS.get(raw.upper(), "unknown"), last, raw, record)


def instant(text: str) -> str:
    """``2015-12-12T12:12:12.122Z``, or the page's compact form -> ISO 8601 in UTC, "" where it is neither."""
    found = STAMP.match(text)
    return "{}-{}-{}T{}:{}:{}Z".format(*found.groups()) if found else ""


def _text(record: dict[str, object], name: str) -> str:
    value = record.get(name)
    return "".join(letter for letter in value[:256] if letter.isprintable()) if isinstance(value, str) else ""
