"""What comes and goes in a few folders (/dev, the state directory), told by the kernel: inotify(7).

A device that is plugged in makes a file below /dev, then udev gives it its rights: both are events. Python's standard
library has no inotify; the three calls are made through ctypes.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

CREATED, ATTRIBUTES, MOVED_IN = 0x100, 0x4, 0x80
ONLY_FOLDER = 0x01000000
HEAD = struct.Struct("iIII")
READ_BYTES = 65_536


class Arrivals:
    """The names that appeared, or got other rights, in the folders that are watched.

    Args:
        folders: those that are there are watched.

    Attributes:
        fd: becomes readable when something happened, -1 where the kernel gives no events.
    """

    def __init__(self, folders: Iterable[str]) -> None:
        self._folders: dict[int, str] = {}
        self.fd = -1
        try:
            import ctypes

            self._libc = ctypes.CDLL(None, use_errno=True)
            self.fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        except (ImportError, OSError, AttributeError):
            return
        for folder in folders:
            self.watch(folder)

    def watch(self, folder: str) -> bool:
        """Watches one more; False where it is not there."""
        if self.fd < 0 or folder in self._folders.values():
            return self.fd >= 0
        mask = CREATED | ATTRIBUTES | MOVED_IN | ONLY_FOLDER
        number = self._libc.inotify_add_watch(self.fd, os.fsencode(folder), mask)
        if number >= 0:
            self._folders[number] = folder
        return bool(number >= 0)

    def read(self) -> set[str]:
        """The paths for which something happened since the last call. Never waits."""
        found = set()
        with suppress(BlockingIOError):
            while self.fd >= 0 and (body := os.read(self.fd, READ_BYTES)):
                place = 0
                while place + HEAD.size <= len(body):
                    number, _, _, length = HEAD.unpack_from(body, place)
                    name = body[place + HEAD.size : place + HEAD.size + length].rstrip(b"\0")
                    place += HEAD.size + length
                    if number in self._folders and name:
                        found.add(os.path.join(self._folders[number], os.fsdecode(name)))
        return found

    def close(self) -> None:
        """Ends watching."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
