"""The runner against fakes that implement the seams: every way through the lifecycle, one turn at a time."""

from __future__ import annotations

from typing import Any

import pytest

from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.model import Facts, Metrics, MissedBeat, Registration
from firstlight.daemon.stop import StopNow
from firstlight.platforms.hub import device
from firstlight.wire.facts import facts_hash
from tests.unit.daemon.world import DOWN, FINGERPRINT, REGISTRATION, Answer, World, no, ok


def last(world: World) -> dict[str, object]:
    """The status before the final one."""
    return world.statuses[-2]


def test_steady_beats_grow_in_sequence_and_tell_facts_once() -> None:
    """Sequence numbers start at the milliseconds since boot and grow by one; facts travel with the first beat only."""
    world = World([ok(), ok(), ok()])
    assert world.run() == 0

    beats = world.link.beats
    assert [beat.sequence for beat in beats] == [1_000_001, 1_000_002, 1_000_003]
    assert [beat.facts is not None for beat in beats] == [True, False, False]
    assert {beat.facts_hash for beat in beats} == {facts_hash(world.now_facts)}
    assert world.clock.waits == [60.0, 60.0, 60.0]
    assert world.told[0] == "ready" and world.told[-1] == "stopping"
    assert len(world.logged) == 3, "one line at the start, one when online, one at the end"


def test_facts_travel_again_when_asked_changed_or_on_a_new_connection() -> None:
    """Asked for, changed, or after a reconnection: the whole facts go with the next beat."""
    world = World([ok(facts_wanted=True), ok(), DOWN, ok(), ok()])
    assert world.run() == 0
    assert [beat.facts is not None for beat in world.link.beats] == [True, True, False, False, True]

    world = World([ok(), ok()])
    seen: list[Facts] = []

    def facts() -> Facts:
        seen.append(Facts(hostname=f"name{len(seen)}"))
        return seen[-1]

    world.facts = facts  # type: ignore[method-assign]
    world.run()
    assert [beat.facts for beat in world.link.beats] == seen


def test_cut_off_beats_are_kept_and_flushed_in_order() -> None:
    """While the platform is away beats are kept with the reason; then they go along, oldest first, and are dropped."""
    world = World([ok(), DOWN, DOWN, DOWN, ok(), ok()])
    assert world.run() == 0

    beats = world.link.beats
    carried = beats[4].missed
    assert [one.sequence for one in carried] == [beat.sequence for beat in beats[1:4]]
    assert {one.reason for one in carried} == {"connect_refused"}
    assert world.spool.kept == [] and beats[5].missed == ()
    assert world.clock.waits == [60.0, 3.75, 7.5, 15.0, 60.0, 60.0]
    assert sum("connect_refused" in line for line in world.logged) == 1, "one line per change of state"


def test_a_long_backlog_goes_in_parts() -> None:
    """More kept beats than fit one beat are handed over part by part, seconds apart."""
    world = World([ok(), ok(), ok()])
    world.spool.kept = [MissedBeat(n, world.clock.moment(), Metrics(), "dns_failed") for n in range(70)]
    assert world.run() == 0

    parts = [[one.sequence for one in beat.missed] for beat in world.link.beats]
    assert parts == [list(range(32)), list(range(32, 64)), list(range(64, 70))]
    assert world.clock.waits == [4.0, 4.0, 60.0]


def test_a_failed_hand_over_is_repeated_whole() -> None:
    """What was carried by a beat that was not accepted stays, and goes again."""
    world = World([DOWN, DOWN, ok()])
    world.run()

    assert [len(beat.missed) for beat in world.link.beats] == [0, 1, 2]


def test_beats_that_the_platform_cannot_read_are_set_aside_once() -> None:
    """request_malformed with kept beats: they are set aside, the next beat goes without, and new ones wait for it."""
    world = World([DOWN, no(400, "request_malformed"), ok(), ok()])
    world.run()

    assert [len(beat.missed) for beat in world.link.beats] == [0, 1, 0, 1]
    assert [one.reason for one in world.spool.refused] == ["connect_refused"]
    assert world.spool.kept == []


