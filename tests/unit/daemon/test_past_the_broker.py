"""The runner where the broker is out of reach and the platform is not: beats over HTTP, and the way back."""

from __future__ import annotations

import itertools

import pytest

from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.errors import UnreachableError
from firstlight.wire.heartbeat import BeatReply, encode_beat_reply
from tests.unit.daemon.test_runner_mqtt import problem, world_of
from tests.unit.daemon.world import DOWN, FINGERPRINT, answered, no, ok, taken


@pytest.mark.parametrize(
    "code",
    [
        *("connect_refused", "connect_timeout", "dns_failed", "network_unreachable", "tls_untrusted", "tls_expired"),
        *("mqtt_silent", "mqtt_disconnected", "mqtt_unavailable", "mqtt_quota", "websocket_failed", "reply_timeout"),
    ],
)
def test_a_broker_out_of_reach_is_passed_by(code: str) -> None:
    """From the fourth failure on the beat goes over HTTP, with the kept ones: online, and the status says by what."""
    world = world_of([UnreachableError(code, "Away.")] * 4)
    world.appeals.answers = [ok()]
    world.run()

    (call,), (beat,) = world.appeals.calls, world.appeals.beats
    assert isinstance(call, HttpCall) and dict(call.headers)["Authorization"] == "Bearer planted-key"
    assert [one.reason for one in beat.missed] == [code] * 3 and world.spool.kept == [] and not beat.asks
    assert [status["state"] for status in world.statuses[1:5]] == ["cut_off"] * 3 + ["beating"]
    assert world.statuses[3]["brokerOutOfReach"] is None
    assert (world.statuses[4]["brokerOutOfReach"], world.statuses[4]["brokerRefuses"]) == (code, None)
    assert sum("out of reach" in line and code in line for line in world.logged) == 1


def test_a_broker_out_of_reach_is_tried_again_now_and_then() -> None:
    """With growing gaps and a short time, never twice a beat; once it takes beats again, all go over it."""
    world = world_of([*[DOWN] * 8, answered(), taken(), taken()])
    world.appeals.answers = [ok()] * 20
    world.run()

    tried = [beat.sequence for beat in world.link.beats]
    passed = [beat.sequence for beat in world.appeals.beats]
    assert [later - sooner for sooner, later in itertools.pairwise(tried)] == [1, 1, 1, 1, 2, 3, 4, 4, 1, 1]
    assert passed == list(range(tried[3], tried[8])) and len(set(passed)) == len(passed)
    assert world.link.deadlines[:4] == [20.0] * 4 and set(world.link.deadlines[4:9]) == {10.0}
    assert world.link.deadlines[9:] == [20.0] * 2
    assert world.statuses[-2]["brokerOutOfReach"] is None and world.spool.kept == []
    assert sum("takes this device's beats again" in line for line in world.logged) == 1


def test_out_of_reach_over_http_too_the_brokers_word_stands() -> None:
    """The network is away: cut off by what the broker failed by, and the next beat tries the broker first."""
    silent = UnreachableError("connect_timeout", "Nobody answers.")
    world = world_of([*[DOWN] * 6, answered()])
    world.appeals.answers = [silent, no(503, "x"), ok(), silent, silent]
    world.run()

    assert [status["reason"] for status in world.statuses[1:8]] == ["connect_refused"] * 5 + ["", "connect_refused"]
    assert world.statuses[7]["brokerOutOfReach"] is None, "nothing goes over HTTP"
    assert len(world.appeals.calls) == 4 and world.link.beats[-1].sequence == world.appeals.beats[-1].sequence + 1


def test_the_hub_past_its_broker_names_its_no() -> None:
    """What the hub says over HTTP counts as over its broker: a refusal parks, a tombstone retires, a move is noted."""
    world = world_of([DOWN] * 4)
    world.appeals.answers = [no(401, "credential_revoked")]
    world.run()
    assert (world.statuses[4]["state"], world.statuses[4]["reason"]) == ("parked", "credential_revoked")

    world = world_of([DOWN] * 4)
    world.appeals.answers = [no(410, "device_removed", FINGERPRINT)]
    assert world.run() == 78

    world = world_of([DOWN] * 4)
    told = encode_beat_reply(BeatReply(1_763_724_000.0, 60, rotate=True, clone=True, move="a.b"))
    world.appeals.answers = [HttpReply(200, {}, told)]
    world.run()
    assert [(one.rotate, one.clone, one.move) for one in world.changes.noted] == [(True, True, "a.b")]


def test_what_is_no_fault_of_the_brokers_is_not_passed_by() -> None:
    """A hub that is busy says so over its broker, and a second box takes the session over: HTTP is not tried."""
    for answer in (problem("hub_busy"), UnreachableError("mqtt_taken_over", "Another one.")):
        world = world_of([answer] * 6)
        world.run()
        assert world.appeals.calls == [] and world.statuses[6]["state"] == "cut_off"
