"""The management half against Roboflow's public API (seeds 000 and 001): create, list and get.

Our hub speaks the same, with more to it: see ``platforms/hub``. What Roboflow does not offer to outside callers
(removing, keys, another installId) is said in one sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.management import Field, Listed, Made, Place
from firstlight.core.model import IDENTIFIER, Endpoint, parse_endpoint
from firstlight.errors import UsageError
from firstlight.platforms.desk_replies import accepted, call, unreadable
from firstlight.wire import bounded

BASE = "https://api.roboflow.com"
REGIONS = {"us": BASE, "eu": "https://api.roboflow.eu"}
WORKSPACE = "workspace"
EXTRAS = (Field("region", "us (usual) or eu; where --base is given, that counts"),)
FIELDS = (
    Field("device_name", "human-readable name", is_required=True),
    Field("device_type", "ai1, edge or any text"),
    Field("workflow_id", "initial workflow"),
    Field("tags", "tags; several separated by ',', ';' or '|'"),
    Field("offline_mode", "true or false; of AI1 devices only"),
    Field("sourceDeviceId", "id of a device whose configuration is copied"),
)
WHO = "Roboflow"
# A valid key without the scope is answered 404 with this type, as Roboflow's own client knows.
CODES = {"GraphMethodException": "roboflow_scope"}
FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
CURSOR = re.compile(r"[A-Za-z0-9_=.~-]{0,512}\Z")
INSTALL_ID = re.compile(r"[A-Za-z0-9._~-]{1,256}\Z")
MAX_NAME, MAX_TAGS, MAX_PAYLOAD = 256, 64, 4296
STATUSES = ("online", "offline", "unknown")


class NewDevice(NamedTuple):
    """What the operator says of a new device: the fields of seed 000; "" and () where not given."""

    name: str
    device_type: str = ""
    workflow_id: str = ""
    tags: tuple[str, ...] = ()
    offline_mode: bool | None = None
    source_device_id: str = ""


def new_device(place: Place, values: Mapping[str, object]) -> NewDevice:
    """What the operator says -> what is posted. Raises UsageError (``field_invalid``, ``field_unknown``)."""
    known = {field.name for field in FIELDS}
    for name in values:
        if name not in known:
            raise UsageError("field_unknown", f"Roboflow has no field {name[:64]!r}.")
    device = NewDevice(
        _text(values, "device_name"),
        _text(values, "device_type"),
        _text(values, "workflow_id"),
        _tags(values.get("tags", "")),
        _flag(values.get("offline_mode", "")),
        _text(values, "sourceDeviceId"),
    )
    if not device.name:
        raise UsageError("field_invalid", "device_name is missing.")
    if device.source_device_id and not IDENTIFIER.match(device.source_device_id):
        raise UsageError("field_invalid", "sourceDeviceId is not a device id.")
    if device.offline_mode and device.device_type != "ai1":
        raise UsageError("field_invalid", "offline_mode is for devices of type ai1 only.")
    is_plain_ai1 = device.device_type == "ai1" and not device.workflow_id and not device.source_device_id
    if is_plain_ai1 and not re.search("[A-Za-z0-9]", device.name):
        raise UsageError("field_invalid", "device_name has no letter or digit, and an AI1 device needs one.")
    return device


def create(place: Place, device: NewDevice) -> HttpCall:
    """``POST /{workspace}/devices/v2`` (scope device:update)."""
    body: dict[str, object] = {
        "device_name": device.name,
        "device_type": device.device_type,
        "workflow_id": device.workflow_id,
        "tags": list(device.tags),
        "offline_mode": device.offline_mode,
        "sourceDeviceId": device.source_device_id,
    }
    return call("POST", _url(place), place.key, {name: one for name, one in body.items() if one not in ("", [], None)})


def read_created(place: Place, device: NewDevice, reply: HttpReply) -> Made:
    """The answer to ``create``; no boot file: a box of Roboflow's installs what ``installId`` brings it.

    Raises:
        RefusedError, UnreachableError
    """
    source = accepted(reply, (201,), WHO, CODES)
    try:
        if not INSTALL_ID.match(bounded.text(source, "installId", 256)):
            raise bounded.WireError("installId has odd characters")  # it becomes part of an address that root fetches
        bounded.optional_text(source, "offlineProvisioningQrPayload", MAX_PAYLOAD)
        return Made(bounded.text(source, "deviceId", 128), device.name, None, source)
    except bounded.WireError as error:
        raise unreadable(WHO, error) from None


def handed(place: Place, made: Made) -> dict[str, str]:
    """What the operator needs of a create besides the id, by the API's own names: it is told this once.

    ``installScript`` is where Roboflow's installer is fetched from, on the box and as root.
    """
    install_id = str(made.record.get("installId", ""))
    found = {"installId": install_id, "installScript": f"{_base(place).url}/devices/v2/{install_id}/install.sh"}
    payload = made.record.get("offlineProvisioningQrPayload")
    return {**found, "offlineProvisioningQrPayload": payload} if isinstance(payload, str) else found


def list_page(place: Place, cursor: str) -> HttpCall:
    """``GET /{workspace}/devices/v2`` (scope device:read), which has no pages; should one come, it is followed."""
    if not CURSOR.match(cursor):
        raise UsageError("usage", f"{cursor[:20]!r} is no place in the list.")
    return call("GET", _url(place) + (f"?cursor={cursor}" if cursor else ""), place.key)


def read_page(place: Place, reply: HttpReply, now_s: float, cursor: str) -> tuple[list[Listed], str]:
    """The devices, and where the next page begins, "" after the last. Raises RefusedError or UnreachableError."""
    source = accepted(reply, (200,), WHO, CODES)
    try:
        following = bounded.optional_text(source, "next_cursor", 512) or ""
        if not CURSOR.match(following) or (following and following == cursor):
            raise bounded.WireError("next_cursor leads nowhere")
        return [_listed(record) for record in bounded.children(source, "data", 100_000)], following
    except bounded.WireError as error:
        raise unreadable(WHO, error) from None


def show(place: Place, device_id: str) -> HttpCall:
    """``GET /{workspace}/devices/v2/{deviceId}`` (scope device:read)."""
    if not IDENTIFIER.match(device_id):
        raise UsageError("usage", f"{device_id[:80]!r} is not a device id.")
    return call("GET", f"{_url(place)}/{device_id}", place.key)


def read_shown(place: Place, reply: HttpReply, now_s: float) -> Listed:
    """The device. Raises as ``read_page``."""
    source = accepted(reply, (200,), WHO, CODES)
    try:
        return _listed(source)
    except bounded.WireError as error:
        raise unreadable(WHO, error) from None


def remove(place: Place, device_id: str) -> HttpCall:
    """Raises UsageError: removing is in Roboflow's pages only."""
    raise UsageError("not_offered", "Roboflow's API removes no devices: remove it in the Deployment Manager's pages.")


