"""What every implementation of the store must do. A second one adds itself to ``stores.STORES``."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from firstlight.errors import StateError
from firstlight_hub.model import ApiKey, InstallId, Tombstone
from firstlight_hub.store import Store
from firstlight_hub.store.sqlite import SqliteStore, migrations
from tests.hub.stores import FACTS, STORES, add, beat, bound, device


def test_device_comes_back_as_it_went_in(store: Store) -> None:
    """Every field survives, and the store gives growing numbers."""
    first, second = add(store, device("cam"), device("door", tags=()))
    assert first == device("cam")._replace(number=first.number)
    assert second.tags == ()
    assert 0 < first.number < second.number


def test_transaction_that_raises_leaves_nothing(store: Store) -> None:
    """All of a writing block, or nothing."""

    class OnPurpose(Exception):
        pass

    def fail() -> None:
        with store.writing() as transaction:
            transaction.add_device(device("cam"))
            raise OnPurpose

    with pytest.raises(OnPurpose):
        fail()
    with store.reading() as view:
        assert view.device("cam") is None


def test_one_device_id_exists_once(store: Store) -> None:
    """A second device with the same id is refused as a fault of the state."""
    add(store, device("cam"))
    with pytest.raises(StateError):
        add(store, device("cam", "other"))


def test_transactions_follow_each_other(store: Store) -> None:
    """Read-then-write of many threads loses nothing: nobody else writes inside a transaction."""
    add(store, device("cam"))

    def count_up() -> None:
        for _ in range(20):
            with store.writing() as transaction:
                found = transaction.device("cam")
                assert found is not None
                count = int(found.key_fingerprint or "0") + 1
                transaction.put_device(found._replace(key_fingerprint=str(count)))

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with store.reading() as view:
        found = view.device("cam")
        assert found is not None
        assert found.key_fingerprint == "80"


def test_put_device_replaces_the_record(store: Store) -> None:
    """Every field comes back as it was put, and the device is found by its present key only."""
    (before,) = add(store, device("cam")._replace(key_hash=b"key"))
    after = before._replace(
        name="New",
        key_fingerprint="sha256:y",
        key_hash=b"key2",
        key_generation=7,
        facts=FACTS,
        facts_hash="0" * 16,
        transport="websocket",
        credential="certificate",
        candidate_fingerprint="sha256:z",
        candidate_hash=b"key3",
        candidate_generation=8,
        rotate_asked_at_ms=1,
        revoked_at_ms=2,
        boot_id="b" * 32,
        clone_at_ms=3,
        gone_at_ms=4,
    )
    with store.writing() as transaction:
        transaction.put_device(after)
        transaction.put_device(after._replace(number=before.number + 1, name="of nobody"))
    with store.reading() as view:
        assert view.device_by_key(b"key2") == after
        assert view.device_by_key(b"key") is None
        assert view.device_by_key(b"key3") is None


def test_pages_hold_one_workspace_in_order(store: Store) -> None:
    """devices() answers a workspace's devices by number, from a place on, at most so many."""
    add(store, *(device(f"d{n}", "demo" if n % 2 else "other") for n in range(10)))
    with store.reading() as view:
        first = view.devices("demo", 0, 3)
        rest = view.devices("demo", first[-1].number, 100)
    assert [one.id for one in (*first, *rest)] == ["d1", "d3", "d5", "d7", "d9"]


def test_install_ids_are_added_replaced_and_listed(store: Store) -> None:
    """An installId is found by its hash, replaced by its hash, and listed newest first."""
    old, new = InstallId(b"1" * 32, "cam", 1, 10), InstallId(b"2" * 32, "cam", 2, 10)
    with store.writing() as transaction:
        transaction.put_install_id(old)
        transaction.put_install_id(new)
        transaction.put_install_id(old._replace(key_fingerprint="sha256:x", redeemed_at_ms=3))
    with store.reading() as view:
        assert view.install_id(b"1" * 32) == old._replace(key_fingerprint="sha256:x", redeemed_at_ms=3)
        assert view.install_id(b"3" * 32) is None
        assert [one.hash for one in view.install_ids("cam")] == [new.hash, old.hash]


