"""Words to systemd: READY, STATUS and WATCHDOG over its datagram socket (sd_notify(3)); nothing where there is none."""

from __future__ import annotations

import os
import socket


def notify(text: str) -> None:
    """Sends one message; best effort, because a hub without its listener must go on all the same."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaking:
        try:
            speaking.connect(address)
            speaking.sendall(text.encode())
        except OSError:
            return


def watchdog_s() -> float | None:
    """Longest time between two WATCHDOG=1, or None where nobody watches this process."""
    span, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not span.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(span) / 1_000_000
