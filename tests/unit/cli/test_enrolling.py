"""Enrolling against a hub that is a function: order of writes and calls, retries, refusals, going on after a crash."""

import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from firstlight.cli import enrolling
from firstlight.cli.enrolling import ATTEMPT, ENROLLED, Enrolled, Parts
from firstlight.core.exchange import HttpCall, HttpReply, MqttCall, MqttReply
from firstlight.core.interfaces import Session
from firstlight.core.model import Facts, Invitation, Secret, Trust, parse_endpoint
from firstlight.errors import RefusedError, UnreachableError
from firstlight.platforms.hub import device
from tests.fakes import FakeClock, FakeKey, FakeStore, ScriptedCaller

INVITATION = Invitation(
    "hub", parse_endpoint("https://hub:1"), Trust(pins=("sha256//" + "A" * 43 + "=",)), Secret("i" * 20)
)
ANSWER: dict[str, object] = {
    "workspace": "demo",
    "deviceId": "cam-1",
    "key": "device-key",
    "intervalS": 60,
    "endpoint": "https://hub:1",
    "serverTime": 1_763_724_000.0,
}


def ok(body: dict[str, object], status: int = 200) -> HttpReply:
    """A JSON answer."""
    return HttpReply(status, {}, json.dumps(body).encode())


def problem(status: int, code: str) -> HttpReply:
    """A refusal in the hub's words."""
    return ok({"error": {"type": code, "message": "No."}}, status)


def hub(call: HttpCall) -> HttpReply:
    """A hub that agrees to everything."""
    if call.url.endswith("/health"):
        return ok({"hub": "1", "serverTime": 1_763_724_000.0})
    if call.url.endswith("/redeem"):
        return ok(ANSWER, 201)
    return ok({"serverTime": 1.0, "intervalS": 60})


class Bench:
    """One enrolling with its fakes."""

    def __init__(self, answer: Callable[[HttpCall], HttpReply] = hub) -> None:
        self.store, self.clock = FakeStore(), FakeClock()
        self.caller, self.session, self.appeal = (ScriptedCaller(answer) for _ in range(3))
        self.told: list[str] = []
        self.seen: list[float] = []

    def enroll(self, invitation: Invitation = INVITATION, patience_s: float = 60.0) -> Enrolled:
        """Enrolls once."""
        parts = Parts(
            store=self.store,
            make_key=FakeKey,
            make_attempt_id=lambda: "f" * 32,
            caller=self.caller,
            open_session=lambda registration: cast(Session, self.session),
            open_appeal=lambda registration: cast(Session, self.appeal),
            fingerprint_of=lambda pem: "sha256:" + pem,
            renew_at_s=lambda pem, now_s, chance: now_s + 1000 * chance,
            clock=self.clock,
            saw_time=self.seen.append,
            chance=lambda: 0.5,
            tell=self.told.append,
            patience_s=patience_s,
        )
        return enrolling.enroll(parts, device, invitation, Facts(hostname="box"))

    @property
    def paths(self) -> list[str]:
        """The last word of each address that was called."""
        return [call.url.rsplit("/", 1)[1] for call in self.caller.calls + self.session.calls]


def test_writes_before_it_speaks() -> None:
    """The attempt is on disk before the first call, the registration before the first beat, and the id's hash stays."""
    bench = Bench()
    seen: list[tuple[str, list[str]]] = []

    def watching(call: HttpCall) -> HttpReply:
        seen.append((call.url.rsplit("/", 1)[1], list(bench.store.log)))
        return hub(call)

    bench.caller.answer = bench.session.answer = watching
    enrolled = bench.enroll()

    assert enrolled.registration.device_id == "cam-1"
    assert [name for name, _ in seen] == ["health", "redeem", "heartbeat"]
    assert [f"write {ATTEMPT}"] == seen[0][1]
    assert "save registration" in seen[2][1]
    assert {ENROLLED, "facts.json"} == set(bench.store.files)
    assert bench.session.closed
    assert bench.told[-1] == "first heartbeat accepted: this device is online"
    assert "i" * 20 not in json.dumps(bench.store.files)
    assert bench.seen == [1_763_724_000.0]


def test_goes_on_with_the_attempt_of_a_crash() -> None:
    """After a crash the same installId is redeemed with the same attempt id and key; another one starts afresh."""
    bench = Bench(lambda call: problem(502, "x"))
    with pytest.raises(UnreachableError):
        bench.enroll(patience_s=0)
    kept = dict(bench.store.files[ATTEMPT])
    bench.caller.answer = bench.session.answer = hub

    bench.enroll()

    sent = json.loads(bench.caller.calls[-1].body or b"")
    assert kept["attemptId"] == sent["attemptId"]
    assert "going on with the enrolling that was interrupted" in bench.told


