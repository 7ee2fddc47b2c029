"""The management half for Fleet (seed 004, docs.fleet.co): batch create, list, show, remove.

Answers are ``{"data": …}``, a list with ``meta`` (total, limit, offset) beside it; an error is ``{"error": TEXT}``,
where the text is a code or a sentence. No idempotency key is documented, so a device is looked for by its serial
number before it is posted, and a post that may have arrived is never repeated blindly.

The key is good for the whole workspace. It stays at the desk: nothing here makes a boot file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from urllib.parse import quote

from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.management import Field, Listed, Made, Place
from firstlight.errors import RefusedError, UnreachableError, UsageError
from firstlight.platforms.desk_replies import MAX_WAIT_S, accepted, call, unreadable
from firstlight.platforms.fleet.fields import FIELDS, NewDevice, typed
from firstlight.platforms.fleet.from_facts import from_facts
from firstlight.wire import bounded

__all__ = ["FIELDS", "NewDevice", "from_facts"]

BASE = "https://api.fleet.co"
WORKSPACE = ""  # the key says it
PREFIX = "/platform/v1"
PAGE = 100  # the most that a page may have
# A failed batch leaves so many devices to be looked for one by one, at 100 calls a minute; a thousand devices are
# twenty posts. The largest batch that Fleet takes is not published.
BATCH = 50
SEEN_HOURS = 24.0  # ours: an MDM looks in on a machine some times a day, not each minute
EXTRAS = (
    Field("path", f"path before /devices ({PREFIX})"),
    Field("batch", f"devices in one post, 1 to 100 ({BATCH})"),
    Field("seen_hours", f"hours for which a device counts as online after its MDM saw it ({SEEN_HOURS:.0f})"),
)
WHO = "Fleet"
CODES = {
    "INSUFFICIENT_SCOPE": "fleet_scope",
    "COMPANY_NOT_FOUND": "fleet_company",
    "DEVICE_NOT_FOUND": "not_found",
    "DEVICE_MUTATION_FORBIDDEN": "fleet_protected",
    "INVALID_SERIAL_NUMBER": "fleet_serial",
    "INVALID_USER": "fleet_user",
    "EMPTY_PATCH_BODY": "bad_request",
    "PLATFORM_DEVICE_ACTOR_NOT_FOUND": "fleet_actor",
    "DEVICE_PROVISIONING_FAILED": "fleet_provisioning",
}
DEVICE_ID = re.compile(r"[1-9][0-9]{0,15}\Z")
PATH = re.compile(r"(/[A-Za-z0-9._-]{1,32}){0,4}\Z")
MINUTE_S = 60.0


def new_device(place: Place, values: Mapping[str, object]) -> NewDevice:
    """What the operator says -> what is posted. Raises UsageError (``field_invalid``, ``field_unknown``)."""
    return typed(values)


def create(place: Place, device: NewDevice) -> HttpCall:
    """``POST /devices`` with one device (scope WRITE)."""
    return create_many(place, [device])


def read_created(place: Place, device: NewDevice, reply: HttpReply) -> Made:
    """The answer to ``create``. Raises RefusedError or UnreachableError (``create_partial``: it was not made)."""
    made = read_created_many(place, [device], reply)[0]
    if not made.device_id:
        raise UnreachableError("create_partial", f"Fleet's answer does not have {device.name!r}: it was not made.")
    return made


def create_many(place: Place, devices: Sequence[NewDevice]) -> HttpCall:
    """``POST /devices`` with 1 to ``batch_size`` devices (scope WRITE). Raises UsageError."""
    if not 0 < len(devices) <= batch_size(place):
        raise UsageError("usage", f"A batch has 1 to {batch_size(place)} devices, not {len(devices)}.")
    return call("POST", _url(place), place.key, {"devices": [dict(device.item) for device in devices]})


def read_created_many(place: Place, devices: Sequence[NewDevice], reply: HttpReply) -> list[Made]:
    """The answer to ``create_many``.

    Returns:
        one for each device, in their order; ``device_id`` is "" where the answer does not have it, so that it was not
        made (whether Fleet does that is not published).

    Raises:
        RefusedError: none was made, as far as the pages say; one bad device may be the reason for all.
        UnreachableError: some may have been made; look for each before it is posted again.
    """
    source = accepted(reply, (201, 200), WHO, CODES)
    try:
        records = bounded.children(bounded.child(source, "data"), "devices", 10_000)
    except bounded.WireError as error:
        raise unreadable(WHO, error) from None
    return [
        Made(_id(record) if record else "", _text(record, "name") or device.name, None, record)
        for device, record in zip(devices, _matched(devices, records), strict=True)
    ]


def batch_size(place: Place) -> int:
    """Devices in one post. Raises UsageError."""
    text = place.get("batch") or str(BATCH)
    if not (text.isascii() and text.isdigit() and len(text) < 4 and 0 < int(text) <= 100):
        raise UsageError("usage", f"batch is a number from 1 to 100, not {text[:20]!r}.")
    return int(text)


def find(place: Place, device: NewDevice) -> HttpCall:
    """``GET /devices?search=…`` (scope READ): by its serial number, else by its name."""
    return call("GET", f"{_url(place)}?search={quote(_sought(device), safe='')}&limit={PAGE}&offset=0", place.key)


def read_found(place: Place, device: NewDevice, reply: HttpReply, now_s: float = 0.0) -> Listed | None:
    """The device that is there already, else None. Raises as ``read_page``; ``fleet_search`` where that is unclear."""
    records, total = _page(reply)
    wanted = _sought(device).casefold()
    name = "serial_number" if device.serial_number else "name"
    for record in records:
        if _text(record, name).casefold() == wanted:
            return _listed(place, record, now_s)
    if total > len(records):
        said = f"Fleet finds {total} devices for {_sought(device)!r}, more than one page shows, and none there is it."
        raise RefusedError("fleet_search", said)
    return None


def list_page(place: Place, cursor: str) -> HttpCall:
    """One page of ``GET /devices`` (scope READ); ``cursor`` is the number of devices before it, "" = none."""
    if not re.fullmatch(r"[0-9]{0,9}", cursor):
        raise UsageError("usage", f"{cursor[:20]!r} is no place in the list.")
    return call("GET", f"{_url(place)}?limit={PAGE}&offset={cursor or '0'}", place.key)


def read_page(place: Place, reply: HttpReply, now_s: float, cursor: str) -> tuple[list[Listed], str]:
    """A page and where the next one begins, "" after the last. Raises RefusedError or UnreachableError."""
    records, total = _page(reply)
    behind = int(cursor or "0") + len(records)
    return [_listed(place, record, now_s) for record in records], str(behind) if records and behind < total else ""


def show(place: Place, device_id: str) -> HttpCall:
    """``GET /devices/{device_id}`` (scope READ)."""
    return call("GET", _device_url(place, device_id), place.key)


def read_shown(place: Place, reply: HttpReply, now_s: float) -> Listed:
    """The device. Raises as ``read_page``."""
    source = accepted(reply, (200,), WHO, CODES)
    try:
        return _listed(place, bounded.child(source, "data"), now_s)
    except bounded.WireError as error:
        raise unreadable(WHO, error) from None


def remove(place: Place, device_id: str) -> HttpCall:
    """``DELETE /devices/{device_id}`` (scope WRITE); Fleet keeps the record and shows it no more."""
    return call("DELETE", _device_url(place, device_id), place.key)


def read_done(reply: HttpReply) -> None:
    """The answer to ``remove``. Raises RefusedError (``fleet_protected``: one of Fleet's own) or UnreachableError."""
    accepted(reply, (200, 202, 204), WHO, CODES)


def invite(place: Place, device_id: str, *more: object) -> HttpCall:
    """Raises UsageError: nothing that is here beats."""
    raise UsageError("not_offered", "Fleet is an inventory: its devices have no installIds, keys or receipts.")


revoke = rotate = receipt = invite


def pause_s(reply: HttpReply) -> float:
    """Seconds to wait before the next call, so that none is refused: 0 unless the answer says that none is left.

    Both spellings of the headers are read: ``RateLimit-Remaining`` with ``RateLimit-Reset``, and ``RateLimit`` with
    ``remaining=…, reset=…`` or ``r=…; t=…``. A reset that cannot be seconds counts as the minute of the pages.
    """
    combined = dict(re.findall(r"\b(remaining|reset|r|t)=([0-9]{1,12})", reply.headers.get("ratelimit", "")))
    left = reply.headers.get("ratelimit-remaining", "").strip() or combined.get("remaining") or combined.get("r") or ""
    if not (left.isascii() and left.isdigit()) or int(left) > 0:
        return 0.0
    reset = reply.headers.get("ratelimit-reset", "").strip() or combined.get("reset") or combined.get("t") or ""
    wait_s = float(reset[:12]) if reset.isascii() and reset.isdigit() else MINUTE_S
    return wait_s if wait_s <= MAX_WAIT_S else MINUTE_S


def _url(place: Place) -> str:
    prefix = place.get("path") or PREFIX
    if not PATH.match(prefix):
        raise UsageError("usage", f"{prefix[:40]!r} is not a path before /devices.")
    return f"{place.endpoint.url}{prefix}/devices"


def _device_url(place: Place, device_id: str) -> str:
    if not DEVICE_ID.match(device_id):
        raise UsageError("usage", f"{device_id[:40]!r} is not a device id: Fleet's are numbers.")
    return f"{_url(place)}/{device_id}"


def _sought(device: NewDevice) -> str:
    return device.serial_number or device.name


def _page(reply: HttpReply) -> tuple[list[dict[str, object]], int]:
    source = accepted(reply, (200,), WHO, CODES)
    try:
        records = bounded.children(source, "data", 1000)
        total = bounded.optional_integer(bounded.child(source, "meta"), "total", 0, 10**9)
    except bounded.WireError as error:
        raise unreadable(WHO, error) from None
    return records, len(records) if total is None else total


def _matched(devices: Sequence[NewDevice], records: list[dict[str, object]]) -> list[dict[str, object]]:
    """The record of each device, {} for none: by serial number, else by name, and what is left in its order."""
    found: list[dict[str, object]] = [{} for _ in devices]
    for name in ("serial_number", "name"):
        for index, device in enumerate(devices):
            wanted = (device.serial_number if name == "serial_number" else device.name).casefold()
            fits = (one for one in records if wanted and _text(one, name).casefold() == wanted)
            if not found[index] and (record := next(fits, None)):
                found[index] = record
                records = [one for one in records if one is not record]
    if len(records) == sum(not one for one in found):
        left = iter(records)
        found = [one or next(left) for one in found]
    return found


def _id(record: dict[str, object]) -> str:
    value = record.get("id")
    if not isinstance(value, int) or isinstance(value, bool) or not DEVICE_ID.match(str(value)):
        raise UnreachableError("reply_malformed", "The answer of Fleet cannot be read: id is not a number above 0.")
    return str(value)


def _text(record: dict[str, object], name: str) -> str:
    value = record.get(name)
    return value.strip() if isinstance(value, str) else ""


def _listed(place: Place, record: dict[str, object], now_s: float) -> Listed:
    mdm = record.get("mdm")
    mdm = mdm if isinstance(mdm, dict) else {}
    seen_at_s = _instant_s(mdm.get("last_seen_date"))
    raw = ", ".join(filter(None, (_text(record, "client_status"), _text(mdm, "status") and f"MDM {mdm['status']}")))
    heard = ""
    if seen_at_s is not None:
        heard = datetime.fromtimestamp(seen_at_s, timezone.utc).isoformat(timespec="milliseconds")[:-6] + "Z"
    return Listed(_id(record), _text(record, "name"), _status(place, seen_at_s, now_s), heard, raw, record)


def _status(place: Place, seen_at_s: float | None, now_s: float) -> str:
    """Online where the MDM saw it within the window; without an MDM, or seen in days to come, nobody knows."""
    window_s = _seen_s(place)
    if seen_at_s is None or seen_at_s > now_s + window_s:
        return "unknown"
    return "online" if now_s - seen_at_s <= window_s else "offline"


def _seen_s(place: Place) -> float:
    text = place.get("seen_hours") or str(SEEN_HOURS)
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", text) or float(text) <= 0:
        raise UsageError("usage", f"seen_hours is a number of hours, not {text[:20]!r}.")
    return float(text) * 3600


def _instant_s(value: object) -> float | None:
    """A date of the answer -> seconds since 1970; without a zone it is UTC. None for what is no date."""
    if not isinstance(value, str) or not 0 < len(value) <= 64:
        return None
    text = re.sub(r"\.([0-9]{1,6})[0-9]*", lambda part: f".{part[1]:0<6}", value.strip())
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00").replace("z", "+00:00"))
        return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return None
