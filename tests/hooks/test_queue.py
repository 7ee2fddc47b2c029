"""What waits for root's half: taken in from where the agent's user may write anything."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from firstlight.cli.hook_running import MAX_TRIES, WAITS_S, Boot, Runs
from firstlight.system.hook_files import Hook
from firstlight.system.hook_queue import Queue, Waiting, results
from firstlight.system.hook_runs import FAILED, Outcome
from firstlight.system.hooks import MAX_WAITING
from tests.hooks.conftest import Site


@pytest.fixture
def queue(site: Site) -> Queue:
    """The queue of a box."""
    one = Queue(str(site.state))
    one.prepare()
    return one


class Bench:
    """Root's half on a clock that is moved by hand; a hook ends as it is told."""

    def __init__(self, site: Site, queue: Queue) -> None:
        self.now_s, self.log, self.begun = 100.0, [], []  # type: float, list[str], list[tuple[str, object]]
        self.codes: dict[str, list[str]] = {}
        boot = Boot("boot-1", lambda: self.now_s)
        self.runs = Runs(queue, str(site.hooks), self.start, lambda _, text: self.log.append(text), boot)

    def start(self, hook: Hook, body: bytes) -> Outcome:
        """Notes what it is given."""
        event = json.loads(body)
        self.begun.append((hook.id, event.get("code") or event.get("version")))
        codes = self.codes.get(hook.id, [])
        code = codes.pop(0) if codes else ""
        return Outcome(code, "It failed." if code else "It ended well.")


@pytest.fixture
def bench(site: Site, queue: Queue) -> Bench:
    """Root's half."""
    return Bench(site, queue)


def test_growing_waits_and_then_given_up(site: Site, bench: Bench) -> None:
    """A failing hook is tried again after ever longer waits, five times in all, then it is named and left."""
    site.hook("10-a", "")
    site.leave()
    bench.codes["enrolled/10-a"] = [FAILED] * 9
    waits = []
    while (wait_s := bench.runs.once()) is not None:
        waits.append(wait_s)
        bench.now_s += wait_s
    assert tuple(waits) == WAITS_S and len(bench.begun) == MAX_TRIES
    assert results(str(site.state))["enrolled/10-a"].is_given_up
    assert bench.log[-1] == "enrolled/10-a: It failed. It is given up. [hook_failed]"


def test_not_before_its_time(site: Site, bench: Bench) -> None:
    """A hook that failed is left alone until its wait is over."""
    site.hook("10-a", "")
    site.leave()
    bench.codes["enrolled/10-a"] = [FAILED]
    assert bench.runs.once() == 10.0
    bench.now_s += 9.5
    assert bench.runs.once() == 0.5 and len(bench.begun) == 1
    bench.now_s += 0.5
    assert bench.runs.once() is None and len(bench.begun) == 2


def test_order_within_a_kind(site: Site, bench: Bench) -> None:
    """While an event waits for its next try, later ones of its kind wait behind it and other kinds do not."""
    site.hook("10-a", "", kind="refused")
    site.hook("10-a", "", kind="network")
    bench.codes["refused/10-a"] = [FAILED]
    site.leave("refused", code="first")
    bench.runs.once()
    site.leave("refused", code="second")
    site.leave("network", code="network_joined")
    bench.runs.once()
    assert bench.begun == [("refused/10-a", "first"), ("network/10-a", "network_joined")]
    bench.now_s += 10
    assert bench.runs.once() is None
    assert bench.begun[2:] == [("refused/10-a", "first"), ("refused/10-a", "second")]


def test_a_newer_configuration_takes_the_place_of_one_that_waits(site: Site, bench: Bench) -> None:
    """A config-changed that failed is not tried again once there is a newer one, which starts with all its tries."""
    site.hook("10-a", "", kind="config-changed")
    bench.codes["config-changed/10-a"] = [FAILED]
    site.leave("config-changed", desired={"rate": 1}, version=1)
    bench.runs.once()
    site.leave("config-changed", desired={"rate": 2}, version=2)
    assert bench.runs.once() is None
    assert bench.begun == [("config-changed/10-a", 1), ("config-changed/10-a", 2)]


def test_no_more_than_twenty_in_a_minute(site: Site, bench: Bench) -> None:
    """A flood of events of one kind waits; other kinds do not, and after a minute the rest is done."""
    site.hook("10-a", "", kind="refused")
    site.hook("10-a", "")
    for number in range(40):
        site.leave("refused", code=f"c{number}")
        bench.runs.once()
    assert len(bench.begun) == 20 and bench.runs.once() == 60.0
    site.leave()
    bench.runs.once()
    assert bench.begun[20][0] == "enrolled/10-a"
    bench.now_s += 60
    assert bench.runs.once() is None
    assert [code for _, code in bench.begun[21:]] == [f"c{number}" for number in range(24, 40)]


def test_a_wait_of_another_boot(site: Site, queue: Queue, bench: Bench) -> None:
    """After a reboot what waited is due, also where the boots cannot be told apart."""
    site.hook("10-a", "")
    site.leave()
    queue.take_in()
    queue.save(queue.entries()[0]._replace(due_s=864_000.0, boot_id="boot-1", tries={"10-a": 1}))
    assert bench.runs.once() is None and len(bench.begun) == 1


def test_a_hook_that_came_later_or_went(site: Site, bench: Bench) -> None:
    """At each try the hooks that are there count: one that was removed is not missed."""
    path = site.hook("10-a", "")
    site.leave()
    bench.codes["enrolled/10-a"] = [FAILED]
    bench.runs.once()
    path.unlink()
    bench.now_s += 10
    assert bench.runs.once() is None and len(bench.begun) == 1


