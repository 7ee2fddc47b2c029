"""Golden exchanges of Huawei IoTDA's device half: what goes out, and what is made of what comes back or comes unasked.

A file names the ``verb``, what it is given (``pairing``, ``beat``, ``message``, ``extra``), the call that must be made
(optional), the ``reply`` and the ``outcome``. Adding a case adds a file and no code.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from firstlight import __version__
from firstlight.cli.enrolling import Attempt
from firstlight.core.exchange import Call, HttpCall, HttpReply, MqttCall, MqttMessage, MqttReply, Reply
from firstlight.core.lifecycle import Failed, Refused
from firstlight.core.model import (
    Beat,
    Broker,
    Credential,
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
from firstlight.errors import HINTS, FirstlightError
from firstlight.platforms.huawei import credentials, device

CASES = sorted((Path(__file__).parent / "huawei" / "box").glob("*.json"))
BOOT = "0123456789abcdef" * 2
MOMENT = Moment(BOOT, 12.5, 1763724000.25)
METRICS = Metrics(0.5, 0.25)
FACTS = Facts(hostname="box", type="jetson", hardware=Hardware(total_memory_mb=8000))
ATTEMPT = Attempt("f" * 32, "CSR", "sha256:" + "ab" * 32)
PLATFORM = parse_endpoint("https://device.example")
SECRET = Credential("secret", Secret("device-key"))
CERTIFICATE = Credential("certificate", certificate_pem="PEM")
REGISTRATION = Registration(
    platform="huawei",
    endpoint=PLATFORM,
    trust=Trust(),
    workspace="",
    device_id="box_1",
    credential=SECRET,
    interval_s=8640,
    key_fingerprint=ATTEMPT.key_fingerprint,
    csr_pem="CSR",
    registered_at_s=0.0,
    transport="mqtt",
    broker=parse_broker("mqtts://device.example"),
)
PAIRINGS = {
    "mqtt-secret": REGISTRATION,
    "mqtt-certificate": REGISTRATION._replace(credential=CERTIFICATE),
    "http-secret": REGISTRATION._replace(transport="http", broker=None),
}
INVITATION = Invitation(
    "huawei",
    PLATFORM,
    Trust(ca_pem="PLATFORM CA"),
    Secret("device-key"),
    road="bootstrap",
    device_id="box_1",
    broker=Broker("mqtts", "bootstrap.example", 8883),
    extra=(("bootstrap_ca", "BOOTSTRAP CA"),),
)
GROUP = INVITATION._replace(
    proof=Secret("MDEyMzQ1Njc4OWFiY2RlZg=="), extra=(("bootstrap_ca", "BOOTSTRAP CA"), ("scope", "scope-1"))
)
INVITATIONS = {
    "bootstrap-secret": INVITATION,
    "bootstrap-certificate": INVITATION._replace(certificate_pem="PEM", proof=Secret("")),
    "group-secret": GROUP,
    "group-certificate": GROUP._replace(certificate_pem="PEM", proof=Secret("")),
}


def kept(golden: dict[str, Any]) -> Registration:
    """The registration that a case is about."""
    found = PAIRINGS[golden.get("pairing", "mqtt-secret")]
    return found._replace(extra=tuple(golden.get("extra", {}).items()))


def a_beat(given: dict[str, Any]) -> Beat:
    """The beat that a case is about."""
    missed = tuple(
        MissedBeat(one["sequence"], Moment(one.get("boot_id", BOOT), one["mono"], one["wall"]), METRICS, one["reason"])
        for one in given.get("missed", ())
    )
    facts = FACTS if given.get("facts") else None
    return Beat(7, MOMENT, METRICS, __version__, facts, "0" * 16, missed, knows_time=given.get("knows_time", False))


def a_reply(golden: dict[str, Any]) -> Reply:
    """What came back."""
    has_body = "json" in golden or "text" in golden
    body = (json.dumps(golden["json"]) if "json" in golden else golden.get("text", "")).encode()
    if "reason_code" in golden:
        return MqttReply(golden["reason_code"], body if has_body else None)
    return HttpReply(golden["status"], golden.get("headers", {}), body)


def shown(call: Call) -> dict[str, Any]:
    """A call in the words of the golden file."""
    if isinstance(call, MqttCall):
        body = json.loads(call.payload.replace(__version__.encode(), b"AGENT")) if call.payload else None
        return {"topic": call.topic, "answer_topic": call.answer_topic, "json": body}
    made = json.loads((call.body or b"").replace(__version__.encode(), b"AGENT"))
    if "password" in made:
        assert made["password"] == credentials.password("device-key", made["timestamp"])
        made["password"] = "PASSWORD"
    return {"method": call.method, "url": call.url, "headers": [list(pair) for pair in call.headers], "json": made}


def described(value: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    """The value in the words of the golden file, as far as the file speaks of it."""
    if "event" in wanted:
        return {"event": type(value).__name__, **{name: getattr(value, name) for name in wanted if name != "event"}}
    if "token" in wanted:
        return {"token": value.text.reveal(), "lasts_s": value.lasts_s}
    if "registration" in wanted:
        secret = value.credential.secret
        full = {
            **value._asdict(),
            "endpoint": value.endpoint.url,
            "broker": value.broker and value.broker.url,
            "ca_pem": value.trust.ca_pem,
            "key": secret.reveal() if secret else None,
            "certificate_pem": value.credential.certificate_pem,
            "extra": list(value.extra),
        }
        return {"registration": {name: full[name] for name in wanted["registration"]}}
    if value is None or wanted["told"] is None:
        return {"told": value}
    answers = [{name: one for name, one in shown(call).items() if name != "answer_topic"} for call in value.answers]
    full = {
        "answers": answers,
        "desired": value.desired and list(value.desired),
        "notes": list(value.notes),
        "server_time_s": value.server_time_s,
    }
    return {"told": {name: full[name] for name in wanted["told"]}}


def performed(golden: dict[str, Any]) -> tuple[Call | None, Any]:
    """The call that the case's verb makes, if any, and what is made of the reply."""
    verb = golden["verb"]
    if verb == "redeem":
        invitation = INVITATIONS[golden["pairing"]]
        call = device.redeem(invitation, ATTEMPT, FACTS, MOMENT)
        return call, lambda: device.read_redeemed(invitation, ATTEMPT, a_reply(golden["reply"]))
    registration = kept(golden)
    if verb == "beat":
        sent = device.beat(registration, a_beat(golden.get("beat", {})), "the-token")
        return sent, lambda: device.read_beat(registration, a_reply(golden["reply"]))
    if verb == "token":
        asked = device.token_call(registration, MOMENT, knows_time=False)
        reply = a_reply(golden["reply"])
        assert isinstance(reply, HttpReply)
        return asked, lambda: device.read_token(registration, reply)
    if verb == "judge":
        return None, lambda: device.judge(registration, Failed(golden["code"], "as the broker says"))
    said = golden["message"]
    body = json.dumps(said["json"]) if "json" in said else said["text"]
    return None, lambda: device.heard(registration, MqttMessage(said["topic"], body.encode()), MOMENT)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_exchange(path: Path) -> None:
    """The dialect makes the golden call and reads the golden outcome."""
    golden = json.loads(path.read_text())
    call, read = performed(golden)
    if "call" in golden:
        assert call is not None
        assert shown(call) == golden["call"]
        assert "the-token" not in repr(call) and "device-key" not in repr(call)
    wanted = golden["outcome"]
    if "error" not in wanted:
        assert described(read(), wanted) == wanted
        return
    with pytest.raises(FirstlightError) as caught:
        read()
    error = caught.value
    assert wanted == {
        "error": type(error).__name__,
        **{name: getattr(error, name) for name in wanted if name != "error"},
    }
    assert error.hint == HINTS[error.code]


