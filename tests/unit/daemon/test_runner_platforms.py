"""The runner with a platform that has tokens, judges failures, speaks unasked and wants answers."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from firstlight.core.exchange import HttpCall, HttpReply, MqttCall, Token
from firstlight.core.lifecycle import Accepted, Desired, Failed, Refused, Told
from firstlight.core.model import Secret
from firstlight.errors import RefusedError, UnreachableError
from firstlight.platforms import plain
from firstlight.platforms.hub import device
from tests.unit.daemon.world import DOWN, OVER_MQTT, Answer, World, answered, ok, taken

ANSWER = MqttCall("t/dev-1/did/1", b"{}")


def last(world: World) -> dict[str, object]:
    """What the status said before the stop."""
    return [status for status in world.statuses if status["state"] != "stopped"][-1]


def platform(**own: Any) -> Any:
    """The hub's dialect with some verbs of its own."""
    names = ("beat", "login", "appeal", "take_back", "read_beat", "heard", "judge", "also", "token_call", "read_token")
    return SimpleNamespace(**{**{name: getattr(device, name) for name in names}, **own})


class Tokens:
    """A platform over HTTP whose beats carry a token."""

    def __init__(self, lasts_s: float = 1000.0) -> None:
        self.lasts_s, self.given, self.shown = lasts_s, 0, list[str]()

    def dialect(self) -> Any:
        """It."""
        return platform(token_call=self.call, read_token=self.read, beat=self.beat, read_beat=self.read_beat)

    def call(self, kept: object, moment: object, *, knows_time: bool) -> HttpCall:
        """A token is asked for."""
        return HttpCall("POST", "https://p/token")

    def read(self, kept: object, reply: HttpReply) -> Token:
        """The next one."""
        if reply.status == 401:
            raise RefusedError("unauthorized", "No.")
        self.given += 1
        return Token(Secret(f"t{self.given}"), self.lasts_s)

    def beat(self, kept: object, beat: object, token: str = "") -> HttpCall:
        """One beat with it."""
        self.shown.append(token)
        return HttpCall("POST", "https://p/beat")

    def read_beat(self, kept: object, reply: HttpReply) -> Accepted | Failed:
        """403 for a token that is spent."""
        return Failed("token_spent", "Spent.") if reply.status == 403 else Accepted(60.0)


FINE, SPENT, NO = HttpReply(200, {}, b""), HttpReply(403, {}, b""), HttpReply(401, {}, b"")


def test_a_token_is_kept_until_shortly_before_its_end() -> None:
    """One token for as many beats as it lasts, the next one before a beat could meet its end."""
    tokens = Tokens(lasts_s=400.0)
    world = World([FINE, *[FINE] * 7, FINE, FINE])  # at 0 to 360 s a beat a minute; 360 s are nine tenths of it
    world.run(tokens.dialect())
    assert tokens.shown == ["t1"] * 6 + ["t2"] * 2


def test_a_spent_token_is_replaced_once() -> None:
    """A beat that shows a spent token is sent again with a new one; a second no in a row is a failure like any."""
    tokens = Tokens()
    world = World([FINE, FINE, SPENT, FINE, FINE, SPENT, FINE, SPENT])
    world.run(tokens.dialect())
    assert tokens.shown == ["t1", "t1", "t2", "t2", "t3"]
    assert last(world)["reason"] == "token_spent"


def test_a_token_that_is_refused_parks() -> None:
    """The platform's named no to the credential is a refusal, not a failure, and is left for the hooks."""
    world = World([NO])
    world.run(Tokens().dialect())
    assert last(world)["state"] == "parked"
    about = {"platform": "hub", "workspace": "acme", "deviceId": "dev-1", "endpoint": "https://hub.example"}
    assert world.hooked == [("refused", {**about, "code": "unauthorized", "message": "No."})]


def test_what_a_broker_means_is_the_platforms_to_say() -> None:
    """A code that is a refusal there parks at once, without an appeal over HTTP."""
    world = World([UnreachableError("mqtt_bad_login", "CONNACK 4.")], registration=OVER_MQTT)
    world.run(platform(judge=lambda kept, failed: Refused("unauthorized", failed.message)))
    assert (last(world)["state"], world.appeals.calls) == ("parked", [])


def test_a_try_that_came_too_soon_is_no_fault_of_the_broker() -> None:
    """It waits for what the session says, and does not count towards going past the broker."""
    soon = UnreachableError("mqtt_too_soon", "One in 60 s.", retry_after_s=50.0)
    answers: list[Answer] = [*[soon] * 6, answered()]
    world = World(answers, registration=OVER_MQTT)
    world.run(platform())
    assert world.appeals.calls == []
    assert all(wait >= 50.0 for wait in world.clock.waits[:6])


