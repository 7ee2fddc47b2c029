"""The management half of the hub's dialect: Roboflow's public devices API (seeds 000 and 001), with our hub's extras.

Create answers ``{"deviceId", "installId", "offlineProvisioningQrPayload"?}``; our hub adds ``installCommand``,
``installIdExpiresAt`` and, beside a payload, until when that is good and what may be typed instead. List is wrapped in
``data`` and pages with ``limit`` and ``cursor``; get is one bare record.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.management import Field, Listed, Made, Place
from firstlight.core.model import IDENTIFIER, Secret
from firstlight.core.provision import Audience, Network
from firstlight.errors import RefusedError, UnreachableError, UsageError
from firstlight.platforms.desk_replies import reason_of, retry_after_s
from firstlight.wire import bounded
from firstlight.wire.problem import decode_problem

BASE = ""  # everybody's hub has an address of its own
WORKSPACE = "workspace"
EXTRAS: tuple[Field, ...] = ()
FIELDS = (
    Field("name", "human-readable name", is_required=True),
    Field("type", "ai1, edge or any text"),
    Field("serial", "the only box that takes the offline code in"),
    Field("tags", "tags, apart by space, comma, semicolon or bar"),
    Field("workflow_id", "initial workflow"),
    Field("like", "id of the device whose configuration is copied"),
    Field("transport", "http, mqtt or websocket"),
    Field("credential", "secret or certificate"),
    Field("offline", "yes: offline mode, for ai1 only"),
)
KEY = "name"  # no two of a table have the same
CHOICES = {
    "transport": ("http", "mqtt", "websocket"),
    "credential": ("secret", "certificate"),
    "offline": ("yes", "no"),
}

PAGE = 200
PAGE_BYTES = 1_048_576
MAX_PAYLOAD = 4296
DONE = (202, 204)
RECEIPT_REFUSALS = (400, 401, 403, 404, 409, 410)
CODES = {400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found"}


class NewDevice(NamedTuple):
    """What the operator says of a new device: the fields of seed 000, then our hub's own; None where not given."""

    device_name: str
    device_type: str | None = None
    workflow_id: str | None = None
    tags: tuple[str, ...] = ()
    offline_mode: bool = False
    source_device_id: str | None = None
    transport: str | None = None
    credential: str | None = None
    audience: Audience | None = None
    network: Network | None = None


class Created(NamedTuple):
    """The answer to create or invite; all but ids and payload only from our own hub.

    Args:
        device_id, install_id: of the device.
        install_command: what to run on the box.
        expires_at: of the installId; like the other instants ISO 8601, "" = not said.
        qr_payload: of an AI1 device in offline mode, "" = none.
        typed_code: what may be typed instead of the payload, "" = nothing.
        payload_expires_at: until when the payload may be taken in.
        token_expires_at: until when a box that took it, or the typed code, in may find a network.
    """

    device_id: str
    install_id: Secret
    install_command: str
    expires_at: str
    qr_payload: str
    typed_code: str = ""
    payload_expires_at: str = ""
    token_expires_at: str = ""


class Recorded(NamedTuple):
    """The answer to ``receipt``.

    Args:
        device_id, name: whose it is.
        is_new: False where the hub had this very receipt already.
        made_at, received_at: ISO 8601; the first as far as the hub can believe it.
        counter: of the receipt.
        state: what the box says of itself.
        note: what ails the first instant: "receipt_from_future", "receipt_from_past", "clock_untrusted", "" = nothing.
    """

    device_id: str
    name: str
    is_new: bool
    made_at: str
    received_at: str
    counter: int
    state: str
    note: str


