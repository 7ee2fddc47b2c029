"""What ``firstlight device list`` shows: which devices, as a table, and how many they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from firstlight.errors import HINTS

Record = dict[str, object]
# Title, field of the record, and whether it is cut: an id is to be copied.
COLUMNS = (
    ("ID", "id", False),
    ("NAME", "name", True),
    ("STATUS", "status", False),
    ("LAST HEARTBEAT", "last_heartbeat", False),
    ("VERSION", "rfdm_version", False),
    ("TRANSPORT", "transport", False),
    ("CREDENTIAL", "credential", False),
    ("CERTIFICATE ENDS", "certificate_ends_at", False),
    ("HOST", "hostname", True),
)
# Not of every platform: a column only where a device has it.
SOMETIMES = frozenset({"rfdm_version", "transport", "credential", "certificate_ends_at"})
# What every platform can tell, by the names that --json has them under.
COMMON = (
    ("id", False),
    ("name", True),
    ("platform", False),
    ("status", False),
    ("last_heartbeat", False),
    ("raw_status", True),
)
STATUSES = ("online", "offline", "unknown")
REVOKED = "revoked"
WIDEST = 40
DAY_S = 86_400.0


class Wanted(NamedTuple):
    """Which devices are shown; None = whichever.

    Args:
        status: as the platform names it, or "revoked".
        transport: "http" or "mqtt".
        expires_within_days: their certificate ends within so many days, or has ended.
    """

    status: str | None = None
    transport: str | None = None
    expires_within_days: float | None = None

    def has(self, record: Record, now_s: float) -> bool:
        """Whether a device is one of them; ``now_s`` in seconds since 1970."""
        seen = (None, record.get("status"), REVOKED if record.get(REVOKED) is True else None)
        if self.status not in seen or self.transport not in (None, record.get("transport")):
            return False
        if self.expires_within_days is None:
            return True
        ends_s = _seconds(record.get("certificate_ends_at"))
        return ends_s is not None and ends_s - now_s <= self.expires_within_days * DAY_S


def table(records: list[Record]) -> Iterable[str]:
    """The lines of the table, its titles first."""
    yield from _lines(
        [one for one in COLUMNS if one[1] not in SOMETIMES or any(record.get(one[1]) for record in records)], records
    )


def common_table(records: list[Record]) -> Iterable[str]:
    """The same for devices of several platforms."""
    yield from _lines([(name.upper().replace("_", " "), name, is_cut) for name, is_cut in COMMON], records)


def _lines(columns: list[tuple[str, str, bool]], records: list[Record]) -> Iterable[str]:
    rows = [[title for title, _, _ in columns]]
    rows += [[_cell(record, name, is_cut) for _, name, is_cut in columns] for record in records]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def totals(records: list[Record], of_all: int) -> str:
    """How many were shown, of how many, and how they are: ``12 devices: 10 online, 1 offline, 1 unknown``."""
    counted = Counter(printable(record.get("status")) for record in records)
    known = [name for name in STATUSES if counted[name]]
    parts = [f"{counted[name]} {name}" for name in (*known, *sorted(set(counted) - set(STATUSES)))]
    shown = f"{len(records)} device{'' if len(records) == 1 else 's'}"
    if len(records) != of_all:
        shown = f"{len(records)} of {of_all} device{'' if of_all == 1 else 's'}"
    revoked = sum(record.get(REVOKED) is True for record in records)
    said = f"{shown}: {', '.join(parts)}" if parts else shown
    return f"{said}; {revoked} revoked" if revoked else said


def warnings(records: list[Record]) -> Iterable[str]:
    """One line for each device that two boxes beat as, or whose last upgrade failed."""
    for record in records:
        if isinstance(last := record.get("upgrade"), dict) and last.get("state") == "failed":
            why = f"{printable(last.get('message') or '')} [{printable(last.get('code'))}]".strip()
            yield f"warning: {printable(record.get('id'))} did not take version {printable(last.get('version'))}: {why}"
        if record.get("clone") is True:
            device_id = printable(record.get("id"))
            yield f"warning: two boxes beat as {device_id}. {HINTS['clone_suspected']} [clone_suspected]"


def printable(value: object) -> str:
    """A device's words as they may go to a terminal: without control characters; "-" for None."""
    return "-" if value is None else "".join(c if c.isprintable() else "?" for c in str(value))


def _cell(record: Record, name: str, is_cut: bool) -> str:
    text = printable(record.get(name))
    if name == "status" and record.get(REVOKED) is True:
        return f"{text}, {REVOKED}"
    if name == "last_heartbeat" and isinstance(record.get("by_hand"), dict):
        return f"{text} by hand"
    return f"{text[: WIDEST - 1]}…" if is_cut and len(text) > WIDEST else text


def _seconds(moment: object) -> float | None:
    try:
        return datetime.fromisoformat(str(moment).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None
