"""A hand scanner on a serial line: USB scanners that are set to "serial" or "USB-COM", and real ones on an adapter.

A scanner sends a whole code in one go, with or without a line end: what comes without a pause is one text. Other things
live on serial lines too (a GPS, a modem): one that keeps talking is no scanner, and is left alone.
"""

from __future__ import annotations

import os
import re
import termios
from contextlib import suppress
from pathlib import Path

from firstlight.errors import InvitationError
from firstlight.sources import keyboard
from firstlight.sources.scanner_device import ScannerDevice

NAMES = re.compile(r"tty(ACM|USB)\d+\Z")
PAUSE_S = 0.25
MAX_BYTES = 8192
# Most are set to the first; one that sends rubbish is listened to at the other.
SPEEDS = (termios.B9600, termios.B115200)
# Texts that are no code of ours, one after the other, until a line is taken for something else's.
MAX_STRANGE = 8
MAX_HELD_BYTES = 65_536


def lines(folder: str = "/dev") -> list[str]:
    """The serial lines of this box that may lead to a scanner. Never raises."""
    try:
        return sorted(str(each) for each in Path(folder).iterdir() if NAMES.match(each.name))
    except OSError:
        return []


class SerialScanner(ScannerDevice):
    """One line, open.

    Args:
        path: the device.

    Raises:
        InvitationError: ``scanner_unusable``.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._held, self._last_s, self._speed = b"", 0.0, 0
        self._strange = 0
        self._overflowed = 0
        try:
            self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            self._set_up()
        except (OSError, termios.error) as error:
            self.close()
            why = error.args[1] if len(error.args) > 1 else error
            raise InvitationError("scanner_unusable", f"The scanner {path} cannot be used: {why}.") from None

    def _set_up(self) -> None:
        """Raw bytes, 8N1, no flow control, no modem lines."""
        was = termios.tcgetattr(self.fd)
        speed = SPEEDS[self._speed]
        control = (was[2] & ~(termios.CSIZE | termios.PARENB | termios.CSTOPB | termios.CRTSCTS | termios.HUPCL)) | (
            termios.CS8 | termios.CREAD | termios.CLOCAL
        )
        termios.tcsetattr(self.fd, termios.TCSANOW, [termios.IGNBRK, 0, control, 0, speed, speed, was[6]])

    def take(self, now_s: float) -> None:
        """Takes what has come; a line that was unplugged is closed. Never waits."""
        try:
            while part := os.read(self.fd, 4096):
                self._held, self._last_s = (self._held + part)[-MAX_BYTES - 1 :], now_s
                self._overflowed += len(part)
                if self._overflowed > MAX_HELD_BYTES:
                    self._give_up()
                    return
            self.unplugged()
        except BlockingIOError:
            pass
        except OSError:
            self.unplugged()

    def texts(self, now_s: float) -> list[str]:
        """The texts that are complete by now. Raises InvitationError (``scanner_unusable``) for what is none."""
        if not self._held or now_s - self._last_s < PAUSE_S:
            return []
        held, self._held, self._overflowed = self._held, b"", 0
        if len(held) > MAX_BYTES:
            raise InvitationError("scanner_unusable", f"{self.path} sent more than {MAX_BYTES} bytes in one go.")
        try:
            held.decode("utf-8")
        except UnicodeDecodeError:
            self._change_speed()
            raise InvitationError(
                "scanner_unusable", f"What came from {self.path} is no text. Scan again: the other speed is tried now."
            ) from None
        return keyboard.split(keyboard.decoded(held))

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until a text is complete, None = none is under way."""
        return max(0.0, self._last_s + PAUSE_S - now_s) if self._held else None

    def was_strange(self) -> bool:
        """The last text was none of ours; False once there were too many, and the line was closed."""
        self._strange += 1
        if self._strange > MAX_STRANGE:
            self._give_up()
        return self.fd >= 0

    def was_ours(self) -> None:
        """The last text was one of ours: there is a scanner at this line."""
        self._strange = 0

    def _change_speed(self) -> None:
        self._speed = (self._speed + 1) % len(SPEEDS)
        with suppress(OSError, termios.error):
            self._set_up()

    def _give_up(self) -> None:
        self.problem = f"{self.path} keeps sending other things: it is not taken for a scanner."
        self.close()
