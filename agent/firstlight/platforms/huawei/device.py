"""The device half of Huawei IoTDA: reports over MQTT 3.1.1 or HTTPS, with a secret or (MQTT) a certificate.

Alive is an open link, kept by pings; a report is sparse and only tells more (``budget.py``). There is no last will, no
QoS 2 and nothing retained: the platform takes none of them. Each way is loaded where it is gone, so that a box does
not carry the others along. Facts: docs/platforms/huawei.md.
"""

from __future__ import annotations

from firstlight.core.exchange import HttpReply, MqttCall, MqttLogin, MqttReply
from firstlight.core.lifecycle import Accepted, Failed, Refused
from firstlight.core.model import Credential, Registration, Secret
from firstlight.errors import InvitationError
from firstlight.platforms import plain
from firstlight.platforms.huawei import budget, credentials, report, topics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.core.exchange import Call, HttpCall, MqttMessage, Reply, Token
    from firstlight.core.interfaces import Attempt
    from firstlight.core.lifecycle import Event, Told
    from firstlight.core.model import Beat, Facts, Invitation, Moment

appeal, probe, read_probe, take_back = plain.appeal, plain.probe, plain.read_probe, plain.take_back
HAS_CHILDREN = True  # its devices may be gateways
MQTT_3_1_1 = 4
KEEP_ALIVE_S = 120  # advised; 30 to 1200 are taken, anything else is CONNACK 2
LEAST_GAP_S = 60.0  # one attempt to connect a minute
FIRST_ERROR = 0x80
EXTRAS = ("service", "sign", "scope", "reports_per_day", "bootstrap_ca")
KEPT = ("service", "sign")
MAX_SERVICE_ID = 32
# CONNACK 1, 2, 4 and 5 stand until somebody mends something; what to say of each.
LASTING = {
    "mqtt_version": "it does not take this version of MQTT",
    "mqtt_client_id": "it does not take the device id, or the keepalive",
    "mqtt_bad_login": "it does not take this device's id and secret",
    "mqtt_not_authorized": "it does not let this device in; it may be frozen, removed, or its certificate unknown",
}
CLOCK = " With sign 1 a wrong clock gives the same answer."


def finished(invitation: Invitation, attempt: Attempt, now_s: float) -> Registration:
    """A device file whose credential is a device's own. Raises InvitationError (``device_file_malformed``…)."""
    if invitation.certificate_pem:
        credential = Credential("certificate", certificate_pem=invitation.certificate_pem)
    else:
        credential = Credential("secret", invitation.proof)
    return _registration(invitation, attempt, now_s)._replace(credential=credential)


def redeem(invitation: Invitation, attempt: Attempt, facts: Facts, moment: Moment) -> Call:
    """Road "bootstrap": the question to the bootstrap server. Raises InvitationError (``road_unsupported``)."""
    if invitation.road != "bootstrap":
        raise InvitationError("road_unsupported", "On Huawei IoTDA a device begins with a credential or a bootstrap.")
    from firstlight.platforms.huawei import bootstrap

    _registration(invitation, attempt, 0.0)
    return bootstrap.call(invitation)


def redeem_login(invitation: Invitation, moment: Moment, *, knows_time: bool) -> MqttLogin | None:
    """Who this device says it is at the bootstrap server. Raises InvitationError."""
    from firstlight.platforms.huawei import bootstrap

    return bootstrap.login(invitation, moment, knows_time=knows_time)


def read_redeemed(invitation: Invitation, attempt: Attempt, reply: Reply) -> Registration:
    """Where the bootstrap server says that this device belongs. Raises RefusedError, UnreachableError."""
    if not isinstance(reply, MqttReply):
        raise TypeError("a bootstrap goes over MQTT")
    from firstlight.platforms.huawei import bootstrap

    broker, endpoint, credential = bootstrap.read_answer(invitation, reply)
    made = _registration(invitation, attempt, 0.0)
    return made._replace(broker=broker, endpoint=endpoint, credential=credential, transport="mqtt")


def _registration(invitation: Invitation, attempt: Attempt, now_s: float) -> Registration:
    """What does not depend on the road, its credential still the invitation's. Raises InvitationError."""
    extra = dict(invitation.extra)
    _check(invitation, extra)
    transport = "mqtt" if invitation.broker and invitation.transport != "http" else "http"
    if transport == "http" and invitation.certificate_pem:
        text = "Over HTTPS Huawei IoTDA takes no certificates, only secrets."
        raise InvitationError("transport_unavailable", text, "Make the device with a secret, or name its MQTT broker.")
    return Registration(
        platform=invitation.platform,
        endpoint=invitation.endpoint,
        trust=invitation.trust,
        workspace=invitation.workspace,
        device_id=invitation.device_id,
        credential=Credential("secret", invitation.proof),
        interval_s=budget.interval_s(budget.reports_a_day(extra.get("reports_per_day", ""))),
        key_fingerprint=attempt.key_fingerprint,
        csr_pem=attempt.csr_pem,
        registered_at_s=now_s,
        transport=transport,
        broker=invitation.broker,
        extra=tuple((name, extra[name]) for name in KEPT if extra.get(name)),
    )