def test_what_goes_beside_an_accepted_beat() -> None:
    """It goes after the beat on the same connection; where it fails the beat counts all the same."""
    world = World([answered(), answered()], registration=OVER_MQTT)
    world.run(platform(also=lambda kept, beat: (ANSWER,)))
    assert world.link.sent == [ANSWER, ANSWER]
    world = World([answered(), answered()], registration=OVER_MQTT)
    world.link.send_fails = DOWN
    world.run(platform(also=lambda kept, beat: (ANSWER,)))
    assert last(world)["state"] == "beating"
    assert any("did not arrive" in line for line in world.logged)
    world = World([DOWN], registration=OVER_MQTT)
    world.run(platform(also=lambda kept, beat: (ANSWER,)))
    assert world.link.sent == []


def wishing(*texts: str, is_whole: bool = False) -> Any:
    """A platform that reads any word as a wish, with an answer."""
    left = list(texts)

    def heard(kept: object, message: object, moment: object) -> Told:
        text = left.pop(0)
        return Told(60.0, answers=(ANSWER,), desired=Desired(len(texts) - len(left), text, is_whole))

    return platform(heard=heard)


def test_a_wish_is_kept_then_answered_then_left_for_the_hooks() -> None:
    """Each wish adds to what was desired; the same again is answered and is no event."""
    wishes = ('{"a":{"b":1}}', '{"a":{"c":2}}', '{"a":{"c":2}}')
    world = World([answered(), taken(), taken()], registration=OVER_MQTT)
    world.link.words = [(5.0, (b"1", b"2")), (5.0, (b"3",))]
    world.run(wishing(*wishes))
    assert world.desired == {"a": {"b": 1, "c": 2}}
    assert world.link.sent == [ANSWER] * 3
    assert [(kind, about["version"]) for kind, about in world.hooked] == [("config-changed", 1), ("config-changed", 2)]
    assert world.hooked[-1][1]["desired"] == {"a": {"b": 1, "c": 2}}


def test_a_wish_that_is_whole_replaces() -> None:
    """What is not in it is not desired any more."""
    world = World([answered(), taken()], registration=OVER_MQTT)
    world.link.words = [(5.0, (b"1", b"2"))]
    world.run(wishing('{"a":{"b":1}}', '{"z":{}}', is_whole=True))
    assert world.desired == {"z": {}}


def test_a_wish_that_the_disk_refuses() -> None:
    """It is logged, and nothing is left for the hooks; the beats go on."""
    world = World([answered(), taken()], registration=OVER_MQTT)
    world.desired_fails = True
    world.link.words = [(5.0, (b"1",))]
    world.run(wishing('{"a":{}}'))
    assert (world.hooked, last(world)["state"]) == ([], "beating")
    assert any("state_unwritable" in line for line in world.logged)


def test_a_connection_that_breaks_under_an_answer() -> None:
    """It is a broken connection like any: told once, and the next beat opens a new one."""
    world = World([answered(), answered()], registration=OVER_MQTT)
    world.link.send_fails = UnreachableError("mqtt_disconnected", "Gone.")
    world.link.words = [(5.0, (b"1",))]
    world.run(wishing('{"a":{}}'))
    assert any("mqtt_disconnected" in line for line in world.logged)
    assert world.desired == {"a": {}}
    assert len(world.link.calls) == 2


def test_the_usual_answers() -> None:
    """What a platform has nothing to say to is answered here, for any arguments."""
    nothing: Any = None
    assert plain.probe(nothing) is None
    assert plain.login(nothing, nothing, knows_time=True) is None
    assert plain.redeem_login(nothing, nothing, knows_time=True) is None
    assert plain.token_call(nothing, nothing, knows_time=True) is None
    assert plain.appeal(nothing, nothing) is None
    assert plain.take_back(nothing) is None
    assert plain.heard(nothing, nothing, nothing) is None
    assert plain.also(nothing, nothing) == ()
    failed = Failed("connect_refused", "No.")
    assert plain.judge(nothing, failed) is failed
    for never in (plain.read_probe, lambda reply: plain.read_token(nothing, reply)):
        with pytest.raises(UnreachableError):
            never(nothing)


def test_ok_is_still_a_plain_beat() -> None:
    """A platform without a token gets its beats without one."""
    world = World([ok()])
    world.run()
    (call,) = world.link.calls
    assert isinstance(call, HttpCall)
    assert json.loads(call.body or b"")["seq"]
