"""What the beating process keeps of rotations and moves, and when it gives way."""

from pathlib import Path

import pytest

from firstlight.core import change
from firstlight.core.change import Later
from firstlight.core.lifecycle import Accepted, Told
from firstlight.core.model import Registration
from firstlight.system import changes
from firstlight.system.changes import DiskChanges
from firstlight.system.store import CHANGE, WISH, StateDirectory
from tests.fakes import FakeClock
from tests.unit.system.test_store import registration

NOW_S = 1_795_000_000.0


class Agent:
    """The part of the beating process that is meant, on a real disk."""

    def __init__(self, folder: Path, found: Registration | None = None) -> None:
        self.store = StateDirectory(str(folder))
        self.store.prepare()
        self.clock = FakeClock()
        self.log: list[str] = []
        self.start(found)

    def start(self, found: Registration | None = None) -> None:
        """A fresh process."""
        self.changes = DiskChanges(
            self.store, found or registration(), self.clock, lambda _, line: self.log.append(line)
        )


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    """One that was asked for nothing."""
    return Agent(tmp_path / "state")


def test_nothing_asked_writes_nothing(agent: Agent) -> None:
    """Beats as they are every day leave no file and are no reason to give way."""
    agent.changes.note(Accepted(60, NOW_S))
    agent.changes.note(Told(60))

    assert not agent.changes.is_due("") and not agent.changes.is_due("key_invalid")
    assert not agent.store.has(CHANGE)


def test_what_the_platform_asked_survives_a_restart(agent: Agent) -> None:
    """A wish for a rotation and a statement are on disk before the process gives way, once each."""
    agent.changes.note(Told(60, rotate=True, move="m"))
    written = Path(agent.store.path, CHANGE).stat().st_mtime_ns
    agent.changes.note(Accepted(60, NOW_S, rotate=True, move="m"))

    assert Path(agent.store.path, CHANGE).stat().st_mtime_ns == written, "said again, it is not written again"
    assert agent.changes.is_due("")
    notes = changes.load(agent.store)
    assert (notes.rotate, notes.heard, notes.begun) == (True, "m", 1)


def test_a_statement_that_is_done_with_is_no_news(agent: Agent) -> None:
    """The same statement in each answer does not end the process again and again."""
    changes.save(agent.store, change.passed_over(change.Notes(heard="m")))
    agent.start()
    agent.changes.note(Accepted(60, NOW_S, move="m"))

    assert not agent.changes.is_due("")


def test_the_certificates_date_counts_by_the_platforms_clock(tmp_path: Path) -> None:
    """A wrong clock of the box brings no renewal forward and puts none off."""
    agent = Agent(tmp_path / "state", registration()._replace(renew_at_s=NOW_S + 100))
    agent.clock.wall_offset_s += 1e8
    assert not agent.changes.is_due("")
    agent.changes.note(Accepted(60, NOW_S))
    agent.clock.now_s += 99
    assert not agent.changes.is_due("")
    agent.clock.wall_offset_s -= 3e8
    agent.clock.now_s += 2
    assert agent.changes.is_due("")


def test_before_the_platform_spoke_its_last_time_counts(tmp_path: Path) -> None:
    """After a start the time seen last is the least that it can be."""
    agent = Agent(tmp_path / "state")
    agent.store.save_seen(NOW_S)
    agent.start(registration()._replace(renew_at_s=NOW_S - 1))

    assert agent.changes.is_due("")


def test_a_wish_on_this_box_is_seen_without_a_restart(agent: Agent) -> None:
    """``firstlight rotate`` leaves a file; the next look finds it."""
    assert not agent.changes.is_due("")
    agent.store.write_json(WISH, {"id": "1" * 32})

    assert agent.changes.is_due("")
    assert changes.wish_of(agent.store) == "1" * 32


def test_a_way_cut_off_for_a_moment_is_no_reason(agent: Agent) -> None:
    """A held move is tried once the old address was out of reach for two minutes, and why is on disk."""
    waits = Later(1, agent.clock.moment().boot_id, agent.clock.now_s + 9999)
    changes.save(agent.store, change.Notes(move="m", move_later=waits))
    agent.start()
    assert not agent.changes.is_due("connect_refused")
    agent.clock.now_s += 119
    assert not agent.changes.is_due("dns_failed")
    assert not agent.changes.is_due("hub_busy"), "it was reached in between"
    assert not agent.changes.is_due("dns_failed")
    agent.clock.now_s += 121
    assert agent.changes.is_due("connect_refused")
    assert changes.load(agent.store).trouble == "connect_refused"


def test_a_richer_process_that_never_ends_its_change_is_not_called_for_ever(agent: Agent) -> None:
    """Giving way is counted on disk; after some times without an end the process stays."""
    agent.changes.note(Told(60, rotate=True))
    given_way = 0
    while agent.changes.is_due(""):
        given_way += 1
        agent.start()
        assert given_way < 20

    assert given_way == change.MAX_BEGUN


def test_a_disk_that_refuses_keeps_the_process_beating(agent: Agent) -> None:
    """Where nothing can be written the process does not give way, and says so once."""
    in_the_way = Path(agent.store.path, CHANGE)
    in_the_way.mkdir()  # no user, root neither, can put a file in the place of a directory
    for _ in range(3):
        agent.changes.note(Told(60, rotate=True))
        assert not agent.changes.is_due("")
    in_the_way.rmdir()

    assert len(agent.log) == 1 and "state_unwritable" in agent.log[0]
    assert agent.changes.is_due("")


