"""The log of the beating process: one line on standard error, one write(2) each, with a priority that journald reads.

``logging`` would cost 1 MB for the same line. Callers pass sentences, never secrets. Control characters are written as
escapes, so that no text from outside can forge a line.
"""

from __future__ import annotations

import os
import time

INFO, WARNING, ERROR = 6, 4, 3
NAMES = {INFO: "info", WARNING: "warning", ERROR: "error"}
MAX_TEXT = 2000


class Journal:
    """Writes log lines.

    Args:
        fd: where to, standard error by default.
        stream: ``JOURNAL_STREAM`` as systemd set it; prefixes are written when it names this very descriptor.
        level: lines less urgent than this (a larger number) are left out.
    """

    def __init__(self, fd: int = 2, stream: str = "", level: int = INFO) -> None:
        self._fd = fd
        self._is_journal = _leads_to(fd, stream)
        self._level = level

    def write(self, priority: int, text: str) -> None:
        """One line; never raises: a log that cannot be written is no reason to stop beating."""
        if priority > self._level:
            return
        shown = escaped(text[:MAX_TEXT])
        if self._is_journal:
            line = f"<{priority}>{shown}\n"
        else:
            line = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {NAMES.get(priority, priority)}: {shown}\n"
        try:
            os.write(self._fd, line.encode("utf-8", "backslashreplace"))
        except OSError:
            return


def escaped(text: str) -> str:
    """The text with everything that is not printable as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _leads_to(fd: int, stream: str) -> bool:
    """systemd.exec(5): JOURNAL_STREAM is DEVICE:INODE of the descriptor that journald reads."""
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return stream == f"{found.st_dev}:{found.st_ino}"
