"""The device half of Qubitro's dialect: a device id and a token, flat JSON over MQTT 3.1.1 or HTTPS.

Qubitro has no enrolling of its own: the operator creates the device and the box takes both in (the road "finished").
Over MQTT there is one topic for both ways, the device's id, so a box hears its own beats; the key ``MARK`` in each of
them tells them apart. Sources: client guide (MQTT), seed 003, and for publishing over HTTPS the code of users, since no
page of the vendor has all of it. docs/platforms/qubitro.md says what is known and what is our reading.
"""

from __future__ import annotations

from firstlight.core.exchange import HttpCall, MqttCall, MqttLogin, MqttReply
from firstlight.core.lifecycle import Accepted, Desired, Failed, Refused, Told
from firstlight.errors import InvitationError, UsageError
from firstlight.platforms import plain
from firstlight.platforms.plain import (
    also,
    appeal,
    probe,
    read_probe,
    read_redeemed,
    read_token,
    redeem,
    redeem_login,
    take_back,
    token_call,
)
from firstlight.platforms.qubitro.answers import no, parsed
from firstlight.wire.bounded import encode_object

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.core.exchange import Call, HttpReply, MqttMessage, Reply
    from firstlight.core.interfaces import Attempt
    from firstlight.core.lifecycle import Event
    from firstlight.core.model import Beat, Invitation, Moment, Registration

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
    "read_probe",
    "read_redeemed",
    "read_token",
    "redeem",
    "redeem_login",
    "take_back",
    "token_call",
]

PUBLISH_PATH = "/integrations/http"
MARK = "firstlight"  # a key that each of our messages has and no command may have
INTERVAL_S = 60
KEEP_ALIVE_S = 60  # what the vendor's examples use; a longest one is not documented
MAX_COMMAND_BYTES = 8192
MAX_COMMAND_KEYS = 64
COMMAND = "command"
# What a broker means by these is the device id or the token, the same for every device: it is not asked again soon.
PERMANENT = frozenset({"mqtt_bad_login", "mqtt_not_authorized", "mqtt_client_id"})


def finished(invitation: Invitation, attempt: Attempt, now_s: float) -> Registration:
    """What the operator handed over, as a registration; nothing is asked of Qubitro.

    Raises:
        UsageError: a client certificate was asked for (Qubitro takes none), or another transport than MQTT and HTTPS.
        InvitationError: ``device_file_malformed``, the device id is missing, or the address of the transport.
    """
    if invitation.certificate_pem or invitation.credential == "certificate":
        raise UsageError("usage", "Qubitro takes no client certificates: a device has a token.")
    kept = plain.finished(invitation, attempt, now_s)
    if kept.transport not in ("http", "mqtt"):
        raise UsageError("usage", f"Qubitro speaks MQTT and HTTPS, not {kept.transport}.")
    broker, endpoint = kept.broker, kept.endpoint
    missing = ""
    if not kept.device_id:
        missing = "device id"
    elif kept.transport == "mqtt" and broker is None:
        missing = "address of the MQTT broker"
    elif kept.transport == "http" and broker and (broker.host, broker.port) == (endpoint.host, endpoint.port):
        missing = "address that takes data over HTTPS"
    if missing:
        raise InvitationError("device_file_malformed", f"Qubitro's {missing} is missing.")
    return kept._replace(interval_s=INTERVAL_S)


def login(registration: Registration, moment: Moment, *, knows_time: bool) -> MqttLogin | None:
    """Client id and user name are the device id, the password is its token; no last will: it would count as data."""
    if registration.broker is None:
        return None
    device_id = registration.device_id
    return MqttLogin(
        broker=registration.broker,
        client_id=device_id,
        user_name=device_id,
        password=registration.credential.secret,
        keep_alive_s=KEEP_ALIVE_S,
        listens_to=(device_id,),
        protocol=4,
    )


def beat(registration: Registration, beat: Beat, token: str = "") -> Call:
    """One flat object, to the device's topic or to ``POST /integrations/http`` with the raw token after "Basic"."""
    body = encode_object(_flat(beat))
    if registration.transport == "mqtt":
        return MqttCall(registration.device_id, body)
    secret = registration.credential.secret
    headers = (
        ("Authorization", f"Basic {secret.reveal() if secret else ''}"),
        ("Content-Type", "application/json"),
    )
    return HttpCall("POST", registration.endpoint.url + PUBLISH_PATH, headers, body)