def test_api_keys_are_added_listed_and_revoked(store: Store) -> None:
    """Scopes survive, none and some; the first revocation's time stays."""
    free, bound_key = ApiKey(b"1", "demo", None, None, "a", 1), ApiKey(b"2", "demo", ("device:read",), "cam", "b", 2)
    with store.writing() as transaction:
        transaction.add_api_key(free)
        transaction.add_api_key(bound_key)
        transaction.revoke_api_key(b"1", 7)
        transaction.revoke_api_key(b"1", 8)
    with store.reading() as view:
        assert view.api_keys() == [free._replace(revoked_at_ms=7), bound_key]
        assert view.api_key(b"2") == bound_key


def test_removed_device_leaves_its_tombstone_only(store: Store) -> None:
    """Removal takes device and beats, keeps the tombstone, ends keys and installIds, and never gives a number twice."""
    number = bound(store)
    store.write_beats([beat(number, 1, 1)])
    stone = Tombstone("demo", "cam", "sha256:x", b"k" * 32, 50)
    with store.writing() as transaction:
        transaction.put_install_id(InstallId(b"1", "cam", 1, 10))
        transaction.add_api_key(ApiKey(b"2", "demo", None, "cam", "", 1))
        transaction.remove_device(stone)
    with store.reading() as view:
        assert (view.device("cam"), view.tombstone("cam")) == (None, stone)
        install_id, key = view.install_id(b"1"), view.api_key(b"2")
    assert install_id is not None
    assert key is not None
    assert (install_id.revoked_at_ms, key.revoked_at_ms) == (50, 50)
    assert store.write_beats([beat(number, 2, 2)]) == {0}
    assert store.prune(10, 10) == 0
    assert add(store, device("door"))[0].number > number


def test_beats_move_last_heartbeat_forward_only(store: Store) -> None:
    """A group is written as a whole; last_heartbeat takes the latest of it and never goes back."""
    number = bound(store)
    assert store.write_beats([beat(number, 500, 1), beat(number, 300, 2, facts=FACTS)]) == frozenset()
    store.write_beats([beat(number, 400, 3)])
    with store.reading() as view:
        found = view.device("cam")
    assert found is not None
    assert (found.last_heartbeat_at_ms, found.skew_ms, found.agent_version) == (500, -5, "0.1.0")
    assert (found.facts, found.facts_hash) == (FACTS, "f" * 16)


def test_last_heartbeat_of_a_wrong_clock_is_put_right(store: Store) -> None:
    """A hub whose clock ran years ahead does not show its devices online for years once the clock is right again."""
    number = bound(store)
    store.write_beats([beat(number, 10**13, 1)])
    store.write_beats([beat(number, 10**12, 2)])
    with store.reading() as view:
        found = view.device("cam")
    assert found is not None
    assert found.last_heartbeat_at_ms == 10**12


def test_only_beats_with_the_present_key_count(store: Store) -> None:
    """In a mixed group those with another key or of no device are named by their place, and nothing of them is kept."""
    number = bound(store)
    rows = [beat(number, 1, 1, key=b"old"), beat(number, 2, 2), beat(number + 99, 3, 3, facts=FACTS)]
    assert store.write_beats(rows) == {0, 2}
    with store.reading() as view:
        found = view.device("cam")
    assert found is not None
    assert (found.last_heartbeat_at_ms, found.facts) == (2, None)
    assert store.prune(100, 100) == 1


def test_a_beat_is_kept_once(store: Store) -> None:
    """Device, boot id and sequence make a beat: again is accepted and not stored twice; another device's is its own."""
    number, other = bound(store), bound(store, "door", b"d" * 32)
    store.write_beats([beat(number, 1, 1, 2), beat(number, 1, 2, 3), beat(other, 1, 1, key=b"d" * 32)])
    assert store.prune(100, 100) == 4


