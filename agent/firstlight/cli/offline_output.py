"""Offline payloads as files: pictures of the code, a sheet of labels, the file for a stick. All are secrets: 0600."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from firstlight.cli import output_file, qr_drawing
from firstlight.cli.label_sheet import SHEETS, USUAL_SHEET, sheet, warn_of
from firstlight.cli.offline_code import OfflineCode
from firstlight.errors import InvitationError, UsageError

STICK_FORMAT = 1
STICK_NAME = "device.json"
SERIAL_IN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
MOST_PARTS = 16


class Outputs(NamedTuple):
    """Where codes go; None = not there.

    Args:
        qr: file of a picture, PNG or, where it ends so, SVG.
        label: PDF with labels.
        stick: folder of a stick.
        sheet: name in ``SHEETS``.
        font: TrueType file for names.
    """

    qr: str | None = None
    label: str | None = None
    stick: str | None = None
    sheet: str = USUAL_SHEET
    font: str | None = None


def add_sheet(made: argparse.ArgumentParser) -> None:
    """Options of a sheet of labels."""
    made.add_argument("--sheet", choices=tuple(SHEETS), default=USUAL_SHEET, help=f"paper and labels ({USUAL_SHEET})")
    made.add_argument("--font", metavar="FILE", help="TrueType font for names that the usual ones do not print")


def add(made: argparse.ArgumentParser) -> None:
    """Options of the verbs that make codes."""
    made.add_argument("--qr", metavar="FILE", help="write the offline code as a picture, PNG or SVG")
    made.add_argument("--label", metavar="FILE", help="write a printable label, PDF")
    made.add_argument("--stick", metavar="DIR", help="write the file for a USB stick")
    add_sheet(made)


def check(outputs: Outputs, *, is_batch: bool = False) -> bool:
    """Whether anything is to be written; found out before a device is made for it.

    Raises:
        UsageError: a folder that is not there, ``labels_missing``, or one picture for many devices.
    """
    if outputs.qr and is_batch:
        raise UsageError("usage", "One picture cannot hold many devices.", "Use --label or --stick with --csv.")
    for name in filter(None, (outputs.qr, outputs.label)):
        if Path(name).is_dir() or not Path(name).absolute().parent.is_dir():
            raise UsageError("usage", f"{name} cannot be a file: its folder is not there, or it is one itself.")
    if outputs.stick and not Path(outputs.stick).is_dir():
        raise UsageError("usage", f"{outputs.stick} is not a folder.")
    if outputs.label:
        from firstlight.cli.label_sheet import need_library

        need_library()
    return bool(outputs.qr or outputs.label or outputs.stick)


def write(outputs: Outputs, codes: Sequence[OfflineCode], *, are_many: bool = False) -> tuple[list[str], list[str]]:
    """Writes what was asked for.

    Args:
        outputs: where.
        codes: of at least one device.
        are_many: as in ``write_stick``.

    Returns:
        names of the files, and sentences about what does not look as it should.

    Raises:
        UsageError, StateError: what cannot be drawn or written; what comes before is there.
    """
    names: list[str] = []
    warnings: list[str] = []
    if outputs.stick:
        names += write_stick(outputs.stick, codes, are_many=are_many)
    if outputs.qr:
        names += write_pictures(outputs.qr, texts_of(codes[0].payload.reveal()))
    if outputs.label:
        body, missing = sheet(codes, outputs.sheet, outputs.font)
        output_file.write(outputs.label, body)
        names.append(outputs.label)
        warnings += warn_of(missing)
    return names, warnings


def texts_of(payload: str, number: int = 0) -> list[str]:
    """The text of each symbol: one, or parts where it is too long for one.

    Args:
        payload: the whole.
        number: of parts, 0 = as few as keep each symbol within what cheap cameras read.

    Raises:
        UsageError: it cannot be split so.
    """
    from firstlight.wire import parts

    if number == 1 or (not number and len(payload) <= qr_drawing.MOST_CHARACTERS):
        return [payload]
    if not payload.startswith("FL1:"):
        raise UsageError("code_too_large", "Only a payload of a hub can be split into parts.")
    if not number:
        return parts.split(payload, qr_drawing.MOST_CHARACTERS)
    for most in range(len(payload) - 1, 47, -1):
        try:
            found = parts.split(payload, most)
        except InvitationError:
            break  # too many parts: so it is with every smaller size
        if len(found) == number:
            return found
        if len(found) > number:
            break
    raise UsageError("usage", f"This payload cannot be split into {number} parts.", f"Give 1 to {MOST_PARTS}.")


def captions(number: int) -> list[str]:
    """What stands below each symbol: ``2 of 3``; nothing where there is one."""
    return [f"{place} of {number}" for place in range(1, number + 1)] if number > 1 else [""]


def write_pictures(name: str, texts: Sequence[str], draw: str = "") -> list[str]:
    """A picture for each text; those of several are named ``NAME-2-of-3.png``. Returns the names.

    Args:
        name: of the file.
        texts: of the symbols.
        draw: "png" or "svg"; "" = as the name ends.
    """
    path = Path(name)
    draws_svg = draw == "svg" or (not draw and path.suffix.lower() == ".svg")
    names = []
    for text, caption in zip(texts, captions(len(texts)), strict=True):
        rows = qr_drawing.framed(qr_drawing.squares(text), caption)
        mark = f"-{caption.replace(' ', '-')}" if caption else ""
        goal = path.with_name(f"{path.stem}{mark}{path.suffix}")
        output_file.write(goal, qr_drawing.svg(rows) if draws_svg else qr_drawing.png(rows))
        names.append(str(goal))
    return names


def write_stick(folder: str, codes: Sequence[OfflineCode], *, are_many: bool = False) -> list[str]:
    """``device.json`` for one device, ``device-SERIAL.json`` for each of several; returns the names.

    Args:
        folder: of the stick.
        codes: of at least one device.
        are_many: they belong to several, also where this is one alone.

    Raises:
        UsageError: of several one has no serial number, two have the same, or one makes no file name.
    """
    goals = [STICK_NAME]
    if are_many or len(codes) > 1:
        check_serials([code.serial for code in codes], [code.called for code in codes])
        goals = [f"device-{code.serial}.json" for code in codes]
    files: dict[str, bytes] = {}
    for name, code in zip(goals, codes, strict=True):
        content: dict[str, object] = {"format": STICK_FORMAT, "payload": code.payload.reveal()}
        content |= {key: value for key, value in (("serial", code.serial), ("name", code.name)) if value}
        files[name] = json.dumps(content, indent=1).encode() + b"\n"
    output_file.write_all(folder, files)
    return [str(Path(folder, name)) for name in goals]


def check_serials(serials: Sequence[str], names: Sequence[str]) -> None:
    """Whether each of several devices can have a file of its own. Raises UsageError as ``write_stick``."""
    for serial, name in zip(serials, names, strict=True):
        if not SERIAL_IN_NAME.match(serial):
            what = f"the serial number {serial[:64]!r}, which makes no file name" if serial else "no serial number"
            raise UsageError(
                "usage",
                f"{name} has {what}; the stick needs one file for each box.",
                "Add the column serial, or write a stick for each device.",
            )
    # A box compares letters and digits only, in any case.
    if len({re.sub(r"[^0-9a-z]+", "-", serial.lower()).strip("-") for serial in serials}) != len(serials):
        raise UsageError("usage", "Two devices have the same serial number; each needs a file of its own.")
