"""``firstlight device qr``: draws the code of a device for a box without a network."""

from __future__ import annotations

import argparse

from firstlight.cli import desk as desks
from firstlight.cli import offline_output, qr_terminal
from firstlight.cli.desk import Desk
from firstlight.cli.device_create import add_wish, conclude_codes, invited_codes
from firstlight.cli.offline_code import STANDARD_INPUT, OfflineCode, one_code
from firstlight.errors import UsageError

DESCRIPTION = (
    "Draw the offline code of a device, from what 'device create --json' printed ('-' = standard input), or by "
    "inviting the device anew: then its earlier open codes stay good until one of them is used."
)


def verb(words: list[str], config: str | None) -> int:
    """Draws a code on the terminal or into files; returns 0."""
    made = desks.parser("qr", DESCRIPTION)
    made.add_argument("device_id", metavar="DEVICE_ID", nargs="?", help="the device to invite anew; '-' = stdin")
    made.add_argument("--payload-file", metavar="FILE", help="draw the payload in this file; '-' = standard input")
    made.add_argument("--png", metavar="FILE", help="write a PNG")
    made.add_argument("--svg", metavar="FILE", help="write an SVG")
    made.add_argument("--terminal", action="store_true", help="draw on the terminal (without other outputs always)")
    made.add_argument("--split", metavar="N", type=int, default=0, help="as N codes, smaller each; 1 = never split")
    add_wish(made)
    typed = made.parse_args(words)
    source = STANDARD_INPUT if typed.device_id == STANDARD_INPUT else typed.payload_file
    if bool(source) == bool(typed.device_id and typed.device_id != STANDARD_INPUT):
        raise UsageError("usage", "Give a DEVICE_ID, or the payload with --payload-file.")
    if not 0 <= typed.split <= offline_output.MOST_PARTS:
        raise UsageError("usage", f"A code splits into 1 to {offline_output.MOST_PARTS} parts.")
    for name in filter(None, (typed.png, typed.svg)):
        offline_output.check(offline_output.Outputs(qr=name))
    if source:
        return _draw(one_code(source), typed)

    def act(desk: Desk) -> int:
        return _draw(invited_codes(desk, [typed.device_id], typed)[0], typed)

    return desks.at_desk(typed, config, act)


def _draw(code: OfflineCode, typed: argparse.Namespace) -> int:
    texts = offline_output.texts_of(code.payload.reveal(), typed.split)
    names = []
    for name, kind in ((typed.png, "png"), (typed.svg, "svg")):
        if name:
            names += offline_output.write_pictures(name, texts, kind)
    if typed.json:
        return conclude_codes([code], names, [], as_json=True)
    if typed.terminal or not names:
        for text, caption in zip(texts, offline_output.captions(len(texts)), strict=True):
            if why := qr_terminal.show(text, caption):
                raise UsageError("usage", why, "Widen the window, or use --png FILE.")
    return conclude_codes([code], names, [], as_json=False)