def test_damaged_notes_count_as_none(agent: Agent) -> None:
    """A change file that cannot be read is no reason to stop beating."""
    for body in (b"{", b'{"lastRotation": 7}', b"[]"):
        Path(agent.store.path, CHANGE).write_bytes(body)
        Path(agent.store.path, WISH).write_bytes(body)
        assert changes.load(agent.store) == change.Notes()
        assert changes.wish_of(agent.store) == ""


def stale(agent: Agent) -> None:
    """A move that has failed for a month."""
    result = change.Result("connect_refused", "The move could not be followed: nobody is there.", "", NOW_S)
    notes = change.Notes(move="m.s", move_later=Later(change.MOVE_FAILURES, "b", 0.0), move_result=result)
    changes.save(agent.store, notes)
    agent.start()


def test_a_move_that_failed_for_a_month_ends_where_the_old_place_answers(agent: Agent) -> None:
    """It may have been called off: one sentence, and no more tries; said again, it is news again."""
    stale(agent)
    agent.changes.note(Accepted(60, NOW_S))
    notes = changes.load(agent.store)
    assert (notes.move, notes.move_later.failures, notes.move_result.code) == ("", 0, "connect_refused")
    assert "let go" in notes.move_result.message and len(agent.log) == 1
    assert not agent.changes.is_due("")

    agent.changes.note(Accepted(60, NOW_S, move="m.s"))
    assert changes.load(agent.store).heard == "m.s" and agent.changes.is_due("")


def test_a_move_is_held_as_long_as_only_a_broker_answers(agent: Agent) -> None:
    """The old hub may be gone for good: then the move is the only way, however often it failed."""
    stale(agent)
    agent.changes.note(Accepted(60, is_confirmed=False))

    assert changes.load(agent.store).move == "m.s"


def test_a_move_that_failed_for_some_days_only_is_held(agent: Agent) -> None:
    """A new place may take its time; after a month of daily tries it is enough."""
    waits = [min(change.CEILING_S, change.FIRST_S * 2.0**number) for number in range(change.MOVE_FAILURES)]
    assert 29 <= sum(waits) / 86_400 <= 32

    changes.save(agent.store, change.Notes(move="m", move_later=Later(change.MOVE_FAILURES - 1, "b", 0.0)))
    agent.start()
    agent.changes.note(Accepted(60, NOW_S))
    assert changes.load(agent.store).move == "m"


def judged(agent: Agent) -> None:
    """What the richer process makes of a statement that nobody signed."""
    notes, moment = changes.load(agent.store), agent.clock.moment()
    notes = change.disbelieved(notes, change.Result("move_untrusted", "No."))._replace(begun=0)
    changes.save(agent.store, change.deaf(notes, moment.boot_id, moment.monotonic_s))
    agent.start()


def test_a_broker_full_of_statements_makes_the_process_give_way_every_five_minutes(agent: Agent) -> None:
    """A hundred different ones in a thousand seconds: four changes of processes, and no write between them."""
    given_way, written = 0, set()
    for number in range(100):
        agent.changes.note(Told(60, move=f"{number}.s"))
        if agent.changes.is_due(""):
            given_way += 1
            judged(agent)
        written.add(Path(agent.store.path, CHANGE).stat().st_mtime_ns)
        agent.clock.now_s += 10

    assert given_way == 4 and len(written) == 4
    agent.clock.now_s += 300
    agent.changes.note(Told(60, move="good.s"))
    assert agent.changes.is_due("") and changes.load(agent.store).heard == "good.s"


def test_a_statement_heard_in_the_pause_is_judged_after_it(agent: Agent) -> None:
    """Said once only, by a hub that asks rarely: it is kept in memory until its time has come."""
    agent.changes.note(Told(60, move="bad.s"))
    assert agent.changes.is_due("")
    judged(agent)
    agent.changes.note(Told(60, move="good.s"))
    agent.changes.note(Told(60, rotate=True, move="good.s"))
    assert changes.load(agent.store).rotate, "anything else is on disk at once"
    agent.clock.now_s += 301

    assert agent.changes.is_due("") and changes.load(agent.store).heard == "good.s"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1]", b'{"id": 7}', b'{"id": "\\ud800"}', b'{"id": "' + b"x" * 999 + b'"}']
)
def test_a_damaged_wish_is_nobodys(agent: Agent, body: bytes) -> None:
    """It could never be answered: it makes no rotation due, beat after beat."""
    Path(agent.store.path, WISH).write_bytes(body)

    assert changes.wish_of(agent.store) == "" and not agent.changes.is_due("")


def test_a_person_who_asks_is_heard_after_however_many_attempts_without_an_end(agent: Agent) -> None:
    """The bound on attempts keeps the process from going round alone, not a person from asking."""
    changes.save(agent.store, change.Notes(begun=change.MAX_BEGUN))
    agent.start()
    agent.store.write_json(WISH, {"id": "1" * 32})

    assert not agent.changes.is_due("") and agent.changes.is_due("", is_asked=True)