def new_device(place: Place, values: Mapping[str, object]) -> NewDevice:
    """What was said of a device, by the names in ``FIELDS`` -> what create is asked for.

    Args:
        place: where it is to be.
        values: texts; also ``tags`` as a tuple, ``offline`` as a bool, and beside the fields ``audience`` and
            ``network``, which an offline code is to say.

    Raises:
        UsageError: ``usage``, naming field and rule.
    """
    for name, choices in CHOICES.items():
        if isinstance(value := values.get(name), str) and value and value not in choices:
            raise UsageError("usage", f"The field {name} is {value[:40]!r}; it is one of: {', '.join(choices)}.")
    device_name = _said(values, "name")
    if not device_name:
        raise UsageError("usage", "The field name is missing.")
    tags, offline, audience = values.get("tags"), values.get("offline"), values.get("audience")
    network, serial = values.get("network"), _said(values, "serial")
    is_offline = offline in (True, "yes")
    if audience is None and serial and is_offline:
        audience = Audience(serial=serial)
    return NewDevice(
        device_name,
        _said(values, "type"),
        _said(values, "workflow_id"),
        tags if isinstance(tags, tuple) else _words(tags),
        is_offline,
        _said(values, "like"),
        _said(values, "transport"),
        _said(values, "credential"),
        audience if isinstance(audience, Audience) else None,
        network if isinstance(network, Network) else None,
    )


def _words(tags: object) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[\s,;|]+", tags) if word) if isinstance(tags, str) else ()


def _said(values: Mapping[str, object], name: str) -> str | None:
    value = values.get(name)
    return value if isinstance(value, str) and value else None


def _devices_url(place: Place) -> str:
    if not IDENTIFIER.match(place.workspace):
        raise UsageError(
            "usage",
            f"{place.workspace[:80]!r} is not a workspace.",
            "Give --workspace NAME (letters, digits, '-', '_').",
        )
    return f"{place.endpoint.url}/{place.workspace}/devices/v2"


def _bearer(key: Secret) -> tuple[str, str]:
    return ("Authorization", f"Bearer {key.reveal()}")


def create(place: Place, device: NewDevice) -> HttpCall:
    """``POST /{workspace}/devices/v2`` (scope device:update)."""
    body: dict[str, object] = {
        "device_name": device.device_name,
        "device_type": device.device_type,
        "workflow_id": device.workflow_id,
        "tags": list(device.tags) or None,
        "offline_mode": True if device.offline_mode else None,
        "sourceDeviceId": device.source_device_id,
        "transport": device.transport,
        "credential": device.credential,
        **_wish(device.audience, device.network),
    }
    return _post(_devices_url(place), place.key, body)


def _post(url: str, key: Secret, body: dict[str, object]) -> HttpCall:
    headers = (_bearer(key), ("Content-Type", "application/json"))
    return HttpCall("POST", url, headers, bounded.encode_object(body))


def _wish(audience: Audience | None, network: Network | None) -> dict[str, object]:
    """What an offline payload is to say beside the rest, as create and invite take it."""
    found: dict[str, dict[str, object]] = {}
    if audience is not None:
        named = {"deviceType": audience.device_type, "serial": audience.serial, "keyHash": audience.key_hash}
        found["audience"] = {name: value for name, value in named.items() if value}
    if network is not None:
        said = {
            "ssid": network.ssid,
            "passphrase": network.passphrase.reveal() if network.passphrase else "",
            "security": network.security if network.ssid else "",
            "hidden": network.is_hidden,
            "address": network.address,
            "gateway": network.gateway,
            "dns": list(network.dns),
        }
        found["network"] = {name: value for name, value in said.items() if value}
    return {name: value for name, value in found.items() if value}


def read_created(place: Place, device: NewDevice, reply: HttpReply) -> Made:
    """The answer to ``create``; its ``record`` reads as ``read_invited`` does. Raises as that."""
    return _made(place, device, reply)


def _made(place: Place, device: NewDevice, reply: HttpReply) -> Made:
    created = read_invited(reply)
    boot_file: dict[str, object] = {
        "format": 1,
        "platform": "hub",
        "road": "redeem",
        "deviceId": created.device_id,
        "workspace": place.workspace,
        "endpoint": place.endpoint.url,
        "secret": created.install_id.reveal(),
    }
    if device.transport in ("http", "mqtt"):
        boot_file["transport"] = device.transport
    return Made(created.device_id, device.device_name, boot_file, _accepted(reply, 201))


