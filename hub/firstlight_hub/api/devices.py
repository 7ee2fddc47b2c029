"""The Roboflow-style devices API: create, list, get; and our own additions: remove, installIds, credentials."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from firstlight.core.model import Facts
from firstlight.wire.bounded import WireError, decode_object
from firstlight.wire.redeem import ASKED_TRANSPORTS, CREDENTIALS
from firstlight_hub.api.description import TEXT, documented
from firstlight_hub.api.offline_wish import read_wish
from firstlight_hub.api.parts import OurParts, Parts, WhoCalls
from firstlight_hub.api.problems import is_json, read_bounded
from firstlight_hub.install_command import install_command
from firstlight_hub.model import READ, UPDATE, ByHand, Device, InstallId, Invited, Refusal, is_clone, iso, status
from firstlight_hub.rollout import APART
from firstlight_hub.service.access import demand
from firstlight_hub.service.devices import NewDevice
from firstlight_hub.service.issuing import HTTP, SECRET

MAX_BODY_BYTES = 65_536
MAX_TAGS = 64
MAX_PAGE, USUAL_PAGE = 500, 100
PLAIN_TEXT = re.compile(TEXT)
NOTHING_KNOWN = Facts()
NO_STORE = {"Cache-Control": "no-store"}

router = APIRouter()


async def read_body(request: Request, caller: WhoCalls) -> dict[str, object]:
    """The JSON object in a request of somebody with a key. Raises Refusal ``bad_request`` or WireError."""
    return await _read_body(request, b"")


async def _maybe_body(request: Request, caller: WhoCalls) -> dict[str, object]:
    return await _read_body(request, b"{}")


async def _read_body(request: Request, otherwise: bytes) -> dict[str, object]:
    headers = dict(request.scope["headers"])
    is_json(headers)
    try:
        body = await read_bounded(headers, request.receive, MAX_BODY_BYTES)
        return decode_object(body or otherwise, MAX_BODY_BYTES)
    except WireError as error:
        if error.code != "request_malformed":
            raise
        raise Refusal("bad_request", f"The request cannot be read: {error}.") from None


def record(device: Device, now_ms: int, window_s: int) -> dict[str, object]:
    """A device as seed 001 shows it. What comes from monitoring is null until the first beat.

    Ours stand after it, each only where there is something to say: of an HTTP device with a secret there is nothing.
    """
    has_beaten = device.last_heartbeat_at_ms is not None
    facts = device.facts if has_beaten and device.facts else NOTHING_KNOWN
    by_hand = device.by_hand if device.is_by_hand else None
    if by_hand is not None:
        facts = facts._replace(
            hostname=by_hand.hostname or facts.hostname,
            type=by_hand.type or facts.type,
            architecture=by_hand.architecture or facts.architecture,
        )
    is_gone = device.gone_at_ms is not None and device.gone_at_ms >= (device.last_heartbeat_at_ms or 0)
    ours = {
        "by_hand": by_hand and by_hand_object(by_hand),
        "transport": device.transport if device.transport != HTTP else None,
        "credential": device.credential if device.credential != SECRET else None,
        "certificate_ends_at": iso(device.certificate_ends_at_ms),
        "rotate_asked_at": iso(device.rotate_asked_at_ms),
        "revoked": True if device.revoked_at_ms is not None else None,
        "clone": True if is_clone(device.clone_at_ms, now_ms) else None,
        "last_will_at": iso(device.gone_at_ms) if is_gone else None,
        "upgrade": _upgrade(device),
    }
    return {
        "id": device.id,
        "name": device.name,
        "status": status(device.last_heartbeat_at_ms, now_ms, window_s, by_hand is not None),
        "last_heartbeat": iso(by_hand.made_at_ms if by_hand else device.last_heartbeat_at_ms),
        "platform": facts.platform,
        "platform_release": facts.platform_release,
        "platform_version": facts.platform_version,
        "architecture": facts.architecture,
        "hostname": facts.hostname,
        "rfdm_version": by_hand.agent_version if by_hand else device.agent_version if has_beaten else None,
        "type": facts.type,
        "hardware": facts.hardware._asdict() if has_beaten else None,
        "tags": device.tags,
        "created_at": iso(device.created_at_ms),
        **{name: value for name, value in ours.items() if value is not None},
    }


def by_hand_object(by_hand: ByHand) -> dict[str, object]:
    """The newest sign of life where it is a receipt; the fields that say nothing are left out."""
    found = {
        "made_at": iso(by_hand.made_at_ms),
        "received_at": iso(by_hand.received_at_ms),
        "counter": by_hand.counter,
        "state": by_hand.state,
        "reason": by_hand.reason,
        "beats": by_hand.beats,
        "beats_digest": by_hand.beats_digest,
        "note": by_hand.note,
    }
    return {name: value for name, value in found.items() if value}


def _upgrade(device: Device) -> dict[str, object] | None:
    """How its last upgrade went, or that one is offered; None where it runs that version, as ``rfdm_version`` says."""
    last = device.upgrade
    if last is None or last.version == device.agent_version or not (last.code or last.ended_at_ms is None):
        return None
    if last.ended_at_ms is None and (last.rollout is None or last.told_at_ms is None):
        return None
    found = {
        "version": last.version,
        "state": "offered" if last.ended_at_ms is None else "not_from_here" if last.code in APART else "failed",
        "at": iso(last.told_at_ms if last.ended_at_ms is None else last.ended_at_ms),
        "code": last.code,
        "message": last.message,
    }
    return {name: value for name, value in found.items() if value is not None}


def _invitation(parts: Parts, invited: Invited) -> dict[str, object]:
    install_id = invited.install_id.reveal()
    found: dict[str, object] = {
        "deviceId": invited.device.id,
        "installId": install_id,
        "installIdExpiresAt": iso(invited.expires_at_ms),
        "installCommand": install_command(parts.site.url, parts.site.pin, install_id),
    }
    if (offline := invited.offline) is not None:
        found["offlineProvisioningQrPayload"] = offline.payload.reveal()
        found["offlinePayloadExpiresAt"] = iso(offline.payload_expires_at_ms)
        found["offlineTypedCode"] = offline.typed_code.reveal()
        found["offlineTokenExpiresAt"] = iso(offline.token_expires_at_ms)
    return found


def _text(body: dict[str, object], name: str, limit: int) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    return _checked(name, value, limit)


def _checked(name: str, value: object, limit: int) -> str:
    if not isinstance(value, str):
        raise Refusal("bad_request", f"{name} is not a text.")
    if len(value) > limit:
        raise Refusal("bad_request", f"{name} has {len(value)} characters, {limit} are allowed.")
    if not PLAIN_TEXT.search(value):
        raise Refusal("bad_request", f"{name} is empty or has control characters.")
    return value.strip()


def _one_of(body: dict[str, object], name: str, known: tuple[str, ...]) -> str | None:
    value = body.get(name)
    if value is not None and value not in known:
        raise Refusal("bad_request", f"{name} is none of {', '.join(known)}.")
    return None if value is None else str(value)


def read_new_device(body: dict[str, object]) -> NewDevice:
    """The body of a create request -> what is asked for. Raises Refusal ``bad_request``, which names the field."""
    name = _text(body, "device_name", 256)
    if name is None:
        raise Refusal("bad_request", "device_name is missing.")
    tags, offline_mode = body.get("tags"), body.get("offline_mode")
    if tags is not None and (not isinstance(tags, list) or len(tags) > MAX_TAGS):
        raise Refusal("bad_request", f"tags is not a list of at most {MAX_TAGS} texts.")
    if offline_mode is not None and not isinstance(offline_mode, bool):
        raise Refusal("bad_request", "offline_mode is not true or false.")
    return NewDevice(
        name=name,
        device_type=_text(body, "device_type", 64),
        workflow_id=_text(body, "workflow_id", 128),
        tags=None if tags is None else tuple(dict.fromkeys(_checked("a tag", tag, 128) for tag in tags)),
        offline_mode=offline_mode,
        source_device_id=_text(body, "sourceDeviceId", 64),
        transport=_one_of(body, "transport", ASKED_TRANSPORTS),
        credential=_one_of(body, "credential", CREDENTIALS),
    )


@router.post(
    "/{workspace}/devices/v2",
    **documented("Create a device", 201, "Invitation", 400, 401, 403, 404, 409, 413, 415, body="NewDevice"),
)
def create_device(
    workspace: str, caller: WhoCalls, body: Annotated[dict[str, object], Depends(read_body)], parts: OurParts
) -> Response:
    """Creates a device in the workspace and answers what is needed to install it. Scope: device:update."""
    demand(caller, workspace, UPDATE)
    asked = read_new_device(body)
    parts.enrolling.check_possible(asked.transport, asked.credential)
    invited = parts.devices.create(workspace, asked, read_wish(body))
    return JSONResponse(_invitation(parts, invited), 201, NO_STORE)


@router.get("/{workspace}/devices/v2", **documented("List devices", 200, "DeviceList", 400, 401, 403, 404))
def list_devices(
    workspace: str,
    caller: WhoCalls,
    parts: OurParts,
    limit: Annotated[int | None, Query(ge=1, le=MAX_PAGE, description="Devices in one page.")] = None,
    cursor: Annotated[
        str | None, Query(pattern="^[0-9a-f]{1,15}$", description="next_cursor of the last page.")
    ] = None,
) -> Response:
    """All devices of the workspace; with limit or cursor, one page of them. Scope: device:read."""
    demand(caller, workspace, READ)
    now_ms = parts.now_ms()
    if limit is None and cursor is None:
        batches = _with_first(parts.devices.all(workspace))
        return StreamingResponse(_stream(batches, now_ms, parts.window_s), media_type="application/json")
    page = parts.devices.page(workspace, limit or USUAL_PAGE, cursor)
    data = [record(device, now_ms, parts.window_s) for device in page.devices]
    return JSONResponse({"data": data, "next_cursor": page.next_cursor})


def _with_first(batches: Iterator[Sequence[Device]]) -> Iterator[Sequence[Device]]:
    """Fetches the first batch now: a store that cannot be read is then still an honest 503, not a cut answer."""
    first = next(batches, ())

    def chained() -> Iterator[Sequence[Device]]:
        yield first
        yield from batches

    return chained()


def _stream(batches: Iterator[Sequence[Device]], now_ms: int, window_s: int) -> Iterator[bytes]:
    separator = b'{"data":['
    for batch in batches:
        items = (json.dumps(record(device, now_ms, window_s), separators=(",", ":")).encode() for device in batch)
        if text := b",".join(items):
            yield separator + text
            separator = b","
    yield b"]}" if separator == b"," else separator + b"]}"


@router.get("/{workspace}/devices/v2/{deviceId}", **documented("Get a device", 200, "Device", 401, 403, 404))
def get_device(workspace: str, deviceId: str, caller: WhoCalls, parts: OurParts) -> Response:  # noqa: N803
    """One device. Scope: device:read; a device's own key may look at its own device."""
    demand(caller, workspace, READ, deviceId)
    return JSONResponse(record(parts.devices.get(workspace, deviceId), parts.now_ms(), parts.window_s))


