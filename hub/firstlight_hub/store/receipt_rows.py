"""Receipts in SQLite: what ``sqlite.py`` puts into its views and transactions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from firstlight_hub.model import ByHand, InstallId

# The columns have the fields' names.
COLUMNS = ", ".join(ByHand._fields)
PUT_RECEIPT = f"REPLACE INTO receipt (device, {COLUMNS}) VALUES (?{', ?' * len(ByHand._fields)})"  # noqa: S608
# Of a device, as one value.
BY_HAND = f"(SELECT json_array({COLUMNS}) FROM receipt WHERE device = device.number) AS by_hand"  # noqa: S608


def read_by_hand(value: str | None) -> ByHand | None:
    """What ``BY_HAND`` selects -> ``ByHand``."""
    return None if value is None else ByHand(*json.loads(value))


class ReceiptView:
    """The part of ``Reading`` that is about receipts."""

    _connection: sqlite3.Connection

    def install_ids_like(self, start: bytes) -> Sequence[InstallId]:
        """As ``Reading.install_ids_like``."""
        question = "SELECT * FROM install_id WHERE hash BETWEEN ? AND ? ORDER BY hash LIMIT 8"
        found = self._connection.execute(question, (start, start + b"\xff" * 32))
        return [InstallId(**row) for row in found]


class ReceiptWriting(ReceiptView):
    """The part of ``Writing`` that is about receipts."""

    def put_receipt(self, device: int, by_hand: ByHand) -> None:
        """As ``Writing.put_receipt``."""
        self._connection.execute(PUT_RECEIPT, (device, *by_hand))
