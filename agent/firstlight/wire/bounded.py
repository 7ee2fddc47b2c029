"""JSON from outside, bounded before it is parsed and checked field by field: the one door for both directions."""

from __future__ import annotations

import json
import math
import re

MAX_BEAT_BYTES = 16_384
MAX_REDEEM_BYTES = 16_384
MAX_REPLY_BYTES = 65_536
MAX_TEXT = 256
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f\ud800-\udfff]")


class WireError(ValueError):
    """What came in is not what the contract says. ``code`` is ``request_too_large`` or ``request_malformed``."""

    def __init__(self, message: str, code: str = "request_malformed") -> None:
        super().__init__(message)
        self.code = code


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    """1e999 is a number of JSON that nobody can write down again: it would go on as Infinity."""
    found = float(text)
    return found if -math.inf < found < math.inf else _no_constant(text[:20])


DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)  # json.loads would make one for each call


def decode_object(body: bytes, limit_bytes: int) -> dict[str, object]:
    """One JSON object.

    Args:
        body: as received.
        limit_bytes: larger bodies are refused unread.

    Raises:
        WireError: too large, not UTF-8, not JSON, nested too deeply, NaN or Infinity, or not an object.
    """
    if len(body) > limit_bytes:
        raise WireError(f"the body has {len(body)} bytes, {limit_bytes} are allowed", "request_too_large")
    try:
        found = DECODER.decode(body.decode("utf-8"))
    except RecursionError:
        raise WireError("the body is nested too deeply") from None
    except ValueError:
        raise WireError("the body is not JSON") from None
    if not isinstance(found, dict):
        raise WireError("the body is not a JSON object")
    return found


def encode_object(value: dict[str, object]) -> bytes:
    """Compact JSON, without the fields that are None."""
    return json.dumps({k: v for k, v in value.items() if v is not None}, separators=(",", ":")).encode()


def text(source: dict[str, object], name: str, limit: int = MAX_TEXT) -> str:
    """A required text of 1 to ``limit`` characters, free of control characters other than newline (for PEM)."""
    value = optional_text(source, name, limit)
    if value is None:
        raise WireError(f"{name} is missing")
    return value


def optional_text(source: dict[str, object], name: str, limit: int = MAX_TEXT) -> str | None:
    """As ``text``, None where the field is absent or null."""
    value = source.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise WireError(f"{name} is not a text")
    if not 0 < len(value) <= limit:
        raise WireError(f"{name} has {len(value)} characters, 1 to {limit} are allowed")
    if CONTROL.search(value):
        raise WireError(f"{name} has control characters")
    return value


def number(source: dict[str, object], name: str, low: float, high: float) -> float:
    """A required number within bounds (booleans are not numbers)."""
    value = optional_number(source, name, low, high)
    if value is None:
        raise WireError(f"{name} is missing")
    return value


def optional_number(source: dict[str, object], name: str, low: float, high: float) -> float | None:
    """As ``number``, None where the field is absent or null."""
    value = source.get(name)
    if type(value) in (int, float) and low <= value <= high:  # type: ignore[operator]  # nearly always, so first
        return value  # type: ignore[return-value]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise WireError(f"{name} is not a number")
    if not low <= value <= high or (isinstance(value, float) and math.isnan(value)):
        raise WireError(f"{name} is outside {low:g} to {high:g}")
    return value


def integer(source: dict[str, object], name: str, low: int, high: int) -> int:
    """A required whole number within bounds."""
    value = number(source, name, low, high)
    # JSON knows one kind of number: 7.0 is as whole as 7.
    if not isinstance(value, int) and not value.is_integer():
        raise WireError(f"{name} is not a whole number")
    return int(value)


def optional_integer(source: dict[str, object], name: str, low: int, high: int) -> int | None:
    """As ``integer``, None where the field is absent or null."""
    return None if source.get(name) is None else integer(source, name, low, high)


def child(source: dict[str, object], name: str) -> dict[str, object]:
    """An optional object; empty where it is absent or null."""
    value = source.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise WireError(f"{name} is not an object")
    return value


def children(source: dict[str, object], name: str, limit: int) -> list[dict[str, object]]:
    """An optional list of at most ``limit`` objects; empty where it is absent or null."""
    value = source.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise WireError(f"{name} is not a list of objects")
    if len(value) > limit:
        raise WireError(f"{name} has {len(value)} entries, {limit} are allowed")
    return value
