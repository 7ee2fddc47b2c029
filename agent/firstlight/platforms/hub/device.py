"""The device half of the hub's dialect: redeem, and heartbeats over HTTP or MQTT. docs/protocol.md has every field."""

from __future__ import annotations

from firstlight import __version__
from firstlight.core.exchange import HttpCall, HttpReply, MqttCall, MqttLogin, MqttReply
from firstlight.core.lifecycle import Accepted, Failed, Refused, Removed, Told
from firstlight.core.model import Credential, Registration, Trust, parse_broker, parse_endpoint
from firstlight.errors import InvitationError, RefusedError, UnreachableError
from firstlight.platforms.plain import also, judge, read_token, redeem_login, token_call
from firstlight.wire.bounded import MAX_REPLY_BYTES, WireError, encode_object
from firstlight.wire.heartbeat import decode_beat_reply, encode_beat
from firstlight.wire.problem import decode_problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.core.exchange import Call, MqttMessage, Reply
    from firstlight.core.interfaces import Attempt
    from firstlight.core.lifecycle import Event
    from firstlight.core.model import Beat, Endpoint, Facts, Invitation, Moment
    from firstlight.wire.heartbeat import BeatReply
    from firstlight.wire.problem import Problem

__all__ = [
    "also",
    "appeal",
    "beat",
    "finished",
    "heard",
    "judge",
    "login",
    "probe",
    "read_beat",
    "read_no",
    "read_probe",
    "read_redeemed",
    "read_token",
    "redeem",
    "redeem_login",
    "take_back",
    "token_call",
]
JSON = ("Content-Type", "application/json")
TRANSIENT = frozenset({408, 425, 429, 502, 503, 504})
# What a hub says of itself, not of this device.
PASSING = frozenset({"hub_busy", "hub_error"})
# A beat a minute keeps its connection alive itself. The longest: NAT and load balancers forget an idle connection after
# four to six minutes (Azure's 4, AWS's 350 s); pings come after three quarters of it.
KEEP_ALIVE_S = (60, 240)
NO_HUB_HINT = "Check that the hub runs, and its log. The agent tries again by itself."
NO_MATCHING_SUBSCRIBERS, FIRST_ERROR = 0x10, 0x80  # MQTT 5, 3.4.2.1


def probe(endpoint: Endpoint) -> HttpCall:
    """``GET /health``: spends nothing, and shows whether name, route, TLS and hub are right."""
    return HttpCall("GET", f"{endpoint.url}/health")


def read_probe(reply: HttpReply) -> float:
    """The answer to ``probe`` -> the hub's clock, seconds since 1970.

    Raises:
        UnreachableError: what answered is not a hub, or not ready.
    """
    from firstlight.wire.health import decode_health

    if reply.status != 200:
        event = _not_accepted(reply, "")
        retry_after_s = event.retry_after_s if isinstance(event, Failed) else None
        raise UnreachableError(getattr(event, "code", "not_the_hub"), event.message, retry_after_s=retry_after_s)
    try:
        return decode_health(reply.body)[1]
    except WireError:
        raise UnreachableError("not_the_hub", "What answers at this address is not a Firstlight hub.") from None


def finished(invitation: Invitation, attempt: Attempt, now_s: float) -> Registration:
    """Raises InvitationError: a hub's device begins with an installId, so that its credential is made for its key."""
    raise InvitationError("road_unsupported", "A hub hands out installIds, not finished credentials.")


def redeem(invitation: Invitation, attempt: Attempt, facts: Facts, moment: Moment) -> HttpCall:
    """``POST /devices/v2/{installId}/redeem``."""
    from firstlight.wire.redeem import RedeemRequest, encode_redeem

    request = RedeemRequest(
        attempt.attempt_id,
        attempt.csr_pem,
        __version__,
        moment,
        facts,
        invitation.transport,
        invitation.credential,
    )
    url = f"{invitation.endpoint.url}/devices/v2/{invitation.proof.reveal()}/redeem"
    return HttpCall("POST", url, (JSON,), encode_redeem(request), MAX_REPLY_BYTES)


