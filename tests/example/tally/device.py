"""The device half of Tally: counts over MQTT, or over HTTP with a token; its greeter says where a device belongs.

The password is good for one minute: the secret, a dash, and the minute since 1970.
"""

from __future__ import annotations

import json

from firstlight.core.exchange import HttpCall, HttpReply, MqttCall, MqttLogin, MqttReply, Token
from firstlight.core.lifecycle import Accepted, Desired, Failed, Refused, Told
from firstlight.core.model import Secret, Trust, parse_broker
from firstlight.errors import RefusedError, UnreachableError
from firstlight.platforms import plain
from firstlight.platforms.plain import appeal, probe, read_probe, take_back

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.core.exchange import Call, MqttMessage, Reply
    from firstlight.core.interfaces import Attempt
    from firstlight.core.lifecycle import Event
    from firstlight.core.model import Beat, Facts, Invitation, Moment, Registration

__all__ = ["appeal", "probe", "read_probe", "take_back"]
PERMANENT = frozenset({"mqtt_bad_login", "mqtt_not_authorized"})


def finished(invitation: Invitation, attempt: Attempt, now_s: float) -> Registration:
    """As usual, but counted every so many seconds as the file says."""
    kept = plain.finished(invitation, attempt, now_s)
    return kept._replace(interval_s=int(dict(invitation.extra).get("every", "60")))


def _login(name: str, secret: Secret | None, moment: Moment) -> tuple[str, str, Secret | None]:
    password = Secret(f"{secret.reveal()}-{int(moment.wall_s // 60)}") if secret else None
    return name, name if secret else "", password


def login(registration: Registration, moment: Moment, *, knows_time: bool) -> MqttLogin | None:
    """MQTT 3.1.1, no will; says hello, and hears what it is to be."""
    if registration.broker is None:
        return None
    name, user, password = _login(registration.device_id, registration.credential.secret, moment)
    hello = MqttCall(f"tally/{name}/hello", b"{}")
    wants = (f"tally/{name}/want/+", f"tally/{name}/time")
    return MqttLogin(registration.broker, name, user, password, 60, wants, protocol=4, greets=(hello,))


def redeem_login(invitation: Invitation, moment: Moment, *, knows_time: bool) -> MqttLogin | None:
    """At the greeter, with what was handed over."""
    if invitation.road != "bootstrap" or invitation.broker is None:
        return None
    secret = None if invitation.certificate_pem else invitation.proof
    name, user, password = _login(invitation.device_id, secret, moment)
    own_ca = dict(invitation.extra).get("bootstrap_ca", "")
    trust = Trust(own_ca) if own_ca else None
    return MqttLogin(invitation.broker, name, user, password, 60, ("greeter/down",), protocol=4, trust=trust)


def redeem(invitation: Invitation, attempt: Attempt, facts: Facts, moment: Moment) -> Call:
    """Asks the greeter."""
    return MqttCall("greeter/up", b"{}", "greeter/down")


def read_redeemed(invitation: Invitation, attempt: Attempt, reply: Reply) -> Registration:
    """Where the device belongs, and its own secret where it came with another one."""
    answer = reply.answer if isinstance(reply, MqttReply) else None
    if answer is None:
        raise UnreachableError("reply_timeout", "The greeter has not answered yet.")
    said = json.loads(answer)
    if "no" in said:
        raise RefusedError("unauthorized", f"The greeter says: {said['no']}.")
    proof = Secret(said["secret"]) if "secret" in said else invitation.proof
    place = invitation._replace(proof=proof, broker=parse_broker(said["broker"]), transport="mqtt")
    return finished(place, attempt, 0.0)


def token_call(registration: Registration, moment: Moment, *, knows_time: bool) -> HttpCall | None:
    """``POST /token``."""
    name, _, password = _login(registration.device_id, registration.credential.secret, moment)
    body = json.dumps({"id": name, "password": password.reveal() if password else ""}).encode()
    return HttpCall("POST", f"{registration.endpoint.url}/token", (("Content-Type", "application/json"),), body)


def read_token(registration: Registration, reply: HttpReply) -> Token:
    """Good for as long as the answer says."""
    if reply.status != 200:
        raise RefusedError("unauthorized", "Tally does not know this secret.")
    said = json.loads(reply.body)
    return Token(Secret(said["token"]), float(said["lasts"]))


def beat(registration: Registration, beat: Beat, token: str = "") -> Call:
    """One count."""
    body = json.dumps({"n": beat.sequence, "kept": [missed.sequence for missed in beat.missed]}).encode()
    if registration.transport == "mqtt":
        return MqttCall(f"tally/{registration.device_id}/count", body)
    headers = (("X-Auth-Token", token), ("Content-Type", "application/json"))
    return HttpCall("POST", f"{registration.endpoint.url}/count/{registration.device_id}", headers, body)


def also(registration: Registration, beat: Beat) -> tuple[MqttCall, ...]:
    """What it counts on beside, over MQTT."""
    if registration.transport != "mqtt":
        return ()
    return (MqttCall(f"tally/{registration.device_id}/also", b"{}"),)


def read_beat(registration: Registration, reply: Reply) -> Event:
    """A broker that takes a count is Tally itself."""
    if isinstance(reply, MqttReply) or reply.status == 200:
        return Accepted(float(registration.interval_s))
    if reply.status == 403:
        return Failed("token_spent", "The token is spent.")
    return Failed("hub_error", f"Tally answered {reply.status}.")


def heard(registration: Registration, message: MqttMessage, moment: Moment) -> Told | None:
    """What the box is to be, answered under the number of the wish; and the time."""
    said = json.loads(message.payload)
    interval_s = float(registration.interval_s)
    if message.topic.endswith("/time"):
        return Told(interval_s, server_time_s=float(said["now"]))
    number = message.topic.rsplit("/", 1)[1]
    answer = MqttCall(f"tally/{registration.device_id}/did/{number}", b'{"ok": true}')
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return Told(interval_s, answers=(answer,), desired=Desired(int(number), text, is_whole=False))


def judge(registration: Registration, failed: Failed) -> Event:
    """A broker that says no means it."""
    return Refused("unauthorized", failed.message) if failed.code in PERMANENT else failed
