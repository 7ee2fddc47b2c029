"""What the service manager hears, on real datagram sockets of both kinds."""

import os
import secrets
import socket
from pathlib import Path

import pytest

from firstlight.daemon.notify import ServiceNotifier, SocketSay, service_notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[socket.socket, str]:
    """A listening socket and its NOTIFY_SOCKET: a path, and an abstract address."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@firstlight-{secrets.token_hex(8)}"
    ears = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ears.bind("\0" + name[1:] if name.startswith("@") else name)
    ears.settimeout(10)
    request.addfinalizer(ears.close)
    return ears, name


def test_every_message_arrives(manager: tuple[socket.socket, str]) -> None:
    """READY with pid and status, STATUS on one line, WATCHDOG and STOPPING reach the manager in order."""
    ears, name = manager
    notifier = service_notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())})
    notifier.ready("up")
    notifier.status("two\nlines\x00 and ä")
    notifier.alive()
    notifier.stopping()

    heard = [ears.recv(4096).decode() for _ in range(4)]
    assert heard[0] == f"READY=1\nMAINPID={os.getpid()}\nSTATUS=up"
    assert heard[1].startswith("STATUS=two lines") and "\n" not in heard[1]
    assert heard[2:] == ["WATCHDOG=1", "STOPPING=1"]
    assert notifier.watchdog_s == 30.0


def test_a_status_is_printable_text(manager: tuple[socket.socket, str]) -> None:
    """A stick's file may have any name; systemd-python raises for what is no UTF-8, and a terminal obeys the rest."""
    ears, name = manager
    said: list[str] = []
    ServiceNotifier(said.append, None).status("M\udce4rz\x00.png\nMAINPID=1 \x1b[2J")
    service_notifier({"NOTIFY_SOCKET": name}).status("M\udce4rz.png")

    assert said == ["STATUS=M rz .png MAINPID=1 [2J"]
    assert ears.recv(4096) == b"STATUS=M rz.png"


def test_fallback_speaks_to_both_kinds(manager: tuple[socket.socket, str]) -> None:
    """Our own few lines reach a path and an abstract address alike, whatever else is installed."""
    ears, name = manager
    SocketSay(name)("READY=1")

    assert ears.recv(4096) == b"READY=1"


def test_outside_a_service_nothing_is_said() -> None:
    """Without NOTIFY_SOCKET there is no watchdog, and every call is quiet."""
    notifier = service_notifier({"WATCHDOG_USEC": "1000000"})
    notifier.ready("up")
    notifier.alive()
    notifier.stopping()

    assert notifier.watchdog_s is None


@pytest.mark.parametrize(
    ("microseconds", "pid", "expected"),
    [
        ("180000000", "", 180.0),
        ("180000000", "1", None),
        ("0", "", None),
        ("-5", "", None),
        ("soon", "", None),
        ("٣", "", None),
        ("9" * 30, "", None),
        ("", "", None),
    ],
)
def test_watchdog_is_read_as_systemd_means_it(
    tmp_path: Path, microseconds: str, pid: str, expected: float | None
) -> None:
    """Microseconds for this process count; for another process, or junk, there is no watchdog."""
    notifier = service_notifier(
        {"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": microseconds, "WATCHDOG_PID": pid}
    )

    assert notifier.watchdog_s == expected


def test_a_manager_that_is_gone_or_deaf_stops_nothing(tmp_path: Path) -> None:
    """No listener, and a listener whose queue is full, cost nothing but the message."""
    SocketSay(str(tmp_path / "nobody"))("READY=1")
    deaf = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    deaf.bind(str(tmp_path / "deaf"))
    say = SocketSay(str(tmp_path / "deaf"))
    for _ in range(5000):
        say("WATCHDOG=1")
    deaf.close()


def test_alive_is_silent_without_a_watchdog() -> None:
    """A unit without WatchdogSec is not woken by our messages."""
    said: list[str] = []
    ServiceNotifier(said.append, None).alive()

    assert said == []
