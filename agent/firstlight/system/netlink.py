"""Hearing from the kernel that addresses or routes of this machine have changed: rtnetlink(7), listening only.

What changed is not read: that something did is enough to try again. Links are left out, since a Wi-Fi tells of itself
at each scan; what gives a way to anywhere is an address and a route.
"""

from __future__ import annotations

import socket

# RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE of linux/rtnetlink.h
GROUPS = 0x10 | 0x40 | 0x100 | 0x400
MAX_BYTES = 65_536
MAX_MESSAGES = 256  # at one go; the rest is heard the next time


class NetworkWatch:
    """An ear on the network; deaf where the sandbox or the system does not allow one. Silence costs nothing."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        try:
            ear = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
        except OSError:
            return
        try:
            ear.bind((0, GROUPS))
        except OSError:
            ear.close()
        else:
            self._socket = ear

    def fileno(self) -> int:
        """What a wait listens to; -1 for a deaf one."""
        return self._socket.fileno() if self._socket else -1

    def heard(self) -> bool:
        """Whether anything changed since the last call; never waits."""
        found = False
        for _ in range(MAX_MESSAGES):
            try:
                if self._socket is None or not self._socket.recv(MAX_BYTES):
                    break
            except BlockingIOError:
                break
            except OSError:
                found = True  # so much changed that some of it was lost
            else:
                found = True
        return found

    def close(self) -> None:
        """Stops listening."""
        if self._socket:
            self._socket.close()
            self._socket = None
