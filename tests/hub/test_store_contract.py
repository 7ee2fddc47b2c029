"""What every implementation of the store must do. A second one adds itself to ``STORES``."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from firstlight.core.model import Facts, Hardware
from firstlight.errors import StateError
from firstlight_hub.model import ApiKey, BeatRow, Device, HistoryRow, InstallId, Tombstone
from firstlight_hub.store import Store
from firstlight_hub.store.sqlite import SqliteStore, migrations

STORES: dict[str, Callable[[Path], Store]] = {"sqlite": lambda folder: SqliteStore(folder / "hub.sqlite3")}
FACTS = Facts("cam", "Linux", "6.1", None, "x86_64", None, Hardware(total_memory_mb=1024))


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A fresh store of each kind."""
    found = STORES[request.param](tmp_path)
    yield found
    found.close()


def device(name: str, workspace: str = "demo", tags: tuple[str, ...] = ("a", "b")) -> Device:
    """A device that was just created."""
    return Device(0, workspace, name, f"The {name}", "ai1", "flow", tags, True, 1234)


def add(store: Store, *devices: Device) -> list[Device]:
    """Stores devices and reads them back."""
    with store.writing() as transaction:
        for one in devices:
            transaction.add_device(one)
    with store.reading() as view:
        return [found for one in devices if (found := view.device(one.id))]


def beat(
    number: int, received_at_ms: int, *sequences: int, facts: Facts | None = None, key: bytes = b"k" * 32
) -> BeatRow:
    """A beat with those history rows; all but the first are late."""
    rows = [HistoryRow("b" * 32, n, 1.5, 2.5, 0.5, None, None, 40.0, n != sequences[0], None) for n in sequences]
    return BeatRow(number, key, received_at_ms, -5, "0.1.0", facts, "f" * 16, tuple(rows))


def bound(store: Store, name: str = "cam", key: bytes = b"k" * 32) -> int:
    """Stores a device with a key -> its number."""
    (found,) = add(store, device(name))
    with store.writing() as transaction:
        transaction.bind(name, "sha256:x", key, None)
    return found.number


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
                transaction.bind("cam", str(count), b"k", None)

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with store.reading() as view:
        found = view.device("cam")
        assert found is not None
        assert found.key_fingerprint == "80"


def test_bind_gives_key_and_facts(store: Store) -> None:
    """A bound device is found by its key; facts come back equal."""
    add(store, device("cam"))
    with store.writing() as transaction:
        transaction.bind("cam", "sha256:x", b"key", (FACTS, "0" * 16))
        transaction.bind("cam", "sha256:y", b"key2", None)
    with store.reading() as view:
        found = view.device_by_key(b"key2")
        assert view.device_by_key(b"key") is None
    assert found is not None
    assert (found.key_fingerprint, found.facts, found.facts_hash) == ("sha256:y", FACTS, "0" * 16)


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


def test_generation_comes_back_with_the_key(store: Store) -> None:
    """Zero before there was a key, then what was bound."""
    (before,) = add(store, device("cam"))
    with store.writing() as transaction:
        transaction.bind("cam", "sha256:x", b"key", None, 7)
        after = transaction.device("cam")
    assert before.key_generation == 0
    assert after is not None
    assert after.key_generation == 7
