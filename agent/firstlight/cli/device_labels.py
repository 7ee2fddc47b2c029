"""``firstlight device labels``: a printable sheet of labels for boxes without a network."""

from __future__ import annotations

import os
import re

from firstlight.cli import desk as desks
from firstlight.cli import offline_output, options
from firstlight.cli.desk import Desk
from firstlight.cli.device_create import add_wish, conclude_codes, invited_codes
from firstlight.cli.offline_code import OfflineCode, read_codes
from firstlight.errors import UsageError

LABELS = (
    "Print labels with offline codes: from what 'device create --json' printed or a table with the column payload "
    "('-' = standard input), or by inviting devices anew."
)
STICK = (
    "Write the files of a USB stick for boxes without a network: device.json for one device, device-SERIAL.json for "
    "each of several. From what 'device create --json' printed ('-' = standard input), or by inviting devices anew."
)

# What is no file of that name and can be a device's id is one; "-" alone is standard input.
DEVICE_ID = re.compile(r"(?!-)[A-Za-z0-9_-]{1,256}")


def labels(words: list[str], config: str | None) -> int:
    """Writes the PDF; returns 0."""
    made = desks.parser("labels", LABELS)
    made.add_argument("--output", metavar="FILE", default="labels.pdf", help="the PDF to write (labels.pdf)")
    offline_output.add_sheet(made)
    return _perform(made, words, config, "labels")


def stick(words: list[str], config: str | None) -> int:
    """Writes the files of a stick; returns 0."""
    made = desks.parser("stick", STICK)
    made.add_argument("--output", metavar="DIR", required=True, help="folder of the stick")
    return _perform(made, words, config, "stick")


def _perform(made: options.Parser, words: list[str], config: str | None, what: str) -> int:
    made.add_argument(
        "source",
        metavar="DEVICE_ID",
        nargs="?",
        help="the device to invite anew, or a FILE: JSON or CSV with payloads, '-' = standard input",
    )
    made.add_argument(
        "--device", metavar="DEVICE_ID", action="append", default=[], help="invite this device anew; may be repeated"
    )
    add_wish(made)
    typed = made.parse_args(words)
    outputs = (
        offline_output.Outputs(stick=typed.output)
        if what == "stick"
        else offline_output.Outputs(label=typed.output, sheet=typed.sheet, font=typed.font)
    )
    if typed.source and DEVICE_ID.fullmatch(typed.source) and not os.path.lexists(typed.source):
        typed.device, typed.source = [typed.source, *typed.device], None
    if bool(typed.source) == bool(typed.device):
        raise UsageError("usage", "Give a DEVICE_ID, or a FILE with payloads; further devices with --device.")
    offline_output.check(outputs)

    def conclude(codes: list[OfflineCode]) -> int:
        names, warnings = offline_output.write(outputs, codes)
        return conclude_codes(codes, names, warnings, as_json=typed.json)

    if typed.source:
        return conclude(read_codes(typed.source))

    def act(desk: Desk) -> int:
        return conclude(invited_codes(desk, typed.device, typed))

    return desks.at_desk(typed, config, act)
