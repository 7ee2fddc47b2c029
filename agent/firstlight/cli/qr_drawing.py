"""A text as a QR symbol: squares, a PNG, an SVG or the characters of a terminal.

Squares are rows of booleans, True = dark, without a margin. Nothing here needs a graphics library: a box draws its
receipt with what it has.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from firstlight.errors import UsageError

Squares = Sequence[Sequence[bool]]

MARGIN = 4  # squares of white around a symbol, as ISO/IEC 18004 wants it
NARROW_MARGIN = 2  # where a terminal has no room: cameras take it on a screen
WIDEST_VERSION = 15  # beyond it printed squares grow too small for cheap cameras: the text is split
MOST_CHARACTERS = 600  # of version 15 at level M, in alphanumeric mode
PNG_SCALE = 8
TERMINAL_COLUMNS = 80
SCREEN, PRINT = "L", "M"  # error correction: a screen has no scratches
# What a symbol is captioned with: 3 by 5 squares a character, a row's three squares as a number.
GLYPHS = {
    "0": (7, 5, 5, 5, 7),
    "1": (2, 6, 2, 2, 7),
    "2": (7, 1, 7, 4, 7),
    "3": (7, 1, 7, 1, 7),
    "4": (5, 5, 7, 1, 1),
    "5": (7, 4, 7, 1, 7),
    "6": (7, 4, 7, 5, 7),
    "7": (7, 1, 1, 2, 2),
    "8": (7, 5, 7, 5, 7),
    "9": (7, 5, 7, 1, 7),
    "o": (0, 7, 5, 5, 7),
    "f": (3, 2, 7, 2, 2),
    " ": (0, 0, 0, 0, 0),
}
GLYPH_ROWS, GLYPH_COLUMNS = 5, 3
BLACK_ON_WHITE, PLAIN = "\x1b[38;5;16m\x1b[48;5;231m", "\x1b[0m"


def squares(text: str, level: str = PRINT) -> list[list[bool]]:
    """The smallest symbol that holds a text, in the densest modes that its characters allow.

    Raises:
        UsageError: ``code_too_large``: no symbol holds it.
    """
    import qrcode
    from qrcode.constants import ERROR_CORRECT_L, ERROR_CORRECT_M
    from qrcode.exceptions import DataOverflowError

    made = qrcode.QRCode(error_correction={SCREEN: ERROR_CORRECT_L, PRINT: ERROR_CORRECT_M}[level], border=0)
    made.add_data(text)
    try:
        made.make(fit=True)
    except (DataOverflowError, ValueError):
        raise UsageError("code_too_large", f"{len(text)} characters do not fit into one QR code.") from None
    return [[bool(one) for one in row] for row in made.get_matrix()]


def version(drawn: Squares) -> int:
    """The version of a symbol, 1 to 40."""
    return (len(drawn) - 17) // 4


def framed(drawn: Squares, caption: str = "", margin: int = MARGIN) -> list[list[bool]]:
    """The symbol with its white margin, and a caption below it, in squares as well."""
    width = len(drawn) + 2 * margin
    blank = [False] * width
    rows = [list(blank) for _ in range(margin)]
    rows += [[False] * margin + list(row) + [False] * margin for row in drawn]
    rows += [list(blank) for _ in range(margin)]
    if not caption:
        return rows
    room = width - len(caption) * (GLYPH_COLUMNS + 1)
    if room < 0 or any(letter not in GLYPHS for letter in caption):
        raise ValueError("a caption that cannot be drawn")
    for row in range(GLYPH_ROWS):
        line = [False] * (room // 2)
        for letter in caption:
            line += [bool(GLYPHS[letter][row] & 4 >> column) for column in range(GLYPH_COLUMNS)] + [False]
        rows.append((line + blank)[:width])
    return [*rows, list(blank), list(blank)]


def png(rows: Squares, scale: int = PNG_SCALE) -> bytes:
    """Framed squares -> a PNG of one bit a pixel, ``scale`` pixels a square."""
    size = (len(rows[0]) * scale, len(rows) * scale)
    body = bytearray()
    for row in rows:
        bits = "".join(("0" if dark else "1") * scale for dark in row)
        bits += "1" * (-len(bits) % 8)
        body += (b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")) * scale
    head = struct.pack(">IIBBBBB", *size, 1, 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(body), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part)) for kind, part in parts
    )


def svg(rows: Squares) -> bytes:
    """Framed squares -> an SVG, one path, one unit a square."""
    path = "".join(f"M{x} {y}h{length}v1h-{length}z" for y, row in enumerate(rows) for x, length in runs(row))
    width, height = len(rows[0]), len(rows)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}mm" height="{height}mm" '
        f'viewBox="0 0 {width} {height}" shape-rendering="crispEdges">\n'
        f'<rect width="{width}" height="{height}" fill="#fff"/>\n<path d="{path}" fill="#000"/>\n</svg>\n'
    ).encode()


def runs(row: Sequence[bool]) -> list[tuple[int, int]]:
    """The dark stretches of a row: where each begins, and its length."""
    found: list[tuple[int, int]] = []
    for x, dark in enumerate(row):
        if dark and found and sum(found[-1]) == x:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        elif dark:
            found.append((x, 1))
    return found


def terminal(drawn: Squares, columns: int = TERMINAL_COLUMNS, *, colours: bool = True) -> str:
    """The symbol in half blocks, black on white whatever the terminal's own colours are.

    Args:
        drawn: without a margin.
        columns: how wide the terminal is.
        colours: False for one without colour codes: what is light is then drawn, as on a dark terminal.

    Returns:
        lines, each ended; "" where the terminal is too narrow.
    """
    margin = MARGIN if len(drawn) + 2 * MARGIN <= columns else NARROW_MARGIN
    rows = framed(drawn, margin=margin)
    if len(rows[0]) > columns:
        return ""
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    ink = " ▀▄█" if colours else "█▄▀ "  # by dark below * 2 + dark above
    lines = (
        "".join(ink[above + 2 * below] for above, below in zip(upper, lower, strict=True))
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    )
    return "".join(f"{BLACK_ON_WHITE}{line}{PLAIN}\n" if colours else f"{line}\n" for line in lines)


def columns_needed(drawn: Squares) -> int:
    """How wide a terminal must be at least."""
    return len(drawn) + 2 * NARROW_MARGIN
