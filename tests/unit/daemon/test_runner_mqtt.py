"""The runner over MQTT: what it asks, what it hears between two beats, and what a broker's refusal comes to."""

from __future__ import annotations

from typing import Any

import pytest

from firstlight.core.exchange import HttpCall, MqttCall, MqttReply
from firstlight.core.lifecycle import EXIT_AGAIN
from firstlight.core.model import Credential, Metrics, MissedBeat
from firstlight.errors import UnreachableError
from firstlight.wire.heartbeat import BeatReply, encode_beat_reply
from firstlight.wire.problem import Problem, encode_problem
from tests.unit.daemon.world import DOWN, FINGERPRINT, OVER_MQTT, Answer, World, answered, no, ok, taken

GONE = UnreachableError("mqtt_disconnected", "The broker ended the connection.")
REFUSES = UnreachableError("mqtt_not_authorized", "CONNACK 5.")


def world_of(answers: list[Answer]) -> World:
    """A world whose device beats over MQTT."""
    return World(answers, registration=OVER_MQTT)


def now(interval_s: int, **more: Any) -> tuple[bytes, ...]:
    """What the hub says unasked."""
    return (encode_beat_reply(BeatReply(1_763_724_000.0, interval_s, **more)),)


def problem(code: str, fingerprint: str = "") -> MqttReply:
    """The broker has the beat, and the hub says no."""
    return MqttReply(0, encode_problem(Problem(code, "No.", "", fingerprint)))


def asks(world: World) -> list[bool]:
    """Which beats wanted an answer of the hub; the call waits for one exactly then."""
    for call, beat in zip(world.link.calls, world.link.beats, strict=True):
        assert isinstance(call, MqttCall) and bool(call.answer_topic) == beat.asks
        assert not beat.asks or call.answer_topic.endswith(f"/answer/{beat.sequence}")
    return [beat.asks for beat in world.link.beats]


def test_it_asks_once_a_connection_and_hourly() -> None:
    """The first beat of a connection asks, the others only say that they are there, and one an hour asks again."""
    world = world_of([answered(), *[taken()] * 59, answered(), taken()])
    assert world.run() == 0

    assert [number for number, is_asked in enumerate(asks(world)) if is_asked] == [0, 60]
    assert [beat.facts is not None for beat in world.link.beats] == [True] + [False] * 61
    assert set(world.clock.waits) == {60.0}


def test_it_asks_until_the_hub_answers() -> None:
    """A hub that is down while the broker is up: beats count as sent, kept ones stay, and each beat asks."""
    world = world_of([taken(), taken(), answered(), answered(), taken()])
    world.spool.kept = [MissedBeat(1, world.clock.moment(), Metrics(), "dns_failed")]
    world.run()

    assert asks(world) == [True, True, True, False, False]
    assert [len(beat.missed) for beat in world.link.beats] == [1, 1, 1, 0, 0], "kept until the hub itself has them"
    assert world.clock.waits == [60.0] * 5, "and not sent in a hurry"
    assert sum("not answered yet" in line for line in world.logged) == 1


def test_an_interval_from_the_answer_outlives_silent_beats() -> None:
    """What the hub asked for last counts, also where only the broker answers."""
    world = world_of([answered(interval_s=30), taken(), taken()])
    world.run()

    assert world.clock.waits == [30.0] * 3


def test_a_word_between_two_beats_is_heard() -> None:
    """A shorter interval counts at once, a longer one from the next beat on; neither costs a beat or doubles one."""
    world = world_of([answered(), taken(), taken()])
    world.link.words = [(20.0, now(10)), (5.0, now(300))]
    world.run()

    assert world.clock.waits == [20.0, 5.0, 5.0, 300.0, 300.0]
    assert len(world.changes.noted) == 5
    assert world.statuses[-2]["intervalS"] == 300.0


def test_facts_asked_for_between_beats_go_with_the_next() -> None:
    """A hub that lost the facts says so and gets them."""
    world = world_of([answered(), taken(), taken()])
    world.link.words = [(20.0, now(60, facts_wanted=True))]
    world.run()

    assert [beat.facts is not None for beat in world.link.beats] == [True, True, False]