def reclaim(place: Place, device: NewDevice, listed: Listed) -> HttpCall:
    """For a device that was created and whose answer nobody heard: another invitation. Raises UsageError."""
    return invite(place, listed.device_id, device.audience, device.network)


def read_reclaimed(place: Place, device: NewDevice, listed: Listed, reply: HttpReply) -> Made:
    """The answer to ``reclaim``, in the shape of ``read_created``. Raises as that."""
    return _made(place, device, reply)


def read_invited(reply: HttpReply) -> Created:
    """The answer to ``create`` or ``invite``. Raises RefusedError or UnreachableError."""
    source = _accepted(reply, 201)
    try:
        return Created(
            bounded.text(source, "deviceId", 64),
            Secret(bounded.text(source, "installId", 64)),
            bounded.optional_text(source, "installCommand", 2048) or "",
            bounded.optional_text(source, "installIdExpiresAt", 64) or "",
            bounded.optional_text(source, "offlineProvisioningQrPayload", MAX_PAYLOAD) or "",
            bounded.optional_text(source, "offlineTypedCode", 64) or "",
            bounded.optional_text(source, "offlinePayloadExpiresAt", 64) or "",
            bounded.optional_text(source, "offlineTokenExpiresAt", 64) or "",
        )
    except bounded.WireError as error:
        raise UnreachableError("reply_malformed", f"The answer to create cannot be read: {error}.") from None


def list_page(place: Place, cursor: str) -> HttpCall:
    """One page of ``GET /{workspace}/devices/v2`` (scope device:read)."""
    url = f"{_devices_url(place)}?limit={PAGE}"
    if cursor:
        url += f"&cursor={cursor}"
    return HttpCall("GET", url, (_bearer(place.key),), limit_bytes=PAGE_BYTES)


def read_page(place: Place, reply: HttpReply, now_s: float, cursor: str) -> tuple[list[Listed], str]:
    """A page -> its devices and the cursor of the next one ("" after the last). Raises as ``read_invited``."""
    source = _accepted(reply, 200)
    try:
        following = bounded.optional_text(source, "next_cursor", 512) or ""
        if not re.fullmatch(r"[A-Za-z0-9_=.~-]*", following):
            raise bounded.WireError("next_cursor has odd characters")
        return [_listed(record) for record in bounded.children(source, "data", 100_000)], following
    except bounded.WireError as error:
        raise UnreachableError("reply_malformed", f"The list cannot be read: {error}.") from None


def _listed(record: dict[str, object]) -> Listed:
    """A record of seed 001: the status is the hub's own, by its own clock."""
    texts = {name: value for name, value in record.items() if isinstance(value, str)}
    status = texts.get("status", "")
    return Listed(
        texts.get("id", ""),
        texts.get("name", ""),
        status if status in ("online", "offline") else "unknown",
        texts.get("last_heartbeat", ""),
        "revoked" if record.get("revoked") is True else "",
        record,
    )


def _device_url(place: Place, device_id: str) -> str:
    if not IDENTIFIER.match(device_id):
        raise UsageError("usage", f"{device_id[:80]!r} is not a device id.")
    return f"{_devices_url(place)}/{device_id}"


def show(place: Place, device_id: str) -> HttpCall:
    """``GET /{workspace}/devices/v2/{deviceId}`` (scope device:read)."""
    return HttpCall("GET", _device_url(place, device_id), (_bearer(place.key),))


def invite(place: Place, device_id: str, audience: Audience | None = None, network: Network | None = None) -> HttpCall:
    """``POST /{workspace}/devices/v2/{deviceId}/install-ids`` (scope device:update; our hub's own); as ``create``."""
    url = f"{_device_url(place, device_id)}/install-ids"
    wish = _wish(audience, network)
    return _post(url, place.key, wish) if wish else HttpCall("POST", url, (_bearer(place.key),))


