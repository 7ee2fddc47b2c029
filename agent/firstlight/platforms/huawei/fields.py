"""A new device of Huawei IoTDA: every field of the create page (seed 002) with its rule, and what its boot file adds.

A rule that is broken is named before anything is sent. Two things the page says twice are read so: a fingerprint may be
left out (then the first certificate that is shown is pinned), and a description may have spaces, as its example does.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from firstlight.core.management import Field
from firstlight.core.model import Secret
from firstlight.errors import UsageError

SECRET, CERTIFICATES = "SECRET", "CERTIFICATES"
SECRET_DIGITS = 32
MAX_EXTENSION_BYTES, MAX_TIMEOUT_S = 1024, 2_147_483_647
MAX_JSON = 1_048_576
MAX_SERVICES = 100
LETTERS = r"A-Za-z0-9_?'#().,&%@!\-"

FIELDS = (
    Field("node_id", "serial number, MAC or IMEI: 1 to 64 letters, digits, '_', '-'", is_required=True),
    Field("product_id", "product of the device, at most 36 characters", is_required=True),
    Field("device_id", "at most 128 letters, digits, '_', '-'; left out: product_id_node_id"),
    Field("device_name", "1 to 256 letters, digits and _?'#().,&%@!-"),
    Field("description", "at most 2048 of the same, and spaces"),
    Field("gateway_id", "device id of the parent, for a device behind a gateway"),
    Field("app_id", "resource space; left out: that of the desk's settings, or the default one"),
    Field("auth_type", "SECRET (usual) or CERTIFICATES"),
    Field("secret", "8 to 32 letters, digits, '_', '-'; left out: made up", is_secret=True),
    Field("fingerprint", "of the certificate, 40 or 64 hex digits; left out: the first one shown is pinned"),
    Field("secure_access", "true (usual) or false"),
    Field("timeout", "seconds after which a device that never connected is deleted; 0 = never"),
    Field("extension_info", "JSON object, at most 1 KB"),
    Field("shadow", 'JSON list of {"service_id", "desired": {property: value}}'),
    Field("certificate", "for the boot file, not sent: the device's certificate, PEM"),
    Field("key", "for the boot file, not sent: its private key, PEM; left out: the box's own", is_secret=True),
    Field("transport", "for the boot file, not sent: mqtt or http"),
)
NAMES = frozenset(field.name for field in FIELDS)


class NewDevice(NamedTuple):
    """What the operator says of a new device; None where it is left out. Names and rules: ``FIELDS``."""

    node_id: str
    product_id: str
    device_id: str | None = None
    device_name: str | None = None
    description: str | None = None
    gateway_id: str | None = None
    app_id: str | None = None
    auth_type: str | None = None
    secret: Secret | None = None
    fingerprint: str | None = None
    secure_access: bool | None = None
    timeout: int | None = None
    extension_info: dict[str, object] | None = None
    shadow: list[dict[str, object]] | None = None
    certificate: str = ""
    key: Secret | None = None
    transport: str = ""

    @property
    def is_child(self) -> bool:
        """Behind a gateway: it does not connect itself, and has no credential."""
        return self.gateway_id is not None


def new_device(values: Mapping[str, object], app_id: str = "") -> NewDevice:
    """What was said, by the names in ``FIELDS`` -> what create is asked for; "" and None count as left out.

    Args:
        values: texts as typed or read from a table, or values of the field's own type.
        app_id: where the field is left out.

    Raises:
        UsageError: names the field and its rule.
    """
    said = {name: value for name, value in values.items() if value not in (None, "")}
    if unknown := sorted(set(said) - NAMES):
        raise UsageError("usage", f"A Huawei device has no field {unknown[0]!r}; it has: {', '.join(sorted(NAMES))}.")
    device = NewDevice(
        node_id=_needed(said, "node_id", 64),
        product_id=_needed(said, "product_id", 36),
        device_id=_identifier(said, "device_id", 128),
        device_name=_text(said, "device_name", 256, f"[{LETTERS}]"),
        description=_text(said, "description", 2048, f"[{LETTERS} ]"),
        gateway_id=_identifier(said, "gateway_id", 128),
        app_id=_identifier(said, "app_id", 36) or _identifier({"app_id": app_id} if app_id else {}, "app_id", 36),
        auth_type=_choice(said, "auth_type", (SECRET, CERTIFICATES)),
        secret=_secret(said),
        fingerprint=_fingerprint(said),
        secure_access=_truth(said, "secure_access"),
        timeout=_seconds(said),
        extension_info=_extension(said),
        shadow=_shadow(said),
        certificate=_pem(said, "certificate", "CERTIFICATE"),
        key=Secret(_pem(said, "key", "PRIVATE KEY")) if "key" in said else None,
        transport=_choice(said, "transport", ("mqtt", "http")) or "",
    )
    return _fitting(device)


def made_up(values: Mapping[str, object]) -> dict[str, int]:
    """What the desk makes up where it is left out, as hex digits by field: a secret, unless there is a certificate."""
    is_child = bool(values.get("gateway_id"))
    has_certificate = values.get("auth_type") == CERTIFICATES or bool(values.get("certificate"))
    return {} if is_child or has_certificate else {"secret": SECRET_DIGITS}


def certificate_fingerprint(pem: str) -> str:
    """SHA-256 over the first certificate of a PEM text, 64 hex digits. Raises UsageError."""
    import hashlib

    found = re.search(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----", pem)
    try:
        der = base64.b64decode("".join(found.group(1).split()), validate=True) if found else b""
    except ValueError:
        der = b""
    if not der:
        raise _wrong("certificate", "is not a certificate in PEM")
    return hashlib.sha256(der).hexdigest()


def _fitting(device: NewDevice) -> NewDevice:
    """Fields that go together or exclude each other. A certificate at hand is pinned now, not at first use."""
    auth_type = CERTIFICATES if device.certificate and device.auth_type is None else device.auth_type
    has_certificate = auth_type == CERTIFICATES
    if device.is_child and (device.secret or device.certificate or device.timeout or auth_type):
        raise _wrong("gateway_id", "makes a device behind a gateway: it has no credential and no timeout of its own")
    if has_certificate and device.secret:
        raise _wrong("secret", "is for auth_type SECRET; with CERTIFICATES there is none")
    if not has_certificate and (device.fingerprint or device.certificate):
        raise _wrong("fingerprint" if device.fingerprint else "certificate", "is for auth_type CERTIFICATES")
    if not has_certificate and not device.is_child and device.secret is None:
        raise _wrong("secret", "is missing: it is needed with auth_type SECRET")
    if device.key and not device.certificate:
        raise _wrong("key", "is for a certificate, and there is none")
    if device.certificate and device.transport == "http":
        raise _wrong("transport", "is mqtt for a certificate: over HTTPS the platform takes secrets only")
    if device.certificate and not device.fingerprint:
        device = device._replace(fingerprint=certificate_fingerprint(device.certificate))
    return device._replace(auth_type=auth_type)


# -- one field each ----------------------------------------------------------------------------------------------------
def _wrong(name: str, rule: str) -> UsageError:
    return UsageError("usage", f"The field {name} {rule}.", "Correct that field, then run the command again.")


def _text(said: Mapping[str, object], name: str, most: int, letters: str) -> str | None:
    value = said.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise _wrong(name, "is a text")
    if len(value) > most:
        raise _wrong(name, f"has {len(value)} characters; at most {most} are taken")
    if odd := next((letter for letter in value if not re.match(f"{letters}\\Z", letter)), ""):
        raise _wrong(name, f"has {odd!r}; taken are letters, digits and {_shown(letters)}")
    return value


def _shown(letters: str) -> str:
    shown = letters.strip("[]").removeprefix("A-Za-z0-9").replace("\\", "")
    return f"{shown.rstrip()} and space" if shown.endswith(" ") else shown


def _identifier(said: Mapping[str, object], name: str, most: int) -> str | None:
    return _text(said, name, most, r"[A-Za-z0-9_\-]")


def _needed(said: Mapping[str, object], name: str, most: int) -> str:
    value = _identifier(said, name, most)
    if value is None:
        raise _wrong(name, "is missing")
    return value


def _choice(said: Mapping[str, object], name: str, choices: tuple[str, ...]) -> str | None:
    value = said.get(name)
    if value is not None and value not in choices:
        raise _wrong(name, f"is one of: {', '.join(choices)}")
    return str(value) if value is not None else None


def _secret(said: Mapping[str, object]) -> Secret | None:
    value = said.get("secret")
    text = value.reveal() if isinstance(value, Secret) else value
    if text is None:
        return None
    if not isinstance(text, str) or not re.match(r"[A-Za-z0-9_-]{8,32}\Z", text):
        raise _wrong("secret", "has 8 to 32 letters, digits, '_' or '-'")
    return Secret(text)


def _fingerprint(said: Mapping[str, object]) -> str | None:
    value = said.get("fingerprint")
    if value is not None and not (isinstance(value, str) and re.match(r"([0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})\Z", value)):
        raise _wrong("fingerprint", "has 40 or 64 hex digits")
    return value


def _truth(said: Mapping[str, object], name: str) -> bool | None:
    value = said.get(name)
    if value is None or isinstance(value, bool):
        return value
    found = {"true": True, "yes": True, "false": False, "no": False}.get(
        value.lower() if isinstance(value, str) else ""
    )
    if found is None:
        raise _wrong(name, "is true or false")
    return found


def _seconds(said: Mapping[str, object]) -> int | None:
    value = said.get("timeout")
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
        value = int(value)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_TIMEOUT_S:
        raise _wrong("timeout", f"is a whole number of seconds from 0 to {MAX_TIMEOUT_S}")
    return value


def _json(value: object, name: str) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if len(value) <= MAX_JSON else None
    except (ValueError, RecursionError):
        raise _wrong(name, "is not JSON") from None


def _extension(said: Mapping[str, object]) -> dict[str, object] | None:
    value = _json(said.get("extension_info"), "extension_info")
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _wrong("extension_info", "is a JSON object")
    size = len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())
    if size > MAX_EXTENSION_BYTES:
        raise _wrong("extension_info", f"has {size} bytes; at most {MAX_EXTENSION_BYTES} are taken")
    return value


def _shadow(said: Mapping[str, object]) -> list[dict[str, object]] | None:
    value = _json(said.get("shadow"), "shadow")
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > MAX_SERVICES:
        raise _wrong("shadow", f"is a JSON list of at most {MAX_SERVICES} services")
    return [_service(one) for one in value]


def _service(one: object) -> dict[str, object]:
    if not isinstance(one, dict) or set(one) != {"service_id", "desired"}:
        raise _wrong("shadow", "has objects with service_id and desired, and nothing else")
    service_id = _text({"shadow.service_id": one["service_id"]}, "shadow.service_id", 32, f"[{LETTERS}]")
    desired = one["desired"]
    if not service_id:
        raise _wrong("shadow.service_id", "is missing")
    if not isinstance(desired, dict):
        raise _wrong(f"shadow.{service_id}.desired", "is an object of properties")
    if deep := next((name for name, value in desired.items() if _is_deep(value)), None):
        raise _wrong(f"shadow.{service_id}.desired.{deep[:64]}", "is an object; properties are one level deep")
    return {"service_id": service_id, "desired": desired}


def _is_deep(value: object) -> bool:
    items = value if isinstance(value, list) else [value]
    return any(isinstance(item, (dict, list)) for item in items)


def _pem(said: Mapping[str, object], name: str, label: str) -> str:
    value = said.get(name, "")
    text = value.reveal() if isinstance(value, Secret) else value
    if text == "":
        return ""
    if not isinstance(text, str) or len(text) > 16_384 or f"{label}-----" not in text:
        raise _wrong(name, "is not PEM")
    return text