def read_redeemed(invitation: Invitation, attempt: Attempt, reply: Reply) -> Registration:
    """The answer to ``redeem`` -> what the device keeps.

    Raises:
        RefusedError: the hub named a permanent reason.
        UnreachableError: anything that may pass: overload, a portal's page, half an answer.
    """
    from firstlight.wire.redeem import decode_redeem_answer

    if not isinstance(reply, HttpReply):
        raise TypeError("a hub is redeemed at over HTTP")
    if reply.status not in (200, 201):
        raise read_no(reply, attempt.key_fingerprint)
    try:
        answer = decode_redeem_answer(reply.body)
        endpoint = parse_endpoint(answer.endpoint)
        broker = parse_broker(answer.broker) if answer.broker else None
    except (WireError, InvitationError) as error:
        raise UnreachableError("reply_malformed", f"The hub's answer cannot be read: {error}.") from None
    return Registration(
        platform="hub",
        endpoint=endpoint,
        trust=Trust(ca_pem=answer.ca_pem) if answer.ca_pem else invitation.trust,
        workspace=answer.workspace,
        device_id=answer.device_id,
        credential=Credential("secret", answer.key)
        if answer.key
        else Credential("certificate", certificate_pem=answer.certificate_pem),
        interval_s=answer.interval_s,
        key_fingerprint=attempt.key_fingerprint,
        csr_pem=attempt.csr_pem,
        registered_at_s=answer.server_time_s,
        transport=answer.transport,
        broker=broker,
    )


def read_no(reply: HttpReply, key_fingerprint: str) -> RefusedError | UnreachableError:
    """Why there is no new credential: an answer other than 200 and 201, for a device with that key."""
    event = _not_accepted(reply, key_fingerprint)
    if isinstance(event, Failed):
        return UnreachableError(event.code, event.message, retry_after_s=event.retry_after_s)
    return RefusedError(getattr(event, "code", "device_removed"), event.message)


def _device_url(registration: Registration, verb: str) -> str:
    return f"{registration.endpoint.url}/{registration.workspace}/devices/v2/{registration.device_id}/{verb}"


def _authorized(registration: Registration) -> tuple[tuple[str, str], ...]:
    secret = registration.credential.secret
    return (("Authorization", f"Bearer {secret.reveal()}"), JSON) if secret else (JSON,)


def beat(registration: Registration, beat: Beat, token: str = "") -> Call:
    """One beat: ``POST /{workspace}/devices/v2/{deviceId}/heartbeat``, or a message to the device's topic."""
    if registration.transport != "mqtt":
        return appeal(registration, beat)
    from firstlight.wire import topics

    workspace, device_id = registration.workspace, registration.device_id
    answer_topic = topics.answer(workspace, device_id, beat.sequence) if beat.asks else ""
    return MqttCall(topics.heartbeat(workspace, device_id), encode_beat(beat), answer_topic)


def appeal(registration: Registration, beat: Beat) -> HttpCall:
    """The beat over HTTP, with the same credential; a certificate is shown by the session and not by the call."""
    body = encode_beat(beat._replace(asks=False))
    return HttpCall("POST", _device_url(registration, "heartbeat"), _authorized(registration), body)


def login(registration: Registration, moment: Moment, *, knows_time: bool) -> MqttLogin | None:
    """Client id and user name are the device's id; with a certificate there is no password (docs/protocol.md)."""
    if registration.broker is None:
        return None
    from firstlight.wire import topics

    workspace, device_id = registration.workspace, registration.device_id
    low, high = KEEP_ALIVE_S
    return MqttLogin(
        broker=registration.broker,
        client_id=device_id,
        user_name=device_id if registration.credential.secret else "",
        password=registration.credential.secret,
        keep_alive_s=min(high, max(low, 2 * registration.interval_s)),
        listens_to=(topics.answers(workspace, device_id),),
        will=MqttCall(topics.gone(workspace, device_id), encode_object({"bootId": moment.boot_id})),
    )