def test_prune_takes_the_oldest_within_its_limit(store: Store) -> None:
    """At most so many, only old ones, and how many is answered."""
    number = bound(store)
    for sequence in range(1, 6):
        store.write_beats([beat(number, sequence * 10, sequence)])
    assert [store.prune(40, 2), store.prune(40, 2), store.prune(40, 2)] == [2, 1, 0]


def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    """A closed store opens again with its content, its schema as it was."""
    for make in STORES.values():
        first = make(tmp_path)
        number = bound(first)
        first.close()
        again = make(tmp_path)
        assert again.write_beats([beat(number, 1, 1)]) == frozenset()
        again.close()


def test_migrations_are_numbered_without_gap() -> None:
    """The SQL files are 0001, 0002 and so on."""
    assert [number for number, _ in migrations()] == list(range(1, len(migrations()) + 1))


def test_newer_schema_is_refused_in_a_clear_sentence(tmp_path: Path) -> None:
    """A database of a newer hub is not touched."""
    path = tmp_path / "hub.sqlite3"
    SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 999")
    with pytest.raises(StateError, match="A newer hub wrote this database") as caught:
        SqliteStore(path)
    assert caught.value.code == "schema_newer"


def test_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    """Something else under the database's name is an error in plain words."""
    path = tmp_path / "hub.sqlite3"
    path.write_bytes(b"not a database, but long enough to be looked at" * 10)
    with pytest.raises(StateError) as caught:
        SqliteStore(path)
    assert caught.value.code == "database_unusable"


def test_every_commit_is_synced(tmp_path: Path) -> None:
    """WAL with synchronous=FULL: what was answered is on disk, not only in the system's memory."""
    store = SqliteStore(tmp_path / "hub.sqlite3")
    with store.writing() as transaction:
        connection = transaction._connection
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    store.close()


def test_database_that_cannot_be_opened_is_a_named_error(tmp_path: Path) -> None:
    """A connection that cannot be made (no descriptor left, folder gone) is no bare exception; later it works again."""
    (tmp_path / "hub").mkdir()
    store = SqliteStore(tmp_path / "hub" / "hub.sqlite3")
    with store.reading():
        (tmp_path / "hub").rename(tmp_path / "away")
        with pytest.raises(StateError) as failed, store.reading():
            pass
        assert failed.value.code == "database_unusable"
        (tmp_path / "away").rename(tmp_path / "hub")
        with store.reading() as view:
            assert view.device("cam") is None
    store.close()


def test_generation_is_zero_before_there_was_a_key(store: Store) -> None:
    """A fresh record has neither key, candidate nor generation."""
    (fresh,) = add(store, device("cam"))
    assert (fresh.key_generation, fresh.candidate_generation, fresh.key_hash) == (0, 0, None)


def test_every_device_comes_in_pages_over_all_workspaces(store: Store) -> None:
    """every_device() answers by number, from a place on, at most so many."""
    add(store, *(device(f"d{n}", "demo" if n % 2 else "other") for n in range(5)))
    with store.reading() as view:
        first = view.every_device(0, 3)
        rest = view.every_device(first[-1].number, 3)
    assert [one.id for one in (*first, *rest)] == ["d0", "d1", "d2", "d3", "d4"]


def test_database_of_the_first_version_is_carried_over(tmp_path: Path) -> None:
    """A device that was registered before knows its kind afterwards; one that was not has none yet."""
    path = tmp_path / "hub.sqlite3"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(migrations()[0][1])
        for name, key in (("cam", b"k"), ("door", None)):
            insert = """INSERT INTO device (id, workspace, name, tags, offline_mode, created_at_ms, key_hash)
                VALUES (?, 'demo', '', '[]', 0, 1, ?)"""
            old.execute(insert, (name, key))
        old.execute("PRAGMA user_version = 1")
        old.commit()
    store = SqliteStore(path)
    with store.reading() as view:
        found = [view.device(name) for name in ("cam", "door")]
    store.close()
    assert [one and (one.transport, one.credential) for one in found] == [("http", "secret"), (None, None)]
