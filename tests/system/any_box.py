"""What can be asked of a box, whatever it is made of: a container or a virtual machine."""

from __future__ import annotations

import json
import shlex
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence

from tests.e2e.conftest import wait_until

AGENT = "/opt/firstlight/bin/firstlight"
UNIT = "firstlight.service"


class AnyBox(ABC):
    """One box with the agent as a service.

    Args:
        name: its hostname.
    """

    address: str

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def boot(self) -> None:
        """Switches it on; returns when it can be talked to."""

    @abstractmethod
    def reboot(self) -> None:
        """``systemctl reboot``, to the end of the next start."""

    @abstractmethod
    def run(self, *words: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Runs a command as root."""

    @abstractmethod
    def read(self, inside: str) -> str:
        """A file's text. Raises FileNotFoundError."""

    def sh(self, script: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a line as somebody would type it."""
        return self.run("sh", "-c", script, check=check)

    @staticmethod
    def _checked(
        done: subprocess.CompletedProcess[str], words: Sequence[str], check: bool
    ) -> subprocess.CompletedProcess[str]:
        assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    # -- the service -------------------------------------------------------------------------------------------------
    def unit(self, name: str, unit: str = UNIT) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--property", name, "--value", unit).stdout.strip()

    @property
    def agent_pid(self) -> int:
        """The agent's process, by the number it has inside; 0 when it does not run."""
        return int(self.unit("MainPID"))

    def live(self) -> dict[str, object]:
        """What the running agent publishes; empty while there is none."""
        try:
            found = json.loads(self.read("/run/firstlight/status.json"))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        assert isinstance(found, dict)
        return found

    def status(self) -> dict[str, object]:
        """``firstlight status --json``."""
        found = json.loads(self.run(AGENT, "status", "--json", check=False).stdout)
        assert isinstance(found, dict)
        return found

    def wait_online(self, within_s: float = 30) -> None:
        """Until the agent that runs now has had a beat accepted and nothing went wrong since."""
        done = self.run(AGENT, "status", "--wait-online", str(within_s), check=False)
        assert done.returncode == 0, done.stdout + self.journal()

    def wait_state(self, state: str, within_s: float = 30) -> dict[str, object]:
        """Until the agent publishes that state; where that is in vain, what it published and logged last is shown."""
        try:
            wait_until(f"{self.name} is {state}", lambda: self.live().get("state") == state, within_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.live()}\n{self.journal()[-3000:]}") from None
        return self.live()

    def first_beat(self) -> tuple[float, float]:
        """When the network was there and when this boot's first beat was accepted: seconds since the kernel's start."""
        network_s = int(self.unit("ActiveEnterTimestampMonotonic", "network-online.target")) / 1e6
        said = self.run("journalctl", "--no-pager", "--output=json", "--boot", f"--unit={UNIT}").stdout.splitlines()
        online = next(line for line in map(json.loads, said) if str(line["MESSAGE"]).startswith("Online:"))
        return network_s, int(online["__MONOTONIC_TIMESTAMP"]) / 1e6

    def journal(self, unit: str = UNIT) -> str:
        """The unit's log."""
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}").stdout

    def journal_lines(self, unit: str = UNIT) -> list[dict[str, str]]:
        """The unit's log with its fields; the whole box's for no unit."""
        chosen = [f"--unit={unit}"] if unit else []
        text = self.run("journalctl", "--no-pager", "--output=json", "--all", *chosen).stdout
        return [json.loads(line) for line in text.splitlines()]

    def drop_in(self, name: str, text: str, unit: str = UNIT) -> None:
        """Changes a unit as its owner would."""
        file = f"/etc/systemd/system/{unit}.d/{name}.conf"
        self.sh(f"mkdir -p {file.rpartition('/')[0]} && printf %s {shlex.quote(text)} >{file}")
        self.run("systemctl", "daemon-reload")
