"""The store in one SQLite file: WAL, every commit synced to disk, one writer at a time."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from importlib import resources
from pathlib import Path
from typing import TypeVar

from firstlight.core.model import Facts
from firstlight.errors import StateError
from firstlight.wire.facts import facts_object, read_facts
from firstlight_hub.model import ApiKey, BeatRow, Certificate, Device, InstallId, Tombstone
from firstlight_hub.store.receipt_rows import BY_HAND, ReceiptView, ReceiptWriting, read_by_hand
from firstlight_hub.store.rollout_rows import UPGRADE, RolloutView, RolloutWriting, read_upgrade, write_results

Found = TypeVar("Found")

# The columns have the fields' names; the number is SQLite's to give.
FIELDS = Device._fields[1:-3]
# The last three fields are not columns. A candidate's certificate does not count, nor one that was revoked.
DEVICE = f"""SELECT device.*, (SELECT max(not_after_ms) FROM certificate WHERE device_id = device.id
    AND key_fingerprint = device.key_fingerprint AND revoked_at_ms IS NULL) AS certificate_ends_at_ms,
    {UPGRADE}, {BY_HAND} FROM device"""  # noqa: S608
ADD_DEVICE = f"INSERT INTO device ({', '.join(FIELDS)}) VALUES ({', '.join('?' * len(FIELDS))})"  # noqa: S608
PUT_DEVICE = f"UPDATE device SET {' = ?, '.join(FIELDS)} = ? WHERE number = ?"  # noqa: S608
ADD_CERTIFICATE = """INSERT INTO certificate (serial, device_id, key_fingerprint, pem, not_after_ms, revoked_at_ms)
    VALUES (?, ?, ?, ?, ?, ?)"""
REVOKE_CERTIFICATES = """UPDATE certificate SET revoked_at_ms = ?
    WHERE device_id = ? AND revoked_at_ms IS NULL AND key_fingerprint NOT IN (?, ?)"""
PUT_INSTALL_ID = """REPLACE INTO install_id (hash, device_id, issued_at_ms, expires_at_ms, revoked_at_ms,
    redeemed_at_ms, key_fingerprint) VALUES (?, ?, ?, ?, ?, ?, ?)"""
ADD_API_KEY = """INSERT INTO api_key (hash, workspace, scopes, device_id, label, created_at_ms, revoked_at_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?)"""
ADD_TOMBSTONE = """INSERT INTO tombstone (workspace, id, key_fingerprint, key_hash, removed_at_ms)
    VALUES (?, ?, ?, ?, ?)"""
END_INSTALL_IDS = "UPDATE install_id SET revoked_at_ms = coalesce(revoked_at_ms, ?) WHERE device_id = ?"
END_API_KEYS = "UPDATE api_key SET revoked_at_ms = coalesce(revoked_at_ms, ?) WHERE device_id = ?"
# Groups may be a moment out of order; more than a minute ahead was the hub's own clock, before it was put right.
SEEN = """UPDATE device SET last_heartbeat_at_ms = CASE WHEN last_heartbeat_at_ms > ?1 + 60000 THEN ?1
    ELSE max(coalesce(last_heartbeat_at_ms, 0), ?1) END, skew_ms = ?2, agent_version = ?3
    WHERE number = ?4 AND key_hash = ?5"""
FACTS = "UPDATE device SET facts = ?, facts_hash = ? WHERE number = ?"
BOOTED = """UPDATE device SET boot_id = coalesce(?, boot_id), clone_at_ms = coalesce(?, clone_at_ms)
    WHERE number = ?"""
HISTORY = """INSERT OR IGNORE INTO beat (device, received_at_ms, boot_id, sequence, monotonic_s, wall_s, load1,
    memory_used, disk_used, temperature_c, late, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
# The oldest rows come first, so looking at the first few is enough to know whether any is due.
PRUNE = """DELETE FROM beat WHERE number IN (SELECT number FROM
    (SELECT number, received_at_ms FROM beat ORDER BY number LIMIT ?) WHERE received_at_ms < ?)"""


def migrations() -> list[tuple[int, str]]:
    """The numbered SQL files beside this module, in order."""
    folder = resources.files(__package__) / "migrations"
    found = [(int(entry.name[:4]), entry.read_text()) for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return sorted(found)


class SqliteStore:
    """Implements ``Store`` and ``Copyable``.

    Args:
        path: the database file; made, readable for its owner only, if it is not there.

    Raises:
        StateError: ``schema_newer`` or ``database_unusable``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._writer = threading.Lock()  # waiting here is cheaper than SQLite's own polling
        try:
            path.touch(mode=0o600, exist_ok=True)
            connection = self._open()
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                _migrate(connection)
            except BaseException:
                connection.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise StateError("database_unusable", f"The database {path} cannot be used: {error}.") from None
        self._idle.append(connection)

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=10, isolation_level=None, check_same_thread=False)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _connection(self, begin: str) -> Iterator[sqlite3.Connection]:
        connection = None
        try:
            connection = self._free()
            connection.execute(begin)
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise StateError("database_unusable", f"The hub's database cannot be used now: {error}.") from error
        finally:
            if connection is not None:
                self._give_back(connection)

    def _free(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()  # not "if self._idle": another thread may take the last one meanwhile
        except IndexError:
            return self._open()

    def _give_back(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            connection.close()  # SQLite rolls back what a lost connection leaves
        else:
            self._idle.append(connection)

    def warm(self, count: int) -> None:
        """Opens that many connections at once, so that later ones need no file descriptor. Raises StateError."""
        with ExitStack() as stack:
            for _ in range(count):
                view = stack.enter_context(self.reading())
                view.device("")  # the first question opens the files

    @contextmanager
    def reading(self) -> Iterator[View]:
        """As ``Store.reading``."""
        with self._connection("BEGIN") as connection:
            yield View(connection)

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """As ``Store.writing``."""
        with self._writer, self._connection("BEGIN IMMEDIATE") as connection:
            yield Transaction(connection)

    def write_beats(self, rows: Sequence[BeatRow]) -> frozenset[int]:
        """As ``Store.write_beats``."""
        with self._writer, self._connection("BEGIN IMMEDIATE") as connection:
            seen = [(r.received_at_ms, r.skew_ms, r.agent_version, r.number, r.key_hash) for r in rows]
            refused: frozenset[int] = frozenset()
            if connection.executemany(SEEN, seen).rowcount != len(rows):
                refused = frozenset(i for i, row in enumerate(rows) if not _is_current(connection, row))
            accepted = [row for i, row in enumerate(rows) if i not in refused]
            told = [(_facts_text(r.facts), r.facts_hash, r.number) for r in accepted if r.facts is not None]
            if told:
                connection.executemany(FACTS, told)
            booted = [(r.boot_id, r.clone_at_ms, r.number) for r in accepted if r.boot_id or r.clone_at_ms]
            if booted:
                connection.executemany(BOOTED, booted)
            write_results(connection, accepted)
            connection.executemany(
                HISTORY, [(r.number, r.received_at_ms, *past) for r in accepted for past in r.history]
            )
        return refused

    def mark_gone(self, workspace: str, device_ids: Sequence[str], at_ms: int) -> None:
        """As ``Store.mark_gone``."""
        with self._writer, self._connection("BEGIN IMMEDIATE") as connection:
            gone = [(at_ms, device_id, workspace) for device_id in device_ids]
            connection.executemany("UPDATE device SET gone_at_ms = ? WHERE id = ? AND workspace = ?", gone)

    def prune(self, before_ms: int, limit: int) -> int:
        """As ``Store.prune``."""
        with self._writer, self._connection("BEGIN IMMEDIATE") as connection:
            return connection.execute(PRUNE, (limit, before_ms)).rowcount

    def copy_to(self, path: Path) -> None:
        """As ``Copyable.copy_to``: SQLite's own online backup, in one step."""
        path.touch(mode=0o600)
        try:
            with closing(self._open()) as source, closing(sqlite3.connect(path)) as target:
                source.backup(target)
        except sqlite3.Error as error:
            raise StateError("state_unwritable", f"{path} cannot be written: {error}.") from None

    def close(self) -> None:
        """As ``Store.close``."""
        while self._idle:
            self._idle.pop().close()


def _migrate(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        known = migrations()
        if version > known[-1][0]:
            raise StateError(
                "schema_newer",
                f"A newer hub wrote this database: its schema is {version}, this hub's is {known[-1][0]}.",
            )
        for number, script in known:
            if number > version:
                for statement in _statements(script):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number:d}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _is_current(connection: sqlite3.Connection, row: BeatRow) -> bool:
    asked = "SELECT 1 FROM device WHERE number = ? AND key_hash = ?"
    return connection.execute(asked, (row.number, row.key_hash)).fetchone() is not None


def _facts_text(facts: Facts) -> str:
    return json.dumps(facts_object(facts), separators=(",", ":"))


def _device_row(device: Device) -> tuple[object, ...]:
    facts = None if device.facts is None else _facts_text(device.facts)
    return device._replace(tags=json.dumps(device.tags), facts=facts)[1:-3]  # type: ignore[arg-type]


def _device(row: sqlite3.Row) -> Device:
    found = Device(**row)
    facts = read_facts(json.loads(row["facts"])) if row["facts"] is not None else None
    return found._replace(
        tags=tuple(json.loads(row["tags"])),
        offline_mode=bool(row["offline_mode"]),
        facts=facts,
        upgrade=read_upgrade(row["upgrade"]),
        by_hand=read_by_hand(row["by_hand"]),
    )


def _install_id(row: sqlite3.Row) -> InstallId:
    return InstallId(**row)


def _tombstone(row: sqlite3.Row) -> Tombstone:
    return Tombstone(**row)


def _api_key(row: sqlite3.Row) -> ApiKey:
    found = ApiKey(**row)
    return found if row["scopes"] is None else found._replace(scopes=tuple(json.loads(row["scopes"])))


class View(RolloutView, ReceiptView):
    """Implements ``Reading``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def _one(self, read: Callable[[sqlite3.Row], Found], question: str, value: object) -> Found | None:
        row = self._connection.execute(question, (value,)).fetchone()
        return None if row is None else read(row)

    def device(self, device_id: str) -> Device | None:
        """As ``Reading.device``."""
        return self._one(_device, f"{DEVICE} WHERE id = ?", device_id)

    def device_by_key(self, key_hash: bytes) -> Device | None:
        """As ``Reading.device_by_key``."""
        return self._one(_device, f"{DEVICE} WHERE key_hash = ?", key_hash)

    def devices(self, workspace: str, after: int, limit: int) -> Sequence[Device]:
        """As ``Reading.devices``."""
        question = f"{DEVICE} WHERE workspace = ? AND number > ? ORDER BY number LIMIT ?"
        return [_device(row) for row in self._connection.execute(question, (workspace, after, limit))]

    def every_device(self, after: int, limit: int) -> Sequence[Device]:
        """As ``Reading.every_device``."""
        question = f"{DEVICE} WHERE number > ? ORDER BY number LIMIT ?"
        return [_device(row) for row in self._connection.execute(question, (after, limit))]

    def rollout_devices(self, number: int, *, is_open: bool = False) -> Sequence[Device]:
        """As ``Reading.rollout_devices``."""
        open_only = "AND ended_at_ms IS NULL" if is_open else ""
        its = f"SELECT device FROM upgrade WHERE rollout = ? {open_only}"  # noqa: S608 - no word of it is from outside
        question = f"{DEVICE} WHERE number IN ({its}) ORDER BY number"
        return [_device(row) for row in self._connection.execute(question, (number,))]

    def certificates(self, device_id: str) -> Sequence[Certificate]:
        """As ``Reading.certificates``."""
        question = "SELECT * FROM certificate WHERE device_id = ? ORDER BY rowid"
        return [Certificate(**row) for row in self._connection.execute(question, (device_id,))]

    def revoked_certificates(self, now_ms: int) -> Sequence[tuple[str, int]]:
        """As ``Reading.revoked_certificates``."""
        question = """SELECT serial, revoked_at_ms FROM certificate
            WHERE revoked_at_ms IS NOT NULL AND not_after_ms > ? ORDER BY not_after_ms, serial"""
        return [tuple(row) for row in self._connection.execute(question, (now_ms,))]

    def ended_sessions(self) -> Sequence[tuple[int, str]]:
        """As ``Reading.ended_sessions``."""
        return [
            tuple(row) for row in self._connection.execute("SELECT number, device_id FROM ended_session ORDER BY 1")
        ]

    def tombstone(self, device_id: str) -> Tombstone | None:
        """As ``Reading.tombstone``."""
        return self._one(_tombstone, "SELECT * FROM tombstone WHERE id = ?", device_id)

    def install_id(self, hashed: bytes) -> InstallId | None:
        """As ``Reading.install_id``."""
        return self._one(_install_id, "SELECT * FROM install_id WHERE hash = ?", hashed)

    def install_ids(self, device_id: str) -> Sequence[InstallId]:
        """As ``Reading.install_ids``."""
        question = "SELECT * FROM install_id WHERE device_id = ? ORDER BY issued_at_ms DESC, hash"
        return [_install_id(row) for row in self._connection.execute(question, (device_id,))]

    def api_key(self, hashed: bytes) -> ApiKey | None:
        """As ``Reading.api_key``."""
        return self._one(_api_key, "SELECT * FROM api_key WHERE hash = ?", hashed)

    def api_keys(self) -> Sequence[ApiKey]:
        """As ``Reading.api_keys``."""
        return [_api_key(row) for row in self._connection.execute("SELECT * FROM api_key ORDER BY created_at_ms, hash")]


class Transaction(RolloutWriting, ReceiptWriting, View):
    """Implements ``Writing``."""

    def add_device(self, device: Device) -> None:
        """As ``Writing.add_device``."""
        self._connection.execute(ADD_DEVICE, _device_row(device))

    def put_device(self, device: Device) -> None:
        """As ``Writing.put_device``."""
        self._connection.execute(PUT_DEVICE, (*_device_row(device), device.number))

    def add_certificate(self, certificate: Certificate) -> None:
        """As ``Writing.add_certificate``."""
        self._connection.execute(ADD_CERTIFICATE, certificate)

    def revoke_certificates(self, device_id: str, at_ms: int, keep: Sequence[str] = ()) -> bool:
        """As ``Writing.revoke_certificates``."""
        expired = "DELETE FROM certificate WHERE device_id = ? AND not_after_ms <= ?"
        self._connection.execute(expired, (device_id, at_ms))
        kept = (*keep, "", "")[:2]
        return self._connection.execute(REVOKE_CERTIFICATES, (at_ms, device_id, *kept)).rowcount > 0

    def forget_ended_sessions(self, numbers: Sequence[int]) -> None:
        """As ``Writing.forget_ended_sessions``."""
        forgotten = [(number,) for number in numbers]
        self._connection.executemany("DELETE FROM ended_session WHERE number = ?", forgotten)

    def remove_device(self, tombstone: Tombstone) -> None:
        """As ``Writing.remove_device``."""
        at, its = (tombstone.removed_at_ms, tombstone.id), (tombstone.id,)
        self._connection.execute(ADD_TOMBSTONE, tombstone)
        self._connection.execute(END_INSTALL_IDS, at)
        self._connection.execute(END_API_KEYS, at)
        self.revoke_certificates(tombstone.id, tombstone.removed_at_ms)
        self._connection.execute("DELETE FROM beat WHERE device = (SELECT number FROM device WHERE id = ?)", its)
        self._connection.execute("DELETE FROM device WHERE id = ?", its)

    def put_install_id(self, install_id: InstallId) -> None:
        """As ``Writing.put_install_id``."""
        self._connection.execute(PUT_INSTALL_ID, install_id)

    def add_api_key(self, key: ApiKey) -> None:
        """As ``Writing.add_api_key``."""
        scopes = None if key.scopes is None else json.dumps(key.scopes)
        row = (key.hash, key.workspace, scopes, key.device_id, key.label, key.created_at_ms, key.revoked_at_ms)
        self._connection.execute(ADD_API_KEY, row)

    def revoke_api_key(self, hashed: bytes, at_ms: int) -> None:
        """As ``Writing.revoke_api_key``."""
        self._connection.execute(
            "UPDATE api_key SET revoked_at_ms = coalesce(revoked_at_ms, ?) WHERE hash = ?", (at_ms, hashed)
        )