def test_a_platform_that_reads_no_beat_at_all_parks() -> None:
    """If the beat without kept ones is refused too, the agent parks instead of going round."""
    world = World([DOWN, no(413, "request_too_large"), no(400, "request_malformed")])
    world.run()

    assert last(world)["state"] == "parked" and last(world)["reason"] == "request_malformed"
    assert world.clock.waits[-1] == 900.0


@pytest.mark.parametrize("status", [401, 403])
def test_a_named_refusal_parks_and_comes_back(status: int) -> None:
    """key_invalid parks: shown with hint, asked again a quarter of an hour later, and over when accepted."""
    world = World([no(status, "key_invalid"), no(status, "key_invalid"), ok()])
    assert world.run() == 0

    assert world.clock.waits == [900.0, 1800.0, 4.0] or world.clock.waits[:2] == [900.0, 1800.0]
    parked = world.statuses[1]
    assert parked["state"] == "parked" and "key" in str(parked["hint"]) and parked["message"] == "No."
    assert last(world)["state"] == "beating" and last(world)["hint"] == ""
    assert world.retired == []


@pytest.mark.parametrize("reply", [HttpReply(401, {}, b""), HttpReply(404, {}, b"<html>"), HttpReply(410, {}, b"{}")])
def test_an_unnamed_refusal_is_only_a_failure(reply: HttpReply) -> None:
    """A plain 401, 404 or 410 may be anybody's: retried soon, never parked, never retired."""
    world = World([reply, ok()])
    world.run()

    assert world.statuses[1]["state"] == "cut_off" and world.retired == []


def test_a_lost_device_asks_to_be_taken_back() -> None:
    """device_unknown: the next call is take-back with the certificate request; once accepted, beats follow."""
    world = World([no(404, "device_unknown"), no(403, "take_back_not_allowed"), ok(), ok()])
    world.run()

    assert [call.url.rsplit("/", 1)[1] for call in world.link.calls if isinstance(call, HttpCall)] == [
        "heartbeat",
        "take-back",
        "take-back",
        "heartbeat",
    ]
    assert [one.reason for one in world.link.beats[1].missed] == ["device_unknown", "take_back_not_allowed"]
    assert world.spool.kept == []


def test_a_platform_without_taking_back_stays_parked() -> None:
    """A dialect that knows no such call leaves the device parked."""

    class NoWayBack:
        beat = staticmethod(device.beat)
        read_beat = staticmethod(device.read_beat)

        appeal = staticmethod(device.appeal)
        login = staticmethod(device.login)
        heard = staticmethod(device.heard)
        token_call = staticmethod(device.token_call)
        also = staticmethod(device.also)
        judge = staticmethod(device.judge)

        @staticmethod
        def take_back(registration: Registration) -> None:
            return None

    world = World([no(404, "device_unknown"), no(404, "device_unknown")])
    world.clock.stop_after = 3
    world.link.answers = [no(404, "device_unknown")]
    world.run(NoWayBack())

    assert last(world)["state"] == "parked"


def test_a_tombstone_with_our_key_retires() -> None:
    """410 device_removed naming this key: key and registration are set aside, exit 78, said to the manager."""
    world = World([ok(), no(410, "device_removed", FINGERPRINT)])
    assert world.run() == 78

    assert world.retired == ["device_removed"] and world.told[-1] == "stopping"
    assert world.statuses[-1]["state"] == "retired" and world.statuses[-1]["reason"] == "device_removed"


def test_a_tombstone_does_not_retire_a_newer_registration() -> None:
    """A box enrolled anew while the old agent still ran keeps the new registration; only the old agent ends."""
    world = World([ok(), no(410, "device_removed", FINGERPRINT)])
    world.on_disk = REGISTRATION._replace(key_fingerprint="sha256:" + "ef" * 32)

    assert world.run() == 78
    assert world.retired == []


