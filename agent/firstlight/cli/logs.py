"""``firstlight logs``: what the agent's services have written, from the system's journal."""

from __future__ import annotations

import json
import re
import sys
import time

from firstlight.cli import options
from firstlight.errors import UsageError

DESCRIPTION = "Show what the agent and its services have written to the system's journal."
LINES, MAX_LINES = 50, 100_000
ERROR = 3
AGO = re.compile(r"([0-9]{1,6})\s*(s|min|h|d)\Z")
UNIT_S = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
MOMENT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2})(:[0-9]{2})?Z?)?\Z")


def verb(words: list[str], config: str | None) -> int:
    """Prints the entries, oldest first; returns 0."""
    made = options.parser("logs", DESCRIPTION)
    made.add_argument("-n", "--lines", metavar="N", type=int, default=LINES, help=f"the newest N lines ({LINES})")
    made.add_argument("--since", metavar="T", help="from 2026-11-21T14:30 (UTC) on, or the last 10min, 2h, 3d")
    made.add_argument("-f", "--follow", action="store_true", help="go on with what comes; Ctrl-C ends it")
    made.add_argument("--errors", action="store_true", help="errors only")
    made.add_argument("--json", action="store_true", help="print one JSON object a line")
    typed = made.parse_args(words)
    if not 0 <= typed.lines <= MAX_LINES:
        raise UsageError("usage", f"--lines must be 0 to {MAX_LINES}.")
    since_s = None if typed.since is None else since(typed.since, time.time())
    # Here, so that a wrong word does not pay for it.
    from firstlight.system.journal_entries import Entry, open_journal

    def show(entry: Entry) -> None:
        print(json.dumps(entry.as_object()) if typed.json else entry.as_line(), flush=typed.follow)

    priority = ERROR if typed.errors else 7
    with open_journal() as journal:
        found = journal.last(typed.lines, since_s, priority)
        for entry in found:
            show(entry)
        if not found and not typed.follow:
            print("The services of the agent have written nothing of that kind.", file=sys.stderr)
        if typed.follow:
            for entry in journal.follow(priority):
                show(entry)
    return 0


def since(text: str, now_s: float) -> float:
    """A moment as typed -> seconds since 1970. Raises UsageError."""
    trimmed = text.strip()
    if found := AGO.match(trimmed):
        return now_s - int(found[1]) * UNIT_S[found[2]]
    if found := MOMENT.match(trimmed):
        from datetime import datetime, timezone

        try:
            moment = datetime.fromisoformat(f"{found[1]}T{found[2] or '00:00'}{found[3] or ''}")
            return moment.replace(tzinfo=timezone.utc).timestamp()
        except ValueError:
            pass
    raise UsageError(
        "usage", f"{text[:40]!r} is no moment.", "Give 10min, 2h, 3d, 2026-11-21 or 2026-11-21T14:30 (UTC)."
    )
