"""What a device of Fleet may be (seed 004): the rules of each field, and how it is told again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

KEYBOARD_LAYOUTS = frozenset(
    [
        "FRENCH_AZERTY",
        "SPANISH_QWERTY",
        "ITALIAN_QWERTY",
        "INTERNATIONAL_ENGLISH_QWERTY",
        "GERMAN_QWERTZ",
        "PORTUGUESE_QWERTY",
        "ENGLISH_QWERTY",
        "SWISS_QWERTZ",
        "AMERICAN_ENGLISH_QWERTY",
        "CANADIAN_ENGLISH_QWERTY",
        "DUTCH_QWERTY",
    ]
)
ADDED_VIA = frozenset({"MASS_IMPORT", "SINGLE_IMPORT", "ONBOARDING"})
CLIENT_STATUSES = frozenset(
    [
        "ARCHIVED",
        "PENDING_VALIDATION",
        "IN_PREPARATION",
        "DELIVERED",
        "SHIPPED",
        "AVAILABLE",
        "IN_SERVICE",
        "IN_MAINTENANCE",
        "OUT_OF_SERVICE",
    ]
)
MDM_STATUSES = frozenset(
    [
        "DRAFT",
        "SUBSCRIBED",
        "DOWNLOADED",
        "IDENTIFIED",
        "ENROLLMENT_IN_PROGRESS",
        "ENROLLED",
        "UNENROLLED",
        "DEVICE_WIPE_PENDING",
    ]
)
REQUIRED = ("name", "type", "category")
TEXTS = frozenset(
    [
        "brand",
        "serial_number",
        "client_purchase_price",
        "client_purchase_date",
        "client_warranty_endDate",
        "client_rental_price",
        "client_rental_startDate",
        "client_rental_endDate",
        "client_contract_number",
        "client_invoice_number",
        "screen_size",
        "graphic",
        "processor",
        "ram",
        "storage",
        "model_year",
        "connectivity",
        "resolution",
        "comment",
        "color",
        "seats_number",
        "assembly",
        "os_platform",
    ]
)
NULLABLE_FLAGS = frozenset(
    [
        "has_microphone",
        "has_webcam",
        "noise_cancellation",
        "has_stool",
        "has_video_package",
        "has_screen",
        "has_premium_tablet",
    ]
)
CHARACTERISTICS = [
    "screen_size",
    "graphic",
    "processor",
    "ram",
    "storage",
    "model_year",
    "connectivity",
    "keyboard_layout",
    "resolution",
    "has_microphone",
    "has_webcam",
    "noise_cancellation",
    "compliance",
    "connection_type",
    "has_stool",
    "has_video_package",
    "has_screen",
    "has_premium_tablet",
    "color",
    "seats_number",
    "assembly",
    "os_platform",
]
MDM_FIELDS = [
    "local_name",
    "is_locked",
    "lock_date",
    "firewall_enabled",
    "os_updates_enabled",
    "is_encrypted",
    "screenlock_enabled",
    "is_compromised",
    "os_updates_available",
    "disk_encryption_profile_installed",
    "enrollment_date",
    "unenrollment_date",
    "download_date",
    "last_seen_date",
    "last_sync_date",
]


def _is_text(value: object) -> str:
    return "" if isinstance(value, str) else "Expected string"


def _is_wanted_text(value: object) -> str:
    return _is_text(value) or ("" if value else "String must contain at least 1 character(s)")


def _is_user(value: object) -> str:
    if not isinstance(value, int) or isinstance(value, bool):
        return "Expected integer"
    return "" if value > 0 else "Number must be greater than 0"


def _is_flag(value: object) -> str:
    return "" if isinstance(value, bool) else "Expected boolean"


def _is_maybe_flag(value: object) -> str:
    return "" if value is None else _is_flag(value)


def _is_texts(value: object) -> str:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ""
    return _is_text(value) and "Expected string or array of strings"


def _is_maybe_texts(value: object) -> str:
    return "" if value is None else _is_texts(value)


def _one_of(known: frozenset[str]) -> Callable[[object], str]:
    return lambda value: "" if isinstance(value, str) and value in known else "Invalid enum value"


RULES: dict[str, Callable[[object], str]] = {
    **dict.fromkeys(REQUIRED, _is_wanted_text),
    **dict.fromkeys(TEXTS, _is_text),
    **dict.fromkeys(NULLABLE_FLAGS, _is_maybe_flag),
    "user_id": _is_user,
    "is_rented": _is_flag,
    "added_via": _one_of(ADDED_VIA),
    "keyboard_layout": _one_of(KEYBOARD_LAYOUTS),
    "compliance": _is_texts,
    "connection_type": _is_maybe_texts,
}


def complaint(item: object, *, is_patch: bool = False) -> str:
    """What is wrong with an item, "" = nothing. A name that nobody knows is passed over; in a patch null clears."""
    if not isinstance(item, dict):
        return "Expected object"
    for name in () if is_patch else REQUIRED:
        if name not in item:
            return f"{name}: Required"
    for name, rule in RULES.items():
        is_cleared = is_patch and item.get(name, "") is None and name not in REQUIRED
        if name in item and not is_cleared and (said := rule(item[name])):
            return f"{name}: {said}"
    return ""


def kept(item: dict[str, Any]) -> dict[str, Any]:
    """What is stored of an item: a single text where labels may be several is a list of one."""
    found = {name: value for name, value in item.items() if name in RULES}
    for name in ("compliance", "connection_type"):
        if isinstance(found.get(name), str):
            found[name] = [found[name]]
    return found


def told(number: int, item: dict[str, Any], client_status: str, source: str, mdm: dict[str, Any] | None) -> Any:
    """A device as an answer has it."""
    return {
        "id": number,
        "name": item.get("name"),
        "serial_number": item.get("serial_number"),
        "rent": None,
        "tracking_number": None,
        "client_status": client_status,
        "type": item.get("type"),
        "category": item.get("category"),
        "source": source,
        "comment": item.get("comment"),
        "characteristics": {name: item.get(name) for name in CHARACTERISTICS},
        "mdm": mdm if mdm and mdm["status"] != "DRAFT" else None,
    }