def test_a_connection_that_breaks_between_beats_costs_none() -> None:
    """Nothing is kept, nothing sent twice, and the next beat comes when it would have; it asks, and tells the facts."""
    world = world_of([answered(), answered(), taken()])
    world.link.words = [(15.0, GONE)]
    world.run()

    assert world.clock.waits[:2] == [15.0, pytest.approx(45.0 * 1.025)]
    assert world.spool.kept == [] and [beat.missed for beat in world.link.beats] == [(), (), ()]
    assert asks(world) == [True, True, False] and world.link.connections == 2
    assert [beat.facts is not None for beat in world.link.beats] == [True, True, False]
    cut_off = [status for status in world.statuses if status["state"] == "cut_off"]
    assert cut_off[0]["reason"] == "mqtt_disconnected" and cut_off[0]["failures"] == 1


@pytest.mark.parametrize(("words", "wake_ups"), [(0, 20), (100, 20 * 9)])
def test_a_long_interval_is_slept_in_pieces_for_the_pings(words: int, wake_ups: int) -> None:
    """An hour with a look every three minutes, and the beat on time; answers to pings never use up the listening."""
    world = world_of([answered(interval_s=3600), answered(interval_s=3600)])
    world.link.rests_s = 180.0
    world.link.words = [(0.05, ())] * words
    world.run()

    assert world.link.connections == 1 and world.times[1] - world.times[0] == pytest.approx(3600, rel=0.02)
    assert len(world.clock.waits) - 1 <= wake_ups and max(world.clock.waits) == 180.0
    assert world.link.words == [], "each was heard"


def test_a_ping_unanswered_between_two_beats_is_a_broken_connection() -> None:
    """It is opened anew within a minute, not when the hour is over."""
    world = world_of([answered(interval_s=3600), answered(interval_s=3600)])
    world.link.rests_s = 180.0
    world.link.words = [(20.0, UnreachableError("mqtt_silent", "It did not answer a ping."))]
    world.run()

    assert world.clock.waits[:2] == [20.0, pytest.approx(61.5)] and world.link.connections == 2
    assert world.spool.kept == []


def test_a_broker_that_drops_every_link_is_not_run_over() -> None:
    """Links that last a second each: as many beats as the interval asks for, not more."""
    world = world_of([answered() for _ in range(10)])
    world.link.words = [(1.0, GONE)] * 10
    world.run()

    assert world.clock.now_s - 1000.0 >= 9 * 60.0


@pytest.mark.parametrize("junk", [(b"junk",), (b"",), ()])
def test_a_broker_that_talks_without_end_makes_no_busy_loop(junk: tuple[bytes, ...]) -> None:
    """Junk every millisecond: a few early ends of the wait, then nobody listens until the next beat."""
    world = world_of([answered(), taken(), taken()])
    world.link.words = [(0.001, junk)] * 1000
    world.run()

    assert len(world.clock.waits) <= 3 * 9 and len(world.link.calls) == 3
    assert 175 <= world.clock.now_s - 1000.0 <= 185


def test_words_without_end_make_no_busy_loop() -> None:
    """The same with sentences that can be read: each is heard, and the next beat still comes."""
    world = world_of([answered(), taken()])
    world.link.words = [(0.001, now(60))] * 1000
    world.run()

    assert len(world.clock.waits) <= 2 * 10 and len(world.link.calls) == 2


def test_a_connection_is_ended_before_it_would_be_missed() -> None:
    """A wait longer than the keep-alive: the farewell is sent first, so that no last will is published."""
    world = world_of([problem("key_invalid"), answered(), taken()])
    world.run()

    assert world.clock.waits[0] == 900.0 and world.link.connections == 2 and world.link.closes >= 2


def test_named_refusals_come_over_mqtt_too() -> None:
    """The hub's own no parks; a tombstone with this key retires; one about another key never does."""
    world = world_of([problem("credential_revoked"), answered()])
    world.run()
    assert world.statuses[1]["state"] == "parked" and world.statuses[1]["reason"] == "credential_revoked"

    world = world_of([problem("device_removed", FINGERPRINT)])
    assert world.run() == 78 and world.retired == ["device_removed"]

    world = world_of([problem("device_removed", "sha256:" + "cd" * 32)])
    assert world.run() == 0 and world.retired == []


def test_a_parked_device_stays_parked_while_only_the_broker_answers() -> None:
    """The hub's last word stands until the hub takes it back."""
    world = world_of([problem("key_invalid"), taken(), answered(), taken()])
    world.run()

    states = [status["state"] for status in world.statuses]
    assert states[1:4] == ["parked", "parked", "beating"] and asks(world)[:3] == [True] * 3


