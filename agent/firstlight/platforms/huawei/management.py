"""The management half of Huawei IoTDA: its application interface, version 5 (seed 002 and the pages beside it).

The key is a user's token (``X-Auth-Token``); ``workspace`` is the project's id. The secret in the boot file is the one
that was sent: what the platform answers is masked in the middle.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.management import Field, Listed, Made, Place
from firstlight.errors import InvitationError, UnreachableError, UsageError
from firstlight.platforms.huawei import answers, budget, fields, report
from firstlight.platforms.huawei.fields import NewDevice
from firstlight.wire.bounded import WireError, child, children, optional_text, text

BASE = ""  # each region and each instance has an address of its own
WORKSPACE = "project id"
KEY = "node_id"
FIELDS = fields.FIELDS
made_up = fields.made_up
EXTRAS = (
    Field("instance_id", "instance id, needed in the professional editions"),
    Field("app_id", "resource space of new devices, and of the list"),
    Field("device_endpoint", "where devices speak HTTPS: https://HOST[:PORT]"),
    Field("device_broker", "where devices speak MQTT: mqtts://HOST[:PORT]"),
    Field("device_ca", "PEM of the CA that signs the platform's device side"),
    Field("service", f"service of the product that takes the reports ({report.SERVICE})"),
    Field("sign", "1: devices that know the time have it compared; 0 (usual): they have not"),
    Field("reports_per_day", f"reports of a device a day ({budget.REPORTS_A_DAY})"),
)
IN_BOOT_FILE = ("service", "sign", "reports_per_day")
PAGE = 50  # the most it gives
DEVICE_ID = re.compile(r"[A-Za-z0-9_-]{1,256}\Z")
PROJECT = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
MARKER = re.compile(r"[A-Za-z0-9_-]{0,64}\Z")
JSON = ("Content-Type", "application/json")
FINGERPRINT = re.compile(r"([0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})\Z")


def new_device(place: Place, values: Mapping[str, object]) -> NewDevice:
    """What was said of a device -> what create is asked for. Raises UsageError, naming field and rule."""
    device = fields.new_device(values, place.get("app_id"))
    has_credential = device.secret is not None or bool(device.certificate)
    if has_credential and not (place.get("device_broker") or place.get("device_endpoint")):
        raise UsageError(
            "usage",
            "Where devices reach the platform is not known, so no boot file can be made.",
            "Give --extra device_broker=mqtts://HOST or --extra device_endpoint=https://HOST.",
        )
    if device.transport == "mqtt" and not place.get("device_broker"):
        raise UsageError("usage", "For the transport mqtt the setting device_broker is missing.")
    if device.certificate and not place.get("device_broker"):
        raise UsageError("usage", "For a certificate the setting device_broker is missing.")
    if device.transport == "http" and not place.get("device_endpoint"):
        raise UsageError("usage", "For the transport http the setting device_endpoint is missing.")
    try:
        budget.reports_a_day(place.get("reports_per_day"))
    except InvitationError as error:
        raise UsageError("usage", error.message) from None
    return device


def create(place: Place, device: NewDevice) -> HttpCall:
    """``POST /v5/iot/{project_id}/devices``."""
    body: dict[str, object] = {
        "device_id": device.device_id,
        "node_id": device.node_id,
        "device_name": device.device_name,
        "product_id": device.product_id,
        "auth_info": _auth_info(device) or None,
        "description": device.description,
        "gateway_id": device.gateway_id,
        "app_id": device.app_id,
        "extension_info": device.extension_info,
        "shadow": device.shadow,
    }
    return _call(place, "POST", "", {name: value for name, value in body.items() if value is not None})


def _auth_info(device: NewDevice) -> dict[str, object]:
    auth_type = device.auth_type or (fields.SECRET if device.secret else None)
    said: dict[str, object] = {
        "auth_type": auth_type,
        "secret": device.secret.reveal() if device.secret else None,
        "fingerprint": device.fingerprint,
        "secure_access": device.secure_access,
        "timeout": device.timeout,
    }
    return {name: value for name, value in said.items() if value is not None}


def read_created(place: Place, device: NewDevice, reply: HttpReply) -> Made:
    """The answer to ``create``. Raises RefusedError (``device_exists``…), UnreachableError."""
    record = answers.accepted(reply, 201)
    try:
        return _made(place, device, _device_id(text(record, "device_id")), record)
    except WireError as error:
        raise _unreadable(error) from None


def _made(place: Place, device: NewDevice, device_id: str, record: dict[str, object]) -> Made:
    return Made(device_id, device.device_name or device.node_id, _boot_file(place, device, device_id), record)


def _boot_file(place: Place, device: NewDevice, device_id: str) -> dict[str, object] | None:
    """None for a child, and for a device whose certificate is not at this desk."""
    if device.secret is None and not device.certificate:
        return None
    extra = {name: place.get(name) for name in IN_BOOT_FILE if place.get(name)}
    found: dict[str, object] = {
        "format": 1,
        "platform": "huawei",
        "road": "finished",
        "deviceId": device_id,
        "endpoint": place.get("device_endpoint"),
        "broker": place.get("device_broker"),
        "ca": place.get("device_ca"),
        "secret": device.secret.reveal() if device.secret else "",
        "certificate": device.certificate,
        "key": device.key.reveal() if device.key else "",
        "transport": device.transport,
        "extra": extra,
    }
    return {name: value for name, value in found.items() if value}


def find(place: Place, device: NewDevice) -> HttpCall:
    """``GET /v5/iot/{project_id}/devices``, those of that product with that node id."""
    return _list(place, {"product_id": device.product_id, "node_id": device.node_id, "limit": "10"}, device.app_id)


def read_found(place: Place, device: NewDevice, reply: HttpReply) -> Listed | None:
    """The device with exactly that node id, None where there is none. Raises as ``read_page``."""
    found, _ = _read_list(reply)
    return next((one for one in found if one.record.get("node_id") == device.node_id), None)


def reclaim(place: Place, device: NewDevice, listed: Listed) -> HttpCall:
    """For a device whose create was answered to nobody: its credential becomes the one in ``device``."""
    if device.secret is not None:
        body: dict[str, object] = {"secret": device.secret.reveal(), "force_disconnect": False}
        return _call(place, "POST", f"/{_quoted(listed.device_id)}/action?action_id=resetSecret", body)
    if device.fingerprint:
        return reset_fingerprint(place, listed.device_id, device.fingerprint)
    return show(place, listed.device_id)


def read_reclaimed(place: Place, device: NewDevice, listed: Listed, reply: HttpReply) -> Made:
    """The answer to ``reclaim``, in the shape of ``read_created``. Raises as that."""
    answers.accepted(reply, 200, 204)
    return _made(place, device, listed.device_id, listed.record)


def list_page(place: Place, cursor: str) -> HttpCall:
    """``GET /v5/iot/{project_id}/devices``, newest first, ``PAGE`` at a time."""
    query = {"limit": str(PAGE)} | ({"marker": cursor} if cursor else {})
    return _list(place, query, place.get("app_id"))


def _list(place: Place, query: dict[str, str], app_id: str | None) -> HttpCall:
    return _call(place, "GET", "?" + urlencode(query | ({"app_id": app_id} if app_id else {})))


def read_page(place: Place, reply: HttpReply, now_s: float, cursor: str) -> tuple[list[Listed], str]:
    """A page -> its devices and the marker of the next one, "" after the last.

    Raises:
        RefusedError, UnreachableError: as ``read_created``.
    """
    found, marker = _read_list(reply)
    # The last page may be a full one, and then the next is empty; one that leads back to itself is none.
    return found, marker if len(found) >= PAGE and marker != cursor else ""


def _read_list(reply: HttpReply) -> tuple[list[Listed], str]:
    record = answers.accepted(reply, 200)
    try:
        marker = optional_text(child(record, "page"), "marker") or ""
        if not MARKER.match(marker):
            raise WireError("marker has odd characters")
        return [answers.listed(one) for one in children(record, "devices", 10_000)], marker
    except WireError as error:
        raise _unreadable(error) from None


def show(place: Place, device_id: str) -> HttpCall:
    """``GET /v5/iot/{project_id}/devices/{device_id}``."""
    return _call(place, "GET", f"/{_quoted(device_id)}")


def read_shown(place: Place, reply: HttpReply, now_s: float) -> Listed:
    """One device. Raises RefusedError (``not_found``…), UnreachableError."""
    try:
        return answers.listed(answers.accepted(reply, 200))
    except WireError as error:
        raise _unreadable(error) from None


def remove(place: Place, device_id: str) -> HttpCall:
    """``DELETE /v5/iot/{project_id}/devices/{device_id}``."""
    return _call(place, "DELETE", f"/{_quoted(device_id)}")


def read_done(reply: HttpReply) -> None:
    """The answer to ``remove`` or ``reset_fingerprint``. Raises RefusedError, UnreachableError."""
    answers.accepted(reply, 200, 202, 204)


def reset_fingerprint(
    place: Place, device_id: str, fingerprint: str = "", *, is_secondary: bool = False, disconnects: bool = False
) -> HttpCall:
    """``POST /v5/iot/{project_id}/devices/{device_id}/reset-fingerprint``.

    Args:
        place: where.
        device_id: whose.
        fingerprint: pinned from now on; "" = the certificate that is shown next is pinned.
        is_secondary: the one for rotation.
        disconnects: ends the device's present connection.

    Raises:
        UsageError: that is no fingerprint.
    """
    if fingerprint and not FINGERPRINT.match(fingerprint):
        raise UsageError("usage", "A fingerprint has 40 or 64 hex digits.")
    body: dict[str, object] = {"fingerprint": fingerprint} if fingerprint else {}
    body |= {"force_disconnect": disconnects, "fingerprint_type": "SECONDARY" if is_secondary else "PRIMARY"}
    return _call(place, "POST", f"/{_quoted(device_id)}/reset-fingerprint", body)


def _call(place: Place, method: str, rest: str, body: dict[str, object] | None = None) -> HttpCall:
    if not PROJECT.match(place.workspace):
        raise UsageError("usage", f"{place.workspace[:80]!r} is not a project id.", "Give --workspace PROJECT_ID.")
    headers = [("X-Auth-Token", place.key.reveal())]
    if place.get("instance_id"):
        headers.append(("Instance-Id", place.get("instance_id")))
    if body is not None:
        headers.append(JSON)
    url = f"{place.endpoint.url}/v5/iot/{place.workspace}/devices{rest}"
    return HttpCall(method, url, tuple(headers), None if body is None else report.encoded(body), answers.PAGE_BYTES)


def _quoted(device_id: str) -> str:
    if not DEVICE_ID.match(device_id):
        raise UsageError("usage", f"{device_id[:80]!r} is not a device id.")
    return quote(device_id)


def _device_id(found: str) -> str:
    if not DEVICE_ID.match(found):
        raise WireError("device_id has odd characters")
    return found


def _unreadable(error: WireError) -> UnreachableError:
    return UnreachableError("reply_malformed", f"The platform's answer cannot be read: {error}.")
