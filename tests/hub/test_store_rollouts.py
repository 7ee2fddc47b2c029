"""What every implementation of the store must do with roll-outs and upgrades."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from firstlight.core.model import Upgraded
from firstlight_hub.model import Tombstone
from firstlight_hub.rollout import Rollout, Upgrade
from firstlight_hub.store import Store
from firstlight_hub.store.sqlite import SqliteStore, migrations
from tests.hub.stores import add, beat, bound, device

ROLLOUT = Rollout(0, "0.3.0", 10, "roof", ("cam", "door"), 3, 50, "running", 5, 6, 1, "why")
ID = "5eed" * 16
OFFERED = Upgrade("0.3.0", ID, 1, "/bundles/firstlight-0.3.0-x86_64.tar", 1, 7)
FAILED = Upgraded("0.3.0", ID, 1, "upgrade_crashed", "It ended.")


def put(store: Store, number: int, upgrade: Upgrade) -> None:
    """Makes it the last upgrade of a device."""
    with store.writing() as transaction:
        transaction.put_upgrade(number, upgrade)


def last(store: Store, name: str = "cam") -> Upgrade | None:
    """The last upgrade of a device."""
    with store.reading() as view:
        found = view.device(name)
    assert found is not None
    return found.upgrade


def test_the_newest_rollout_counts(store: Store) -> None:
    """Every field comes back, a later one takes its place, and one that is put again is replaced."""
    with store.reading() as view:
        assert view.rollout() is None
    with store.writing() as transaction:
        transaction.put_rollout(ROLLOUT)
        first = transaction.rollout()
        assert first is not None and first == ROLLOUT._replace(number=first.number)
        transaction.put_rollout(first._replace(state="ended", tag=None, halt_after=None, device_ids=()))
        assert transaction.rollout() == first._replace(state="ended", tag=None, halt_after=None, device_ids=())
        transaction.put_rollout(ROLLOUT._replace(version="0.4.0"))
    with store.reading() as view:
        second = view.rollout()
    assert second is not None and (second.version, second.number > first.number) == ("0.4.0", True)


def test_a_devices_last_upgrade_stands_in_its_record(store: Store) -> None:
    """None before there was one; then every field of the last, wherever the record is read, also where it is put."""
    number = bound(store)
    assert last(store) is None
    put(store, number, OFFERED._replace(attempt=9))
    put(store, number, OFFERED)
    with store.writing() as transaction:
        found = transaction.device("cam")
        assert found is not None
        transaction.put_device(found._replace(name="new", upgrade=None))
    with store.reading() as view:
        for record in (view.device("cam"), view.devices("demo", 0, 5)[0], view.every_device(0, 5)[0]):
            assert record is not None and record.upgrade == OFFERED


def test_a_result_is_written_with_its_beat(store: Store) -> None:
    """It ends the upgrade that it is about; said again nothing changes, and the last word stands."""
    put(store, bound(store), OFFERED)
    number = 1
    store.write_beats([beat(number, 100, 1)._replace(upgraded=FAILED)])
    ended = OFFERED._replace(ended_at_ms=100, code="upgrade_crashed", message="It ended.")
    assert last(store) == ended
    store.write_beats([beat(number, 200, 2)._replace(upgraded=FAILED), beat(number, 300, 3)])
    assert last(store) == ended
    store.write_beats([beat(number, 400, 4)._replace(upgraded=FAILED._replace(code="", message=""))])
    assert last(store) == OFFERED._replace(ended_at_ms=400, code="", message=None)


@pytest.mark.parametrize("other", [{"attempt": 2}, {"id": "0" * 64}, {"attempt": 0}])
def test_a_result_of_another_upgrade_changes_nothing(store: Store, other: dict[str, Any]) -> None:
    """The word of a former attempt, or of another release, is not taken for the present one's."""
    put(store, bound(store), OFFERED)
    store.write_beats([beat(1, 100, 1)._replace(upgraded=FAILED._replace(**other))])
    assert last(store) == OFFERED


