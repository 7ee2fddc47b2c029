"""Roll-outs and upgrades in SQLite: what ``sqlite.py`` puts into its views, transactions and groups of beats."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence

from firstlight_hub.model import BeatRow
from firstlight_hub.rollout import Rollout, Upgrade

# The columns have the fields' names.
FIELDS = Rollout._fields[1:]
ADD_ROLLOUT = f"INSERT INTO rollout ({', '.join(FIELDS)}) VALUES ({', '.join('?' * len(FIELDS))})"  # noqa: S608
PUT_ROLLOUT = f"UPDATE rollout SET {' = ?, '.join(FIELDS)} = ? WHERE number = ?"  # noqa: S608
COLUMNS = ", ".join(Upgrade._fields)
PUT_UPGRADE = f"REPLACE INTO upgrade (device, {COLUMNS}) VALUES (?{', ?' * len(Upgrade._fields)})"  # noqa: S608
# Of a device, as one value.
UPGRADE = f"(SELECT json_array({COLUMNS}) FROM upgrade WHERE device = device.number) AS upgrade"  # noqa: S608
# A result counts for what was offered, and once; a device that nothing was offered to may have been upgraded by hand.
# One that was told, and lost its turn because the hub was killed before it noted that, is of its roll-out again.
RESULT = """INSERT INTO upgrade (device, version, release_id, attempt, path, ended_at_ms, code, message)
    VALUES (?, ?, ?, ?, '', ?, ?, ?) ON CONFLICT (device) DO UPDATE
    SET ended_at_ms = excluded.ended_at_ms, code = excluded.code, message = excluded.message,
        told_at_ms = coalesce(told_at_ms, excluded.ended_at_ms), rollout = coalesce(rollout,
            (SELECT max(number) FROM rollout WHERE rollout.version = upgrade.version AND state <> 'ended'))
    WHERE release_id = excluded.release_id AND attempt = excluded.attempt AND code IS NOT excluded.code"""
COUNTS = """SELECT iif(device.agent_version = upgrade.version, '', upgrade.code), count(*)
    FROM upgrade JOIN device ON device.number = upgrade.device
    WHERE rollout = ? AND ended_at_ms IS NOT NULL GROUP BY 1"""


def read_upgrade(value: str | None) -> Upgrade | None:
    """What ``UPGRADE`` selects -> ``Upgrade``."""
    return None if value is None else Upgrade(*json.loads(value))


def write_results(connection: sqlite3.Connection, rows: Sequence[BeatRow]) -> None:
    """How upgrades went, as far as these beats say so."""
    results = [
        (row.number, said.version, said.id, said.attempt, row.received_at_ms, said.code, said.message or None)
        for row in rows
        if (said := row.upgraded) is not None
    ]
    if results:
        connection.executemany(RESULT, results)


class RolloutView:
    """The part of ``Reading`` that is about roll-outs."""

    _connection: sqlite3.Connection

    def rollout(self) -> Rollout | None:
        """As ``Reading.rollout``."""
        row = self._connection.execute("SELECT * FROM rollout ORDER BY number DESC LIMIT 1").fetchone()
        return None if row is None else Rollout(**row)._replace(device_ids=tuple(json.loads(row["device_ids"])))

    def rollout_counts(self, number: int) -> Mapping[str, int]:
        """As ``Reading.rollout_counts``."""
        return {code: count for code, count in self._connection.execute(COUNTS, (number,))}


class RolloutWriting(RolloutView):
    """The part of ``Writing`` that is about roll-outs."""

    def put_rollout(self, rollout: Rollout) -> None:
        """As ``Writing.put_rollout``."""
        values = rollout._replace(device_ids=json.dumps(rollout.device_ids))[1:]  # type: ignore[arg-type]
        if rollout.number:
            self._connection.execute(PUT_ROLLOUT, (*values, rollout.number))
        else:
            self._connection.execute(ADD_ROLLOUT, values)

    def put_upgrade(self, device: int, upgrade: Upgrade) -> None:
        """As ``Writing.put_upgrade``."""
        self._connection.execute(PUT_UPGRADE, (device, *upgrade))