@pytest.mark.parametrize(
    "reply",
    [
        HttpReply(500, {}, b"oops"),
        HttpReply(200, {}, b"<html>portal</html>"),
        HttpReply(200, {}, b""),
        HttpReply(429, {"retry-after": "7"}, b""),
        HttpReply(403, {}, b"<html>portal</html>"),
    ],
)
def test_passing_trouble_is_retried(reply: HttpReply) -> None:
    """Trouble that may pass is waited out with growing waits, and nothing is spent meanwhile."""
    replies = [reply, reply, reply]

    def trouble(call: HttpCall) -> HttpReply:
        return replies.pop() if replies else hub(call)

    bench = Bench(trouble)
    assert not bench.enroll(patience_s=600).not_beating

    assert bench.paths == ["health"] * 4 + ["redeem", "heartbeat"]
    assert len(bench.clock.waits) == 3
    assert bench.clock.waits == sorted(bench.clock.waits)
    assert not reply.headers or min(bench.clock.waits) >= 7


def test_patience_ends() -> None:
    """When patience ends the last error is what the technician sees, and the attempt stays for the next call."""

    def dead(call: HttpCall) -> HttpReply:
        raise UnreachableError("connect_refused", "hub:1 does not answer.")

    bench = Bench(dead)
    with pytest.raises(UnreachableError) as caught:
        bench.enroll(patience_s=30)

    assert caught.value.code == "connect_refused"
    assert sum(bench.clock.waits) <= 30
    assert ATTEMPT in bench.store.files


@pytest.mark.parametrize("code", sorted(enrolling.HOPELESS))
def test_what_waiting_cannot_mend_is_said_at_once(code: str) -> None:
    """A wrong pin, a foreign certificate and the like end the call without a wait and without spending the id."""

    def foreign(call: HttpCall) -> HttpReply:
        raise UnreachableError(code, "Not the hub.")

    bench = Bench(foreign)
    with pytest.raises(UnreachableError):
        bench.enroll(patience_s=600)

    assert bench.clock.waits == []
    assert bench.paths == ["health"]


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "install_id_unknown"), (410, "install_id_expired"), (410, "install_id_revoked"), (409, "install_id_taken")],
)
def test_refusals_keep_the_key_and_drop_the_attempt(status: int, code: str) -> None:
    """A refused installId is done with: no retry, no registration, and a new one can be tried at once."""

    def refusing(call: HttpCall) -> HttpReply:
        return problem(status, code) if call.url.endswith("/redeem") else hub(call)

    bench = Bench(refusing)
    with pytest.raises(RefusedError) as caught:
        bench.enroll()

    assert code == caught.value.code
    assert bench.clock.waits == []
    assert bench.store.files == {}
    bench.caller.answer = hub
    assert not bench.enroll(INVITATION._replace(proof=Secret("j" * 20))).was_there


@pytest.mark.parametrize(
    "trouble", [HttpReply(503, {}, b""), problem(401, "key_invalid"), UnreachableError("dns_failed", "No.")]
)
def test_a_first_beat_that_fails_does_not_undo_enrolling(trouble: Any) -> None:
    """The registration is kept whatever becomes of the first beat; the reason is told."""
    bench = Bench()

    def failing(call: HttpCall) -> HttpReply:
        if isinstance(trouble, Exception):
            raise trouble
        return cast(HttpReply, trouble)

    bench.session.answer = failing
    enrolled = bench.enroll()

    assert enrolled.not_beating
    assert bench.store.registration == enrolled.registration
    assert bench.session.closed


def test_a_wrong_clock_is_said_and_delays_nothing() -> None:
    """A box in 1970 enrolls all the same and says how far off its clock is."""
    bench = Bench()
    bench.clock.wall_offset_s = 0.0

    bench.enroll()

    assert any("behind the hub's; going on" in line for line in bench.told)


def test_a_stop_while_waiting_interrupts() -> None:
    """Ctrl-C or SIGTERM during a wait ends the call; the attempt stays."""
    bench = Bench(lambda call: HttpReply(500, {}, b""))
    bench.clock.stop_after = 1

    with pytest.raises(KeyboardInterrupt):
        bench.enroll(patience_s=600)

    assert ATTEMPT in bench.store.files


MQTT_ANSWER = {**ANSWER, "transport": "mqtt", "broker": "mqtts://hub:8883"}
TAKEN = MqttReply(0, json.dumps({"serverTime": 1.0, "intervalS": 60}).encode())


def mqtt_hub(call: HttpCall) -> HttpReply:
    """A hub whose devices beat over MQTT."""
    return ok(MQTT_ANSWER, 201) if call.url.endswith("/redeem") else hub(call)


class Broker:
    """A session that answers from a list, and is closed in the end."""

    protocol_name = "MQTT 5"

    def __init__(self, *answers: MqttReply | UnreachableError) -> None:
        self.answers = list(answers)
        self.calls: list[MqttCall] = []
        self.closed = False

    def exchange(self, call: MqttCall, deadline_s: float) -> MqttReply:
        """The next answer."""
        self.calls.append(call)
        answer = self.answers.pop(0)
        if isinstance(answer, UnreachableError):
            raise answer
        return answer

    def close(self) -> None:
        """Notes the end."""
        self.closed = True


