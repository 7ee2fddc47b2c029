"""A code on the terminal, or the sentence why there is none."""

from __future__ import annotations

import os
import shutil
import sys

from firstlight.cli import qr_drawing


def show(text: str, caption: str = "") -> str:
    """Draws a text as a code on standard output, its caption below; "" when it is there, else why it is not."""
    drawn = qr_drawing.squares(text, qr_drawing.SCREEN)
    columns, lines = shutil.get_terminal_size()
    colours = os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")
    shown = qr_drawing.terminal(drawn, columns, colours=colours)
    if not shown:
        return f"The code is {qr_drawing.columns_needed(drawn)} columns wide, this terminal has {columns}."
    try:
        shown.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return "This terminal has no half blocks to draw the code with."
    print(shown + (f"    {caption}\n" if caption else ""))
    if sys.stdout.isatty() and shown.count("\n") > lines:
        print("(The code is higher than this window: make it larger or its letters smaller, or use --png FILE.)\n")
    return ""