@pytest.mark.parametrize("name", PAIRINGS)
def test_every_pairing_has_a_golden_beat(name: str) -> None:
    """No pairing of transport and credential goes without one."""
    golden = [json.loads(path.read_text()) for path in CASES]
    assert any(one["verb"] == "beat" and one.get("pairing", "mqtt-secret") == name and "call" in one for one in golden)


def test_every_refusal_has_a_next_step() -> None:
    """A code that parks the agent is one that errors.HINTS knows."""
    for path in CASES:
        outcome = json.loads(path.read_text())["outcome"]
        assert outcome.get("event") != "Refused" or outcome["code"] in HINTS


def test_a_refusal_speaks_of_the_clock_only_where_it_is_compared() -> None:
    """With sign 1 a bad login may be a wrong clock; with sign 0 it cannot."""
    signed = REGISTRATION._replace(extra=(("sign", "1"),))
    compared, plain = (device.judge(one, Failed("mqtt_bad_login", "")) for one in (signed, REGISTRATION))
    assert isinstance(compared, Refused) and isinstance(plain, Refused)
    assert "clock" in compared.message and "clock" not in plain.message


def test_over_https_a_broker_s_word_means_nothing() -> None:
    """Judge leaves every failure of a device without a broker as it is."""
    failed = Failed("mqtt_bad_login", "")
    assert device.judge(PAIRINGS["http-secret"], failed) is failed


def test_the_token_is_not_shown() -> None:
    """A report's repr names the header that carries the token, and not the token."""
    call = device.beat(PAIRINGS["http-secret"], a_beat({}), "the-token")
    assert isinstance(call, HttpCall) and "access_token" in repr(call) and "the-token" not in repr(call)