def test_skipped_ones_are_named_once(site: Site, bench: Bench) -> None:
    """A file that is not run is named in the journal, once however many events there are."""
    site.hook("10-a.sh", "")
    for _ in range(3):
        site.leave()
    bench.runs.once()
    assert len(bench.log) == 1 and "10-a.sh is not run. Its name has something else" in bench.log[0]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"format": 1}',
        b'{"format": 1, "kind": "retired", "at": "x"}',
        b'{"format": 2, "kind": "enrolled", "at": "x"}',
        b'{"format": 1, "kind": "enrolled", "at": 7}',
        b"[" * 100_000,
        b'{"format": 1, "kind": "enrolled", "at": "' + b"x" * 70_000 + b'"}',
    ],
)
def test_what_is_no_event(body: bytes, site: Site, queue: Queue) -> None:
    """Anything else than what the agent leaves is taken away and said, and no hook hears of it."""
    (site.state / "hook-enrolled-1.json").write_bytes(body)
    assert queue.take_in() == ["hook-enrolled-1.json is no event and was removed."]
    assert queue.entries() == [] and queue.left() == []


def test_unknown_names_do_not_reach_a_hook(site: Site, queue: Queue) -> None:
    """Of an event only the documented names are handed on."""
    text = '{"format": 1, "kind": "network", "at": "t", "code": "c", "passphrase": "p4ss"}'
    (site.state / "hook-network-1.json").write_text(text)
    queue.take_in()
    assert "p4ss" not in json.dumps(queue.entries()[0].event) and queue.entries()[0].event["code"] == "c"


def test_links_and_folders_in_place_of_events(site: Site, queue: Queue, tmp_path: Path) -> None:
    """A link is not followed, a pipe not waited for, and an empty folder is removed too."""
    secret = tmp_path / "secret"
    secret.write_text('{"format": 1, "kind": "enrolled", "at": "t"}')
    (site.state / "hook-enrolled-1.json").symlink_to(secret)
    os.mkfifo(site.state / "hook-enrolled-2.json")
    (site.state / "hook-enrolled-3.json").mkdir()
    assert len(queue.take_in()) == 3
    assert queue.left() == [] and queue.entries() == [] and secret.exists()


def test_a_flood_of_events(site: Site, queue: Queue) -> None:
    """However many events come while nothing can be run, sixteen of a kind are kept."""
    for number in range(40):
        site.leave("refused", code=f"c{number}")
        queue.take_in()
    kept = [each.event["code"] for each in queue.entries()]
    assert kept == [f"c{number}" for number in range(40 - MAX_WAITING, 40)]


def test_cut_off_while_taking_in(site: Site, queue: Queue) -> None:
    """A configuration that was taken and not yet kept when the power failed is found again, or replaced by a newer."""
    site.leave("config-changed", desired={"rate": 1}, version=1)
    (site.state / "hook-config-changed.json").rename(site.state / "hook-config-changed-1.json")
    queue.take_in()
    assert [each.event["version"] for each in queue.entries()] == [1]
    site.leave("config-changed", desired={"rate": 2}, version=2)
    (site.state / "hook-config-changed.json").rename(site.state / "hook-config-changed-1.json")
    site.leave("config-changed", desired={"rate": 3}, version=3)
    queue.take_in()
    assert [each.event["version"] for each in queue.entries()] == [3] and queue.left() == []


def test_damage(site: Site, queue: Queue) -> None:
    """A damaged file of the queue is removed, damaged results count as none."""
    site.leave()
    queue.take_in()
    (path,) = site.queue.glob("0*.json")
    path.write_text("{")
    (site.queue.parent / "results.json").write_text('{"hooks": {"a": 1}}')
    assert queue.entries() == [] and not path.exists() and results(str(site.state)) == {}


@pytest.mark.parametrize(
    "said",
    [
        '"transport": ' + "[" * 985 + "]" * 985,
        '"transport": ["mqtt"]',
        '"transport": NaN',
        '"deviceId": {"a": 1}',
        '"workspace": 1e999',
    ],
)
def test_what_cannot_be_written_again_is_no_event(site: Site, queue: Queue, said: str) -> None:
    """An event that is nested just deep enough to be read, or of other types than ours, is removed and not kept."""
    place = site.state / "hook-enrolled-1.json"
    place.write_text('{"format": 1, "kind": "enrolled", "at": "2026-11-22T09:30:00Z", ' + said + "}")
    assert len(queue.take_in()) == 1
    assert not place.exists() and queue.entries() == []


def test_names_that_only_look_like_events_are_removed(site: Site, queue: Queue) -> None:
    """What firstlight-hooks.path would take for an event goes too, a folder with something in it out of its sight."""
    (site.state / "hook-test.json").write_text("{}")
    (site.state / "hook-enrolled-99999999999.json").write_text("{}")
    (site.state / "hook-enrolled-1.json").mkdir()
    (site.state / "hook-enrolled-1.json" / "inside").write_text("")
    site.leave("refused", code="revoked")
    queue.take_in()
    assert [each.kind for each in queue.entries()] == ["refused"]
    assert list(site.state.glob("hook-*.json")) == []


def test_the_millionth_event_has_its_turn(site: Site, queue: Queue) -> None:
    """Numbers that grow beyond six digits are seen, and come after the smaller ones."""
    for number in (1_000_000, 999_999):
        queue.save(Waiting(number, {"kind": "enrolled"}, {}))
    assert [each.number for each in queue.entries()] == [999_999, 1_000_000]
