"""Golden exchanges: for each file, the call a dialect makes and what it reads from a reply.

A file names the ``verb``, the ``call`` it must make (optional), the ``reply`` that comes back and the ``outcome``; with
``pairing`` the device is another one than that with a secret over HTTP. A reply with ``reason_code`` is a broker's.
Adding a case adds a file and no code.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firstlight import __version__
from firstlight.cli.enrolling import Attempt
from firstlight.core.exchange import Call, HttpReply, MqttCall, MqttMessage, MqttReply, Reply
from firstlight.core.management import Place
from firstlight.core.model import (
    Beat,
    Credential,
    Facts,
    Hardware,
    Invitation,
    Metrics,
    Moment,
    Registration,
    Secret,
    Trust,
    Upgraded,
    parse_broker,
    parse_endpoint,
)
from firstlight.core.provision import Audience, Network
from firstlight.errors import HINTS, FirstlightError
from firstlight.platforms.hub import device, management, renewal

CASES = sorted(Path(__file__).parent.glob("hub/*.json"))
FINGERPRINT = "sha256:" + "ab" * 32
HUB = parse_endpoint("https://hub.example:8443")
ATTEMPT = Attempt("f" * 32, "CSR", FINGERPRINT)
NEXT = ATTEMPT._replace(key_fingerprint="sha256:" + "cd" * 32)
MOMENT = Moment("0123456789abcdef" * 2, 12.5, 1763724000.25)
KEY = Secret("operator-key")
PLACE = Place(HUB, "demo", KEY)
TOPIC = "firstlight/demo/cam-1/answer/now"
INVITATION = Invitation("hub", HUB, Trust(), Secret("abcdefgh01234567"))


def _only(read: Callable[[HttpReply], object]) -> Callable[[Registration, Any], object]:
    """A reader that needs no registration."""
    return lambda kept, reply: read(reply)


def _records(reply: HttpReply) -> list[object]:
    """A page of the list, its devices as they came."""
    listed, cursor = management.read_page(PLACE, reply, 0.0, "")
    return [[one.record for one in listed], cursor]


REGISTRATION = Registration(
    platform="hub",
    endpoint=HUB,
    trust=Trust(),
    workspace="demo",
    device_id="cam-1",
    credential=Credential("secret", Secret("device-key")),
    interval_s=60,
    key_fingerprint=FINGERPRINT,
    csr_pem="CSR",
    registered_at_s=0.0,
)
OVER_MQTT = REGISTRATION._replace(transport="mqtt", broker=parse_broker("mqtts://hub.example"))
CERTIFICATE = Credential("certificate", certificate_pem="PEM")
PAIRINGS = {
    "http-secret": REGISTRATION,
    "http-certificate": REGISTRATION._replace(credential=CERTIFICATE),
    "mqtt-secret": OVER_MQTT,
    "mqtt-certificate": OVER_MQTT._replace(credential=CERTIFICATE),
}
BEAT = Beat(7, MOMENT, Metrics(0.5, 0.25), __version__, None, "0" * 16)
UPGRADED = Upgraded("0.3.0", "5eed" * 16, 1, "upgrade_unproved", "No beat of 0.3.0 was accepted within 120 s.")
FACTS = Facts(hostname="box", type="jetson", hardware=Hardware(total_memory_mb=8000))
NEW = management.NewDevice("Cam 1", "ai1", tags=("roof",), offline_mode=True)
FOR_ONE_BOX = Audience(serial="1423")
ITS_NETWORK = Network("plant", Secret("two words"), "sae", is_hidden=True, dns=("192.0.2.53",))
WISHES = INVITATION._replace(transport="websocket", credential="certificate")


class PresentKey:
    """The device's present key: what it signs is shown in the signature."""

    csr_pem, key_fingerprint, public_der = "CSR", FINGERPRINT, b"public"

    def sign(self, statement: bytes) -> bytes:
        """The statement itself."""
        return statement


