"""The management half of Qubitro's dialect: create (seed 003), list, show and remove the devices of a project.

The vendor's pages do not agree with each other, so both forms of an answer are read: credentials in ``metadata`` (seed)
or in ``device_credentials`` (newer pages), a list in an envelope (older pages) or bare (newer ones).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import NamedTuple

from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.management import Field, Listed, Made, Place
from firstlight.core.model import parse_broker, parse_endpoint
from firstlight.errors import InvitationError, RefusedError, UnreachableError, UsageError
from firstlight.platforms.qubitro.answers import no, parsed
from firstlight.wire import bounded

BASE = "https://api.qubitro.com"
WORKSPACE = "project"
DEVICE_ENDPOINT = "https://webhook.qubitro.com"
DEVICE_BROKER = "mqtts://broker.qubitro.com"
EXTRAS = (
    Field("device_endpoint", f"where devices publish over HTTPS (default {DEVICE_ENDPOINT})"),
    Field("device_broker", f"the MQTT broker of devices (default {DEVICE_BROKER})"),
    Field("device_ca", "PEM of the CA that devices are to trust instead of their system's"),
)
FIELDS = (
    Field("name", "1 to 100 characters", is_required=True),
    Field("description", "1 to 500 characters", is_required=True),
    Field("source", "how the device will send: mqtt (default) or http"),
    Field("tags", "letters, digits and underscores, with commas between them; may be empty"),
    Field("brand", "default Custom"),
    Field("model", "default Custom"),
)
SOURCES = ("mqtt", "http")
LIMITS = {"name": 100, "description": 500, "brand": 100, "model": 100}
TAG = re.compile(r"[A-Za-z0-9_]{1,64}\Z")
MAX_TAGS = 64
IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
# A topic of one level, and what the box's own file takes as a device id.
DEVICE_ID = re.compile(r"[A-Za-z0-9_-]{1,256}\Z")
INSTANT = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)\Z")
# Qubitro has no status of its own. The rule is ours, after the one of seed 001: a device that sends every minute is
# missed after five.
ONLINE_S = 300.0
LIST_BYTES = 16_777_216
MAX_DEVICES = 100_000
_MEND = "Correct that field, then run the command again."
CODES = {400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found"}


class NewDevice(NamedTuple):
    """What the operator says of a new device: the fields of seed 003."""

    name: str
    description: str
    source: str = "mqtt"
    tags: tuple[str, ...] = ()
    brand: str = "Custom"
    model: str = "Custom"


def new_device(place: Place, values: Mapping[str, object]) -> NewDevice:
    """Typed fields as the operator gave them -> a device to be created.

    Args:
        place: where; not looked at.
        values: text by the names in ``FIELDS``; ``tags`` may be a list of texts.

    Raises:
        UsageError: naming field and rule.
    """
    known = {field.name for field in FIELDS}
    for name in values:
        if name not in known:
            raise UsageError("usage", f"Qubitro has no field {name[:80]!r}; there are: {', '.join(sorted(known))}.")
    source = _text(values, "source", "mqtt")
    if source not in SOURCES:
        raise UsageError("usage", f"source is mqtt or http, not {source[:80]!r}.", _MEND)
    return NewDevice(
        _text(values, "name"),
        _text(values, "description"),
        source,
        _tags(values.get("tags")),
        _text(values, "brand", "Custom"),
        _text(values, "model", "Custom"),
    )


def _text(values: Mapping[str, object], name: str, usual: str = "") -> str:
    value = values.get(name)
    if value is None or value == "":
        if not usual:
            raise UsageError("usage", f"{name} is missing: Qubitro wants it for every device.")
        return usual
    limit = LIMITS.get(name, 100)
    if not isinstance(value, str) or len(value) > limit or not value.isprintable() or not value.strip():
        raise UsageError("usage", f"{name} is a text of 1 to {limit} printable characters.", _MEND)
    return value


def _tags(value: object) -> tuple[str, ...]:
    found = value.split(",") if isinstance(value, str) else value or []
    if not isinstance(found, (list, tuple)):
        raise UsageError("usage", "tags is a list of texts.")
    tags = tuple(tag.strip() if isinstance(tag, str) else "" for tag in found)
    if isinstance(value, str) and not value.strip():
        return ()
    if len(tags) > MAX_TAGS or not all(TAG.match(tag) for tag in tags):
        raise UsageError("usage", f"tags are at most {MAX_TAGS}, each of letters, digits and underscores.", _MEND)
    return tags


def create(place: Place, device: NewDevice) -> HttpCall:
    """``POST /v2/projects/{project}/devices``."""
    headers = (_bearer(place), ("Content-Type", "application/json"))
    return HttpCall("POST", _devices_url(place), headers, bounded.encode_object(device._asdict()))


def read_created(place: Place, device: NewDevice, reply: HttpReply) -> Made:
    """The answer to ``create``.

    Raises:
        RefusedError: Qubitro said no (``bad_request``, ``unauthorized``, ``forbidden``, ``not_found``).
        UnreachableError: anything that may pass, and an answer that cannot be read.
        UsageError: one of the place's extras is no address.
    """
    record = _data(reply)
    where = _credentials(record)
    device_id, token = where.get("device_id"), where.get("device_token")
    if not isinstance(device_id, str) or not DEVICE_ID.match(device_id):
        raise UnreachableError("reply_malformed", "Qubitro's answer names no device id that can be used.")
    if not isinstance(token, str) or not 0 < len(token) <= 1024 or not token.isascii() or not token.isprintable():
        raise UnreachableError("reply_malformed", f"Qubitro made {device_id}, but its answer has no token.")
    found = record.get("id")
    named = found if isinstance(found, str) and IDENTIFIER.match(found) else device_id
    name = record.get("name")
    return Made(
        named,
        _printable(name) if isinstance(name, str) else device.name,
        _boot_file(place, device.source, device_id, token),
        record,
    )


def _boot_file(place: Place, source: str, device_id: str, token: str) -> dict[str, object]:
    """What the box takes in: the one address it needs, so that nothing else is looked for in vain."""
    try:
        if source == "mqtt":
            where = {"broker": parse_broker(place.get("device_broker") or DEVICE_BROKER).url}
        else:
            where = {"endpoint": parse_endpoint(place.get("device_endpoint") or DEVICE_ENDPOINT).url}
    except InvitationError as error:
        raise UsageError("usage", error.message) from None
    made: dict[str, object] = {
        "format": 1,
        "platform": "qubitro",
        "road": "finished",
        "deviceId": device_id,
        "workspace": place.workspace,
        "secret": token,
        "transport": source,
        **where,
    }
    if place.get("device_ca"):
        made["ca"] = place.get("device_ca")
    return made


def list_page(place: Place, cursor: str) -> HttpCall:
    """``GET /v2/projects/{project}/devices``: all of them at once, no paging is documented."""
    return HttpCall("GET", _devices_url(place), (_bearer(place),), limit_bytes=LIST_BYTES)


def read_page(place: Place, reply: HttpReply, now_s: float, cursor: str) -> tuple[list[Listed], str]:
    """The project's devices, and "" for that was all. Raises as ``read_created``."""
    found = _good(reply)
    rows = found.get("data") if isinstance(found, dict) else found
    if isinstance(rows, dict):
        rows = rows.get("devices")
    if rows is None and isinstance(found, dict) and found.get("success") is True:
        rows = []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows) or len(rows) > MAX_DEVICES:
        raise UnreachableError("reply_malformed", "Qubitro's list cannot be read.")
    return [_listed(row, now_s) for row in rows], ""


