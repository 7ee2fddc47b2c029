"""Words to systemd, over a real datagram socket of both kinds."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

import pytest

from firstlight_hub.notify import notify, watchdog_s


@pytest.mark.parametrize("is_abstract", [False, True])
def test_message_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_abstract: bool) -> None:
    """One datagram with the text, to a socket in the file system as well as to an abstract one."""
    name = f"@firstlight-{secrets.token_hex(8)}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name.replace("@", "\0", 1) if is_abstract else name)
        listening.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        notify("READY=1")
        assert listening.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all"])
def test_no_listener_is_no_error(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Without systemd, or with a socket that is gone, nothing happens."""
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")


def test_watchdog_counts_for_the_named_process_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """WATCHDOG_USEC is for WATCHDOG_PID, or for anyone where none is named."""
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert watchdog_s() is None
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    assert watchdog_s() == 30.0
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert watchdog_s() == 30.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_s() is None
