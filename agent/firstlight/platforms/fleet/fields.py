"""What may be said of a new device: every field of seed 004, its type and its rule.

Prices and dates are texts there and here, in whatever form the workspace keeps them; three names have an upper-case
letter in the middle. ``type`` and ``category`` are free texts: Fleet publishes no list of values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from firstlight.core.management import Field
from firstlight.errors import UsageError

MAX_TEXT = 2000  # ours: the pages name no limit
MAX_ID = 2**53 - 1
ADDED_VIA = ("MASS_IMPORT", "SINGLE_IMPORT", "ONBOARDING")
KEYBOARDS = (
    *("FRENCH_AZERTY", "SPANISH_QWERTY", "ITALIAN_QWERTY", "INTERNATIONAL_ENGLISH_QWERTY", "GERMAN_QWERTZ"),
    *("PORTUGUESE_QWERTY", "ENGLISH_QWERTY", "SWISS_QWERTZ", "AMERICAN_ENGLISH_QWERTY", "CANADIAN_ENGLISH_QWERTY"),
    "DUTCH_QWERTY",
)
TEXT, TEXTS, NUMBER, FLAG, MAYBE_FLAG = "text", "texts", "number", "flag", "maybe flag"
WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "null": None}

# name, type, about
RULES: tuple[tuple[str, str, str], ...] = (
    ("name", TEXT, "name of the device"),
    ("type", TEXT, "type of equipment, as the workspace calls it"),
    ("category", TEXT, "category of equipment, as the workspace calls it"),
    ("user_id", NUMBER, "number of the user who has it"),
    ("added_via", TEXT, f"how it was added: {', '.join(ADDED_VIA)}"),
    ("brand", TEXT, "maker"),
    ("serial_number", TEXT, "serial number; nothing is created twice under one"),
    ("is_rented", FLAG, "whether it is rented: true or false"),
    ("client_purchase_price", TEXT, "a text, as the workspace writes prices"),
    ("client_purchase_date", TEXT, "a text, as the workspace writes dates"),
    ("client_warranty_endDate", TEXT, "a text, likewise"),
    ("client_rental_price", TEXT, "a text, likewise"),
    ("client_rental_startDate", TEXT, "a text, likewise"),
    ("client_rental_endDate", TEXT, "a text, likewise"),
    ("client_contract_number", TEXT, "number of the contract"),
    ("client_invoice_number", TEXT, "number of the invoice"),
    ("screen_size", TEXT, 'such as 15.6"'),
    ("graphic", TEXT, "graphics unit"),
    ("processor", TEXT, "processor"),
    ("ram", TEXT, "such as 8 GB"),
    ("storage", TEXT, "such as 64 GB"),
    ("model_year", TEXT, "year of the model"),
    ("connectivity", TEXT, "how it connects"),
    ("keyboard_layout", TEXT, f"one of {', '.join(KEYBOARDS)}"),
    ("resolution", TEXT, "of the screen"),
    ("comment", TEXT, "free text"),
    ("has_microphone", MAYBE_FLAG, "true, false or null"),
    ("has_webcam", MAYBE_FLAG, "true, false or null"),
    ("noise_cancellation", MAYBE_FLAG, "true, false or null"),
    ("compliance", TEXTS, "labels; several separated by ';'"),
    ("connection_type", TEXTS, "labels; several separated by ';'"),
    ("has_stool", MAYBE_FLAG, "true, false or null"),
    ("has_video_package", MAYBE_FLAG, "true, false or null"),
    ("has_screen", MAYBE_FLAG, "true, false or null"),
    ("has_premium_tablet", MAYBE_FLAG, "true, false or null"),
    ("color", TEXT, "color"),
    ("seats_number", TEXT, "number of seats, as a text"),
    ("assembly", TEXT, "how it is assembled"),
    ("os_platform", TEXT, "operating system"),
)
REQUIRED = frozenset({"name", "type", "category"})
NULLABLE_TEXTS = frozenset({"connection_type"})
ONE_OF = {"added_via": ADDED_VIA, "keyboard_layout": KEYBOARDS}
FIELDS = tuple(Field(name, about, name in REQUIRED) for name, _, about in RULES)
KINDS = {name: kind for name, kind, _ in RULES}


class NewDevice(NamedTuple):
    """A device as it is posted.

    Args:
        name, serial_number: what it is found again by; the latter "" where it has none.
        item: the pairs of its JSON object, in the order of ``FIELDS``.
    """

    name: str
    serial_number: str
    item: tuple[tuple[str, object], ...]


def typed(values: Mapping[str, object]) -> NewDevice:
    """What an operator, a table or a file says -> what is posted.

    Args:
        values: by the names of ``FIELDS``; texts as a table has them, or JSON's own types. "" = not said.

    Raises:
        UsageError: ``field_invalid``, with the field and its rule; ``field_unknown``.
    """
    for name in values:
        if name not in KINDS:
            near = next((known for known in KINDS if known.lower() == name.strip().lower()), "")
            raise UsageError(
                "field_unknown",
                f"Fleet has no field {name[:64]!r}." + (f" It has {near!r}." if near else ""),
            )
    item: list[tuple[str, object]] = []
    for name, kind in KINDS.items():
        value = values.get(name, "")
        if isinstance(value, str) and not value.strip():
            if name in REQUIRED:
                raise _unfit(name, "is missing: Fleet wants name, type and category of each device")
            continue
        item.append((name, _READERS[kind](name, value)))
    found = dict(item)
    return NewDevice(str(found["name"]), str(found.get("serial_number", "")), tuple(item))


def _unfit(name: str, rule: str) -> UsageError:
    return UsageError("field_invalid", f"{name} {rule}.")


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise _unfit(name, "is a text")
    text = value.strip()
    if not 0 < len(text) <= MAX_TEXT or not all(c.isprintable() or (c == "\n" and name == "comment") for c in text):
        raise _unfit(name, f"is a text of 1 to {MAX_TEXT} characters without control characters")
    if (known := ONE_OF.get(name)) and text not in known:
        raise _unfit(name, f"is none of {', '.join(known)}")
    return text


def _texts(name: str, value: object) -> object:
    if value is None and name in NULLABLE_TEXTS:
        return None
    if isinstance(value, str):
        parts = [part for part in value.split(";") if part.strip()]
        return _text(name, value) if len(parts) == 1 else [_text(name, part) for part in parts]
    if not isinstance(value, list):
        raise _unfit(name, "is a text or a list of texts")
    return [_text(name, part) for part in value]


def _number(name: str, value: object) -> int:
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value.strip()[:20])
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MAX_ID:
        raise _unfit(name, "is a whole number above 0")
    return value


def _flag(name: str, value: object) -> bool:
    found = _maybe_flag(name, value)
    if found is None:
        raise _unfit(name, "is true or false")
    return found


def _maybe_flag(name: str, value: object) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word not in WORDS:
        raise _unfit(name, "is true, false or null" if KINDS[name] == MAYBE_FLAG else "is true or false")
    return WORDS[word]


_READERS: dict[str, Callable[[str, object], object]] = {
    TEXT: _text,
    TEXTS: _texts,
    NUMBER: _number,
    FLAG: _flag,
    MAYBE_FLAG: _maybe_flag,
}