Make = Callable[[Registration], Call]
Read = Callable[[Registration, Any], object]
VERBS: dict[str, tuple[Make, Read]] = {
    "probe": (lambda kept: device.probe(HUB), lambda kept, reply: device.read_probe(reply)),
    "redeem": (
        lambda kept: device.redeem(INVITATION, ATTEMPT, FACTS, MOMENT),
        lambda kept, reply: device.read_redeemed(INVITATION, ATTEMPT, reply),
    ),
    "redeem_with_wishes": (
        lambda kept: device.redeem(WISHES, ATTEMPT, FACTS, MOMENT),
        lambda kept, reply: device.read_redeemed(WISHES, ATTEMPT, reply),
    ),
    "renew": (
        lambda kept: renewal.renew(kept, NEXT, PresentKey(), "0123456789abcdef" * 2),
        lambda kept, reply: renewal.read_renewed(kept, NEXT, reply),
    ),
    "beat": (lambda kept: device.beat(kept, BEAT), device.read_beat),
    "beat_that_asks": (lambda kept: device.beat(kept, BEAT._replace(asks=True)), device.read_beat),
    "beat_after_upgrade": (lambda kept: device.beat(kept, BEAT._replace(upgraded=UPGRADED)), device.read_beat),
    "appeal": (lambda kept: device.appeal(kept, BEAT._replace(asks=True)), device.read_beat),
    "take_back": (device.take_back, device.read_beat),
    "create": (lambda kept: management.create(PLACE, NEW), _only(management.read_invited)),
    "create_with_wishes": (
        lambda kept: management.create(
            PLACE, management.NewDevice("Cam 2", transport="mqtt", credential="certificate")
        ),
        _only(management.read_invited),
    ),
    "create_offline": (
        lambda kept: management.create(PLACE, NEW._replace(audience=FOR_ONE_BOX, network=ITS_NETWORK)),
        _only(management.read_invited),
    ),
    "invite": (lambda kept: management.invite(PLACE, "cam-1"), _only(management.read_invited)),
    "invite_offline": (
        lambda kept: management.invite(PLACE, "cam-1", network=Network(address="192.0.2.7/24")),
        _only(management.read_invited),
    ),
    "receipt": (
        lambda kept: management.receipt(PLACE, "HTTPS://HUB.EXAMPLE/R/ABC"),
        _only(management.read_recorded),
    ),
    "list_page": (lambda kept: management.list_page(PLACE, ""), _only(_records)),
    "show": (
        lambda kept: management.show(PLACE, "cam-1"),
        _only(lambda reply: management.read_shown(PLACE, reply, 0.0).record),
    ),
    "revoke": (lambda kept: management.revoke(PLACE, "cam-1"), _only(management.read_done)),
    "rotate": (lambda kept: management.rotate(PLACE, "cam-1"), _only(management.read_done)),
}


def _body(golden: dict[str, Any]) -> bytes:
    return (json.dumps(golden["json"]) if "json" in golden else golden["text"]).encode()


def _reply(golden: dict[str, Any]) -> Reply:
    if "reason_code" in golden:
        return MqttReply(golden["reason_code"], _body(golden) if len(golden) > 1 else None)
    return HttpReply(golden["status"], golden.get("headers", {}), _body(golden))


def _shown(call: Call) -> dict[str, Any]:
    """A call in the words of the golden file."""
    if isinstance(call, MqttCall):
        made: dict[str, Any] = {"topic": call.topic, "answer_topic": call.answer_topic}
        body: bytes | None = call.payload
    else:
        made = {"method": call.method, "url": call.url, "headers": [list(pair) for pair in call.headers]}
        body = call.body
    if body is not None:
        made["json"] = {k: "1.2.3" if k == "agent" else v for k, v in json.loads(body).items()}
    return made


