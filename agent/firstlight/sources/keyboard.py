"""Texts that are typed, pasted, or sent by a scanner: from a terminal, a pipe, a file or a serial port.

What comes at once belongs together (a *burst*: until nothing follows for ``IDLE_S``, or the end). A scanner ends its
codes with CR, LF, both or nothing, and may put characters of its own around them; a pasted text may hold several parts
of a code, or an invitation in several lines; a mail program may have broken a long code into lines.
"""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Callable, Iterator

from firstlight.errors import InvitationError
from firstlight.sources import kinds

MAX_BYTES = kinds.MAX_TEXT
IDLE_S = 0.25
# Not tab, line feed, carriage return: what scanners put before and behind a code (STX, ETX, GS, EOT).
CONTROLS = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 127), None)
# A scanner's word on what symbol it read ("]Q1"), or a short word of its owner's.
BEFORE = re.compile(r"\A.{0,8}?(?=(?:FL1P?|WIFI):)", re.IGNORECASE)
SYMBOLOGY = re.compile(r"\A\][A-Za-z][0-9A-Za-z](?=.)")
CODE = re.compile(r"FL1P?:", re.IGNORECASE)
BASE45 = re.compile(r"[0-9A-Z $%*+./:-]+")


def texts(fd: int, patience_s: float | None = None, now: Callable[[], float] = time.monotonic) -> Iterator[str]:
    """Each text that comes, as soon as it is whole.

    Args:
        fd: open for reading; a terminal, pipe, file or serial port.
        patience_s: ends when nothing came for that long; None = waits for ever.
        now: seconds of a clock that only goes forward.

    Raises:
        InvitationError: ``text_too_long`` for more than ``MAX_BYTES`` at once, ``source_unreadable``.
    """
    burst = b""
    until = None if patience_s is None else now() + patience_s
    while True:
        left = None if until is None else max(0.0, until - now())
        holds = bool(burst) and not _is_open(burst)
        if not select.select([fd], [], [], IDLE_S if holds else left)[0]:
            yield from split(decoded(burst))
            if not holds:
                return
            burst = b""
            continue
        chunk = _read(fd)
        burst += chunk
        if len(burst) > MAX_BYTES:
            raise InvitationError("text_too_long", f"More than {MAX_BYTES} bytes came at once; no code is that long.")
        if not chunk:
            yield from split(decoded(burst))
            return
        until = None if patience_s is None else now() + patience_s


def _is_open(burst: bytes) -> bool:
    """Whether somebody types an invitation line by line; an empty line ends it."""
    if burst.endswith((b"\n\n", b"\r\r", b"\r\n\r\n")):
        return False
    return kinds.is_unfinished(decoded(burst))


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, MAX_BYTES + 1)
    except OSError as error:
        raise InvitationError("source_unreadable", f"What is typed cannot be read: {error.strerror}.") from None


def decoded(body: bytes) -> str:
    """Bytes -> text: UTF-8, what Notepad calls Unicode (UTF-16), or what it calls ANSI."""
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return body.decode("utf-16", "replace")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return body.decode("cp1252", "replace")


def split(burst: str) -> list[str]:
    """What came at once -> the texts in it, without what a scanner or a mail program put around them."""
    found: list[str] = []
    loose: list[str] = []
    code: Callable[[str], str] | None = None  # the last text is a code, and this reads a line that may go on with it
    for line in burst.translate(CONTROLS).replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        line = BEFORE.sub("", SYMBOLOGY.sub("", line), count=1)
        if CODE.match(line):
            code = _code if line[:2] == "FL" else _turned_code
            found.append(code(line))
        elif code and line.strip() and len(code(line)) == len(line) and not _stands_alone(line):
            found[-1] += code(line)
        else:
            code = None
            (found if _stands_alone(line) else loose).append(line)
    rest = "\n".join(loose).strip()
    return [text.strip() for text in found] + ([rest] if rest else [])


def _code(line: str) -> str:
    """As much of a line as is Base45."""
    found = BASE45.match(line)
    return found[0] if found else ""


def _turned_code(line: str) -> str:
    """The same where a scanner's Caps Lock has turned the letters round."""
    return _code(line.upper())


def _stands_alone(line: str) -> bool:
    bare = line.strip()
    return bare.upper().startswith("WIFI:") or bool(kinds.TYPED.match(bare.upper()))
