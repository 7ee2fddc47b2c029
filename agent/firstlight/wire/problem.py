"""The shape of every error answer: ``{"error": {"type", "message", "hint"?, "keyFingerprint"?}}``."""

from __future__ import annotations

import re

from firstlight.wire import bounded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from firstlight.core.record import NamedTuple

CODE = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")


class Problem(NamedTuple):
    """Why the hub said no.

    Args:
        code: stable name, lower_snake_case (``type`` on the wire, as in Roboflow's ``error.type``).
        message: one sentence.
        hint: the next step, or "".
        key_fingerprint: with ``device_removed`` and ``device_unknown``: the device key that the answer is about.
    """

    code: str
    message: str
    hint: str = ""
    key_fingerprint: str = ""


def problem_object(problem: Problem) -> dict[str, object]:
    """``Problem`` -> the body as a JSON object."""
    inner = {"type": problem.code, "message": problem.message}
    if problem.hint:
        inner["hint"] = problem.hint
    if problem.key_fingerprint:
        inner["keyFingerprint"] = problem.key_fingerprint
    return {"error": inner}


def encode_problem(problem: Problem) -> bytes:
    """``Problem`` -> the body of an error answer."""
    return bounded.encode_object(problem_object(problem))


def decode_problem(body: bytes) -> Problem | None:
    """The body of an error answer -> ``Problem``, or None when the hub did not write it."""
    try:
        inner = bounded.child(bounded.decode_object(body, bounded.MAX_REPLY_BYTES), "error")
        code = bounded.text(inner, "type", 64)
        if not CODE.match(code):
            return None
        return Problem(
            code,
            bounded.text(inner, "message", 1024),
            bounded.optional_text(inner, "hint", 1024) or "",
            bounded.optional_text(inner, "keyFingerprint", 80) or "",
        )
    except bounded.WireError:
        return None