def _described(value: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    """The value in the words of the golden file, as far as the file speaks of it."""
    if "event" in wanted:
        found = {name: getattr(value, name) for name in wanted if name != "event"}
        if found.get("upgrade"):
            found["upgrade"] = found["upgrade"]._asdict()
        return {"event": type(value).__name__, **found}
    if "registration" in wanted:
        full = {
            **value._asdict(),
            "endpoint": value.endpoint.url,
            "ca_pem": value.trust.ca_pem,
            "key": value.credential.secret.reveal() if value.credential.secret else None,
            "certificate_pem": value.credential.certificate_pem,
            "broker": value.broker.url if value.broker else None,
        }
        return {"registration": {name: full[name] for name in wanted["registration"]}}
    for kind in ("created", "recorded"):
        if kind in wanted:
            return {kind: {name: getattr(value, name) for name in wanted[kind]}}
    if "page" in wanted:
        return {"page": list(value)}
    return {"value": value}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_exchange(path: Path) -> None:
    """The dialect makes the golden call and reads the golden outcome from the reply."""
    golden = json.loads(path.read_text())
    make_call, read = VERBS[golden["verb"]]
    kept = PAIRINGS[golden.get("pairing", "http-secret")]

    call = make_call(kept)
    if "call" in golden:
        assert golden["call"] == _shown(call)

    wanted = golden["outcome"]
    if "error" in wanted:
        with pytest.raises(FirstlightError) as caught:
            read(kept, _reply(golden["reply"]))
        error = caught.value
        told = {"error": type(error).__name__, **{name: getattr(error, name) for name in wanted if name != "error"}}
        assert wanted == told
        assert error.hint == HINTS[error.code]
    else:
        assert wanted == _described(read(kept, _reply(golden["reply"])), wanted)


def test_every_verb_has_a_golden_case() -> None:
    """No verb of the dialect goes without a golden exchange."""
    assert set(VERBS) == {json.loads(path.read_text())["verb"] for path in CASES}


@pytest.mark.parametrize("name", PAIRINGS)
def test_every_pairing_has_a_golden_beat(name: str) -> None:
    """No pairing of transport and credential goes without one."""
    golden = [json.loads(path.read_text()) for path in CASES]
    assert any(one["verb"] == "beat" and one.get("pairing", "http-secret") == name and "call" in one for one in golden)


def test_a_login_names_the_device_and_nothing_else() -> None:
    """Client id, user name and password as docs/protocol.md has them; a certificate needs neither of the latter."""
    login = device.login(PAIRINGS["mqtt-secret"], MOMENT, knows_time=False)
    assert login is not None and login.will is not None
    assert (login.client_id, login.user_name, login.password) == ("cam-1", "cam-1", Secret("device-key"))
    assert login.listens_to == ("firstlight/demo/cam-1/answer/+",) and login.keep_alive_s == 120
    assert (login.will.topic, login.will.payload) == (
        "firstlight/demo/cam-1/gone",
        b'{"bootId":"' + b"0123456789abcdef" * 2 + b'"}',
    )
    assert "device-key" not in repr(login)

    login = device.login(PAIRINGS["mqtt-certificate"]._replace(interval_s=86_400), MOMENT, knows_time=True)
    assert login is not None and (login.client_id, login.user_name, login.password) == ("cam-1", "", None)
    assert login.keep_alive_s == 240
    assert device.login(REGISTRATION, MOMENT, knows_time=False) is None


def test_what_comes_unasked_is_read_or_passed_over() -> None:
    """An answer on the device's topic is told; an error, junk or nothing is not."""
    offer = {"version": "0.3.0", "id": "5eed" * 16, "path": "/bundles/firstlight-0.3.0-x86_64.tar", "attempt": 2}
    said = {"serverTime": 5.5, "intervalS": 30, "rotate": True, "move": "a.b", "upgrade": offer}
    told = device.heard(OVER_MQTT, MqttMessage(TOPIC, json.dumps(said).encode()), MOMENT)
    assert told is not None and told[:6] == (30.0, 5.5, False, True, False, "a.b")
    assert told.upgrade is not None and told.upgrade._asdict() == offer
    for junk in (b"", b"[]", b'{"error": {"type": "key_invalid", "message": "No."}}', b"\xff" * 70_000):
        assert device.heard(OVER_MQTT, MqttMessage(TOPIC, junk), MOMENT) is None
