"""What the OpenAPI page says: the schemas, kept beside the checks that they describe, and the raw beat route."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import Response

from firstlight.core.model import MAX_ATTEMPT
from firstlight.wire.redeem import ASKED_TRANSPORTS, CREDENTIALS, TRANSPORTS

# One sentence's worth of text: something visible in it, no control characters within. Checked by this very pattern.
INSIDE = r"\x00-\x1f\x7f-\x9f\ud800-\udfff"
TEXT = rf"^\s*[^\s{INSIDE}]([^{INSIDE}]*[^\s{INSIDE}])?\s*$"

Schema = dict[str, Any]
INSTANT: Schema = {"type": "string", "format": "date-time"}
MAYBE_INSTANT: Schema = {"type": ["string", "null"], "format": "date-time"}
MAYBE_TEXT: Schema = {"type": ["string", "null"]}
VERSION: Schema = {"type": "string", "pattern": "^[0-9][0-9A-Za-z.+~-]{0,63}$"}
RELEASE_ID: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
HEX32: Schema = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
FACT: Schema = {
    "type": ["string", "null"],
    "minLength": 1,
    "maxLength": 256,
    "pattern": r"^[^\x00-\x09\x0b-\x1f\x7f]*$",
}
LABEL: Schema = {"type": "string", "minLength": 1, "maxLength": 64, "pattern": r"^[^\x00-\x1f\x7f]*$"}
B64 = "[A-Za-z0-9+/]"
BASE64: Schema = {
    "type": "string",
    "minLength": 4,
    "maxLength": 1024,
    "pattern": f"^({B64}{{4}})*({B64}{{4}}|{B64}{{3}}=|{B64}{{2}}==)$",
}
PEM: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 8192,
    "pattern": FACT["pattern"],
    "description": "A PKCS#10 request in PEM.",
}


def _text(limit: int, *, nullable: bool = True) -> Schema:
    return {"type": ["string", "null"] if nullable else "string", "maxLength": limit, "pattern": TEXT}


def _object(required: list[str], **properties: Schema) -> Schema:
    return {"type": "object", "required": required, "properties": properties}


def _number(low: float, high: float) -> Schema:
    return {"type": "number", "minimum": low, "maximum": high}


def _maybe_number(low: float, high: float, kind: str = "number") -> Schema:
    return {"type": [kind, "null"], "minimum": low, "maximum": high}


def ref(name: str) -> Schema:
    """A reference to one of ``SCHEMAS``."""
    return {"$ref": f"#/components/schemas/{name}"}


MOMENT: dict[str, Schema] = {
    "seq": {"type": "integer", "minimum": 0, "maximum": 2**53 - 1},
    "bootId": HEX32,
    "mono": _number(0, 1e11),
    "wall": _number(-1e11, 1e11),
    "metrics": {
        "type": ["object", "null"],
        "properties": {
            "load1": _maybe_number(0, 1e6),
            "memoryUsed": _maybe_number(0, 1),
            "diskUsed": _maybe_number(0, 1),
            "temperatureC": _maybe_number(-300, 1000),
        },
    },
}
# Which values fit says docs/protocol.md: much of it is rules between the fields.
WISH: dict[str, Schema] = {
    "audience": {
        "type": ["object", "null"],
        "minProperties": 1,
        "additionalProperties": False,
        "description": "Which boxes the offline payload is for.",
        "properties": {
            "deviceType": {"type": "string", "minLength": 1, "maxLength": 64},
            "serial": {"type": "string", "minLength": 1, "maxLength": 64},
            "keyHash": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
        },
    },
    "network": {
        "type": ["object", "null"],
        "minProperties": 1,
        "additionalProperties": False,
        "description": "How the box is to reach a network; put into the offline payload and kept nowhere.",
        "properties": {
            "ssid": {"type": "string", "minLength": 1, "maxLength": 32},
            "passphrase": {"type": "string", "minLength": 1, "maxLength": 128},
            "security": {"enum": ["wpa", "sae", "wep", "open"]},
            "hidden": {"type": "boolean"},
            "address": {"type": "string", "description": "With its prefix length: 192.0.2.7/24."},
            "gateway": {"type": "string"},
            "dns": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"type": "string"}},
        },
    },
}
NO_PROJECTS: Schema = {"type": "array", "maxItems": 0, "items": {}}
MONITORING = ("platform", "platform_release", "platform_version", "architecture", "hostname", "rfdm_version", "type")

SCHEMAS: dict[str, Schema] = {
    "Problem": _object(
        ["error"],
        error=_object(
            ["type", "message"],
            type={"type": "string", "pattern": "^[a-z][a-z0-9_]{0,63}$"},
            message={"type": "string"},
            hint={"type": "string"},
            keyFingerprint={"type": "string"},
        ),
    ),
    "Health": _object(["hub", "serverTime"], hub={"type": "string"}, serverTime={"type": "number"}),
    "KeyOwner": _object(["workspace"], workspace={"type": "string"}),
    "WorkspaceInfo": _object(
        ["workspace"],
        workspace=_object(
            ["name", "url", "projects"], name={"type": "string"}, url={"type": "string"}, projects=NO_PROJECTS
        ),
    ),
    "Release": _object(
        ["version", "id", "path"],
        version={"type": "string"},
        id={"type": "string", "pattern": "^[0-9a-f]{64}$"},
        path={"type": "string"},
    ),
    "NewDevice": _object(
        ["device_name"],
        device_name=_text(256, nullable=False),
        device_type=_text(64),
        workflow_id=_text(128),
        tags={"type": ["array", "null"], "maxItems": 64, "items": _text(128, nullable=False)},
        offline_mode={"type": ["boolean", "null"]},
        sourceDeviceId=_text(64),
        transport={"enum": [*ASKED_TRANSPORTS, None]},
        credential={"enum": [*CREDENTIALS, None]},
        **WISH,
    ),
    "OfflineWish": _object([], **WISH),
    "Invitation": _object(
        ["deviceId", "installId", "installIdExpiresAt", "installCommand"],
        deviceId={"type": "string"},
        installId={"type": "string"},
        installIdExpiresAt=INSTANT,
        installCommand={"type": "string"},
        offlineProvisioningQrPayload={"type": "string", "description": "Only for AI1 devices in offline mode."},
        offlinePayloadExpiresAt=INSTANT,
        offlineTypedCode={"type": "string", "description": "What may be typed instead; it lives as long as the token."},
        offlineTokenExpiresAt=INSTANT,
    ),
    "Device": _object(
        ["id", "name", "status", "last_heartbeat", *MONITORING, "hardware", "tags", "created_at"],
        id={"type": "string"},
        name={"type": "string"},
        status={"enum": ["online", "offline", "unknown"]},
        last_heartbeat=MAYBE_INSTANT,
        **dict.fromkeys(MONITORING, MAYBE_TEXT),
        hardware={"anyOf": [ref("Hardware"), {"type": "null"}]},
        tags={"type": "array", "items": {"type": "string"}},
        created_at=INSTANT,
        transport={"enum": [one for one in ASKED_TRANSPORTS if one != "http"], "description": "Left out for HTTP."},
        credential={"const": "certificate", "description": "Left out for a secret."},
        certificate_ends_at={**INSTANT, "description": "Of the certificate that counts now."},
        rotate_asked_at={**INSTANT, "description": "Since then the device is asked to replace its credential."},
        revoked={"const": True, "description": "The operator ended its credential; it can be invited again."},
        clone={"const": True, "description": "Two boxes beat as this device."},
        last_will_at={**INSTANT, "description": "The broker lost the device then; only a hint."},
        by_hand={**ref("ByHand"), "description": "Only where the newest heartbeat is a receipt that was carried here."},
        upgrade=_object(
            ["version", "state", "at"],
            version={"type": "string"},
            state={"enum": ["offered", "failed", "not_from_here"]},
            at=INSTANT,
            code={"type": "string", "description": "Why it failed, or who upgrades the box instead."},
            message={"type": "string"},
        ),
    ),
    "ByHand": _object(
        ["made_at", "received_at", "counter", "state"],
        made_at={**INSTANT, "description": "By the box's clock, as far as this hub can believe it."},
        received_at=INSTANT,
        counter={"type": "integer", "minimum": 1},
        state={"type": "string"},
        reason={"type": "string"},
        beats={"type": "integer", "minimum": 1, "description": "They wait on the box for a network."},
        beats_digest={"type": "string"},
        note={"enum": ["receipt_from_future", "receipt_from_past", "clock_untrusted"]},
    ),
    "Receipt": _object(
        ["receipt"], receipt={"type": "string", "minLength": 1, "maxLength": 8192, "description": "Its text or link."}
    ),
    "Recorded": _object(
        ["deviceId", "name", "isNew", "byHand"],
        deviceId={"type": "string"},
        name={"type": "string"},
        isNew={"type": "boolean", "description": "False where this very receipt is recorded already."},
        byHand=ref("ByHand"),
    ),
    "DeviceList": _object(["data"], data={"type": "array", "items": ref("Device")}, next_cursor=MAYBE_TEXT),
    "InstallIdList": _object(
        ["data"],
        data={
            "type": "array",
            "items": _object(
                ["handle", "state", "issued_at", "expires_at", "redeemed_at"],
                handle={"type": "string", "pattern": "^[0-9a-f]{12}$"},
                state={"enum": ["open", "bound", "redeemed", "expired", "revoked"]},
                issued_at=INSTANT,
                expires_at=INSTANT,
                redeemed_at=MAYBE_INSTANT,
            ),
        },
    ),
    "Hardware": {
        "type": "object",
        "properties": {
            "processor": FACT,
            "gpu": FACT,
            "total_memory_mb": _maybe_number(0, 2**50, "integer"),
            "total_disk_space_mb": _maybe_number(0, 2**50, "integer"),
        },
    },
    "Facts": {
        "type": "object",
        "properties": {
            **dict.fromkeys((*MONITORING[:5], "type"), FACT),
            "hardware": {"anyOf": [ref("Hardware"), {"type": "null"}]},
        },
    },
    "Redeem": _object(
        ["attemptId", "csr", "agent", "bootId", "mono", "wall"],
        attemptId=HEX32,
        csr=PEM,
        agent=LABEL,
        bootId=HEX32,
        mono=MOMENT["mono"],
        wall=MOMENT["wall"],
        facts={"anyOf": [ref("Facts"), {"type": "null"}]},
        transport={"enum": [*ASKED_TRANSPORTS, None]},
        credential={"enum": [*CREDENTIALS, None]},
    ),
    "Renewal": _object(
        ["attemptId", "csr", "currentKey", "signature", "agent", "bootId"],
        attemptId=HEX32,
        csr=PEM,
        currentKey={**BASE64, "description": "The present SubjectPublicKeyInfo, DER."},
        signature={**BASE64, "description": "ECDSA with SHA-256, as docs/protocol.md says."},
        agent=LABEL,
        bootId=HEX32,
    ),
    "Registration": _object(
        ["workspace", "deviceId", "intervalS", "endpoint", "serverTime", "transport", "credential"],
        workspace={"type": "string"},
        deviceId={"type": "string"},
        key={"type": "string"},
        intervalS={"type": "integer", "minimum": 1},
        endpoint={"type": "string"},
        caPem={"type": "string"},
        serverTime={"type": "number"},
        transport={"enum": list(TRANSPORTS)},
        credential={"enum": list(CREDENTIALS)},
        certificatePem={"type": "string"},
        broker={"type": "string"},
    ),
    "TakeBack": _object(["csr", "agent"], csr=PEM, agent=LABEL),
    "Beat": _object(
        ["seq", "bootId", "mono", "wall", "agent", "factsHash"],
        **MOMENT,
        agent=LABEL,
        factsHash={"type": "string", "pattern": "^[0-9a-f]{16}$"},
        facts={"anyOf": [ref("Facts"), {"type": "null"}]},
        ask={"type": "boolean"},
        missed={
            "type": ["array", "null"],
            "maxItems": 32,
            "items": _object(["seq", "bootId", "mono", "wall", "reason"], **MOMENT, reason=LABEL),
        },
        upgraded={"anyOf": [ref("Upgraded"), {"type": "null"}]},
    ),
    "Upgraded": _object(
        ["version", "id", "attempt", "code"],
        version=VERSION,
        id=RELEASE_ID,
        attempt={"type": "integer", "minimum": 0, "maximum": MAX_ATTEMPT},
        code={"type": "string", "pattern": "^([a-z][a-z0-9_]{0,63})?$", "description": "Empty where it is done."},
        message={**_text(256), "minLength": 1},
    ),
    "BeatReply": _object(
        ["serverTime", "intervalS"],
        serverTime={"type": "number"},
        intervalS={"type": "integer", "minimum": 1},
        factsWanted={"type": "boolean"},
        rotate={"type": "boolean"},
        clone={"type": "boolean"},
        move={"type": "string"},
        upgrade=_object(
            ["version", "id", "path", "attempt"],
            version=VERSION,
            id=RELEASE_ID,
            path={"type": "string"},
            attempt={"type": "integer", "minimum": 1, "maximum": MAX_ATTEMPT},
        ),
    ),
}

MEANING = {
    200: "Done.",
    201: "Created.",
    202: "Noted; it is done when the device hears of it.",
    204: "Done; there is nothing to say.",
    400: "The request cannot be understood.",
    401: "The key is missing or wrong.",
    403: "The key may not do this, or the workspace lacks a feature.",
    404: "There is no such thing here.",
    409: "Another key or box has it, or this hub cannot do what is asked.",
    410: "It is over: expired, revoked or removed.",
    413: "The request is too large.",
    415: "The body is not application/json.",
    503: "Not now; ask again later.",
}


def documented(
    summary: str, status: int, answer: str, *others: int, body: str = "", may: str = "", key: str = ""
) -> dict[str, Any]:
    """What a route says about itself, as keyword arguments of FastAPI's decorators.

    Args:
        summary: its name.
        status: of the usual answer.
        answer: a name in ``SCHEMAS``, a media type, or "" for no body.
        others: further statuses; those below 300 answer like the usual one.
        body: name in ``SCHEMAS`` of the request's body, or "".
        may: the same for a body that may be left out.
        key: "device" where a device's key is needed and the route itself reads it.
    """
    extra: dict[str, Any] = {}
    if body or may:
        content = {"application/json": {"schema": ref(body or may)}}
        extra["requestBody"] = {"required": bool(body), "content": content}
    if key:
        extra["security"] = [{"bearer": []}]
    responses = {}
    for code in (status, *others, 503):
        is_told_so = code < 300 or ("shellscript" in answer and code in (404, 410)) or ("html" in answer and code < 500)
        good = answer if is_told_so else "Problem"
        responses[code] = {"description": MEANING[code], **_content(good)}
    return {
        "summary": summary,
        "status_code": status,
        "responses": responses,
        "openapi_extra": extra,
        "response_model": None,
        **({} if answer else {"response_class": Response}),  # else FastAPI says that there is JSON
    }


def _content(answer: str) -> Schema:
    if not answer:
        return {}
    if "/" in answer:
        return {"content": {answer: {"schema": {"type": "string"}}}}
    return {"content": {"application/json": {"schema": ref(answer)}}}


def _heartbeat() -> Schema:
    route = documented("Record a heartbeat", 200, "BeatReply", 400, 401, 404, 410, 413, 415, body="Beat", key="device")
    names = ("workspace", "deviceId")
    return {
        "summary": route["summary"],
        "operationId": "heartbeat",
        "description": "Answered when the beat is on disk. The key is the device's own.",
        "parameters": [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names],
        "responses": {str(code): told for code, told in route["responses"].items()},
        **route["openapi_extra"],
    }


def describe(app: FastAPI, version: str) -> Schema:
    """The whole OpenAPI document."""
    page = get_openapi(title="Firstlight hub", version=version, routes=app.routes)
    for path in page["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)  # what FastAPI would answer; here it is 400 and a Problem
    page["paths"]["/{workspace}/devices/v2/{deviceId}/heartbeat"] = {"post": _heartbeat()}
    page["components"]["schemas"] = SCHEMAS
    return page
