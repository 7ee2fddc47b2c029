"""Beats over the real app: accepted, kept, refused; and what they do to the record."""

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest

from firstlight.core.model import Facts, Metrics, MissedBeat, Moment
from firstlight.errors import StateError
from firstlight.wire.heartbeat import decode_beat, decode_beat_reply
from firstlight_hub.ingest.group_commit import GroupCommit
from firstlight_hub.ingest.http_ingest import HeartbeatEndpoint
from firstlight_hub.model import BeatRow, Refusal, digest
from firstlight_hub.service.beats import Beats
from firstlight_hub.store.sqlite import SqliteStore, View
from tests.hub.hub_world import BOOT, FACTS, JSON, START_MS, Box, World, refusal, world


def history(hub: World) -> list[tuple[object, ...]]:
    """Every kept beat: sequence, received, late, reason."""
    with closing(sqlite3.connect(hub.folder / "hub.sqlite3")) as database:
        question = "SELECT sequence, received_at_ms, late, reason FROM beat ORDER BY number"
        return database.execute(question).fetchall()


def test_accepted_beat_answers_time_and_interval(hub: World, box: Box) -> None:
    """The answer carries the hub's clock and the interval, and asks for no facts it has from redeem."""
    device_id, key = hub.enrolled(box)
    reply = decode_beat_reply(hub.beat(device_id, key, box.beat_body()).content)
    assert (reply.server_time_s, reply.interval_s, reply.facts_wanted) == (START_MS / 1000, 60, False)
    assert history(hub) == [(1, START_MS, 0, None)]


def test_changed_facts_are_asked_for_until_they_come(hub: World, box: Box) -> None:
    """A new facts hash without facts is answered factsWanted; once they came, no more, and the record has them."""
    device_id, key = hub.enrolled(box)
    new = Facts(hostname="renamed")
    for _ in range(2):
        assert hub.beat(device_id, key, box.beat_body(told=new)).json()["factsWanted"] is True
    assert "factsWanted" not in hub.beat(device_id, key, box.beat_body(facts=new, told=new)).json()
    assert "factsWanted" not in hub.beat(device_id, key, box.beat_body(told=new)).json()
    assert hub.device(device_id)["hostname"] == "renamed"
    assert hub.device(device_id)["platform"] is None


def test_repeated_beat_is_accepted_and_kept_once(hub: World, box: Box) -> None:
    """The same boot id and sequence again, because an answer got lost, is a yes and no second row."""
    device_id, key = hub.enrolled(box)
    body = box.beat_body()
    assert [hub.beat(device_id, key, body).status_code for _ in range(3)] == [200] * 3
    assert len(history(hub)) == 1


def test_missed_beats_are_kept_as_late_and_do_not_move_the_status(hub: World, box: Box) -> None:
    """Beats that could not be sent when due go into the history with their reason; only the beat itself counts."""
    device_id, key = hub.enrolled(box)
    missed = tuple(MissedBeat(n, Moment(BOOT, n, n), Metrics(), "dns_failed") for n in (900, 901))
    assert hub.beat(device_id, key, box.beat_body(missed=missed)).status_code == 200
    assert [row[0::2] for row in history(hub)] == [(1, 0), (900, 1), (901, 1)]
    assert history(hub)[1][3] == "dns_failed"
    assert hub.device(device_id)["last_heartbeat"] == "2027-01-15T08:00:00.000Z"


def test_last_heartbeat_never_goes_back(hub: World, box: Box) -> None:
    """A hub clock that was set back a little does not make a device older."""
    device_id, key = hub.enrolled(box)
    hub.beat(device_id, key, box.beat_body())
    hub.clock.forward(-30)
    hub.beat(device_id, key, box.beat_body())
    assert hub.device(device_id)["last_heartbeat"] == "2027-01-15T08:00:00.000Z"


def test_clock_skew_is_recorded_and_does_not_matter(hub: World, box: Box) -> None:
    """A device in 1970 is online when it beats; the hub notes by how much it is wrong."""
    device_id, key = hub.enrolled(box)
    body = box.beat_body().replace(b'"wall":1800000000.0', b'"wall":60')
    assert hub.beat(device_id, key, body).status_code == 200
    assert hub.device(device_id)["status"] == "online"
    assert hub.parts.devices.get("demo", device_id).skew_ms == START_MS - 60_000


