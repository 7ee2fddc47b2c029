"""The notes of ``core/change.py`` as a JSON object, and back: whatever stands there, ``Notes`` comes out."""

from __future__ import annotations

from firstlight.core.change import MAX_SETTLED, Later, Notes, Result

MAX_STATEMENT, MAX_MESSAGE, MAX_NAME, MAX_COUNT = 65_536, 4096, 128, 1_000_000  # characters, and how often at most
HEX_DIGITS = frozenset("0123456789abcdef")


def encode(notes: Notes) -> dict[str, object]:
    """``Notes`` -> a JSON object."""
    return {
        "rotate": notes.rotate,
        "heard": notes.heard,
        "move": notes.move,
        "movedAtS": notes.moved_at_s,
        "settled": list(notes.settled),
        "attemptId": notes.attempt_id,
        "nextKey": notes.next_key,
        "trouble": notes.trouble,
        "begun": notes.begun,
        "rotationLater": _later_object(notes.rotation_later),
        "moveLater": _later_object(notes.move_later),
        "lastRotation": _result_object(notes.rotation),
        "lastMove": _result_object(notes.move_result),
        "rotationRest": _later_object(notes.rotation_rest),
        "heardLater": _later_object(notes.heard_later),
    }


def decode(source: dict[str, object]) -> Notes:
    """A JSON object -> ``Notes``; a field that is missing, of another kind or not possible counts as not there."""
    attempt_id, next_key = _text(source, "attemptId"), _text(source, "nextKey")
    return Notes(
        rotate=source.get("rotate") is True,
        heard=_text(source, "heard", MAX_STATEMENT),
        move=_text(source, "move", MAX_STATEMENT),
        moved_at_s=_number(source, "movedAtS"),
        settled=_texts(source, "settled"),
        attempt_id=attempt_id if _is_hex(attempt_id, 32) else "",
        next_key=next_key if next_key.startswith("sha256:") and _is_hex(next_key[7:], 64) else "",
        trouble=_text(source, "trouble"),
        begun=_count(source, "begun"),
        rotation_later=_later(_object(source, "rotationLater")),
        move_later=_later(_object(source, "moveLater")),
        rotation=_result(_object(source, "lastRotation")),
        move_result=_result(_object(source, "lastMove")),
        rotation_rest=_later(_object(source, "rotationRest")),
        heard_later=_later(_object(source, "heardLater")),
    )


def _later_object(later: Later) -> dict[str, object]:
    return {
        "failures": later.failures,
        "bootId": later.boot_id,
        "atS": round(later.at_s, 1),
        "troubles": list(later.troubles),
    }


def _later(source: dict[str, object]) -> Later:
    failures = _count(source, "failures")
    return Later(failures, _text(source, "bootId"), _number(source, "atS"), _texts(source, "troubles"))


def _result_object(result: Result) -> dict[str, object]:
    return {"code": result.code, "message": result.message, "wish": result.wish, "atS": round(result.at_s, 1)}


def _result(source: dict[str, object]) -> Result:
    message = _text(source, "message", MAX_MESSAGE)
    return Result(_text(source, "code"), message, _text(source, "wish"), _number(source, "atS"))


def _text(source: dict[str, object], name: str, limit: int = MAX_NAME) -> str:
    value = source.get(name)
    # Printable is what everything that is written here is; half a character (a surrogate) could not be hashed or sent.
    return value if isinstance(value, str) and len(value) <= limit and value.isprintable() else ""


def _texts(source: dict[str, object], name: str) -> tuple[str, ...]:
    value = source.get(name)
    found = value[:MAX_SETTLED] if isinstance(value, list) else []
    return tuple(one for one in found if isinstance(one, str) and len(one) <= MAX_NAME and one.isprintable())


def _is_hex(text: str, digits: int) -> bool:
    return len(text) == digits and HEX_DIGITS.issuperset(text)


def _count(source: dict[str, object], name: str) -> int:
    return int(min(max(_number(source, name), 0.0), MAX_COUNT))


def _number(source: dict[str, object], name: str) -> float:
    value = source.get(name)
    return float(value) if isinstance(value, (int, float)) and abs(value) < 1e12 else 0.0


def _object(source: dict[str, object], name: str) -> dict[str, object]:
    value = source.get(name)
    return value if isinstance(value, dict) else {}