def test_a_lost_device_asks_back_over_http() -> None:
    """device_unknown over MQTT: take-back goes over HTTP, the beats then over MQTT again."""
    world = world_of([problem("device_unknown"), answered(), taken()])
    world.appeals.answers = [ok()]
    world.run()

    (call,) = world.appeals.calls
    assert isinstance(call, HttpCall) and call.url.endswith("/take-back") and not world.appeals.is_open
    assert len(world.link.calls) == 3


@pytest.mark.parametrize("code", ["mqtt_bad_login", "mqtt_not_authorized", "mqtt_client_id", "certificate_refused"])
def test_a_refusal_without_a_reason_is_asked_after_over_http(code: str) -> None:
    """The broker says no, the hub says yes: the beat counts, the status says who refuses, one line tells it."""
    refuses = UnreachableError(code, "CONNACK.")
    world = world_of([refuses, refuses, answered(), taken()])
    world.appeals.answers = [ok(), ok()]
    world.run()

    sent = world.appeals.beats
    assert [beat.sequence for beat in sent] == [1_000_001, 1_000_002] and not sent[0].asks
    headers = dict(getattr(world.appeals.calls[0], "headers", ()))
    assert headers["Authorization"] == "Bearer planted-key"
    assert world.spool.kept == [] and world.statuses[1]["brokerRefuses"] == code
    assert world.statuses[1]["state"] == "beating" and world.statuses[-2]["brokerRefuses"] is None
    assert sum(code in line for line in world.logged) == 1 and any("in again" in line for line in world.logged)


def test_the_hub_names_why_a_broker_refuses() -> None:
    """The appeal's refusal parks, its tombstone retires; a hub out of reach leaves the broker's own word."""
    world = world_of([REFUSES, answered()])
    world.appeals.answers = [no(401, "credential_revoked")]
    world.run()
    assert (world.statuses[1]["state"], world.statuses[1]["reason"]) == ("parked", "credential_revoked")

    world = world_of([REFUSES])
    world.appeals.answers = [no(410, "device_removed", FINGERPRINT)]
    assert world.run() == 78

    for answer in (DOWN, no(503, "x")):
        world = world_of([REFUSES, answered()])
        world.appeals.answers = [answer]
        world.run()
        assert (world.statuses[1]["state"], world.statuses[1]["reason"]) == ("cut_off", "mqtt_not_authorized")
        assert [one.reason for one in world.link.beats[1].missed] == ["mqtt_not_authorized"]


def test_a_certificate_that_tls_refuses_is_named_by_it() -> None:
    """An expired certificate shows in the appeal's handshake: that is the reason, and no Authorization is sent."""
    certificate = OVER_MQTT._replace(credential=Credential("certificate", certificate_pem="PEM"))
    for refuses in (REFUSES, UnreachableError("certificate_refused", "Revoked.")):
        world = World([refuses, answered()], registration=certificate)
        world.appeals.answers = [UnreachableError("certificate_refused", "Expired.")]
        world.run()
        assert world.statuses[1]["reason"] == "certificate_refused" and world.changes.asked == []
        assert "Authorization" not in dict(getattr(world.appeals.calls[0], "headers", ()))

    world = World([UnreachableError("certificate_refused", "Revoked."), answered()], registration=certificate)
    world.appeals.answers = [no(401, "credential_revoked")]
    world.run()
    assert (world.statuses[1]["state"], world.statuses[1]["reason"]) == ("parked", "credential_revoked")


def test_over_http_nobody_else_is_asked() -> None:
    """A certificate that the platform's own TLS refuses is a failure like others: there is no second way to ask."""
    world = World([UnreachableError("certificate_refused", "Expired."), ok()])
    world.run()

    assert world.appeals.calls == [] and world.statuses[1]["reason"] == "certificate_refused"


def test_other_failures_are_not_asked_after() -> None:
    """A broker that is away, or full, is tried again; nobody is asked over HTTP."""
    world = world_of([DOWN, UnreachableError("mqtt_quota", "Full."), answered()])
    world.run()

    assert world.appeals.calls == [] and len(world.link.beats[2].missed) == 2


def test_a_beat_that_nobody_takes_is_kept() -> None:
    """PUBACK 0x10: the broker has no subscriber, so the beat is kept and goes again; the next step is about the hub."""
    world = world_of([taken(0x10), answered()])
    world.run()

    assert [one.reason for one in world.link.beats[1].missed] == ["mqtt_unavailable"]
    hint = "Check that the hub runs, and its log. The agent tries again by itself."
    assert world.statuses[1]["hint"] == hint and any(hint in line for line in world.logged)


