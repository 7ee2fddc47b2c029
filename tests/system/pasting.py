"""A pasted command that runs by itself while a test does something to it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.conftest import wait_until
from tests.system.box import Box
from tests.system.namespaces import Network

UNIT, SAID = "pasted.service", "/run/pasted.said"  # in memory: a full disk does not swallow it


class Pasting:
    """The command, on a booted box, in the background.

    Args:
        box: where.
        command: as printed.
    """

    def __init__(self, box: Box, command: str) -> None:
        self._box = box
        box.path("/srv/pasted").write_text(command)
        box.run("systemctl", "reset-failed", UNIT, check=False)
        keep = (f"--property=StandardOutput=truncate:{SAID}", f"--property=StandardError=truncate:{SAID}.error")
        line = ("systemd-run", "--quiet", f"--unit={UNIT}", "--property=RemainAfterExit=yes", *keep)
        box.run(*line, "--setenv=HOME=/root", "sh", "/srv/pasted")

    def wait_downloading(self, prefix: str = "/opt/firstlight", at_least_bytes: int = 100_000) -> None:
        """Until some of the bundle is there, and not all of it."""

        def is_half_way() -> bool:
            found = [path for path in self._box.path(prefix).glob(".new.*/*") if path.is_file()]
            return any(path.stat().st_size >= at_least_bytes for path in found)

        wait_until("the bundle is on its way", is_half_way)

    def wait_end(self, within_s: float = 90) -> subprocess.CompletedProcess[str]:
        """Until it ends by itself; its exit status and what it said."""
        wait_until("the command ends", lambda: self._box.unit("SubState", UNIT) in ("exited", "failed"), within_s)
        status = int(self._box.unit("ExecMainStatus", UNIT))
        output, errors = (self._box.path(name).read_text() for name in (SAID, f"{SAID}.error"))
        self._box.run("systemctl", "stop", UNIT, check=False)
        return subprocess.CompletedProcess("pasted", status, output, errors)

    def kill(self) -> None:
        """SIGKILL for the script and whatever it started."""
        self._box.run("systemctl", "kill", "--signal=KILL", UNIT)
        wait_until("it is gone", lambda: self._box.unit("SubState", UNIT) in ("failed", "exited", "dead"))


@contextmanager
def slow(network: Network, box: Box, megabits: int = 16) -> Iterator[None]:
    """What reaches the box comes that slowly while the ``with`` block runs."""
    port = f"port{box.address.rpartition('.')[2]}"
    shape = ("root", "tbf", "rate", f"{megabits}mbit", "burst", "64kb", "latency", "200ms")
    network.holder.run("tc", "qdisc", "add", "dev", port, *shape)
    try:
        yield
    finally:
        network.holder.run("tc", "qdisc", "del", "dev", port, "root")