def read_done(reply: HttpReply) -> None:
    """Never reached: no verb here has such an answer."""


def invite(place: Place, device_id: str, *more: object) -> HttpCall:
    """Raises UsageError: an installId comes with create only."""
    raise UsageError("not_offered", "Roboflow's API gives an installId at create only: create the device anew.")


def revoke(place: Place, device_id: str) -> HttpCall:
    """Raises UsageError: keys are in Roboflow's pages only."""
    raise UsageError("not_offered", "Roboflow's API ends no keys: a device's key ends when the device is removed.")


rotate = revoke


def receipt(place: Place, text: str) -> HttpCall:
    """Raises UsageError: receipts are our hub's own."""
    raise UsageError("not_offered", "Roboflow takes no receipts: only a hub does.")


def _url(place: Place) -> str:
    if not IDENTIFIER.match(place.workspace):
        raise UsageError("usage", f"{place.workspace[:80]!r} is not a workspace.", "Give --workspace NAME, its slug.")
    return f"{_base(place).url}/{place.workspace}/devices/v2"


def _base(place: Place) -> Endpoint:
    region = place.get("region")
    if region and region not in REGIONS:
        raise UsageError("usage", f"{region[:20]!r} is not a region of Roboflow: {', '.join(REGIONS)}.")
    return parse_endpoint(REGIONS[region]) if region and place.endpoint.url == BASE else place.endpoint


def _listed(record: dict[str, object]) -> Listed:
    status = bounded.optional_text(record, "status", 64) or "unknown"
    return Listed(
        bounded.text(record, "id", 128),
        bounded.optional_text(record, "name", 1024) or "",
        status if status in STATUSES else "unknown",
        bounded.optional_text(record, "last_heartbeat", 64) or "",
        "" if status in STATUSES else status,
        record,
    )


def _text(values: Mapping[str, object], name: str) -> str:
    value = values.get(name) or ""
    if not isinstance(value, str) or len(value) > MAX_NAME or not all(c.isprintable() for c in value.strip()):
        raise UsageError("field_invalid", f"{name} is a text of at most {MAX_NAME} characters in one line.")
    return value.strip()


def _tags(value: object) -> tuple[str, ...]:
    parts = re.split("[,;|]", value) if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or not all(isinstance(one, str) for one in parts):
        raise UsageError("field_invalid", "tags is a list of texts.")
    trimmed = [one.strip() for one in parts]
    if not isinstance(value, str) and "" in trimmed:
        raise UsageError("field_invalid", "tags has an empty one.")
    found = tuple(dict.fromkeys(one for one in trimmed if one))
    if len(found) > MAX_TAGS or not all(one.isprintable() and len(one) <= MAX_NAME for one in found):
        raise UsageError("field_invalid", f"tags has at most {MAX_TAGS} texts of at most {MAX_NAME} characters.")
    return found


def _flag(value: object) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, str) or (value.strip() and value.strip().lower() not in FLAGS):
        raise UsageError("field_invalid", "offline_mode is true or false.")
    return FLAGS[value.strip().lower()] if value.strip() else None