@router.delete("/{workspace}/devices/v2/{deviceId}", **documented("Remove a device", 204, "", 401, 403, 404))
def remove_device(workspace: str, deviceId: str, caller: WhoCalls, parts: OurParts) -> Response:  # noqa: N803
    """Removes a device for good: its keys and installIds end, and its box is told so. Scope: device:update."""
    demand(caller, workspace, UPDATE)
    parts.devices.remove(workspace, deviceId)
    return Response(status_code=204)


@router.post(
    "/{workspace}/devices/v2/{deviceId}/rotate", **documented("Rotate a credential", 202, "", 400, 401, 403, 404)
)
def rotate(workspace: str, deviceId: str, caller: WhoCalls, parts: OurParts) -> Response:  # noqa: N803
    """Has the device replace its credential, as soon as it hears of it. Scope: device:update."""
    demand(caller, workspace, UPDATE)
    parts.credentials.ask_to_rotate(workspace, deviceId)
    return Response(status_code=202)


@router.delete(
    "/{workspace}/devices/v2/{deviceId}/credential", **documented("Revoke a credential", 204, "", 401, 403, 404)
)
def revoke_credential(workspace: str, deviceId: str, caller: WhoCalls, parts: OurParts) -> Response:  # noqa: N803
    """Ends the device's credential and installIds at once; it can be invited again. Scope: device:update."""
    demand(caller, workspace, UPDATE)
    parts.credentials.revoke(workspace, deviceId)
    return Response(status_code=204)


