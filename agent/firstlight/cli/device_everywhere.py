"""``firstlight device list`` and ``device show``: the devices of one platform, or of several in one table."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from typing import NamedTuple

from firstlight.cli import desk as desks
from firstlight.cli import desk_place, device_list, options
from firstlight.cli.desk import Desk
from firstlight.cli.settings import desk_tables
from firstlight.core.management import Listed
from firstlight.errors import FirstlightError, UsageError
from firstlight.platforms import PLATFORMS

ALL = "all"
OF_ONE = ("hub", "base", "workspace", "api_key_file", "api_key_keyring", "pin", "ca_file", "extra")
SECRET_NAME = re.compile(r"secret|token|password|passphrase|psk|private|api_?key", re.IGNORECASE)
HIDDEN = "***"
MAX_DEPTH = 16


class Found(NamedTuple):
    """The devices of one platform, or why there are none."""

    platform: str
    devices: list[Listed]
    error: FirstlightError | None = None


def list_devices(words: list[str], config: str | None) -> int:
    """Prints the devices, a line each, and how many they are; returns 0, or the status of the first who failed."""
    made = desks.parser(
        "list", "List the devices of a workspace, or of several platforms, with their status.", several=True
    )
    made.add_argument("--status", metavar="STATUS", help="only these: online, offline, unknown or revoked")
    made.add_argument("--transport", choices=("http", "mqtt"), help="only those that beat over it")
    made.add_argument("--expires-within", metavar="DAYS", type=float, help="only those whose certificate ends by then")
    typed = made.parse_args(words)
    wanted = device_list.Wanted(typed.status, typed.transport, typed.expires_within)
    if typed.platform == desk_place.HUB:
        return desks.at_desk(typed, config, lambda desk: _of_the_hub(desk, wanted, as_json=typed.json))
    return _of_all(_asked(typed, config), wanted, as_json=typed.json)


def _of_the_hub(desk: Desk, wanted: device_list.Wanted, *, as_json: bool) -> int:
    now_s = time.time()
    found = [one.record for one in desks.listed(desk)]
    chosen = [record for record in found if wanted.has(record, now_s)]
    if as_json:
        print(json.dumps({"data": chosen}))
        return 0
    for line in device_list.table(chosen):
        print(line)
    print(f"\n{device_list.totals(chosen, len(found))}")
    for line in device_list.warnings(chosen):
        print(line)
    return 0


def _asked(typed: argparse.Namespace, config: str | None) -> list[Found]:
    """What each platform has; one that fails does not keep the others from answering. Raises UsageError."""
    settings = options.load(typed, config)
    tables = desk_tables(typed.config or config)
    names = list(dict.fromkeys(part.strip() for part in typed.platform.split(",") if part.strip()))
    if names == [ALL]:
        names = [name for name in PLATFORMS if desk_place.is_configured(name, settings, tables.get(name))]
        if not names:
            raise UsageError(
                "usage",
                "No platform is configured.",
                "Write [desk.NAME] with workspace and api_key_file into the settings.",
            )
    if len(names) > 1 and (given := next((name for name in OF_ONE if getattr(typed, name)), None)):
        raise UsageError(
            "usage",
            f"--{given.replace('_', '-')} cannot be meant for {len(names)} platforms.",
            "Put it into the settings file, as [desk.NAME].",
        )
    if unknown := next((name for name in names if name not in PLATFORMS), None):
        raise UsageError("usage", f"There is no platform {unknown[:40]!r}; there are: {', '.join(sorted(PLATFORMS))}.")
    found = []
    for name in names:
        try:
            with desks.opened(name, typed, settings, tables.get(name, {})) as desk:
                found.append(Found(name, list(desks.listed(desk))))
        except FirstlightError as error:
            if len(names) == 1:
                raise
            found.append(Found(name, [], error))
    return found


def _of_all(found: list[Found], wanted: device_list.Wanted, *, as_json: bool) -> int:
    now_s = time.time()
    records = [_row(one.platform, listed) for one in found for listed in one.devices]
    chosen = [record for record in records if wanted.has(record, now_s)]
    failed = [(one.platform, one.error) for one in found if one.error is not None]
    if as_json:
        rows = [{name: record[name] for name, _ in device_list.COMMON} for record in chosen]
        errors = [{"platform": name, "code": error.code, "message": error.message} for name, error in failed]
        print(json.dumps({"data": rows, "errors": errors}))
    else:
        for line in device_list.common_table(chosen):
            print(line)
        print(f"\n{device_list.totals(chosen, len(records))}")
    for name, error in failed:
        print(f"firstlight: {name} could not be asked: {error.message} [{error.code}]", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)
    return failed[0][1].exit_status if failed else 0


def _row(platform: str, one: Listed) -> device_list.Record:
    """A device in the words of the list; beside them what filters ask of a hub's record."""
    row: device_list.Record = {
        name: one.record.get(name) for name in (device_list.REVOKED, "transport", "certificate_ends_at")
    }
    return row | {
        "id": one.device_id,
        "name": one.name or None,
        "platform": platform,
        "status": one.status,
        "last_heartbeat": one.last_heartbeat or None,
        "raw_status": one.raw_status or None,
    }


def show(words: list[str], config: str | None) -> int:
    """Prints one device as JSON: a hub's record as it came, another platform's with our words before its own."""
    made = desks.parser("show", "Show one device, as JSON.")
    made.add_argument("device_id", metavar="DEVICE_ID")
    typed = made.parse_args(words)

    def act(desk: Desk) -> int:
        one = desks.shown(desk, typed.device_id)
        told: dict[str, object] = one.record
        if desk.platform != desk_place.HUB:
            row = _row(desk.platform, one)
            told = {name: row[name] for name, _ in device_list.COMMON} | {"record": masked(one.record)}
        print(json.dumps(told, indent=None if typed.json else 2))
        return 0

    return desks.at_desk(typed, config, act)


def masked(value: object, depth: int = 0) -> object:
    """A platform's answer without the secrets in it: some show a device's token to whoever may read the device."""
    if not isinstance(value, (dict, list)):
        return value
    if depth >= MAX_DEPTH:
        return HIDDEN  # nobody looked into it
    if isinstance(value, list):
        return [masked(one, depth + 1) for one in value]
    return {name: HIDDEN if _may_be_secret(name, one) else masked(one, depth + 1) for name, one in value.items()}


def _may_be_secret(name: object, value: object) -> bool:
    """By its name; what is below such a name is looked into, but a list or a number there is not to be shown either."""
    return bool(value) and not isinstance(value, (dict, bool)) and bool(SECRET_NAME.search(str(name)))
