"""``firstlight device create --csv``: many devices from a table, one after the other.

What was made before something went wrong is written and named: its secrets are nowhere else.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import NamedTuple

from firstlight.cli import desk as desks
from firstlight.cli import offline_output
from firstlight.cli.desk import Desk
from firstlight.cli.device_create import new_device, read_network, say
from firstlight.cli.offline_code import OfflineCode, code_of, read_text, table
from firstlight.cli.offline_output import Outputs
from firstlight.core.provision import Audience, Network
from firstlight.errors import FirstlightError, InvitationError, UsageError

COLUMNS = ("name", "type", "serial", "tags")
MAX_ROWS = 2000


class Row(NamedTuple):
    """A device of the table; ``number`` is its line in the file."""

    number: int
    name: str
    type: str
    serial: str
    tags: tuple[str, ...]


class Made(NamedTuple):
    """A device that was made: the platform's answer, and its offline code where it gave one."""

    answer: dict[str, object]
    code: OfflineCode | None


def create_all(typed: argparse.Namespace, config: str | None, outputs: Outputs) -> int:
    """Makes the devices of a table; returns 0 when all were made. Raises FirstlightError."""
    if typed.serial or typed.tag:
        raise UsageError("usage", "With --csv, serial numbers and tags stand in the table.")
    rows = read_rows(typed.csv, typed.type or "")
    if outputs.stick and len(rows) > 1:
        offline_output.check_serials([row.serial for row in rows], [row.name for row in rows])
    network = read_network(typed.network) if typed.network else None

    def act(desk: Desk) -> int:
        _refuse_known(desk, rows)
        made: list[Made] = []
        try:
            for row in rows:
                made.append(_make(desk, typed, row, network))
                if not typed.json:
                    print(f"line {row.number}: {row.name} is {made[-1].answer.get('deviceId')}", flush=True)
        except (FirstlightError, KeyboardInterrupt) as error:
            _conclude(made, typed, outputs, are_many=len(rows) > 1)
            left = rows[len(made) :]
            what = f"could not make {left[0].name} (line {left[0].number})"
            say([f"{what}: {len(made)} of {len(rows)} devices were made, those from that line on were not."])
            if made:
                say([f"Before you run this again, remove the lines up to {rows[len(made) - 1].number} from the table."])
            raise error
        _conclude(made, typed, outputs, are_many=len(rows) > 1)
        return 0

    return desks.at_desk(typed, config, act)


def read_rows(source: str, usual_type: str = "") -> list[Row]:
    """The devices of a table, no name and no serial number twice. Raises UsageError or InvitationError."""
    rows: list[Row] = []
    names: dict[str, int] = {}
    serials: dict[str, int] = {}
    for number, fields in table(read_text(source), source, COLUMNS, ("name",)):
        row = Row(
            number,
            fields["name"],
            fields["type"] or usual_type,
            fields["serial"],
            tuple(fields["tags"].replace(";", " ").replace("|", " ").replace(",", " ").split()),
        )
        if not row.name:
            raise InvitationError("source_unreadable", f"Line {number} of {source} has no name.")
        for what, value, known in (("name", row.name, names), ("serial number", row.serial.lower(), serials)):
            if value and value in known:
                raise InvitationError(
                    "source_unreadable",
                    f"Lines {known[value]} and {number} of {source} have the same {what}, {value!r}.",
                )
            known[value] = number
        rows.append(row)
        if len(rows) > MAX_ROWS:
            raise InvitationError("source_unreadable", f"{source} has more than {MAX_ROWS} devices.")
    if not rows:
        raise InvitationError("source_unreadable", f"{source} has no devices.")
    return rows


def _refuse_known(desk: Desk, rows: list[Row]) -> None:
    known = {str(record.get("name")) for record in desks.records(desk)}
    there = [row for row in rows if row.name in known]
    if there:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UsageError(
            "usage",
            f"The workspace has a device named {there[0].name!r} (line {there[0].number}){more} already; "
            "nothing was made.",
            "Remove those lines from the table, or give other names.",
        )


def _make(desk: Desk, typed: argparse.Namespace, row: Row, network: Network | None) -> Made:
    audience = Audience(serial=row.serial) if row.serial and typed.offline else None
    new = new_device(desk, typed, row.name, row.type or None, row.tags, audience, network)
    reply = desk.exchange(desk.dialect.create(desk.endpoint, desk.workspace, desk.key, new))
    created = desk.dialect.read_created(reply)
    about = {"name": row.name, "type": row.type, "serial": row.serial}
    answer = {**json.loads(reply.body), **{name: value for name, value in about.items() if value}}
    payload = created.qr_payload
    return Made(answer, code_of(payload, row.name, row.type, row.serial) if payload else None)


def _conclude(made: list[Made], typed: argparse.Namespace, outputs: Outputs, *, are_many: bool) -> None:
    """Writes and prints what there is of those that were made."""
    codes = [one.code for one in made if one.code is not None]
    try:
        if codes and offline_output.check(outputs):
            names, warnings = offline_output.write(outputs, codes, are_many=are_many)
            say([f"written: {name}" for name in names] if typed.json else [])
            if not typed.json:
                print("\n".join(f"written: {name}" for name in names))
            say(warnings)
    finally:
        if typed.json:
            json.dump([one.answer for one in made], sys.stdout)
            print(flush=True)
    if typed.offline and len(codes) < len(made):
        say([f"The platform gave no offline payload for {len(made) - len(codes)} of {len(made)} devices."])