def test_wrong_keys_are_401(hub: World, box: Box) -> None:
    """No key, another scheme, an operator's key, a sibling's key: key_invalid, and nothing is kept."""
    device_id, _ = hub.enrolled(box)
    _, siblings = hub.enrolled(Box())
    for key in ("wrong", hub.key, siblings):
        assert refusal(hub.beat(device_id, key, box.beat_body())) == (401, "key_invalid")
    path = f"/demo/devices/v2/{device_id}/heartbeat"
    for headers in (JSON, {**JSON, "Authorization": "Basic abc"}, {**JSON, "Authorization": "Bearer "}):
        answer = hub.client.request("POST", path, content=box.beat_body(), headers=headers)
        assert refusal(answer) == (401, "key_invalid")
    assert history(hub) == []


def test_device_that_was_never_redeemed_has_no_key(hub: World, box: Box) -> None:
    """A beat for a device without a registration is 401."""
    device_id, _ = hub.created()
    assert refusal(hub.beat(device_id, "anything", box.beat_body())) == (401, "key_invalid")


@pytest.mark.parametrize(
    ("workspace", "device_id"), [("demo", "nobody"), ("demo", "a%20b"), ("plain", ""), ("x" * 99, "")]
)
def test_unknown_device_is_404(hub: World, box: Box, workspace: str, device_id: str) -> None:
    """A device that this hub does not have in that workspace is device_unknown."""
    own, key = hub.enrolled(box)
    assert refusal(hub.beat(device_id or own, key, box.beat_body(), workspace)) == (404, "device_unknown")


def test_removed_device_is_told_so_by_its_key(hub: World, box: Box) -> None:
    """After removal the device's own key gets 410 with its fingerprint, even if it just beat; others get 401."""
    device_id, key = hub.enrolled(box)
    hub.beat(device_id, key, box.beat_body())
    hub.call("DELETE", f"/demo/devices/v2/{device_id}")
    answer = hub.beat(device_id, key, box.beat_body())
    assert refusal(answer) == (410, "device_removed")
    assert answer.json()["error"]["keyFingerprint"] == box.fingerprint
    assert refusal(hub.beat(device_id, "wrong", box.beat_body())) == (401, "key_invalid")
    assert history(hub) == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "request_malformed")),
        (b"<html>", (400, "request_malformed")),
        (b'{"seq":1}', (400, "request_malformed")),
        (b'{"a":' * 3000, (400, "request_malformed")),
        (b" " * 16_385, (413, "request_too_large")),
    ],
)
def test_bad_beats_are_named(hub: World, box: Box, body: bytes, expected: tuple[int, str]) -> None:
    """What is no beat is refused by name and nothing is kept."""
    device_id, key = hub.enrolled(box)
    assert refusal(hub.beat(device_id, key, body)) == expected
    assert history(hub) == []


def test_beat_wants_json(hub: World, box: Box) -> None:
    """Another media type is 415."""
    device_id, key = hub.enrolled(box)
    headers = {"Content-Type": "text/plain", "Authorization": f"Bearer {key}"}
    answer = hub.client.request("POST", f"/demo/devices/v2/{device_id}/heartbeat", content=b"{}", headers=headers)
    assert refusal(answer) == (415, "unsupported_media_type")


def test_many_devices_at_once_are_all_kept(hub: World) -> None:
    """Beats of many devices that arrive together share transactions; each is answered and kept, a wrong one refused."""
    boxes = [Box() for _ in range(8)]
    enrolled = [hub.enrolled(box) for box in boxes]
    calls = [(*enrolled[n % 8], boxes[n % 8].beat_body(facts=FACTS)) for n in range(80)]
    calls.append((enrolled[0][0], "wrong", boxes[0].beat_body()))
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda call: hub.beat(*call), calls))
    assert [answer.status_code for answer in answers] == [200] * 80 + [401]
    assert len(history(hub)) == 80


def test_old_beats_are_pruned_in_small_steps(hub: World, box: Box) -> None:
    """Beats older than history_days go, at most so many at a time; younger ones stay."""
    device_id, key = hub.enrolled(box)
    for _ in range(3):
        hub.beat(device_id, key, box.beat_body())
    hub.clock.forward(7 * 86_400 + 1)
    hub.beat(device_id, key, box.beat_body())
    assert hub.parts.beats.prune(2) is True
    assert hub.parts.beats.prune(2) is False
    assert [row[0] for row in history(hub)] == [4]
    assert hub.device(device_id)["status"] == "online"


def test_disk_that_fails_is_503_with_a_time_to_wait(tmp_path: Path, box: Box) -> None:
    """A beat that could not be stored is no yes: 503, Retry-After, and the agent's word for a busy hub."""

    def full(rows: Sequence[BeatRow]) -> frozenset[int]:
        raise StateError("database_unusable", "The disk is full.")

    with world(tmp_path, write_beats=full) as hub:
        device_id, key = hub.enrolled(box)
        answer = hub.beat(device_id, key, box.beat_body())
        assert refusal(answer) == (503, "hub_busy")
        assert answer.headers["retry-after"] == "10"


