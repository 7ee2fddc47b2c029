"""Makes the devices of tables, killed one step later each time, and goes on after each kill with the real verb.

Not a test: tests/desk/test_kill_creating.py runs it. A step is every writing of the journal, before and after, every
call about to be sent and every reply just received. Round n is killed at step n and has a table of its own; the rounds
end when one was not killed, because there is no step n. Prints a JSON line a round.
"""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import closing
from pathlib import Path

from firstlight.cli.desk import DEADLINE_S, Desk
from firstlight.cli.device_journal import Journal
from firstlight.cli.device_run import Item, Run, Seams, key_of
from firstlight.cli.main import main
from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.management import Place
from firstlight.core.model import Secret, Trust, parse_endpoint
from firstlight.platforms.hub import management
from firstlight.transports.http_calls import HttpCalls
from tests.e2e.kill_child import Fuse, in_child

DEVICES = 3


def names(number: int) -> list[str]:
    """The devices of a round's table."""
    return [f"round {number} box {one}" for one in range(DEVICES)]


def run_until_killed(table: str, number: int, hub: str, pin: str, key: str, fuse: Fuse) -> None:
    """A run as ``device create --csv`` makes it, with the fuse in its calls and its journal."""
    place, trust = Place(parse_endpoint(hub), "demo", Secret(key)), Trust(pins=(pin,))
    with HttpCalls(trust, keeps=True) as calls:

        def exchange(call: HttpCall) -> HttpReply:
            fuse.step(f"send {call.method}")
            reply = calls.exchange(call, DEADLINE_S)
            fuse.step(f"reply to {call.method}")
            return reply

        desk = Desk("hub", management, place, trust, exchange)
        items = [
            Item(line, key_of("name", name), name, "", {"name": name}) for line, name in enumerate(names(number), 2)
        ]
        with closing(Journal(Path(f"{table}.journal"), "hub", place, fuse.step)) as journal:
            Run(desk, journal, Seams(lambda item, outcome, device_id: None, lambda why, wait_s: None)).perform(items)


def go_on(table: str, boot: str, hub: str, pin: str, key_file: str) -> int:
    """The same table with the verb as an operator runs it."""
    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    to = ["--hub", hub, "--pin", pin, "--workspace", "demo", "--api-key-file", key_file]
    return main(["device", "create", "--csv", table, "--boot", boot, *to])


def rounds(folder: Path, hub: str, pin: str, key_file: str) -> None:
    """One after another, until a round was not killed."""
    key = Path(key_file).read_text().strip()
    killed, number = True, 0
    while killed:
        table, boot = folder / f"{number}.csv", folder / f"boot-{number}"
        boot.mkdir()
        table.write_text("name\n" + "".join(f"{name}\n" for name in names(number)))
        reading, writing = os.pipe()
        status = in_child(run_until_killed, str(table), number, hub, pin, key, Fuse(number, writing))
        os.close(writing)
        step = os.read(reading, 200).decode()
        os.close(reading)
        killed = os.WIFSIGNALED(status)
        resumed = os.waitstatus_to_exitcode(in_child(go_on, str(table), str(boot), hub, pin, key_file))
        sys.stdout.write(json.dumps({"step": step, "killed": killed, "resumed": resumed}) + "\n")
        sys.stdout.flush()
        number += 1


if __name__ == "__main__":
    rounds(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4])
