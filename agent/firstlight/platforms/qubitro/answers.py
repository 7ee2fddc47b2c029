"""How Qubitro says yes and no, the same for both halves: bounded before it is parsed, never trusted to be what it says.

A yes is any status from 200 to 299 whose body, where there is one, does not say ``"success": false``: the vendor's
table of codes and its example do not agree (seed 003), so the status alone decides nothing. A no is an object with
``status`` and ``message``, the shape that the vendor's own client for Node.js reads.
"""

from __future__ import annotations

from firstlight.wire.bounded import DECODER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from firstlight.core.exchange import HttpReply
else:
    from firstlight.core.record import NamedTuple

MAX_SAID = 300
BUSY = (429, 503)


class No(NamedTuple):
    """An answer that is no yes.

    Args:
        status: what counts: that of the body where it says no under a good one.
        said: the platform's own sentence, printable, "" = it has none.
        is_named: it is an object with a sentence, as Qubitro's are, and not the page of something on the way.
        retry_after_s: what it asked to wait, or None.
    """

    status: int
    said: str
    is_named: bool
    retry_after_s: float | None

    @property
    def text(self) -> str:
        """One sentence."""
        return f"Qubitro answered {self.status}{': ' + self.said if self.said else ''}"[:MAX_SAID].rstrip(". ") + "."


def parsed(body: bytes, limit_bytes: int) -> object:
    """A body as JSON; None for what is too large, no JSON, or nested too deeply."""
    if len(body) > limit_bytes:
        return None
    try:
        return DECODER.decode(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return None


def no(reply: HttpReply) -> No | None:
    """Why this is no yes; None where it is one."""
    found = parsed(reply.body, 65_536)
    source = found if isinstance(found, dict) else {}
    is_good = 200 <= reply.status < 300
    if is_good and source.get("success", True) is not False:
        return None
    message = source.get("message")
    said = "".join(letter for letter in message[:MAX_SAID] if letter.isprintable()) if isinstance(message, str) else ""
    inner = source.get("status")
    # A no under a good status counts by the status it gives itself; without one it is a bad request.
    status = (inner if type(inner) is int and 400 <= inner < 600 else 400) if is_good else reply.status
    return No(status, said, isinstance(message, str), _retry_after_s(reply))


def _retry_after_s(reply: HttpReply) -> float | None:
    """``Retry-After`` in seconds (RFC 9110, 10.2.3); its date form counts as not given: the clock may be wrong."""
    asked = reply.headers.get("retry-after", "")
    return float(asked[:12]) if asked.isascii() and asked.isdigit() else None
