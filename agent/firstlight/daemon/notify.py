"""What the service manager hears: sd_notify(3) over its datagram socket.

With systemd-python installed its ``systemd.daemon.notify`` speaks; without it the few lines below do. Outside a
service, when ``NOTIFY_SOCKET`` is not set, nothing is said.
"""

from __future__ import annotations

import os
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Say = Callable[[str], object]

MAX_STATUS = 400


class ServiceNotifier:
    """Implements ``core.interfaces.Notifier``.

    Args:
        say: hands one message to the service manager; never raises.
        watchdog_s: longest time between two calls of ``alive``, or None.
    """

    def __init__(self, say: Say, watchdog_s: float | None) -> None:
        self._say = say
        self._watchdog_s = watchdog_s

    @property
    def watchdog_s(self) -> float | None:
        """Longest time between two calls of ``alive``, or None without a watchdog."""
        return self._watchdog_s

    def ready(self, status: str) -> None:
        """The service is up. MAINPID is told too: a wrapper may have started this process."""
        self._say(f"READY=1\nMAINPID={os.getpid()}\nSTATUS={_one_line(status)}")

    def status(self, status: str) -> None:
        """One line for ``systemctl status``."""
        self._say(f"STATUS={_one_line(status)}")

    def alive(self) -> None:
        """Feeds the watchdog; nothing when there is none."""
        if self._watchdog_s is not None:
            self._say("WATCHDOG=1")

    def stopping(self) -> None:
        """The service is going down on purpose."""
        self._say("STOPPING=1")


def service_notifier(environ: Mapping[str, str]) -> ServiceNotifier:
    """The notifier that the environment asks for.

    Args:
        environ: NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID as systemd sets them.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return ServiceNotifier(_say_nothing, None)
    return ServiceNotifier(_systemd_say() or SocketSay(address), _watchdog_s(environ))


class SocketSay:
    """The fallback: one datagram a message, to a path or (with a leading ``@``) an abstract address."""

    def __init__(self, address: str) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def __call__(self, message: str) -> None:
        """Sends it; a manager that is gone or overwhelmed is no reason to stop."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
                mouth.setblocking(False)  # a manager that does not listen must not stop the beats
                mouth.sendto(message.encode("utf-8", "replace"), self._address)
        except OSError:
            return


def _say_nothing(message: str) -> None:
    """Nobody listens."""


def _systemd_say() -> Say | None:
    try:
        from systemd.daemon import notify
    except ImportError:
        return None

    def say(message: str) -> None:
        try:
            notify(message)
        except OSError:
            return

    return say


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """sd_watchdog_enabled(3): microseconds, meant for one process if WATCHDOG_PID says so."""
    asked, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not asked.isascii() or not asked.isdigit() or len(asked) > 18 or int(asked) == 0:
        return None
    if pid and pid != str(os.getpid()):
        return None
    return int(asked) / 1e6


def _one_line(text: str) -> str:
    # A file's name may be in it that is no UTF-8, or has what steers a terminal: systemd-python raises for the first.
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:MAX_STATUS]
