"""Tones: the bell of the screen's console, which a buzzer or loudspeaker of the board answers, or a file like an LED's.

The kernel rings the console's bell on every beeper that it has a driver for (``pcspkr``, ``gpio-beeper``,
``pwm-beeper``). A buzzer on a GPIO that the board shows as an LED is switched by the setting ``beeper``. A box without
either stays silent.
"""

from __future__ import annotations

import os

BELL = b"\a"


class Bell:
    """The bell of a console; implements ``signs.Light``: each switching on rings once.

    Args:
        path: the console, "" = none.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def switch(self, is_on: bool) -> None:
        """Rings."""
        if is_on and self._path:
            write_now(self._path, BELL)

    def rest(self) -> bool:
        """Silence needs nothing."""
        return True


class Buzzer:
    """A file that takes "1" and "0", as an LED's ``brightness`` does; implements ``signs.Light``.

    Args:
        path: the file, or the folder of an LED.
    """

    def __init__(self, path: str) -> None:
        self._path = os.path.join(path, "brightness") if os.path.isdir(path) else path

    def switch(self, is_on: bool) -> None:
        """On or off from now on."""
        write_now(self._path, b"1\n" if is_on else b"0\n")

    def rest(self) -> bool:
        """Off."""
        self.switch(False)
        return True


def write_now(path: str, body: bytes) -> bool:
    """Writes to a device or an attribute that is there, without ever waiting; False where it does not take it."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.write(fd, body) == len(body)
    except OSError:
        return False
    finally:
        os.close(fd)
