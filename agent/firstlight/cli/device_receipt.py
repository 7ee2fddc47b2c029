"""``firstlight device receipt``: a receipt that was carried here goes to the hub."""

from __future__ import annotations

import sys
from pathlib import Path

from firstlight.cli import desk as desks
from firstlight.cli.desk import Desk
from firstlight.cli.settings import read_bounded, unreadable
from firstlight.errors import InvitationError, UsageError
from firstlight.wire import receipt as wire
from firstlight.wire.bounded import WireError

DESCRIPTION = (
    "Report a receipt of a box without a network to its hub: from a file with its text ('-' = standard input), or from "
    "a picture of its code."
)
NOTES = {
    "receipt_from_future": "the box's clock was ahead of the hub's; the hub counts it as made when it came in",
    "receipt_from_past": "the box's clock was behind; the hub counts it as made after what it knew before",
    "clock_untrusted": "the box was not sure of its clock",
}


def verb(words: list[str], config: str | None) -> int:
    """Posts it and prints what was recorded; returns 0, also where the hub had it already."""
    made = desks.parser("receipt", DESCRIPTION)
    made.add_argument("file", metavar="FILE", nargs="?", help="text of the receipt, or a picture; '-' = standard input")
    made.add_argument("--image", metavar="PICTURE", help="a picture of its QR code")
    typed = made.parse_args(words)
    if bool(typed.file) == bool(typed.image):
        raise UsageError("usage", "Give a FILE with the receipt's text, or a picture of it with --image.")
    text = _in_picture(typed.image) if typed.image else _in_file(typed.file)
    link = _checked(text)

    def act(desk: Desk) -> int:
        call = desks.of(desk, "receipt")
        reply = desk.exchange(call(desk.place, link))
        recorded = desk.dialect.read_recorded(reply)
        if typed.json:
            print(reply.body.decode())
            return 0
        named = f"{recorded.device_id} ({recorded.name})" if recorded.name else recorded.device_id
        what = "recorded" if recorded.is_new else "the hub has this receipt already"
        print(f"{named}: {what}")
        print(f"made at     {recorded.made_at}")
        print(f"counter     {recorded.counter}")
        print(f"state       {recorded.state.replace('_', ' ')}")
        if recorded.note:
            print(f"note        {NOTES.get(recorded.note, recorded.note)}")
        return 0

    return desks.at_desk(typed, config, act)


def _checked(text: str) -> str:
    """The receipt's own letters, shown to be whole before anybody is asked. Raises InvitationError."""
    try:
        body = wire.from_text(text)
        wire.verify(body)
    except WireError as error:
        raise InvitationError(error.code, f"This receipt cannot be used: {error}.") from None
    return wire.bare(body)


def _in_file(name: str) -> str:
    if name == "-":
        body = sys.stdin.buffer.read(wire.MAX_TEXT + 1)
    else:
        try:
            body = read_bounded(Path(name), 32 << 20)
        except OSError as error:
            raise unreadable(name, error) from None
    if b"\0" in body[:512] or body[:2] == b"\xff\xd8":
        return _in_picture(body)
    # A text editor of Windows, or a mail: what matters is ASCII.
    return body[: wire.MAX_TEXT + 1].decode("utf-8-sig", "replace")


def _in_picture(source: str | bytes) -> str:
    from firstlight.sources.picture import load, read

    texts = read(load(source)).texts
    found = [text for text in texts if wire.MARK in text.upper()]
    if len(found) == 1:
        return found[0]
    if len(found) > 1:
        raise InvitationError("codes_several", f"There are {len(found)} receipts in the picture.")
    what = "a code, but not of a receipt" if texts else "no code that can be read"
    raise InvitationError("code_not_found", f"There is {what} in the picture.")
