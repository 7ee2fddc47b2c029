"""Reports over HTTPS: the credential is traded for a token, and the token goes with each report. Uplink only.

(Protocol page, section 4.) What the platform names is told apart from what a portal or a proxy on the way says: only an
``error_code`` of its own is its word.
"""

from __future__ import annotations

from firstlight.core.exchange import HttpCall, HttpReply, Token
from firstlight.core.lifecycle import Accepted, Failed, Refused
from firstlight.core.model import Secret
from firstlight.errors import RefusedError, UnreachableError
from firstlight.platforms.huawei import credentials, report
from firstlight.wire.bounded import WireError, decode_object, number, optional_text, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from firstlight.core.model import Beat, Moment, Registration
else:
    from firstlight.core.record import NamedTuple

JSON = ("Content-Type", "application/json")
MAX_BYTES = 65_536
TAKEN = (200, 201, 204)
SHORTEST_TOKEN_S, LONGEST_TOKEN_S = 1, 31 * 86_400
TOKEN_SPENT, NOT_AUTHORIZED = "IOTDA.000004", "IOTDA.000002"
BUSY = frozenset({"IOTDA.021101", "IOTDA.021102"})
BUSY_S = 60.0  # where it names a limit and no time
UNREADABLE = frozenset({"IOTDA.000006", "IOTDA.000008", "IOTDA.021105"})
FOREIGN_CHILD = "IOTDA.021104"


class Problem(NamedTuple):
    """Why the platform said no: ``code`` is its ``error_code``, "" where what answered is not the platform."""

    code: str
    message: str


def token_call(registration: Registration, moment: Moment, *, knows_time: bool) -> HttpCall:
    """``POST /v5/device-auth``."""
    sign = credentials.sign_type(dict(registration.extra).get("sign", ""), knows_time=knows_time)
    stamp = credentials.hour_stamp(moment.wall_s)
    secret = registration.credential.secret
    body: dict[str, object] = {
        "device_id": registration.device_id,
        "sign_type": int(sign),
        "timestamp": stamp,
        "password": credentials.password(secret.reveal() if secret else "", stamp),
    }
    return HttpCall("POST", f"{registration.endpoint.url}/v5/device-auth", (JSON,), report.encoded(body), MAX_BYTES)


def read_token(reply: HttpReply) -> Token:
    """The answer to ``token_call``. Raises RefusedError for a named no, UnreachableError for all else."""
    if reply.status not in TAKEN:
        event = not_taken(reply)
        if isinstance(event, Refused):
            raise RefusedError(event.code, event.message)
        raise UnreachableError(event.code, event.message, retry_after_s=event.retry_after_s)
    try:
        body = decode_object(reply.body, MAX_BYTES)
        lasts_s = number(body, "expires_in", SHORTEST_TOKEN_S, LONGEST_TOKEN_S)
        return Token(Secret(_token_text(body)), float(lasts_s))
    except WireError as error:
        raise UnreachableError("reply_malformed", f"The platform's token cannot be read: {error}.") from None


def _token_text(body: dict[str, object]) -> str:
    found = text(body, "access_token", 256)
    if not found.isascii() or not found.isprintable() or " " in found:
        raise WireError("access_token has odd characters")
    return found


def beat(registration: Registration, beat: Beat, token: str) -> HttpCall:
    """``POST /v5/devices/{device_id}/sys/properties/report``."""
    url = f"{registration.endpoint.url}/v5/devices/{registration.device_id}/sys/properties/report"
    return HttpCall("POST", url, (("access_token", token), JSON), report.report(registration, beat), MAX_BYTES)


def read_beat(registration: Registration, reply: HttpReply) -> Accepted | Failed | Refused:
    """The answer to ``beat``."""
    if reply.status in TAKEN:
        return Accepted(float(registration.interval_s))
    return not_taken(reply)


def not_taken(reply: HttpReply) -> Failed | Refused:
    """Any other answer."""
    problem = read_problem(reply.body)
    if reply.status == 429 or problem.code in BUSY:
        said = problem.message or "it is busy"
        return Failed("platform_busy", f"The platform limits this device: {said}.", retry_after_s(reply) or BUSY_S)
    if reply.status >= 500:
        return Failed("platform_error", f"The platform answered {reply.status}.", retry_after_s(reply))
    if 300 <= reply.status < 400:
        return Failed("redirected", f"The platform's address answered {reply.status}, a redirect.")
    if reply.status == 407:
        return Failed("proxy_auth_required", "The proxy asks for a password.")
    if not problem.code:
        return Failed("not_the_platform", f"The address answered {reply.status}, not in the platform's words.")
    return _named(problem)


def _named(problem: Problem) -> Failed | Refused:
    said = f"The platform says: {problem.message} ({problem.code})."
    if problem.code == TOKEN_SPENT:
        return Failed("token_spent", said)
    if problem.code == NOT_AUTHORIZED:
        return Refused("huawei_secret_refused", said)
    if problem.code in UNREADABLE:
        return Refused("request_malformed", said)
    if problem.code == FOREIGN_CHILD:
        return Refused("huawei_child_foreign", said)
    return Refused("huawei_refused", said)


def read_problem(body: bytes) -> Problem:
    """``{"error_code", "error_msg"}``; a Problem without a code where the body is nothing of the kind."""
    try:
        source = decode_object(body, MAX_BYTES)
        code = optional_text(source, "error_code", 64) or ""
        message = optional_text(source, "error_msg", 2048) or optional_text(source, "error_desc", 2048)
    except WireError:
        return Problem("", "")
    shown = "".join(letter for letter in (message or "without a reason")[:300] if letter.isprintable()).rstrip(".")
    return Problem(code if code.isascii() and code.isprintable() else "", shown)


def retry_after_s(reply: HttpReply) -> float | None:
    """``Retry-After`` in seconds (RFC 9110, 10.2.3); its date form counts as not given: the clock may be wrong."""
    asked = reply.headers.get("retry-after", "")
    return float(asked[:12]) if asked.isascii() and asked.isdigit() else None
