"""``firstlight device VERB``: the verbs of the operator's desk; the larger ones have files of their own."""

from __future__ import annotations

import json
from collections.abc import Callable

from firstlight.cli import next_step
from firstlight.cli.desk import Desk, at_desk, of, parser
from firstlight.cli.device_create import create, invite
from firstlight.cli.device_everywhere import list_devices, show
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
                "  remove   remove a device for good\n"
                "  reset-fingerprint\n"
                "           have the platform forget a device's certificate: the next one shown is its own\n\n"
                "'firstlight device VERB --help' explains a verb."
            )
            return 0
        raise UsageError("usage", f"Say what to do: device {', '.join(ACTS)}.")
    return act(words[1:], config)


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


def reset_fingerprint(words: list[str], config: str | None) -> int:
    """Has the platform forget which certificate a device showed."""
    about = "Have the platform forget a device's certificate: it takes the next one that is shown for the device's own."
    return _do(words, config, "reset-fingerprint", about, "its certificate is forgotten; the next one shown counts")


def _do(words: list[str], config: str | None, name: str, about: str, done: str, then: str = "") -> int:
    made = parser(name, about)
    made.add_argument("device_id", metavar="DEVICE_ID")
    typed = made.parse_args(words)

    def act(desk: Desk) -> int:
        call = of(desk, name.replace("-", "_"))
        desk.dialect.read_done(desk.exchange(call(desk.place, typed.device_id)))
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
    "reset-fingerprint": reset_fingerprint,
}