def _check(invitation: Invitation, extra: dict[str, str]) -> None:
    def refuse(sentence: str) -> None:
        raise InvitationError("device_file_malformed", sentence)

    if unknown := sorted(set(extra) - set(EXTRAS)):
        refuse(f"extra.{unknown[0]} is nothing that Huawei IoTDA knows.")
    if not invitation.device_id:
        refuse("deviceId is missing.")
    if extra.get("sign", "0") not in ("0", "1"):
        refuse("extra.sign is 0 (the hour is not compared) or 1.")
    service = extra.get("service", "")
    if len(service) > MAX_SERVICE_ID or not service.isprintable():
        refuse(f"extra.service is a service of the product, at most {MAX_SERVICE_ID} characters.")
    if invitation.transport in ("mqtt", "websocket") and invitation.broker is None:
        refuse("The transport is mqtt, and no broker is named.")


def login(registration: Registration, moment: Moment, *, knows_time: bool) -> MqttLogin | None:
    """Client id and password are good for the hour only, so they are made for each connection."""
    if registration.broker is None:
        return None
    device_id, secret = registration.device_id, registration.credential.secret
    sign = credentials.sign_type(dict(registration.extra).get("sign", ""), knows_time=knows_time)
    stamp = credentials.hour_stamp(moment.wall_s)
    return MqttLogin(
        broker=registration.broker,
        client_id=credentials.client_id(device_id, sign, stamp),
        user_name=device_id,
        password=Secret(credentials.password(secret.reveal(), stamp)) if secret else None,
        keep_alive_s=KEEP_ALIVE_S,
        listens_to=topics.listened_to(device_id),
        protocol=MQTT_3_1_1,
        greets=report.greetings(device_id, moment),
        least_gap_s=LEAST_GAP_S,
    )


def token_call(registration: Registration, moment: Moment, *, knows_time: bool) -> HttpCall | None:
    """Over HTTPS; None over MQTT."""
    if registration.transport == "mqtt":
        return None
    from firstlight.platforms.huawei import https

    return https.token_call(registration, moment, knows_time=knows_time)


def read_token(registration: Registration, reply: HttpReply) -> Token:
    """The answer to ``token_call``. Raises RefusedError for a named no, UnreachableError for all else."""
    from firstlight.platforms.huawei import https

    return https.read_token(reply)


def beat(registration: Registration, beat: Beat, token: str = "") -> Call:
    """One property report."""
    if registration.transport != "mqtt":
        from firstlight.platforms.huawei import https

        return https.beat(registration, beat, token)
    return MqttCall(topics.of(registration.device_id, topics.REPORT), report.report(registration, beat))


def also(registration: Registration, beat: Beat) -> tuple[MqttCall, ...]:
    """A gateway's children, where the platform has not been told how they are; over MQTT only."""
    if registration.transport != "mqtt" or not beat.children:
        return ()
    return report.statuses(registration.device_id, beat.children)


def read_beat(registration: Registration, reply: Reply) -> Event:
    """What the answer to a report means. Over MQTT the broker is the platform: what it takes has arrived."""
    if isinstance(reply, HttpReply):
        from firstlight.platforms.huawei import https

        return https.read_beat(registration, reply)
    if reply.reason_code >= FIRST_ERROR:
        return Failed("mqtt_unavailable", f"The platform did not take the report (0x{reply.reason_code:02X}).")
    return Accepted(float(registration.interval_s))


def heard(registration: Registration, message: MqttMessage, moment: Moment) -> Told | None:
    """What the platform says unasked: ``words.py``."""
    from firstlight.platforms.huawei import words

    return words.heard(registration, message, moment)


def judge(registration: Registration, failed: Failed) -> Event:
    """A broker's no that stands is a refusal, asked again slowly; CONNACK 3 and the network are tried again."""
    meaning = LASTING.get(failed.code)
    if meaning is None or registration.transport != "mqtt":
        return failed
    clock = CLOCK if failed.code == "mqtt_bad_login" and dict(registration.extra).get("sign") == "1" else ""
    return Refused(failed.code, f"Huawei IoTDA refuses this device: {meaning}.{clock}")