INSTALL_IDS = "/{workspace}/devices/v2/{deviceId}/install-ids"


@router.get(INSTALL_IDS, **documented("List a device's installIds", 200, "InstallIdList", 401, 403, 404))
def list_install_ids(workspace: str, deviceId: str, caller: WhoCalls, parts: OurParts) -> Response:  # noqa: N803
    """The installIds of a device by their handles; the ids themselves are not stored. Scope: device:read."""
    demand(caller, workspace, READ)
    now_ms = parts.now_ms()
    found = parts.devices.install_ids(workspace, deviceId)
    return JSONResponse({"data": [_install_id(one, now_ms) for one in found]})


def _install_id(one: InstallId, now_ms: int) -> dict[str, object]:
    return {
        "handle": one.handle,
        "state": one.state(now_ms),
        "issued_at": iso(one.issued_at_ms),
        "expires_at": iso(one.expires_at_ms),
        "redeemed_at": iso(one.redeemed_at_ms),
    }


@router.post(
    INSTALL_IDS,
    **documented("Issue another installId", 201, "Invitation", 400, 401, 403, 404, 413, 415, may="OfflineWish"),
)
def issue_install_id(
    workspace: str,
    deviceId: str,  # noqa: N803
    caller: WhoCalls,
    body: Annotated[dict[str, object], Depends(_maybe_body)],
    parts: OurParts,
) -> Response:
    """Issues another installId for an existing device, for example a box that was re-imaged. Scope: device:update."""
    demand(caller, workspace, UPDATE)
    invited = parts.devices.invite(workspace, deviceId, read_wish(body))
    return JSONResponse(_invitation(parts, invited), 201, NO_STORE)


@router.delete(INSTALL_IDS + "/{handle}", **documented("Revoke an installId", 204, "", 401, 403, 404))
def revoke_install_id(
    workspace: str,
    deviceId: str,  # noqa: N803
    handle: str,
    caller: WhoCalls,
    parts: OurParts,
) -> Response:
    """Ends an installId at once. Scope: device:update."""
    demand(caller, workspace, UPDATE)
    parts.devices.revoke_install_id(workspace, deviceId, handle)
    return Response(status_code=204)
