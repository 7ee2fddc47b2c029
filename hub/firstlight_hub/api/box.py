"""The device half: install script, bundles, redeem, renewal and take-back. docs/protocol.md has every field."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, JSONResponse, Response

from firstlight import __version__
from firstlight.core.model import Secret
from firstlight.wire.bounded import MAX_REDEEM_BYTES
from firstlight.wire.health import encode_health
from firstlight.wire.heartbeat import encode_beat_reply
from firstlight.wire.redeem import RedeemAnswer, RedeemRequest, decode_redeem, decode_take_back, encode_redeem_answer
from firstlight.wire.renewal import RenewRequest, decode_renewal, statement
from firstlight_hub.api.description import documented
from firstlight_hub.api.parts import OurParts, Parts, get_parts
from firstlight_hub.api.problems import is_json, read_bounded
from firstlight_hub.client_certificate import DeviceCertificate, shown
from firstlight_hub.ingest.http_ingest import bearer
from firstlight_hub.installer import render_install_script
from firstlight_hub.model import Refusal
from firstlight_hub.service.issuing import HTTP, Registered
from firstlight_hub.service.issuing import Request as Asked
from firstlight_hub.tls import requested_fingerprint, signer

SCRIPT = "text/x-shellscript"
BUNDLE = "application/x-tar"
NO_STORE = {"Cache-Control": "no-store"}

router = APIRouter()


@router.get("/health", **documented("Is the hub up", 200, "Health"))
def health(parts: OurParts) -> Response:
    """Answers with version and clock when the hub can read its database; boxes ask before they spend an installId."""
    parts.devices.page("-", 1, None)
    return Response(encode_health(__version__, parts.now_ms() / 1000), media_type="application/json")


@router.get("/devices/v2/{installId}/install.sh", **documented("The install script", 200, SCRIPT, 404, 410))
def install_script(installId: str, parts: OurParts) -> Response:  # noqa: N803
    """A script that installs the agent and enrolls the box; where the installId cannot be used, one that says why."""
    device_id, refusal = parts.enrolling.look_at(installId)
    known = refusal is None or refusal.code != "install_id_unknown"
    script = render_install_script(
        install_id=installId if known else "",  # what nobody issued does not get into a script
        device_id=device_id,
        hub_url=parts.site.url,
        pin=parts.site.pin,
        ca_pem=parts.site.ca_pem,
        bundles=parts.site.bundles.of_this_version(),
        release_keys=parts.site.release_keys,
        agent_version=__version__,
        refusal=(refusal.message, refusal.hint) if refusal else None,
    )
    # A spent installId is 410 here, whoever asks: the script itself knows whether this is the box that redeemed it.
    return Response(script, 200 if refusal is None else 404 if not known else 410, NO_STORE, SCRIPT)


@router.get("/bundles/latest", **documented("The newest release for a kind of box", 200, "Release", 400, 404))
def latest(
    parts: OurParts,
    arch: Annotated[str, Query(min_length=1, max_length=16)],
    python: Annotated[str, Query(max_length=16)] = "",
) -> Response:
    """Public; what ``firstlight upgrade`` asks. Only a release that boxes take: signed by a key of this hub."""
    found = parts.site.bundles.newest(arch, python)
    if found is None:
        raise Refusal("not_found", "There is no release for such a box.")
    body = {"version": found.version, "id": found.id, "path": f"/bundles/{found.name}"}
    return JSONResponse(body, headers=NO_STORE)


@router.get("/bundles/{name}", **documented("A release of the agent for one architecture", 200, BUNDLE, 404))
def bundle(name: str, parts: OurParts) -> Response:
    """Public; the install script knows the id of each, and an upgrade wants a trusted signature."""
    if not parts.site.bundles.has(name):
        raise Refusal("not_found", "There is no such bundle.")
    return FileResponse(parts.site.bundles.directory / name, media_type=BUNDLE)


@router.post(
    "/devices/v2/{installId}/redeem",
    **documented("Redeem an installId", 201, "Registration", 200, 400, 404, 409, 410, 413, 415, body="Redeem"),
)
async def redeem(installId: str, request: Request) -> Response:  # noqa: N803
    """Binds the installId to the key that signed the request: 201 the first time, 200 and the same for the same key."""
    parts = get_parts(request)
    await run_in_threadpool(parts.enrolling.check_issued, installId)  # nobody else gets us to read a body
    return await run_in_threadpool(_redeem, parts, installId, decode_redeem(await _body(request)))


def _redeem(parts: Parts, install_id: str, body: RedeemRequest) -> Response:
    asked = Asked(body.csr_pem, requested_fingerprint(body.csr_pem), body.transport, body.credential)
    return _registration(parts, parts.enrolling.redeem(install_id, asked, body.facts))


def _registration(parts: Parts, registered: Registered) -> Response:
    reply, road = parts.beats.accepted(False), registered.road
    body = encode_redeem_answer(
        RedeemAnswer(
            workspace=registered.workspace,
            device_id=registered.device_id,
            key=registered.grant.key,
            interval_s=reply.interval_s,
            endpoint=parts.site.url,
            ca_pem=parts.site.ca_pem,
            server_time_s=reply.server_time_s,
            transport=HTTP if road.transport == HTTP else "mqtt",
            certificate_pem=registered.grant.certificate_pem,
            broker=road.broker,
        )
    )
    return Response(body, 201 if registered.is_new else 200, NO_STORE, "application/json")


@router.post(
    "/{workspace}/devices/v2/{deviceId}/credential",
    **documented("Renew a credential", 200, "Registration", 400, 401, 404, 409, 410, 413, 415, body="Renewal"),
)
async def renew(workspace: str, deviceId: str, request: Request) -> Response:  # noqa: N803
    """Answers the candidate: both credentials count until a beat over HTTP proves it. The present key signs for it."""
    parts = get_parts(request)
    await run_in_threadpool(parts.credentials.check_known, workspace, deviceId)  # before a body is read, as above
    return await run_in_threadpool(_renew, parts, workspace, deviceId, decode_renewal(await _body(request)))


def _renew(parts: Parts, workspace: str, device_id: str, body: RenewRequest) -> Response:
    said = statement(workspace, device_id, body.attempt_id, body.csr_pem)
    by = signer(body.current_key, body.signature, said)
    asked = Asked(body.csr_pem, requested_fingerprint(body.csr_pem))
    return _registration(parts, parts.credentials.renew(workspace, device_id, by, asked))


@router.post(
    "/{workspace}/devices/v2/{deviceId}/take-back",
    **documented(
        "Take a lost device back", 200, "BeatReply", 400, 401, 403, 410, 413, 415, body="TakeBack", key="device"
    ),
)
async def take_back(workspace: str, deviceId: str, request: Request) -> Response:  # noqa: N803
    """Registers a device again that this hub registered once and then lost, if its setting take_back allows it."""
    headers, parts = dict(request.scope["headers"]), get_parts(request)
    proof = Secret(bearer(headers)) if b"authorization" in headers else shown(request.scope, workspace, deviceId)
    csr_pem, _ = decode_take_back(await _body(request))
    return await run_in_threadpool(_take_back, parts, workspace, deviceId, proof, csr_pem)


def _take_back(
    parts: Parts, workspace: str, device_id: str, proof: Secret | DeviceCertificate, csr_pem: str
) -> Response:
    requested = requested_fingerprint(csr_pem)
    if isinstance(proof, Secret):
        parts.enrolling.take_back(workspace, device_id, proof.reveal(), requested)
    else:
        parts.enrolling.take_back_certificate(workspace, proof.generation, proof.record(), requested)
    return Response(encode_beat_reply(parts.beats.accepted(True)), media_type="application/json")


async def _body(request: Request) -> bytes:
    headers = dict(request.scope["headers"])
    is_json(headers)
    return await read_bounded(headers, request.receive, MAX_REDEEM_BYTES)