def show(place: Place, device_id: str) -> HttpCall:
    """``GET /v2/projects/{project}/devices/{device}``."""
    return HttpCall("GET", _device_url(place, device_id), (_bearer(place),))


def read_shown(place: Place, reply: HttpReply, now_s: float) -> Listed:
    """One device, its token replaced by stars: it is nobody's business but the box's. Raises as ``read_created``."""
    return _listed(_data(reply), now_s)


def remove(place: Place, device_id: str) -> HttpCall:
    """``DELETE /v2/projects/{project}/devices/{device}``."""
    return HttpCall("DELETE", _device_url(place, device_id), (_bearer(place),))


def read_done(reply: HttpReply) -> None:
    """The answer to ``remove``, with or without a body. Raises as ``read_created``."""
    _refuse(reply)


def _devices_url(place: Place) -> str:
    if not IDENTIFIER.match(place.workspace):
        raise UsageError(
            "usage", f"{place.workspace[:80]!r} is not a project of Qubitro.", "Give --workspace with the project's id."
        )
    return f"{place.endpoint.url}/v2/projects/{place.workspace}/devices"


def _device_url(place: Place, device_id: str) -> str:
    if not DEVICE_ID.match(device_id):
        raise UsageError("usage", f"{device_id[:80]!r} is not a device id.")
    return f"{_devices_url(place)}/{device_id}"


