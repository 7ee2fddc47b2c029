"""The rules of the fields of a create (seed 002): what is checked before anything is made."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.twins.huawei.errors import ApiError, bad_input, malformed

NAME = re.compile(r"[A-Za-z0-9_-]*\Z")
FINGERPRINT = re.compile(r"([0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})\Z")
SPECIAL = frozenset("_?'#().,&%@!-")
MAX_TIMEOUT = 2_147_483_647
MAX_EXTENSION_BYTES = 1024


def check_create(body: Any) -> dict[str, Any]:
    """The body of a create, checked; unknown fields are ignored, null is as good as absent.

    Raises:
        ApiError: the first field that breaks its rule.
    """
    if not isinstance(body, dict):
        raise malformed()
    found = {name: value for name, value in body.items() if value is not None}
    check_name(found, "device_id", 128)
    check_name(found, "node_id", 64, is_required=True)
    check_name(found, "product_id", 36, is_required=True)
    check_name(found, "gateway_id", 128)
    check_name(found, "app_id", 36)
    check_words(found, "device_name", 1, 256)
    check_words(found, "description", 0, 2048, with_spaces=True)  # the page's own example has a space there
    check_extension(found.get("extension_info", {}))
    found["auth_info"] = check_auth(found.get("auth_info", {}))
    found["shadow"] = check_shadow(found.get("shadow", []))
    return found


def check_name(body: dict[str, Any], name: str, longest: int, *, is_required: bool = False) -> None:
    """Letters, digits, ``_`` and ``-``, from one to so many."""
    value = body.get(name)
    if value is None:
        if is_required:
            raise bad_input(f"{name} is missing.")
        return
    if not isinstance(value, str) or not 1 <= len(value) <= longest or not NAME.match(value):
        raise bad_input(f"{name} is not valid.")


def check_words(body: dict[str, Any], name: str, shortest: int, longest: int, *, with_spaces: bool = False) -> None:
    """Letters, digits and ``_?'#().,&%@!-``."""
    value = body.get(name, "x" * shortest)
    if not isinstance(value, str) or not shortest <= len(value) <= longest:
        raise bad_input(f"{name} is not valid.")
    if not all(sign.isalnum() or sign in SPECIAL or (with_spaces and sign == " ") for sign in value):
        raise bad_input(f"{name} is not valid.")


def check_extension(value: Any) -> None:
    """An object of at most 1 KB."""
    if not isinstance(value, dict):
        raise bad_input("extension_info is not valid.")
    compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if len(compact.encode("utf-8", "surrogatepass")) > MAX_EXTENSION_BYTES:
        raise bad_input("extension_info exceeds 1 KB.")


def check_secret(value: Any, name: str = "secret") -> None:
    """8 to 32 of letters, digits, ``_`` and ``-``."""
    if not isinstance(value, str) or not 8 <= len(value) <= 32 or not NAME.match(value):
        raise bad_input(f"{name} is not valid.")


def check_fingerprint(value: Any, name: str = "fingerprint") -> None:
    """40 or 64 hex digits."""
    if not isinstance(value, str) or not FINGERPRINT.match(value):
        raise bad_input(f"{name} is not valid.")


def check_auth(value: Any) -> dict[str, Any]:
    """The ``auth_info``: of each kind only what belongs to it is kept."""
    if not isinstance(value, dict):
        raise bad_input("auth_info is not valid.")
    found = {name: each for name, each in value.items() if each is not None}
    kind = found.get("auth_type", "SECRET")
    if kind not in ("SECRET", "CERTIFICATES"):
        raise bad_input("auth_type is not valid.")
    if "secret" in found:
        check_secret(found["secret"])
    elif found.get("auth_type") == "SECRET":
        raise bad_input("secret is missing.")
    if "fingerprint" in found:
        check_fingerprint(found["fingerprint"])
    if not isinstance(found.get("secure_access", True), bool):
        raise bad_input("secure_access is not valid.")
    timeout = found.get("timeout", 0)
    if isinstance(timeout, bool) or not isinstance(timeout, int) or not 0 <= timeout <= MAX_TIMEOUT:
        raise bad_input("timeout is not valid.")
    return found


def check_shadow(value: Any) -> list[dict[str, Any]]:
    """A list of {service_id, desired}, ``desired`` one level deep."""
    if not isinstance(value, list):
        raise bad_input("shadow is not valid.")
    for each in value:
        if not isinstance(each, dict) or not isinstance(each.get("desired"), dict):
            raise bad_input("desired is not valid.")
        if "service_id" not in each:
            raise bad_input("service_id is missing.")
        check_words(each, "service_id", 1, 32)
        if any(isinstance(inner, dict | list) for inner in each["desired"].values()):
            raise bad_input("desired has more than one layer.")
    return value


def number_in(text: str | None, usual: int, least: int, most: int, error: ApiError) -> int:
    """A number of a query.

    Raises:
        ApiError: the given one, where it is none or outside its range.
    """
    if text is None:
        return usual
    if not re.match(r"[0-9]{1,6}\Z", text) or not least <= int(text) <= most:
        raise error
    return int(text)