def test_a_result_that_nobody_asked_for_is_kept(store: Store) -> None:
    """Somebody upgraded by hand: of no roll-out, and told by nobody."""
    number = bound(store)
    by_hand = Upgraded("0.3.0", ID, 0, "")
    store.write_beats([beat(number, 100, 1)._replace(upgraded=by_hand)])
    assert last(store) == Upgrade("0.3.0", ID, 0, "", None, None, 100, "", None)


def test_a_result_of_one_that_lost_its_turn_counts(store: Store) -> None:
    """Told by a hub that was killed before it noted that: the result brings it back to the roll-out that goes on."""
    put(store, bound(store), OFFERED._replace(rollout=None, told_at_ms=None))
    with store.writing() as transaction:
        transaction.put_rollout(ROLLOUT)
    store.write_beats([beat(1, 100, 1)._replace(upgraded=FAILED)])
    found = last(store)
    assert found is not None and (found.rollout, found.told_at_ms, found.code) == (1, 100, "upgrade_crashed")


def test_a_refused_beat_says_nothing_of_an_upgrade(store: Store) -> None:
    """Whoever has not the device's key cannot end its upgrade."""
    put(store, bound(store), OFFERED)
    assert store.write_beats([beat(1, 100, 1, key=b"x" * 32)._replace(upgraded=FAILED)]) == {0}
    assert last(store) == OFFERED


def test_a_rollouts_devices_and_counts(store: Store) -> None:
    """Open ones apart from all, by number; the others by code, and whoever runs the version as done."""
    numbers = [one.number for one in add(store, *(device(f"d{n}")._replace(key_hash=b"%d" % n) for n in range(6)))]
    ended = OFFERED._replace(ended_at_ms=9)
    put(store, numbers[0], OFFERED)
    put(store, numbers[1], ended._replace(code="upgrade_crashed"))
    put(store, numbers[2], ended._replace(code=""))
    put(store, numbers[3], ended._replace(code="upgrade_crashed"))
    put(store, numbers[4], OFFERED._replace(rollout=2))
    put(store, numbers[5], OFFERED._replace(rollout=None))
    store.write_beats([beat(numbers[3], 100, 1, key=b"3")._replace(agent_version="0.3.0")])
    with store.reading() as view:
        assert [one.id for one in view.rollout_devices(1)] == ["d0", "d1", "d2", "d3"]
        assert [one.id for one in view.rollout_devices(1, is_open=True)] == ["d0"]
        assert view.rollout_counts(1) == {"upgrade_crashed": 1, "": 2}
        assert view.rollout_counts(3) == {} and not view.rollout_devices(3)


def test_a_removed_devices_upgrade_goes_with_it(store: Store) -> None:
    """It is not counted any more."""
    put(store, bound(store), OFFERED._replace(ended_at_ms=9, code="upgrade_crashed"))
    with store.writing() as transaction:
        transaction.remove_device(Tombstone("demo", "cam", None, None, 1))
        assert transaction.rollout_counts(1) == {} and not transaction.rollout_devices(1)


def test_a_copy_has_the_rollout(tmp_path: Path) -> None:
    """A backup holds it, with every device's part."""
    store = SqliteStore(tmp_path / "hub.sqlite3")
    put(store, bound(store), OFFERED)
    with store.writing() as transaction:
        transaction.put_rollout(ROLLOUT)
    store.copy_to(tmp_path / "copy.sqlite3")
    store.close()
    copy = SqliteStore(tmp_path / "copy.sqlite3")
    with copy.reading() as view:
        assert view.rollout() == ROLLOUT._replace(number=1)
    assert last(copy) == OFFERED
    copy.close()


def test_a_database_from_before_rollouts_is_carried_over(tmp_path: Path) -> None:
    """Devices of the former version have no upgrade yet, and take one."""
    path = tmp_path / "hub.sqlite3"
    with closing(sqlite3.connect(path)) as old:
        for _, script in migrations()[:3]:
            old.executescript(script)
        old.execute("""INSERT INTO device (id, workspace, name, tags, offline_mode, created_at_ms)
            VALUES ('cam', 'demo', '', '[]', 0, 1)""")
        old.execute("PRAGMA user_version = 3")
        old.commit()
    store = SqliteStore(path)
    assert last(store) is None
    put(store, 1, OFFERED)
    assert last(store) == OFFERED
    store.close()