def over_mqtt(*answers: MqttReply | UnreachableError) -> tuple[Bench, Broker]:
    """A bench whose beats go to a broker."""
    bench, broker = Bench(mqtt_hub), Broker(*answers)
    bench.session = cast(ScriptedCaller, broker)
    return bench, broker


def test_the_first_beat_over_mqtt_asks() -> None:
    """The broker's address and version are told, the hub's own answer is what counts."""
    bench, broker = over_mqtt(TAKEN)
    enrolled = bench.enroll()

    assert bench.told[-2:] == [
        "connected to mqtts://hub (MQTT 5)",
        "first heartbeat accepted: this device is online",
    ]
    assert json.loads(broker.calls[0].payload)["ask"] is True and broker.calls[0].answer_topic
    assert not enrolled.not_beating and broker.closed
    assert bench.store.registration is not None and bench.store.registration.transport == "mqtt"


def test_a_broker_that_is_behind_is_asked_again() -> None:
    """A refusal in the first seconds is waited out: the broker hears of a new device a little later than the hub."""
    refuses = UnreachableError("mqtt_not_authorized", "CONNACK 5.")
    bench, broker = over_mqtt(refuses, refuses, TAKEN)

    assert not bench.enroll().not_beating
    assert len(broker.calls) == 3 and bench.clock.waits == [1.0, 2.0] and bench.appeal.calls == []


def test_a_broker_that_the_hub_has_not_reached_yet_is_asked_again() -> None:
    """MQTT 5's "no matching subscribers" while both start: a few tries, then it is told."""
    for answers in (1, 5):
        bench, _ = over_mqtt(*[MqttReply(0x10)] * answers, TAKEN)
        enrolled = bench.enroll()
        assert ("not connected" in enrolled.not_beating) == (answers == 5)


@pytest.mark.parametrize(
    ("answer", "not_beating"),
    [
        (ok({"serverTime": 1.0, "intervalS": 60}), ""),
        (problem(401, "credential_revoked"), "No."),
        (ok({}, 502), "The hub answered 502."),
    ],
)
def test_a_broker_that_goes_on_refusing_is_appealed(answer: HttpReply, not_beating: str) -> None:
    """In the end the hub is asked over HTTP: it takes the beat, or says why not."""
    bench, broker = over_mqtt(*[UnreachableError("mqtt_bad_login", "CONNACK 4.")] * 5)
    bench.appeal.answer = lambda call: answer

    assert bench.enroll().not_beating == not_beating
    assert len(broker.calls) == 5 and len(bench.appeal.calls) == 1 and bench.appeal.closed


def test_a_broker_whose_refusal_nobody_explains_is_named() -> None:
    """With the hub out of reach the broker's own word is shown."""

    def away(call: HttpCall) -> HttpReply:
        raise UnreachableError("connect_refused", "Nobody is there.")

    bench, _ = over_mqtt(*[UnreachableError("mqtt_bad_login", "CONNACK 4.")] * 5)
    bench.appeal.answer = away

    assert "[mqtt_bad_login]" in bench.enroll().not_beating


def test_a_broker_alone_is_enough_to_go_on() -> None:
    """The broker took the beat and the hub has not answered yet: enrolled, and said as it is."""
    bench, _ = over_mqtt(MqttReply(0))

    assert not bench.enroll().not_beating
    assert bench.told[-1] == "first heartbeat taken by the broker; the platform has not answered yet"


def certified(fingerprint: str) -> Callable[[HttpCall], HttpReply]:
    """A hub that answers with a certificate for a key."""
    pem = fingerprint.removeprefix("sha256:")
    answer = {**ANSWER, "credential": "certificate", "certificatePem": pem}
    del answer["key"]
    return lambda call: ok(answer, 201) if call.url.endswith("/redeem") else hub(call)


def test_a_certificate_is_kept_with_its_renewal() -> None:
    """A certificate for this box's key is kept, its renewal planned, and no key is shown with the beat."""
    bench = Bench(certified(FakeKey().key_fingerprint))
    registration = bench.enroll(INVITATION._replace(transport="http", credential="certificate")).registration

    assert registration.credential.kind == "certificate" and registration.credential.secret is None
    assert registration.renew_at_s == registration.registered_at_s + 500
    assert "Authorization" not in dict(bench.session.calls[0].headers)
    wish = json.loads(bench.caller.calls[1].body or b"")
    assert (wish["transport"], wish["credential"]) == ("http", "certificate")


def test_a_certificate_for_another_key_is_not_believed() -> None:
    """What this box could never show is not kept: the answer counts as damaged, and the same command goes on."""
    bench = Bench(certified("sha256:" + "cd" * 32))
    with pytest.raises(UnreachableError) as caught:
        bench.enroll(patience_s=0)

    assert caught.value.code == "reply_malformed" and bench.store.registration is None
    assert ATTEMPT in bench.store.files
