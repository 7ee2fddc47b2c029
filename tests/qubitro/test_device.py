"""The device half of Qubitro's dialect: what a box sends, and what it makes of whatever comes back."""

import json

import pytest

from firstlight.cli.enrolling import Attempt
from firstlight.core.exchange import HttpCall, HttpReply, MqttCall, MqttMessage, MqttReply
from firstlight.core.lifecycle import Accepted, Desired, Event, Failed, Refused
from firstlight.core.model import (
    Beat,
    Facts,
    Hardware,
    Invitation,
    Metrics,
    MissedBeat,
    Moment,
    Registration,
    Secret,
    Trust,
    parse_broker,
    parse_endpoint,
)
from firstlight.errors import HINTS, FirstlightError, InvitationError, UsageError
from firstlight.platforms.qubitro import device

MOMENT = Moment("ab" * 16, 12.5, 1763724000.25)
BEAT = Beat(7, MOMENT, Metrics(0.5, 0.25), "1.2.3", None, "0" * 16)
FACTS = Facts(hostname="box", type="jetson", hardware=Hardware(total_memory_mb=8000))
ATTEMPT = Attempt("f" * 32, "CSR", "sha256:" + "ab" * 32)
OVER_HTTP = Invitation(
    "qubitro",
    parse_endpoint("https://webhook.qubitro.com"),
    Trust(),
    Secret("device-token"),
    transport="http",
    road="finished",
    device_id="d-1",
    workspace="p-1",
)
BROKER = parse_broker("mqtts://broker.qubitro.com")
OVER_MQTT = OVER_HTTP._replace(
    transport="mqtt", broker=BROKER, endpoint=parse_endpoint("https://broker.qubitro.com:8883")
)


def registered(invitation: Invitation) -> Registration:
    """What the box keeps of it."""
    return device.finished(invitation, ATTEMPT, 5.0)


def test_a_finished_invitation_is_the_registration() -> None:
    """Nothing is asked: id, token and address are what the operator handed over."""
    kept = registered(OVER_MQTT)
    assert (kept.platform, kept.device_id, kept.workspace, kept.transport) == ("qubitro", "d-1", "p-1", "mqtt")
    assert (kept.credential.kind, kept.credential.secret) == ("secret", Secret("device-token"))
    assert (kept.interval_s, kept.registered_at_s, kept.key_fingerprint) == (60, 5.0, ATTEMPT.key_fingerprint)
    assert registered(OVER_MQTT._replace(transport="")).transport == "mqtt"
    assert registered(OVER_HTTP._replace(transport="")).transport == "http"
    assert device.probe(OVER_HTTP.endpoint) is None


@pytest.mark.parametrize(
    ("invitation", "error"),
    [
        (OVER_MQTT._replace(credential="certificate"), UsageError),
        (OVER_MQTT._replace(certificate_pem="PEM"), UsageError),
        (OVER_MQTT._replace(transport="websocket"), UsageError),
        (OVER_MQTT._replace(device_id=""), InvitationError),
        (OVER_MQTT._replace(broker=None), InvitationError),
        (OVER_MQTT._replace(transport="http"), InvitationError),
    ],
    ids=["wish", "certificate", "websocket", "no-id", "no-broker", "no-publish-address"],
)
def test_what_qubitro_has_not_is_refused_before_anything_is_kept(
    invitation: Invitation, error: type[FirstlightError]
) -> None:
    """A client certificate, a WebSocket, a file without what its transport needs."""
    with pytest.raises(error):
        registered(invitation)


def test_a_login_is_the_device_twice_and_its_token() -> None:
    """Client id = user name = device id, MQTT 3.1.1, the one topic, no will."""
    login = device.login(registered(OVER_MQTT), MOMENT, knows_time=False)
    assert login is not None
    assert (login.client_id, login.user_name, login.password) == ("d-1", "d-1", Secret("device-token"))
    assert (login.protocol, login.listens_to, login.will, login.keep_alive_s) == (4, ("d-1",), None, 60)
    assert "device-token" not in repr(login)
    assert device.login(registered(OVER_HTTP), MOMENT, knows_time=False) is None


def test_a_beat_is_flat_over_either_transport() -> None:
    """The same object on the device's topic and in the body, where the raw token stands after "Basic"."""
    missed = (MissedBeat(6, MOMENT, Metrics(), "dns_failed"),)
    full = BEAT._replace(facts=FACTS, missed=missed)
    over_mqtt = device.beat(registered(OVER_MQTT), full)
    over_http = device.beat(registered(OVER_HTTP), full)
    assert isinstance(over_mqtt, MqttCall) and isinstance(over_http, HttpCall)
    assert (over_mqtt.topic, over_mqtt.answer_topic) == ("d-1", "")
    assert (over_http.method, over_http.url) == ("POST", "https://webhook.qubitro.com/integrations/http")
    assert over_http.headers == (("Authorization", "Basic device-token"), ("Content-Type", "application/json"))
    assert over_http.body == over_mqtt.payload
    sent = json.loads(over_mqtt.payload)
    assert sent == {
        "firstlight": "1.2.3",
        "sequence": 7,
        "uptime_s": 12,
        "load1": 0.5,
        "memory_used": 0.25,
        "missed": 1,
        "hostname": "box",
        "type": "jetson",
        "total_memory_mb": 8000,
    }
    assert "device-token" not in repr(over_http) + repr(over_mqtt)
    plain = device.beat(registered(OVER_MQTT), BEAT)
    assert isinstance(plain, MqttCall)
    assert set(json.loads(plain.payload)) == {"firstlight", "sequence", "uptime_s", "load1", "memory_used"}