def heard(registration: Registration, message: MqttMessage, moment: Moment) -> Told | None:
    """What came on ``answer/now``, or an answer that came too late; None for what is neither."""
    try:
        answer = decode_beat_reply(message.payload)
    except WireError:
        return None
    return Told(
        float(answer.interval_s),
        answer.server_time_s,
        answer.facts_wanted,
        rotate=answer.rotate,
        clone=answer.clone,
        move=answer.move,
        upgrade=answer.upgrade,
    )


def take_back(registration: Registration) -> HttpCall:
    """``POST /{workspace}/devices/v2/{deviceId}/take-back``: the stored certificate request proves the key."""
    from firstlight.wire.redeem import encode_take_back

    body = encode_take_back(registration.csr_pem, __version__)
    return HttpCall("POST", _device_url(registration, "take-back"), _authorized(registration), body)


def read_beat(registration: Registration, reply: Reply) -> Event:
    """What the answer to ``beat``, ``appeal`` or ``take_back`` means."""
    if isinstance(reply, MqttReply):
        return _read_mqtt(registration, reply)
    if reply.status != 200:
        return _not_accepted(reply, registration.key_fingerprint)
    try:
        return _accepted(decode_beat_reply(reply.body))
    except WireError as error:
        return Failed("reply_malformed", f"The answer to a beat cannot be read: {error}.")


def _read_mqtt(registration: Registration, reply: MqttReply) -> Event:
    if reply.reason_code == NO_MATCHING_SUBSCRIBERS:
        text = "The broker has nobody who takes beats: the hub is not connected to it."
        return Failed("mqtt_unavailable", text, hint=NO_HUB_HINT)
    if reply.reason_code >= FIRST_ERROR:
        return Failed("mqtt_unavailable", f"The broker did not take the beat (reason code 0x{reply.reason_code:02X}).")
    if reply.answer is None:
        return Accepted(float(registration.interval_s), is_confirmed=False)
    problem = decode_problem(reply.answer)
    if problem is not None and problem.code in PASSING:
        return Failed(problem.code, problem.message)
    if problem is not None:
        return _named(problem, registration.key_fingerprint, is_gone=True)
    try:
        return _accepted(decode_beat_reply(reply.answer))
    except WireError as error:
        return Failed("reply_malformed", f"The answer to a beat cannot be read: {error}.")


def _accepted(answer: BeatReply) -> Accepted:
    return Accepted(
        float(answer.interval_s),
        answer.server_time_s,
        answer.facts_wanted,
        rotate=answer.rotate,
        clone=answer.clone,
        move=answer.move,
        upgrade=answer.upgrade,
    )


def _not_accepted(reply: HttpReply, key_fingerprint: str) -> Failed | Refused | Removed:
    """Any other answer. Only what the hub itself named is a refusal; a bare 401, 403 or 404 may be anybody's."""
    status = reply.status
    problem = decode_problem(reply.body)
    if status in TRANSIENT:
        code = "hub_busy" if status in (429, 503) else "hub_error"
        return Failed(code, f"The hub answered {status}.", _retry_after_s(reply))
    if status >= 500:
        return Failed("hub_error", f"The hub answered {status}.")
    if 300 <= status < 400:
        return Failed("redirected", f"The hub's address answered {status}, a redirect.")
    if status == 407:
        return Failed("proxy_auth_required", "The proxy asks for a password.")
    if problem is None:
        return Failed("not_the_hub", f"The address answered {status}, not in the hub's words.")
    return _named(problem, key_fingerprint, is_gone=status == 410)


def _named(problem: Problem, key_fingerprint: str, *, is_gone: bool) -> Refused | Removed:
    if problem.code == "device_removed":
        if is_gone and problem.key_fingerprint == key_fingerprint:
            return Removed(problem.message)
        return Refused("device_unknown", "The hub spoke of a removed device, but not of this box's key.")
    return Refused(problem.code, problem.message)


def _retry_after_s(reply: HttpReply) -> float | None:
    """``Retry-After`` in seconds (RFC 9110, 10.2.3); its date form counts as not given: the clock may be wrong."""
    asked = reply.headers.get("retry-after", "")
    return float(asked[:12]) if asked.isascii() and asked.isdigit() else None
