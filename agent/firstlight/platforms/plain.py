"""Usual answers of a platform's device half: what a platform has nothing of its own to say to.

A ``device.py`` takes the ones that fit (``from firstlight.platforms.plain import appeal, take_back``) and writes the
others; together they are ``core.interfaces.DevicePlatform``.
"""

from __future__ import annotations

from firstlight.core.model import Credential, Registration
from firstlight.errors import InvitationError, UnreachableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.core.exchange import Call, HttpCall, HttpReply, MqttCall, MqttLogin, MqttMessage, Reply, Token
    from firstlight.core.interfaces import Attempt
    from firstlight.core.lifecycle import Event, Failed, Told
    from firstlight.core.model import Beat, Endpoint, Facts, Invitation, Moment

INTERVAL_S = 60
HAS_CHILDREN = False  # a device half that says otherwise is told of the devices behind a box, where there are any


def probe(endpoint: Endpoint) -> HttpCall | None:
    """None: there is nothing to ask before that spends nothing."""
    return None


def read_probe(reply: HttpReply) -> float:
    """Never reached: ``probe`` asks nothing."""
    raise UnreachableError("reply_malformed", "This platform has no question that spends nothing.")


def finished(invitation: Invitation, attempt: Attempt, now_s: float) -> Registration:
    """What was handed over is the registration already: a report every ``INTERVAL_S`` seconds, MQTT before HTTP."""
    pem = invitation.certificate_pem
    return Registration(
        platform=invitation.platform,
        endpoint=invitation.endpoint,
        trust=invitation.trust,
        workspace=invitation.workspace,
        device_id=invitation.device_id,
        credential=Credential("certificate", certificate_pem=pem) if pem else Credential("secret", invitation.proof),
        interval_s=INTERVAL_S,
        key_fingerprint=attempt.key_fingerprint,
        csr_pem=attempt.csr_pem,
        registered_at_s=now_s,
        transport=invitation.transport or ("mqtt" if invitation.broker else "http"),
        broker=invitation.broker,
        extra=invitation.extra,
    )


def redeem(invitation: Invitation, attempt: Attempt, facts: Facts, moment: Moment) -> Call:
    """Raises InvitationError (``road_unsupported``): nothing is traded for a registration here."""
    raise InvitationError("road_unsupported", f"On the platform {invitation.platform} a device begins otherwise.")


def redeem_login(invitation: Invitation, moment: Moment, *, knows_time: bool) -> MqttLogin | None:
    """None: there is no redeem over MQTT."""
    return None


def read_redeemed(invitation: Invitation, attempt: Attempt, reply: Reply) -> Registration:
    """As ``redeem``."""
    raise InvitationError("road_unsupported", f"On the platform {invitation.platform} a device begins otherwise.")


def login(registration: Registration, moment: Moment, *, knows_time: bool) -> MqttLogin | None:
    """None: this platform does not speak MQTT."""
    return None


def token_call(registration: Registration, moment: Moment, *, knows_time: bool) -> HttpCall | None:
    """None: the credential itself goes with each call."""
    return None


def read_token(registration: Registration, reply: HttpReply) -> Token:
    """Never reached: ``token_call`` asks for none."""
    raise UnreachableError("reply_malformed", "This platform has no tokens.")


def also(registration: Registration, beat: Beat) -> tuple[MqttCall, ...]:
    """Nothing goes beside a beat."""
    return ()


def appeal(registration: Registration, beat: Beat) -> HttpCall | None:
    """None: where the broker says no there is nobody else to ask."""
    return None


def take_back(registration: Registration) -> Call | None:
    """None: a platform that has lost a device takes none back."""
    return None


def heard(registration: Registration, message: MqttMessage, moment: Moment) -> Told | None:
    """None: nothing is said unasked."""
    return None


def judge(registration: Registration, failed: Failed) -> Event:
    """The failure itself: it passes, or is looked into as for every broker."""
    return failed