def test_a_stop_during_a_call_keeps_the_beat() -> None:
    """A beat whose call is broken off by a stop is kept on disk; one that was accepted is not kept again."""
    world = World([ok(), StopNow()])

    assert world.run() == 0
    assert [one.reason for one in world.spool.kept] == ["stopped"]


def test_a_tombstone_for_another_key_only_parks() -> None:
    """410 device_removed about a key that is not ours never costs the registration."""
    world = World([no(410, "device_removed", "sha256:" + "cd" * 32)])
    assert world.run() == 0

    assert world.retired == [] and last(world)["state"] == "parked"


def test_a_full_disk_does_not_stop_retiring() -> None:
    """When nothing can be set aside, the agent says so and ends all the same."""
    world = World([no(410, "device_removed", FINGERPRINT)])
    world.retire_fails = True

    assert world.run() == 78
    assert any("could not be set aside" in line for line in world.logged)


def test_a_stop_during_a_call_ends_at_once() -> None:
    """StopNow out of the exchange: the last status, STOPPING, exit 0, and nothing more is sent."""
    world = World([ok(), StopNow(), ok()])
    assert world.run() == 0

    assert len(world.link.calls) == 2 and world.statuses[-1]["state"] == "stopped"


def test_long_waits_feed_the_watchdog_and_short_ones_sleep_through() -> None:
    """A wait longer than half the watchdog is split; one within it is a single sleep; calls end before the watchdog."""
    world = World([ok(), no(401, "key_invalid")], watchdog_s=180.0)
    world.run()
    assert world.clock.waits[0] == 60.0
    assert world.clock.waits[1] == 90.0 and max(world.clock.waits) <= 90.0
    assert set(world.link.deadlines) == {20.0}

    world = World([ok()], watchdog_s=10.0)
    world.run()
    assert set(world.link.deadlines) == {5.0} and max(world.clock.waits) <= 5.0


@pytest.mark.parametrize(("ahead_s", "lines"), [(-1e9, 1), (3e8, 1), (5.0, 0)])
def test_a_wrong_clock_is_reported_and_delays_nothing(ahead_s: float, lines: int) -> None:
    """Years behind or ahead: beats go at their interval, skew stands in the status, and one line says so."""
    world = World([ok(), ok()])
    world.clock.wall_offset_s += ahead_s
    world.run()

    assert sum("clock" in line for line in world.logged) == lines
    assert abs(float(str(last(world)["skewS"])) + ahead_s) < 120
    assert world.clock.waits == [60.0, 60.0] and len(world.times) == 2


def test_retry_after_is_obeyed() -> None:
    """429 with Retry-After: the next beat comes no sooner."""
    world = World([HttpReply(429, {"retry-after": "120"}, b""), ok()])
    world.run()

    assert world.clock.waits[0] >= 120 and world.statuses[1]["reason"] == "hub_busy"


def test_the_interval_is_the_platforms() -> None:
    """An answer that asks for another interval is followed from the next beat on."""
    world = World([ok(interval_s=300), ok(interval_s=10)])
    world.run()

    assert world.clock.waits == [300.0, 10.0] and last(world)["intervalS"] == 10.0


def test_no_secret_leaves_through_status_log_or_manager() -> None:
    """The device key is in no status, log line, message or printed call."""
    answers: list[Answer] = [ok(), DOWN, no(401, "key_invalid"), ok(), no(410, "device_removed", FINGERPRINT)]
    world = World(answers)
    world.run()

    shown: list[Any] = [world.statuses, world.logged, world.told, world.link.calls, REGISTRATION]
    assert "planted-key" not in repr(shown)


@pytest.mark.parametrize("field", ["deviceId", "workspace", "platform", "endpoint", "agentVersion", "pid", "bootId"])
def test_status_names_the_device(field: str) -> None:
    """Every status says whose it is."""
    world = World([ok()])
    world.run()

    assert all(status[field] for status in world.statuses)


def test_answers_are_all_used(capsys: pytest.CaptureFixture[str]) -> None:
    """A runner prints nothing by itself."""
    World([ok(), ok()]).run()

    assert capsys.readouterr() == ("", "")