def test_what_the_platform_asks_for_is_noted() -> None:
    """Rotate, clone and move reach the keeper of changes, from answers and from words in between."""
    world = world_of([answered(rotate=True, move="a.b"), taken()])
    world.link.words = [(1.0, now(60, rotate=True, clone=True))]
    world.run()

    assert [(one.rotate, one.clone, one.move) for one in world.changes.noted[:2]] == [
        (True, False, "a.b"),
        (True, True, ""),
    ]


def test_a_clone_is_shown_until_the_hub_says_no_more() -> None:
    """The warning stands in the status and in one line of the log; a broker's acknowledgement does not take it away."""
    world = world_of([answered(clone=True), taken(), taken()])
    world.run()
    assert all(status["clone"] for status in world.statuses[1:])
    assert sum("clone_suspected" in line for line in world.logged) == 1

    world = world_of([answered(clone=True), taken(), taken()])
    world.link.words = [(30.0, now(60))]
    world.run()
    assert world.statuses[1]["clone"] and not world.statuses[-2]["clone"]


def test_while_a_clone_is_noticed_the_next_step_is_about_it() -> None:
    """Not about the broker that throws the one out for the other; without a clone it is."""
    thrown_out = UnreachableError("mqtt_taken_over", "Another connection.")
    for is_cloned in (True, False):
        world = world_of([answered(clone=is_cloned), thrown_out, answered()])
        world.run()
        hints = [str(status["hint"]) for status in world.statuses]
        assert ("on the copy" in hints[1], "on the copy" in hints[2]) == (is_cloned, is_cloned)
        assert world.statuses[2]["reason"] == "mqtt_taken_over" and hints[2] and not hints[-1]


def test_a_change_that_is_due_ends_the_process() -> None:
    """At the start of a wait: the beat was accepted, the connection is closed properly, the manager hears no end."""
    world = world_of([answered(rotate=True), taken()])
    world.gives_way, world.changes.due_after = True, 1
    assert world.run() == EXIT_AGAIN

    assert world.clock.waits == [] and not world.link.is_open and "stopping" not in world.told
    assert world.statuses[-1]["state"] == "changing" and world.spool.kept == []


def test_without_a_way_back_nothing_gives_way() -> None:
    """A process that cannot become the richer one beats on, whatever is due."""
    world = world_of([answered(rotate=True), taken()])
    world.changes.due_after = 1

    assert world.run() == 0 and world.changes.asked == []


def test_a_hangup_ends_the_wait_for_a_change() -> None:
    """SIGHUP in a wait: what is due is made at once; the failure that led there is told to the keeper of changes."""
    world = world_of([DOWN, answered(), taken()])
    world.gives_way = True
    world.clock.hangs_up_after = 2
    world.stop.is_hangup = True
    world.changes.due_after = 3
    assert world.run() == EXIT_AGAIN

    assert len(world.link.calls) == 2 and world.changes.asked == ["connect_refused", "", ""]


def test_a_hangup_while_nothing_is_due_is_nothing() -> None:
    """SIGHUP without a reason ends neither the wait nor the process, with and without a way back."""
    for gives_way, asked in ((True, ["", "", ""]), (False, [])):
        world = world_of([answered(), taken(), taken()])
        world.gives_way = gives_way
        world.clock.hangs_up_after = 1
        world.stop.is_hangup = True
        world.changes.due_after = 99
        world.stop.hangups = 1
        assert world.run() == 0
        assert len(world.link.calls) == 3 and world.changes.asked[:3] == asked


def test_a_no_about_an_older_registration_starts_anew() -> None:
    """The box was enrolled or moved anew meanwhile: no parking, no retiring; the beat is kept for the new one."""
    newer = OVER_MQTT._replace(key_fingerprint="sha256:" + "ef" * 32)
    for answer in (problem("key_invalid"), problem("device_removed", FINGERPRINT)):
        world = world_of([answer])
        world.gives_way, world.on_disk = True, newer
        assert world.run() == EXIT_AGAIN
        assert world.retired == [] and len(world.spool.kept) == 1

    refuses = UnreachableError("certificate_refused", "Expired.")
    world = world_of([refuses, answered()])
    world.appeals.answers = [refuses]
    world.gives_way, world.on_disk = True, newer
    assert world.run() == EXIT_AGAIN
