"""One line for who stands before the screen: on the HDMI console, and in the journal.

What the service prints goes to the journal, and from there to ``/dev/console`` (its unit says so). Where that is a
serial line, as on many boards, the screen's own console gets the line too. A console that takes nothing, because
somebody stopped it, is left alone: nothing here waits.
"""

from __future__ import annotations

import os

from firstlight.core import answers
from firstlight.system.beep import write_now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SCREEN = "/dev/tty1"
ACTIVE = "/sys/class/tty/console/active"
# What passes by while a person aims a camera is for the light alone.
UNSAID = frozenset({answers.BLURRED, answers.FAR})


def screen(path: str = SCREEN, active: str = ACTIVE) -> str:
    """The screen's console where it is another one than ``/dev/console``, else "".

    Args:
        path: the screen's console.
        active: the file that names the consoles of this machine; the last one is ``/dev/console``.
    """
    if not os.path.exists(path):
        return ""
    try:
        with open(active, encoding="ascii", errors="replace") as file:
            last = file.read(256).split()[-1:]
    except OSError:
        last = []
    return "" if last in (["tty0"], ["tty1"]) else path


def bell(path: str = SCREEN) -> str:
    """The console whose bell the kernel rings on the board's beeper, "" = none."""
    return path if os.path.exists(path) else ""


class Console:
    """Prints each answer as a line; implements ``signs.Sign``.

    Args:
        say: prints a line, to the journal and from there to ``/dev/console``.
        path: the screen's console where it needs a copy, "" = it does not.
    """

    def __init__(self, say: Callable[[str], None], path: str) -> None:
        self._say, self._path = say, path
        self._said = ""

    def show(self, state: str, sentence: str) -> None:
        """Prints the sentence, once in a row."""
        if state in UNSAID or sentence == self._said:
            return
        self._said = sentence
        line = f"firstlight: {''.join(c if c.isprintable() else ' ' for c in sentence)}"
        self._say(line)
        if self._path:
            write_now(self._path, f"\r\n{line}\r\n".encode())
