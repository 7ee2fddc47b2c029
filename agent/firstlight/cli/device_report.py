"""What a person sees while devices are made, and the report of what became of each line."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from firstlight.cli import output_file
from firstlight.cli.device_list import printable
from firstlight.errors import FirstlightError, UsageError

if TYPE_CHECKING:
    from firstlight.cli.device_journal import Done
    from firstlight.cli.device_run import Item, Run

WIDTH = 30
MOST_LINES = 40
COLUMNS = ("line", "name", "serial", "id", "outcome", "code", "boot_file")
KINDS = (".csv", ".json")
NOT_MADE, FAILED = "not made", "failed"
LONG_WAIT_S = 2.0


class Progress:
    """A bar where a person watches a terminal; a line for each device otherwise, none with --json.

    Args:
        total: devices of the run.
        as_json: standard output belongs to the answer.
    """

    def __init__(self, total: int, *, as_json: bool) -> None:
        self._total, self._count = total, 0
        self._is_bar = sys.stderr.isatty() and (as_json or sys.stdout.isatty()) and total > 1
        self._is_quiet = as_json
        self._is_shown = False

    def tell(self, item: Item, outcome: str, device_id: str) -> None:
        """One more is done."""
        self._count += 1
        if self._is_bar:
            self._draw(item.name)
        elif not self._is_quiet:
            how = "" if outcome == "made" else f" ({outcome})"
            print(f"line {item.number}: {printable(item.name)} is {printable(device_id)}{how}", flush=True)

    def waits(self, why: str, wait_s: float) -> None:
        """Nothing goes on for a while."""
        if wait_s >= LONG_WAIT_S or not self._is_bar:
            self.end()
            print(f"firstlight: waiting {wait_s:.0f} s: {why}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leaves the bar where it is."""
        if self._is_shown:
            print(file=sys.stderr, flush=True)
            self._is_shown = False

    def _draw(self, name: str) -> None:
        full = WIDTH * self._count // self._total
        bar = "#" * full + "." * (WIDTH - full)
        text = f"\r[{bar}] {self._count} of {self._total}  {printable(name)[:28]:<28}"
        print(text, end="", file=sys.stderr, flush=True)
        self._is_shown = True


def check(path: str | None) -> None:
    """Whether a report can be written so. Raises UsageError, before anything is made."""
    if not path:
        return
    if Path(path).suffix.lower() not in KINDS:
        raise UsageError("usage", f"The report {path} is neither .csv nor .json.")
    if Path(path).is_dir() or not Path(path).absolute().parent.is_dir():
        raise UsageError("usage", f"{path} cannot be a file: its folder is not there, or it is one itself.")


def lines(
    items: Sequence[Item], run: Run, done: Mapping[str, Done], ended: BaseException | None, files: Mapping[str, str]
) -> Iterable[dict[str, object]]:
    """What became of each line of the table, by ``COLUMNS``; no secrets."""
    for item in items:
        made = done.get(item.key)
        outcome, code = run.outcomes.get(item.key, NOT_MADE), ""
        if outcome == NOT_MADE and run.at is not None and run.at.key == item.key and isinstance(ended, FirstlightError):
            outcome, code = FAILED, ended.code
        yield {
            "line": item.number,
            "name": item.name,
            "serial": item.serial,
            "id": made.made.device_id if made else run.exists.get(item.key, ""),
            "outcome": outcome,
            "code": code,
            "boot_file": files.get(item.key, ""),
        }


def write(path: str | None, rows: Iterable[dict[str, object]]) -> None:
    """Writes the report, if one is wanted. Raises StateError ``output_unwritable``."""
    if not path:
        return
    found = list(rows)
    if path.lower().endswith(".json"):
        body = json.dumps(found, indent=1) + "\n"
    else:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in found)
        body = text.getvalue()
    output_file.write(path, body.encode(), output_file.PUBLIC)


def _cell(value: object) -> object:
    """A text that a spreadsheet would take for a formula is shown as text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