def _flat(beat: Beat) -> dict[str, object]:
    """The beat without nesting, which Qubitro does not take; what is not known is left out.

    Qubitro stamps each message itself, so beats that were kept while it was out of reach cannot be told with their own
    times: ``missed`` says how many there were.
    """
    metrics = beat.metrics
    found: dict[str, object] = {
        MARK: beat.agent_version,
        "sequence": beat.sequence,
        "uptime_s": round(beat.moment.monotonic_s),
        "load1": metrics.load1,
        "memory_used": metrics.memory_used,
        "disk_used": metrics.disk_used,
        "temperature_c": metrics.temperature_c,
        "missed": len(beat.missed) or None,
    }
    if beat.facts is not None:
        facts, hardware = beat.facts, beat.facts.hardware
        found.update(
            hostname=facts.hostname,
            platform=facts.platform,
            platform_release=facts.platform_release,
            architecture=facts.architecture,
            type=facts.type,
            processor=hardware.processor,
            gpu=hardware.gpu,
            total_memory_mb=hardware.total_memory_mb,
            total_disk_space_mb=hardware.total_disk_space_mb,
        )
    return found


def read_beat(registration: Registration, reply: Reply) -> Event:
    """What the reply to a beat means: behind the broker's acknowledgement there is nobody else who would answer."""
    if isinstance(reply, MqttReply):
        return Accepted(float(registration.interval_s))
    answer = no(reply)
    if answer is None:
        if _is_page(reply):
            return Failed("not_the_platform", "The address answered with a web page, not as Qubitro does.")
        return Accepted(float(registration.interval_s))
    if answer.status == 407:
        return Failed("proxy_auth_required", "The proxy asks for a password.")
    if 300 <= answer.status < 400:
        return Failed("redirected", f"Qubitro's address answered {answer.status}, a redirect.")
    if answer.status in (408, 425, 429) or answer.status >= 500:
        code = "platform_busy" if answer.status in (429, 503) else "platform_error"
        return Failed(code, answer.text, answer.retry_after_s)
    if not answer.is_named:
        return Failed("not_the_platform", f"The address answered {answer.status}, not in Qubitro's words.")
    if answer.status in (401, 403, 404):
        return Refused("qubitro_token_refused", answer.text)
    return Refused("qubitro_data_refused", answer.text)


def _is_page(reply: HttpReply) -> bool:
    """Whether a portal answered; whether Qubitro itself answers with a body is not documented, so any other is good."""
    return reply.headers.get("content-type", "").lower().startswith("text/html") or reply.body.lstrip()[:1] == b"<"


def heard(registration: Registration, message: MqttMessage, moment: Moment) -> Told | None:
    """A command on the device's topic, handed on as what is desired; None for this box's own echo and for junk.

    A schema of commands is not published, only that what goes over the topic is a flat object; so one is handed on as
    it came, under the name ``COMMAND``. The latest counts alone: an order of yesterday is not to be carried out again
    because one of today says nothing of it.
    """
    if message.topic != registration.device_id or len(message.payload) > MAX_COMMAND_BYTES:
        return None
    found = parsed(message.payload, MAX_COMMAND_BYTES)
    if not isinstance(found, dict) or MARK in found or not 0 < len(found) <= MAX_COMMAND_KEYS:
        return None
    if any(isinstance(value, (dict, list)) for value in found.values()):
        return None
    text = encode_sorted({COMMAND: found})
    return Told(float(registration.interval_s), desired=Desired(0, text, is_whole=True))


def encode_sorted(value: dict[str, object]) -> str:
    """Compact JSON with its keys sorted, as ``Desired`` wants it."""
    import json

    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def judge(registration: Registration, failed: Failed) -> Event:
    """A broker that does not take the id or the token says so for good; all else is as it seems."""
    if failed.code in PERMANENT:
        return Refused("qubitro_token_refused", failed.message)
    return failed
