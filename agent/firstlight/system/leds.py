"""One LED of this box, by ``/sys/class/leds``: which one, switching it, and giving it back as it was.

A service without root's powers writes ``brightness`` and ``trigger`` where its unit gave them to it; the attributes of
the ``timer`` trigger appear as root's again, so patterns other than the kernel's own are switched one by one.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress

FOLDER = "/sys/class/leds"
NONE = "none"
# The best first: what a board calls the light that a person looks at. Network and keyboard lights are never taken.
WANTED = (
    re.compile(r"(^|[:_-])(status|state|sys|system|health)($|[:_-])"),
    re.compile(r"(^|[:_-])(act|activity|heartbeat|user|usr0|led0|run)\d*($|[:_-])"),
    re.compile(r"(^|[:_-])(power|pwr|led1|blue|green|white)($|[:_-])"),
)
UNWANTED = re.compile(r"^input\d|lock$|kbd|backlight|phy\d|wlan|eth\d|enp|mmc|disk|sata|link|flash|torch|rfkill")
RESTING = ("heartbeat",)
MAX_BYTES = 8192


def find(wanted: str = "", folder: str = FOLDER) -> str:
    """The folder of the LED to use, "" = there is none.

    Args:
        wanted: the setting ``led``: a name in ``folder``, a path, "none", or "" = choose.
        folder: takes the place of ``/sys/class/leds``.
    """
    if wanted == NONE:
        return ""
    if wanted:
        path = wanted if wanted.startswith("/") else os.path.join(folder, wanted)
        return path if os.path.exists(os.path.join(path, "brightness")) else ""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return ""
    names = [name for name in names if not UNWANTED.search(name.lower())]
    for pattern in WANTED:
        for name in names:
            if pattern.search(name.lower()):
                return os.path.join(folder, name)
    return ""


class Led:
    """One LED; implements ``signs.Light``. What the kernel refuses is kept in ``problem`` and otherwise ignored.

    Args:
        path: its folder.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.problem = ""
        trigger = self._read("trigger")
        self._triggers = trigger.replace("[", "").replace("]", "").split()
        chosen = re.search(r"\[(.+?)\]", trigger)
        self._before = chosen[1] if chosen else NONE
        self._brightness = self._read("brightness").strip()
        highest = self._read("max_brightness").strip()
        self._on = highest if highest.isdecimal() and int(highest) > 0 else "1"
        self._is_ours = False

    def switch(self, is_on: bool) -> None:
        """On or off from now on."""
        if not self._is_ours:
            self._is_ours = True
            if self._triggers:
                self._write("trigger", NONE)
        self._write("brightness", self._on if is_on else "0")

    def rest(self) -> bool:
        """Leaves it to a trigger of the kernel that shows a living box; False where the kernel has none."""
        for name in RESTING:
            if name in self._triggers and self._write("trigger", name):
                self._is_ours = False
                return True
        return False

    def give_back(self) -> None:
        """As it was before."""
        if self._before == NONE:
            if self._triggers:
                self._write("trigger", NONE)
            self._write("brightness", self._brightness or "0")
        else:
            self._write("trigger", self._before)

    def _read(self, name: str) -> str:
        with suppress(OSError):
            fd = os.open(os.path.join(self._path, name), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                return os.read(fd, MAX_BYTES).decode("ascii", "replace")
            finally:
                os.close(fd)
        return ""

    def _write(self, name: str, text: str) -> bool:
        path = os.path.join(self._path, name)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_TRUNC)
            try:
                os.write(fd, f"{text}\n".encode())
            finally:
                os.close(fd)
        except OSError as error:
            self.problem = f"The LED {self._path} cannot be used: {error.strerror}."
            return False
        return True
