"""The management half of the hub's dialect: Roboflow's public devices API (seeds 000 and 001), with our hub's extras.

Create answers ``{"deviceId", "installId", "offlineProvisioningQrPayload"?}``; our hub adds ``installCommand``,
``installIdExpiresAt`` and, beside a payload, until when that is good and what may be typed instead. List is wrapped in
``data`` and pages with ``limit`` and ``cursor``; get is one bare record.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.model import IDENTIFIER, Endpoint, Secret
from firstlight.core.provision import Audience, Network
from firstlight.errors import RefusedError, UnreachableError, UsageError
from firstlight.wire import bounded
from firstlight.wire.problem import decode_problem

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


def _devices_url(endpoint: Endpoint, workspace: str) -> str:
    if not IDENTIFIER.match(workspace):
        raise UsageError(
            "usage", f"{workspace[:80]!r} is not a workspace.", "Give --workspace NAME (letters, digits, '-', '_')."
        )
    return f"{endpoint.url}/{workspace}/devices/v2"


def _bearer(key: Secret) -> tuple[str, str]:
    return ("Authorization", f"Bearer {key.reveal()}")


def create(endpoint: Endpoint, workspace: str, key: Secret, device: NewDevice) -> HttpCall:
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
    return _post(_devices_url(endpoint, workspace), key, body)


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


def read_created(reply: HttpReply) -> Created:
    """The answer to ``create``. Raises RefusedError or UnreachableError."""
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


def list_page(endpoint: Endpoint, workspace: str, key: Secret, cursor: str) -> HttpCall:
    """One page of ``GET /{workspace}/devices/v2`` (scope device:read)."""
    url = f"{_devices_url(endpoint, workspace)}?limit={PAGE}"
    if cursor:
        url += f"&cursor={cursor}"
    return HttpCall("GET", url, (_bearer(key),), limit_bytes=PAGE_BYTES)


def read_page(reply: HttpReply) -> tuple[list[dict[str, object]], str]:
    """A page -> its records and the cursor of the next one ("" after the last). Raises as ``read_created``."""
    source = _accepted(reply, 200)
    try:
        cursor = bounded.optional_text(source, "next_cursor", 512) or ""
        if not re.fullmatch(r"[A-Za-z0-9_=.~-]*", cursor):
            raise bounded.WireError("next_cursor has odd characters")
        return bounded.children(source, "data", 100_000), cursor
    except bounded.WireError as error:
        raise UnreachableError("reply_malformed", f"The list cannot be read: {error}.") from None


def _device_url(endpoint: Endpoint, workspace: str, device_id: str) -> str:
    if not IDENTIFIER.match(device_id):
        raise UsageError("usage", f"{device_id[:80]!r} is not a device id.")
    return f"{_devices_url(endpoint, workspace)}/{device_id}"


def show(endpoint: Endpoint, workspace: str, key: Secret, device_id: str) -> HttpCall:
    """``GET /{workspace}/devices/v2/{deviceId}`` (scope device:read)."""
    return HttpCall("GET", _device_url(endpoint, workspace, device_id), (_bearer(key),))


def invite(
    endpoint: Endpoint,
    workspace: str,
    key: Secret,
    device_id: str,
    audience: Audience | None = None,
    network: Network | None = None,
) -> HttpCall:
    """``POST /{workspace}/devices/v2/{deviceId}/install-ids`` (scope device:update; our hub's own); as ``create``."""
    url = f"{_device_url(endpoint, workspace, device_id)}/install-ids"
    wish = _wish(audience, network)
    return _post(url, key, wish) if wish else HttpCall("POST", url, (_bearer(key),))


def receipt(endpoint: Endpoint, workspace: str, key: Secret, text: str) -> HttpCall:
    """``POST /{workspace}/devices/v2/receipts`` (scope device:update; our hub's own): a receipt's link or text."""
    return _post(f"{_devices_url(endpoint, workspace)}/receipts", key, {"receipt": text})


def read_recorded(reply: HttpReply) -> Recorded:
    """The answer to ``receipt``. Raises as ``read_created``; a refusal keeps the hub's own name."""
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


def revoke(endpoint: Endpoint, workspace: str, key: Secret, device_id: str) -> HttpCall:
    """``DELETE /{workspace}/devices/v2/{deviceId}/credential`` (scope device:update; our hub's own)."""
    return HttpCall("DELETE", f"{_device_url(endpoint, workspace, device_id)}/credential", (_bearer(key),))


def remove(endpoint: Endpoint, workspace: str, key: Secret, device_id: str) -> HttpCall:
    """``DELETE /{workspace}/devices/v2/{deviceId}`` (scope device:update; our hub's own)."""
    return HttpCall("DELETE", _device_url(endpoint, workspace, device_id), (_bearer(key),))


def rotate(endpoint: Endpoint, workspace: str, key: Secret, device_id: str) -> HttpCall:
    """``POST /{workspace}/devices/v2/{deviceId}/rotate`` (scope device:update; our hub's own)."""
    return HttpCall("POST", f"{_device_url(endpoint, workspace, device_id)}/rotate", (_bearer(key),))


def read_done(reply: HttpReply) -> None:
    """The answer to ``revoke``, ``rotate`` or ``remove``, which says nothing more. Raises as ``read_created``."""
    if reply.status not in DONE:
        _accepted(reply, 0)


def read_shown(reply: HttpReply) -> dict[str, object]:
    """The device's record. Raises as ``read_created``."""
    return _accepted(reply, 200)


def _accepted(reply: HttpReply, wanted: int) -> dict[str, object]:
    if reply.status == wanted:
        try:
            return bounded.decode_object(reply.body, PAGE_BYTES)
        except bounded.WireError as error:
            raise UnreachableError("reply_malformed", f"The platform's answer cannot be read: {error}.") from None
    if 300 <= reply.status < 400:
        raise UnreachableError("redirected", f"The address answered {reply.status}, a redirect.")
    if reply.status == 429 or reply.status >= 500:
        raise UnreachableError(
            "hub_busy" if reply.status in (429, 503) else "hub_error", f"The platform answered {reply.status}."
        )
    code = CODES.get(reply.status, "bad_request")
    raise RefusedError(code, f"The platform answered {reply.status}: {_reason(reply, code)}")


def _reason(reply: HttpReply, code: str) -> str:
    """What the platform says in any of the shapes that Roboflow uses: an object, or a bare text."""
    problem = decode_problem(reply.body)
    if problem is not None:
        return problem.message if problem.code == code else f"{problem.message} ({problem.code})"
    try:
        error = json.loads(reply.body[:4096]).get("error", "")
    except (ValueError, AttributeError, RecursionError):
        return "without a reason."
    text = error.get("message", "") if isinstance(error, dict) else error
    return "".join(c for c in str(text)[:1024] if c.isprintable()) or "without a reason."