def receipt(place: Place, text: str) -> HttpCall:
    """``POST /{workspace}/devices/v2/receipts`` (scope device:update; our hub's own): a receipt's link or text."""
    return _post(f"{_devices_url(place)}/receipts", place.key, {"receipt": text})


def read_recorded(reply: HttpReply) -> Recorded:
    """The answer to ``receipt``. Raises as ``read_invited``; a refusal keeps the hub's own name."""
    problem = decode_problem(reply.body) if reply.status in RECEIPT_REFUSALS else None
    if problem is not None and problem.code not in CODES.values():
        raise RefusedError(problem.code, problem.message)
    source = _accepted(reply, 200 if reply.status == 200 else 201)
    try:
        by_hand = bounded.child(source, "byHand")
        return Recorded(
            bounded.text(source, "deviceId", 64),
            bounded.text(source, "name"),
            source.get("isNew") is True,
            bounded.text(by_hand, "made_at", 64),
            bounded.text(by_hand, "received_at", 64),
            bounded.integer(by_hand, "counter", 1, 2**53),
            bounded.text(by_hand, "state", 64),
            bounded.optional_text(by_hand, "note", 64) or "",
        )
    except bounded.WireError as error:
        raise UnreachableError("reply_malformed", f"The answer to a receipt cannot be read: {error}.") from None


def revoke(place: Place, device_id: str) -> HttpCall:
    """``DELETE /{workspace}/devices/v2/{deviceId}/credential`` (scope device:update; our hub's own)."""
    return HttpCall("DELETE", f"{_device_url(place, device_id)}/credential", (_bearer(place.key),))


def remove(place: Place, device_id: str) -> HttpCall:
    """``DELETE /{workspace}/devices/v2/{deviceId}`` (scope device:update; our hub's own)."""
    return HttpCall("DELETE", _device_url(place, device_id), (_bearer(place.key),))


def rotate(place: Place, device_id: str) -> HttpCall:
    """``POST /{workspace}/devices/v2/{deviceId}/rotate`` (scope device:update; our hub's own)."""
    return HttpCall("POST", f"{_device_url(place, device_id)}/rotate", (_bearer(place.key),))


def read_done(reply: HttpReply) -> None:
    """The answer to ``revoke``, ``rotate`` or ``remove``, which says nothing more. Raises as ``read_invited``."""
    if reply.status not in DONE:
        _accepted(reply, 0)


def read_shown(place: Place, reply: HttpReply, now_s: float) -> Listed:
    """One device. Raises as ``read_invited``."""
    return _listed(_accepted(reply, 200))


def _accepted(reply: HttpReply, wanted: int) -> dict[str, object]:
    if reply.status == wanted:
        try:
            return bounded.decode_object(reply.body, PAGE_BYTES)
        except bounded.WireError as error:
            raise UnreachableError("reply_malformed", f"The platform's answer cannot be read: {error}.") from None
    if 300 <= reply.status < 400:
        raise UnreachableError("redirected", f"The address answered {reply.status}, a redirect.")
    if reply.status == 429 or reply.status >= 500:
        code = "hub_busy" if reply.status in (429, 503) else "hub_error"
        raise UnreachableError(code, f"The platform answered {reply.status}.", retry_after_s=retry_after_s(reply))
    code = CODES.get(reply.status, "bad_request")
    raise RefusedError(code, f"The platform answered {reply.status}: {_reason(reply, code)}")


def _reason(reply: HttpReply, code: str) -> str:
    """What the platform says; its own code behind it where ours is another."""
    reason = reason_of(reply.body)
    said = reason.message or reason.name or "without a reason."
    return f"{said} ({reason.name})" if reason.message and reason.name not in ("", code) else said
