"""``firstlight device create --csv``: many devices from a table, or from the facts of boxes.

A run that ended early, by whatever cause, is gone on with by the same command: its journal beside the table knows what
was made, and what may have been. ``device_run`` makes the devices; here the table is read and the results are written.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from firstlight.cli import desk as desks
from firstlight.cli import device_boot, device_facts, device_fields, device_report, offline_output
from firstlight.cli.desk import Desk
from firstlight.cli.device_create import say
from firstlight.cli.device_journal import Done, Journal
from firstlight.cli.device_run import Item, Run, Seams, key_of
from firstlight.cli.offline_code import STANDARD_INPUT, OfflineCode, code_of, read_text, table
from firstlight.cli.offline_output import Outputs
from firstlight.errors import FirstlightError, InvitationError, UsageError

MAX_ROWS = 2000
SERIAL = "serial"
ENDED = ("unauthorized", "token_expired")
_MEND = "Correct the table, then run the command again."


def create_all(typed: argparse.Namespace, config: str | None, outputs: Outputs) -> int:
    """Makes the devices of a table; returns 0 when all are made. Raises FirstlightError."""
    if typed.name:
        raise UsageError("usage", "With --csv or --facts, names stand in the table.")
    if typed.serial or typed.tag:
        raise UsageError("usage", "With --csv, serial numbers and tags stand in the table.")
    device_report.check(typed.report)

    def act(desk: Desk) -> int:
        items = read_items(desk, typed)
        if outputs.stick and len(items) > 1:
            offline_output.check_serials([item.serial for item in items], [item.name for item in items])
        with closing(Journal(_journal_of(typed), desk.platform, desk.place)) as journal:
            return _run(desk, typed, items, journal, outputs)

    return desks.at_desk(typed, config, act)


def _journal_of(typed: argparse.Namespace) -> Path | None:
    if typed.journal:
        return Path(typed.journal)
    if typed.facts:
        return Path(f"{typed.facts[0]}.journal")
    return Path(f"{typed.csv}.journal") if typed.csv != STANDARD_INPUT else None


def read_items(desk: Desk, typed: argparse.Namespace) -> list[Item]:
    """The devices that are asked for, no key and no serial number twice. Raises UsageError or InvitationError."""
    fields = device_fields.of(desk)
    shared = device_fields.shared(desk, fields, typed)
    named = typed.csv or "--facts"
    rows = device_facts.rows(desk, typed.facts) if typed.facts else _rows(typed.csv, tuple(fields))
    items: list[Item] = []
    for number, row in rows:
        items.append(_item(desk, named, number, {**shared, **{name: text for name, text in row.items() if text}}))
        if len(items) > MAX_ROWS:
            raise InvitationError("source_unreadable", f"{named} has more than {MAX_ROWS} devices.", _MEND)
    if not items:
        raise InvitationError("source_unreadable", f"{named} has no devices.", _MEND)
    names = desk.dialect.KEY if hasattr(desk.dialect, "KEY") else "key"
    _refuse_twice(named, names.replace("key", "name"), [(item.number, item.key) for item in items])
    _refuse_twice(named, "serial number", [(item.number, item.serial.lower()) for item in items if item.serial])
    return items


def _rows(source: str, fields: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    known = {name.lower(): name for name in (*fields, SERIAL)}
    if len(known) != len(set((*fields, SERIAL))):
        raise UsageError("usage", "Two fields of this platform differ in their letters' case alone.")
    for number, row in table(read_text(source), source, tuple(known), ()):
        yield number, {known[name]: text for name, text in row.items()}


def _item(desk: Desk, named: str, number: int, values: dict[str, object]) -> Item:
    fields = device_fields.of(desk)
    serial = device_fields.serial_of(values)
    missing = [field.name for field in fields.values() if field.is_required and not values.get(field.name)]
    if missing:
        raise InvitationError("source_unreadable", f"Line {number} of {named} has no {', '.join(missing)}.", _MEND)
    given = set(values)
    values = device_fields.make_up(
        desk, {name: one for name, one in values.items() if name in fields or name == "network"}
    )
    made_up = {name: str(one) for name, one in values.items() if name not in given}
    try:
        desk.dialect.new_device(desk.place, values)
    except UsageError as error:
        raise UsageError(error.code, f"Line {number} of {named}: {error.message}", error.hint) from None
    name = str(values.get(device_fields.name_field(fields)) or serial)
    return Item(number, _key(desk, values, serial, number, named), name, serial, values, made_up)


def _key(desk: Desk, values: dict[str, object], serial: str, number: int, named: str) -> str:
    for name in device_fields.key_field(desk):
        if isinstance(value := values.get(name), str) and value:
            return key_of(name, value)
    if serial:
        return key_of(SERIAL, serial)
    raise InvitationError(
        "source_unreadable", f"Line {number} of {named} has nothing to tell it from the others by.", _MEND
    )


def _refuse_twice(named: str, what: str, found: Iterable[tuple[int, str]]) -> None:
    seen: dict[str, int] = {}
    for number, value in found:
        if value in seen:
            shown = value.partition("=")[2] or value
            raise InvitationError(
                "source_unreadable",
                f"Lines {seen[value]} and {number} of {named} have the same {what}, {shown!r}.",
                _MEND,
            )
        seen[value] = number


def _run(desk: Desk, typed: argparse.Namespace, items: list[Item], journal: Journal, outputs: Outputs) -> int:
    progress = device_report.Progress(len(items), as_json=typed.json)
    run = Run(desk, journal, Seams(progress.tell, progress.waits))
    ended: BaseException | None = None
    try:
        run.perform(items)
    except (FirstlightError, KeyboardInterrupt) as error:
        ended = error
    progress.end()
    done = {item.key: journal.made[item.key] for item in items if item.key in journal.made}
    try:
        _conclude(desk, typed, items, done, outputs)
    except FirstlightError as error:
        if ended is None:
            raise
        say([str(error)])  # what ended the run is the greater trouble
    finally:
        files = _boot_names(items, done) if typed.boot else {}
        device_report.write(typed.report, device_report.lines(items, run, done, ended, files))
    _say_found(run, items, outputs, typed)
    if ended is None:
        return 0
    _explain(ended, items, run, journal_is_kept=_journal_of(typed) is not None)
    raise ended


def _explain(ended: BaseException, items: list[Item], run: Run, *, journal_is_kept: bool) -> None:
    """How far it came, and what to do next."""
    made = sum(item.key in run.outcomes for item in items)
    at = run.at
    what = f"could not make {at.name} (line {at.number})" if at else "nothing new was made"
    if isinstance(ended, KeyboardInterrupt):
        what = f"interrupted at {at.name} (line {at.number})" if at else "interrupted"
    elif not made and at is None:
        return
    say([f"{what}: {made} of {len(items)} devices are made."])
    if journal_is_kept:
        then = "Run the same command again: it goes on where this run ended, and makes nothing twice."
        if isinstance(ended, FirstlightError) and ended.code in ENDED:
            then = f"The operator key is not good any more: put a new one in its place. {then}"
        elif isinstance(ended, FirstlightError) and ended.is_permanent and at:
            then = f"Correct line {at.number} of the table. {then}"
        say([then])
    elif made:
        last = max(item.number for item in items if item.key in run.outcomes)
        say([f"Before you run this again, remove the lines up to {last} from the table."])


def _say_found(run: Run, items: list[Item], outputs: Outputs, typed: argparse.Namespace) -> None:
    there = [item for item in items if item.key in run.exists]
    if there:
        rest = (
            "nothing was made or written for them"
            if typed.boot or offline_output.check(outputs)
            else "left as they are"
        )
        first = f"the first {there[0].name} (line {there[0].number})"
        say([f"{len(there)} of {len(items)} were there already, {first}: {rest}."])


def _conclude(
    desk: Desk, typed: argparse.Namespace, items: list[Item], done: dict[str, Done], outputs: Outputs
) -> None:
    """Writes and prints what there is of those that are made."""
    codes = [code for item in items if item.key in done and (code := _code(item, done[item.key]))]
    written: list[str] = []
    warnings: list[str] = []
    try:
        if typed.boot:
            written += _write_boot(desk, typed.boot, items, done)
        if codes and offline_output.check(outputs):
            names, warnings = offline_output.write(outputs, codes, are_many=len(items) > 1)
            written += names
        told = [f"written: {name}" for name in written]
        if len(told) > device_report.MOST_LINES:
            told = [f"written: {len(told)} files, the first {written[0]}"]
        if typed.json:
            say(told)
        else:
            print("\n".join(told), end="\n" if told else "", flush=True)
        say(warnings)
    finally:
        if typed.json:
            answers = [_answer(desk, typed, item, done[item.key]) for item in items if item.key in done]
            print(json.dumps(answers), flush=True)
    if typed.offline and len(codes) < len(done):
        say([f"The platform gave no offline payload for {len(done) - len(codes)} of {len(done)} devices."])


def _boot_names(items: list[Item], done: dict[str, Done]) -> dict[str, str]:
    """The name of each boot file, by key; a serial number counts where no other device's file has that name.

    No two are told apart by the case of their letters alone: a stick would keep one of them.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for item in items:
        if item.key in done and done[item.key].made.boot_file is not None:
            device_id = done[item.key].made.device_id
            wanted = device_boot.file_name(item.serial, device_id), device_boot.file_name("", device_id)
            name = next((one for one in wanted if one.lower() not in taken), "")
            names[item.key] = name or f"{wanted[1].removesuffix('.json')}.line{item.number}.json"
            taken.add(names[item.key].lower())
    return names


def _write_boot(desk: Desk, folder: str, items: list[Item], done: dict[str, Done]) -> list[str]:
    names = _boot_names(items, done)
    return device_boot.write(
        folder, {name: device_boot.content(desk, done[key].made.boot_file or {}) for key, name in names.items()}
    )


def _code(item: Item, done: Done) -> OfflineCode | None:
    payload = done.made.record.get(device_boot.PAYLOAD)
    if not isinstance(payload, str) or not payload:
        return None
    return code_of(payload, item.name, str(item.values.get("type") or ""), item.serial)


def _answer(desk: Desk, typed: argparse.Namespace, item: Item, done: Done) -> dict[str, object]:
    """What --json says of one: a hub's answer as it came, beside what was in the table."""
    if hasattr(desk.dialect, "read_invited"):
        about = {"name": item.name, "type": item.values.get("type"), "serial": item.serial}
        return {**done.made.record, **{name: value for name, value in about.items() if value}}
    secret = {} if typed.boot and done.made.boot_file else device_boot.for_the_box(desk, done.made)
    told = device_boot.described(desk, done.made) | device_boot.handed(desk, done.made)
    return told | ({"serial": item.serial} if item.serial else {}) | secret