@pytest.mark.parametrize("body", [b"", b"OK", b"{}", b'{"success": true}', b'{"id": "x"}', b"[]", b"\xff"])
@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_yes_may_have_any_body_or_none(status: int, body: bytes) -> None:
    """Whether Qubitro answers data over HTTPS with a body is not documented."""
    assert device.read_beat(registered(OVER_HTTP), HttpReply(status, {}, body)) == Accepted(60.0)


def test_what_the_broker_acknowledged_is_accepted() -> None:
    """Nobody else answers over MQTT."""
    assert device.read_beat(registered(OVER_MQTT), MqttReply(0)) == Accepted(60.0)


PAGE = {"content-type": "text/html; charset=utf-8"}
NO = b'{"status": 401, "message": "Authentication failed."}'


@pytest.mark.parametrize(
    ("reply", "event", "code"),
    [
        (HttpReply(200, PAGE, b"Sign in"), Failed, "not_the_platform"),
        (HttpReply(200, {}, b" <!doctype html>"), Failed, "not_the_platform"),
        (HttpReply(302, {}, b""), Failed, "redirected"),
        (HttpReply(401, PAGE, b"<html>"), Failed, "not_the_platform"),
        (HttpReply(401, {}, NO), Refused, "qubitro_token_refused"),
        (HttpReply(403, {}, b'{"status": 403, "message": "No."}'), Refused, "qubitro_token_refused"),
        (HttpReply(404, {}, b'{"status": 404, "message": "No."}'), Refused, "qubitro_token_refused"),
        (HttpReply(200, {}, b'{"success": false, "status": 401, "message": "No."}'), Refused, "qubitro_token_refused"),
        (HttpReply(200, {}, b'{"success": false, "message": "No."}'), Refused, "qubitro_data_refused"),
        (HttpReply(400, {}, b'{"status": 400, "message": "No."}'), Refused, "qubitro_data_refused"),
        (HttpReply(407, {}, b""), Failed, "proxy_auth_required"),
        (HttpReply(429, {"retry-after": "9"}, b""), Failed, "platform_busy"),
        (HttpReply(500, {}, b""), Failed, "platform_error"),
        (HttpReply(503, {}, PAGE["content-type"].encode()), Failed, "platform_busy"),
    ],
)
def test_a_no_is_named(reply: HttpReply, event: type[Event], code: str) -> None:
    """Only what Qubitro itself says is a refusal; a portal's or a proxy's word passes."""
    found = device.read_beat(registered(OVER_HTTP), reply)
    assert isinstance(found, (Failed, Refused)) and isinstance(found, event)
    assert (found.code, len(found.message) < 400) == (code, True) and code in HINTS
    if isinstance(found, Failed) and reply.status == 429:
        assert found.retry_after_s == 9.0


@pytest.mark.parametrize(
    ("code", "event"),
    [
        ("mqtt_bad_login", Refused),
        ("mqtt_not_authorized", Refused),
        ("mqtt_client_id", Refused),
        ("mqtt_unavailable", Failed),
        ("connect_refused", Failed),
        ("reply_cut", Failed),
    ],
)
def test_a_broker_that_refuses_the_token_is_not_asked_again_soon(code: str, event: type[Event]) -> None:
    """CONNACK 2, 4 and 5 are for good; 3 and the ways of a network pass."""
    assert isinstance(device.judge(registered(OVER_MQTT), Failed(code, "No.")), event)


def heard(payload: bytes, topic: str = "d-1") -> Desired | None:
    """What is desired after that message."""
    told = device.heard(registered(OVER_MQTT), MqttMessage(topic, payload), MOMENT)
    assert told is None or (told.interval_s, told.answers) == (60.0, ())
    return told.desired if told else None


def test_a_command_is_handed_on_and_an_own_echo_is_not() -> None:
    """The box hears what it sent itself: the marker key tells it apart."""
    beat = device.beat(registered(OVER_MQTT), BEAT)
    assert isinstance(beat, MqttCall) and heard(beat.payload) is None
    desired = heard(b'{"period": 5, "kind": "configuration", "on": true, "x": null}')
    assert desired == Desired(0, '{"command":{"kind":"configuration","on":true,"period":5,"x":null}}', is_whole=True)


@pytest.mark.parametrize(
    "payload",
    [
        *(b"", b"{}", b"[]", b"7", b"reboot", b"\xff", b'{"a": NaN}', b'{"a": {"b": 1}}', b'{"a": [1]}'),
        b'{"a": "' + b"x" * 9000 + b'"}',
        b"[" * 5000,
        json.dumps({str(number): number for number in range(65)}).encode(),
    ],
)
def test_what_is_no_flat_command_is_passed_over(payload: bytes) -> None:
    """Junk, nesting, and more than any command has."""
    assert heard(payload) is None


def test_a_foreign_topic_is_passed_over() -> None:
    """Only the device's own topic counts."""
    assert heard(b'{"a": 1}', "d-2") is None