def test_move_travels_with_beats_that_carry_facts_or_ask_and_once_when_it_is_new(hub: World, box: Box) -> None:
    """Where the hub moved to is said to a connection's first beat, to one that asks, and once after a change."""
    device_id, _ = hub.enrolled(box)
    beats = Beats(hub.store, hub.clock, 60, 7, move_for=lambda beat: f"moved-{beat.sequence}")
    beater = beats.for_broker("demo", device_id)
    bodies = [box.beat_body(facts=FACTS), box.beat_body(), box.beat_body(asks=True), box.beat_body()]
    assert [beats.reply(beater, decode_beat(body)).move for body in bodies] == ["moved-1", "", "moved-3", ""]
    beats.have_news()
    assert [beats.reply(beater, decode_beat(box.beat_body())).move for _ in range(2)] == ["moved-5", ""]


def test_a_device_is_known_whichever_road_it_takes(hub: World, box: Box) -> None:
    """Once looked up, a device costs the store no more questions, over HTTP or through a broker, until it changes."""
    device_id, key = hub.enrolled(box)
    beats = hub.parts.beats
    assert beats.known("demo", device_id) is None
    beater = beats.for_broker("demo", device_id)
    assert beats.known("demo", device_id) is beater
    assert beats.known("demo", device_id, digest(key)) is beater
    assert beats.known("demo", device_id, digest("wrong")) is None
    assert beats.known("plain", device_id) is None
    with pytest.raises(Refusal):
        beats.look_up("demo", device_id, digest("wrong"))
    assert beats.known("demo", device_id) is beater
    beats.forget(device_id)
    assert beats.known("demo", device_id) is None


def test_word_of_the_operator_is_not_lost_to_a_look_that_began_before(hub: World, box: Box) -> None:
    """A device that is looked up while its record changes is looked up again at the next beat."""
    device_id, _ = hub.enrolled(box)

    class Slow(SqliteStore):
        """Something changes after each look, before its answer is used."""

        @contextmanager
        def reading(self) -> Iterator[View]:
            """As the store's."""
            with super().reading() as view:
                yield view
            beats.forget(device_id)

    store = Slow(hub.folder / "hub.sqlite3")
    beats = Beats(store, hub.clock, 60, 7)
    assert beats.for_broker("demo", device_id).device_id == device_id
    assert beats.known("demo", device_id) is None
    store.close()


def test_fault_is_a_plain_sentence_to_the_device(caplog: pytest.LogCaptureFixture) -> None:
    """What nobody foresaw is answered 500 in the contract's form; what it was stands in the log only."""

    class Faulty(SqliteStore):
        """A store with a mistake in it."""

        def __init__(self) -> None:
            pass

        def reading(self) -> NoReturn:
            raise ZeroDivisionError("hush")

    async def beat() -> httpx.Response:
        store = Faulty()
        endpoint = HeartbeatEndpoint(Beats(store, lambda: START_MS, 60, 7), GroupCommit(store.write_beats))

        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert HeartbeatEndpoint.takes(scope)
            await endpoint(scope, receive, send)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://hub.example") as client:
            headers = {**JSON, "Authorization": "Bearer key"}
            return await client.post("/demo/devices/v2/cam/heartbeat", content=b"{}", headers=headers)

    answer = asyncio.run(beat())
    assert refusal(answer) == (500, "internal")
    assert "hush" not in answer.text
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(("facts", "after_s"), [(FACTS, 60), (None, 3600)])
def test_rotate_asked_at_another_hub(hub: World, box: Box, facts: Facts | None, after_s: int) -> None:
    """Another hub on this database wrote it: heard of after a minute by a beat with facts, after an hour by any."""
    device_id, key = hub.enrolled(box)
    assert hub.beat(device_id, key, box.beat_body()).status_code == 200
    with closing(SqliteStore(hub.folder / "hub.sqlite3")) as elsewhere, elsewhere.writing() as transaction:
        device = transaction.device(device_id)
        assert device is not None
        transaction.put_device(device._replace(rotate_asked_at_ms=START_MS))
    told = []
    for step_s in (after_s - 1, 1):
        hub.clock.forward(step_s)
        told.append(hub.beat(device_id, key, box.beat_body(facts=facts)).json().get("rotate", False))
    assert told == [False, True]
