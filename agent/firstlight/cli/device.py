"""``firstlight device VERB``: the verbs of the operator's desk; the larger ones have files of their own."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

from firstlight.cli import device_list, next_step
from firstlight.cli.desk import Desk, at_desk, of, parser, records
from firstlight.cli.device_create import create, invite
from firstlight.errors import UsageError

Act = Callable[[list[str], str | None], int]


def verb(words: list[str], config: str | None) -> int:
    """Dispatches the second word. Raises FirstlightError; returns 0."""
    act = ACTS.get(words[0]) if words else None
    if act is None:
        if words and words[0] in ("-h", "--help"):
            print(
                "usage: firstlight device VERB [OPTIONS]\n\n"
                "  create   create a device; prints what to run on its box, or writes code, label and stick file\n"
                "  list     list the devices of a workspace with their status\n"
                "  show     show one device\n"
                "  invite   make another installId for a device: its box was re-imaged, or its credential ended\n"
                "  qr       draw the offline code of a device\n"
                "  labels   print a sheet of labels with offline codes\n"
                "  stick    write the files of a USB stick for boxes without a network\n"
                "  receipt  report a receipt that was carried here from such a box\n"
                "  rotate   have a device replace its key and credential\n"
                "  revoke   end a device's credential at once; its record stays\n"
                "  remove   remove a device for good\n\n"
                "'firstlight device VERB --help' explains a verb."
            )
            return 0
        raise UsageError("usage", f"Say what to do: device {', '.join(ACTS)}.")
    return act(words[1:], config)


def list_devices(words: list[str], config: str | None) -> int:
    """Prints the devices of the workspace, a line each, and how many they are."""
    made = parser("list", "List the devices of a workspace with their status.")
    made.add_argument("--status", metavar="STATUS", help="only these: online, offline, unknown or revoked")
    made.add_argument("--transport", choices=("http", "mqtt"), help="only those that beat over it")
    made.add_argument("--expires-within", metavar="DAYS", type=float, help="only those whose certificate ends by then")
    typed = made.parse_args(words)
    wanted = device_list.Wanted(typed.status, typed.transport, typed.expires_within)

    def act(desk: Desk) -> int:
        now_s = time.time()
        found = list(records(desk))
        chosen = [record for record in found if wanted.has(record, now_s)]
        if typed.json:
            print(json.dumps({"data": chosen}))
            return 0
        for line in device_list.table(chosen):
            print(line)
        print(f"\n{device_list.totals(chosen, len(found))}")
        for line in device_list.warnings(chosen):
            print(line)
        return 0

    return at_desk(typed, config, act)


def show(words: list[str], config: str | None) -> int:
    """Prints one device's record as JSON."""
    made = parser("show", "Show one device, as JSON.")
    made.add_argument("device_id", metavar="DEVICE_ID")
    typed = made.parse_args(words)

    def act(desk: Desk) -> int:
        record = desk.dialect.read_shown(
            desk.exchange(desk.dialect.show(desk.endpoint, desk.workspace, desk.key, typed.device_id))
        )
        json.dump(record, sys.stdout, indent=None if typed.json else 2)
        print()
        return 0

    return at_desk(typed, config, act)


def revoke(words: list[str], config: str | None) -> int:
    """Ends a device's credential; its record stays, and it can be invited again."""
    about = "End a device's credential at once; its record stays."
    again = "To let it in again: firstlight device invite"
    return _do(words, config, "revoke", about, "credential ended", again)


def remove(words: list[str], config: str | None) -> int:
    """Removes a device for good; its box is told so, and sets its registration aside."""
    return _do(words, config, "remove", "Remove a device for good; all it holds ends.", "removed")


def rotate(words: list[str], config: str | None) -> int:
    """Has a device replace its credential."""
    about = "Have a device replace its credential as soon as it hears of it."
    return _do(words, config, "rotate", about, "asked to replace its credential")


def _do(words: list[str], config: str | None, name: str, about: str, done: str, then: str = "") -> int:
    made = parser(name, about)
    made.add_argument("device_id", metavar="DEVICE_ID")
    typed = made.parse_args(words)

    def act(desk: Desk) -> int:
        call = of(desk, name)
        desk.dialect.read_done(desk.exchange(call(desk.endpoint, desk.workspace, desk.key, typed.device_id)))
        print(json.dumps({"deviceId": typed.device_id}) if typed.json else f"{typed.device_id}: {done}")
        if then and not typed.json:
            print(next_step.typed(f"{then} {typed.device_id}"))
        return 0

    return at_desk(typed, config, act)


def _later(module: str, name: str = "verb") -> Act:
    """A verb whose module is loaded when it is asked for."""

    def act(words: list[str], config: str | None) -> int:
        found: Act = getattr(__import__(f"firstlight.cli.{module}", fromlist=[name]), name)
        return found(words, config)

    return act


ACTS: dict[str, Act] = {
    "create": create,
    "list": list_devices,
    "show": show,
    "invite": invite,
    "qr": _later("device_qr"),
    "labels": _later("device_labels", "labels"),
    "stick": _later("device_labels", "stick"),
    "receipt": _later("device_receipt"),
    "revoke": revoke,
    "rotate": rotate,
    "remove": remove,
}
