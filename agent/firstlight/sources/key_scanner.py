"""A hand scanner that types: most USB scanners are keyboards to the box, until somebody sets them to serial.

Only a device that the setting ``scanner_device`` names is read, and it is taken for this program alone: listening to
every keyboard would mean reading the passwords that people type, and a scanner that also types into a login prompt
would leave a secret there. Keys are read as a US keyboard has them, which is how scanners come.
"""

from __future__ import annotations

import fcntl
import os
import struct

from firstlight.errors import InvitationError
from firstlight.sources import keyboard
from firstlight.sources.scanner_device import ScannerDevice

EVENT = struct.Struct("llHHi")  # struct input_event, linux/input.h
KEY, PRESSED, REPEATED = 1, 1, 2
ENTER, SHIFTS, CAPS_LOCK = (28, 96), (42, 54), 58
GRAB = 0x40044590  # EVIOCGRAB
PAUSE_S = 0.25
MAX_CHARACTERS = 8192
# Key codes from 2 on, in the order of linux/input-event-codes.h; a NUL stands for a key that types nothing.
PLAIN = "1234567890-=\0\tqwertyuiop[]\0\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 "
SHIFTED = '!@#$%^&*()_+\0\tQWERTYUIOP{}\0\0ASDFGHJKL:"~\0|ZXCVBNM<>?\0*\0 '
FIRST = 2
PAD = dict(zip((71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83), "789-456+1230.", strict=True))


class KeyScanner(ScannerDevice):
    """One scanner that types, open and ours alone.

    Args:
        path: the device, /dev/input/….

    Raises:
        InvitationError: ``scanner_unusable``.
    """

    def __init__(self, path: str, *, grab: bool = True) -> None:
        super().__init__(path)
        self._typed, self._ready = "", ""
        self._shifts: set[int] = set()
        self._has_caps = False
        self._last_s = 0.0
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            if grab:
                fcntl.ioctl(self.fd, GRAB, 1)
        except OSError as error:
            self.close()
            raise InvitationError("scanner_unusable", f"The scanner {path} cannot be used: {error.strerror}.") from None

    def take(self, now_s: float) -> None:
        """Takes what has come; a device that was unplugged is closed. Never waits."""
        try:
            while body := os.read(self.fd, EVENT.size * 64):
                self._last_s = now_s
                for _, _, kind, code, value in EVENT.iter_unpack(body[: len(body) - len(body) % EVENT.size]):
                    if kind == KEY:
                        self._key(code, value)
            self.unplugged()
        except BlockingIOError:
            pass
        except OSError:
            self.unplugged()

    def _key(self, code: int, value: int) -> None:
        if code in SHIFTS:
            (self._shifts.add if value else self._shifts.discard)(code)
        elif value not in (PRESSED, REPEATED):
            return
        elif code == CAPS_LOCK:
            self._has_caps = not self._has_caps
        elif code in ENTER:
            self._typed += "\n"
        else:
            self._typed = (self._typed + self._character(code))[-MAX_CHARACTERS - 1 :]

    def _character(self, code: int) -> str:
        if code in PAD:
            return PAD[code]
        place = code - FIRST
        if not 0 <= place < len(PLAIN) or PLAIN[place] == "\0":
            return ""
        has_shift = bool(self._shifts) != (self._has_caps and PLAIN[place].isalpha())
        return SHIFTED[place] if has_shift else PLAIN[place]

    def texts(self, now_s: float) -> list[str]:
        """The texts that are complete by now. Raises InvitationError (``scanner_unusable``) for one without end."""
        if not self._typed or now_s - self._last_s < PAUSE_S:
            return []
        typed, self._typed = self._typed, ""
        if len(typed) > MAX_CHARACTERS:
            raise InvitationError("scanner_unusable", f"{self.path} typed more than {MAX_CHARACTERS} characters.")
        return keyboard.split(typed)

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until a text is complete, None = none is under way."""
        return max(0.0, self._last_s + PAUSE_S - now_s) if self._typed else None

    def was_strange(self) -> bool:
        """It was named by its owner: whatever it types, it is a scanner."""
        return True

    def was_ours(self) -> None:
        """As expected."""
