"""The bootstrap server (IoTDP) says where a device belongs; a registration group's device gets its secret there.

One message up, with nothing in it, one down: ``{"address": "HOST:PORT", "deviceSecret"?, "initConfig"?}``, or
``{"errorCode", "errorMsg"}`` (protocol page, section 5). Its certificates are of another authority than the platform's:
the extra ``bootstrap_ca``.
"""

from __future__ import annotations

from firstlight.core.exchange import MqttCall, MqttLogin, MqttReply
from firstlight.core.model import LOOPBACK, Broker, Credential, Endpoint, Secret, Trust, parse_broker
from firstlight.errors import InvitationError, RefusedError, UnreachableError
from firstlight.platforms.huawei import credentials, topics
from firstlight.wire.bounded import WireError, decode_object, optional_text, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.core.model import Invitation, Moment

KEEP_ALIVE_S = 120
ANSWER_S = 10.0  # as long as the vendor's own client waits
MAX_BYTES = 65_536
MAX_SECRET = 256
# What somebody at a desk has to mend; everything else may pass.
PERMANENT = ("1004", "1002")


def login(invitation: Invitation, moment: Moment, *, knows_time: bool) -> MqttLogin | None:
    """Of a fixed device or of one that its group (extra ``scope``) vouches for, with a secret or a certificate."""
    if invitation.broker is None:
        raise InvitationError("device_file_malformed", "The file names no bootstrap server: broker is missing.")
    extra = dict(invitation.extra)
    device_id, scope = invitation.device_id, extra.get("scope", "")
    has_secret = not invitation.certificate_pem
    sign = credentials.sign_type(extra.get("sign", ""), knows_time=knows_time)
    stamp = credentials.hour_stamp(moment.wall_s)
    password = None
    if scope:
        name = credentials.group_client_id(device_id, scope, stamp if has_secret else "")
        if has_secret:
            password = Secret(credentials.group_password(invitation.proof.reveal(), device_id, stamp))
    else:
        name = credentials.client_id(device_id, sign, stamp)
        if has_secret:
            password = Secret(credentials.password(invitation.proof.reveal(), stamp))
    return MqttLogin(
        broker=invitation.broker,
        client_id=name,
        user_name=device_id,
        password=password,
        keep_alive_s=KEEP_ALIVE_S,
        listens_to=(topics.of(device_id, topics.BOOTSTRAP_DOWN),),
        protocol=4,
        answer_s=ANSWER_S,
        trust=Trust(extra["bootstrap_ca"]) if extra.get("bootstrap_ca") else None,
    )


def call(invitation: Invitation) -> MqttCall:
    """The message up: its being there is the question."""
    device_id = invitation.device_id
    down = topics.of(device_id, topics.BOOTSTRAP_DOWN)
    return MqttCall(topics.of(device_id, topics.BOOTSTRAP_UP), b"", down)


def read_answer(invitation: Invitation, reply: MqttReply) -> tuple[Broker, Endpoint, Credential]:
    """The message down -> where the device belongs, and what it shows there.

    Raises:
        RefusedError: ``bootstrap_refused``, an ``errorCode`` that somebody has to mend.
        UnreachableError: ``bootstrap_silent``, ``bootstrap_failed`` and ``reply_malformed``.
    """
    if reply.answer is None:
        raise UnreachableError("bootstrap_silent", "The bootstrap server took the question and did not answer it.")
    try:
        body = decode_object(reply.answer, MAX_BYTES)
        _refuse(body)
        broker = _broker(invitation, text(body, "address", 300))
        own = optional_text(body, "deviceSecret", MAX_SECRET)
    except (WireError, InvitationError) as error:
        raise UnreachableError("reply_malformed", f"The bootstrap server's answer cannot be read: {error}.") from None
    is_group = bool(dict(invitation.extra).get("scope"))
    if invitation.certificate_pem:
        credential = Credential("certificate", certificate_pem=invitation.certificate_pem)
    elif own:
        credential = Credential("secret", Secret(own))
    elif is_group:
        raise UnreachableError("reply_malformed", "The bootstrap server gave this device no secret of its own.")
    else:
        credential = Credential("secret", invitation.proof)
    return broker, Endpoint("https", broker.host, broker.port), credential


def _refuse(body: dict[str, object]) -> None:
    code = body.get("errorCode")
    if code in (None, 0, "0", ""):
        return
    shown = "".join(letter for letter in str(code)[:32] if letter.isprintable())
    said = "".join(c for c in optional_text(body, "errorMsg", 2048) or "without a reason" if c.isprintable())
    sentence = f"The bootstrap server says: {said[:300].rstrip('.')} (errorCode {shown})."
    if shown.removeprefix("IOTPS.").startswith(PERMANENT):
        raise RefusedError("bootstrap_refused", sentence)
    raise UnreachableError("bootstrap_failed", sentence)


def _broker(invitation: Invitation, address: str) -> Broker:
    """``HOST:PORT`` -> where the device belongs: over TLS, but on this machine's own loopback as the bootstrap was."""
    host = address.rpartition(":")[0].lower()
    is_plain = invitation.broker is not None and not invitation.broker.is_secure and LOOPBACK.match(host)
    return parse_broker(f"{'mqtt' if is_plain else 'mqtts'}://{address}")