def _bearer(place: Place) -> tuple[str, str]:
    return ("Authorization", f"Bearer {place.key.reveal()}")


def _refuse(reply: HttpReply) -> None:
    """Raises what an answer that is no yes stands for."""
    answer = no(reply)
    if answer is None:
        return
    status = answer.status
    if 300 <= status < 400:
        raise UnreachableError("redirected", f"Qubitro's address answered {status}, a redirect.")
    if status == 407:
        raise UnreachableError("proxy_auth_required", "The proxy asks for a password.")
    if status in (408, 425, 429) or status >= 500:
        code = "platform_busy" if status in (429, 503) else "platform_error"
        raise UnreachableError(code, answer.text, retry_after_s=answer.retry_after_s)
    if not answer.is_named:
        raise UnreachableError("not_the_platform", f"The address answered {status}, not in Qubitro's words.")
    raise RefusedError(CODES.get(status, "bad_request"), answer.text)


def _good(reply: HttpReply) -> object:
    _refuse(reply)
    found = parsed(reply.body, LIST_BYTES)
    if found is None:
        raise UnreachableError("reply_malformed", "What answered is no JSON of Qubitro's.")
    return found


def _data(reply: HttpReply) -> dict[str, object]:
    """The record in an answer: in ``data``, or bare."""
    found = _good(reply)
    record = found.get("data", found) if isinstance(found, dict) else None
    if not isinstance(record, dict):
        raise UnreachableError("reply_malformed", "Qubitro's answer has no device in it.")
    return record


def _credentials(record: dict[str, object]) -> dict[str, object]:
    for name in ("device_credentials", "metadata"):
        found = record.get(name)
        if isinstance(found, dict) and "device_token" in found:
            return found
    return {}


def _listed(row: dict[str, object], now_s: float) -> Listed:
    found = row.get("id")
    if not isinstance(found, str) or not DEVICE_ID.match(found):
        raise UnreachableError("reply_malformed", "A device in Qubitro's answer has no id that can be used.")
    name = row.get("name")
    seen_s = _seen_s(row.get("last_seen"))
    return Listed(
        found,
        _printable(name) if isinstance(name, str) else "",
        _status(seen_s, now_s),
        _iso(seen_s) if seen_s is not None else "",
        "",
        _without_tokens(row),
    )


def _status(seen_s: float | None, now_s: float) -> str:
    """Never seen, or seen in this clock's future: unknown. Within the window: online."""
    if seen_s is None or seen_s - now_s > ONLINE_S:
        return "unknown"
    return "online" if now_s - seen_s <= ONLINE_S else "offline"


def _seen_s(value: object) -> float | None:
    """``last_seen`` in seconds since 1970; None for the zero time, which stands for never, and for what is no time."""
    found = INSTANT.match(value) if isinstance(value, str) and len(value) <= 64 else None
    if not found:
        return None
    whole, fraction, zone = found.groups()
    try:
        instant = datetime.fromisoformat(whole.replace(" ", "T") + ("+00:00" if zone == "Z" else zone))
        seconds = instant.timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds + float(f"0.{fraction or 0}") if seconds > 0 else None


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def _without_tokens(row: dict[str, object]) -> dict[str, object]:
    shown = dict(row)
    for name in ("device_credentials", "metadata"):
        found = shown.get(name)
        if isinstance(found, dict) and "device_token" in found:
            shown[name] = {**found, "device_token": "***"}
    return shown


def _printable(text: str) -> str:
    return "".join(letter for letter in text[:256] if letter.isprintable())
