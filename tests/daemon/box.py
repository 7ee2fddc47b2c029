"""A box as tests see it: an enrolled state directory, and the beating process as ``firstlight run`` starts it."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import firstlight
from firstlight.core.model import Credential, Facts, Registration, Secret, Trust, parse_endpoint
from firstlight.system.store import KEY, StateDirectory
from firstlight.wire.facts import facts_object
from tests.daemon.platform_server import PlatformServer

FINGERPRINT = "sha256:" + "ab" * 32
DEVICE_KEY = "planted-device-key"
FACTS = Facts(hostname="box", platform="Linux", type="jetson")
PACKAGE_ROOT = str(Path(firstlight.__file__).parent.parent)
START = (
    f"import sys; sys.path[:0] = [{PACKAGE_ROOT!r}]; from firstlight.daemon.main import main; "
    "sys.exit(main(sys.argv[1]))"
)


def registration_for(url: str, ca_pem: str) -> Registration:
    """What enrolling at that address would have left."""
    return Registration(
        platform="hub",
        endpoint=parse_endpoint(url),
        trust=Trust(ca_pem=ca_pem),
        workspace="acme",
        device_id="dev-1",
        credential=Credential("secret", Secret(DEVICE_KEY)),
        interval_s=60,
        key_fingerprint=FINGERPRINT,
        csr_pem="-----BEGIN CERTIFICATE REQUEST-----\n",
        registered_at_s=1_795_000_000.0,
    )


class Box:
    """One box; ``haste`` divides every wait of its agent, ``change`` makes another registration of the plain one."""

    def __init__(
        self,
        folder: Path,
        server: PlatformServer,
        haste: float = 1.0,
        change: Callable[[Registration], Registration] = lambda registration: registration,
    ) -> None:
        self.folder = folder
        self.store = StateDirectory(str(folder / "state"))
        self.store.prepare()
        self.store.save_registration(change(registration_for(server.url, server.ca_pem)))
        self.store.write_text(KEY, "a private key")
        self.store.write_json("facts.json", facts_object(FACTS))
        self.run_file: dict[str, object] = {"stateDir": str(folder / "state"), "haste": haste}
        self.store.write_json("run.json", self.run_file)
        self._address = str(folder / "notify")
        self._ears = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ears.bind(self._address)
        self.heard: list[str] = []
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, watchdog_s: float | None = None) -> None:
        """Starts the agent in an environment like systemd's."""
        environment = {"PATH": "/usr/bin:/bin", "NOTIFY_SOCKET": self._address}
        if watchdog_s:
            environment["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", START, self.store.path + "/run.json"], env=environment, stderr=log
            )

    def goes_back_through(self, script: str) -> None:
        """Names the command by which the agent begins again: Python with a script, then the agent as it was started."""
        script = f"{script}\nimport os, sys\nos.execv(sys.executable, [sys.executable, '-I', '-S', '-c', {START!r}, "
        again = [sys.executable, "-I", "-c", script + f"{self.store.path + '/run.json'!r}])"]
        self.store.write_json("run.json", {**self.run_file, "again": again})

    @property
    def pid(self) -> int:
        """The running agent's."""
        assert self.process is not None
        return self.process.pid

    def wait_for(self, word: str, deadline_s: float = 20.0) -> str:
        """The next message to the service manager that holds the word."""
        ends_s = time.monotonic() + deadline_s
        while (left_s := ends_s - time.monotonic()) > 0:
            if select.select([self._ears], [], [], left_s)[0]:
                self.heard.append(self._ears.recv(4096).decode())
                if word in self.heard[-1]:
                    return self.heard[-1]
        raise AssertionError(f"never said: {word}; said {self.heard}; log: {self.log.read_text()}")

    def wait_status(self, is_it: Callable[[dict[str, Any]], bool], deadline_s: float = 20.0) -> dict[str, Any]:
        """The status object, once it is as wanted (the file is another process's: looked at every 20 ms)."""
        ends_s = time.monotonic() + deadline_s
        found: dict[str, Any] = {}
        while time.monotonic() < ends_s:
            found = self.status()
            if found and is_it(found):
                return found
            select.select([], [], [], 0.02)
        raise AssertionError(f"status stayed {found}; log: {self.log.read_text()}")

    def status(self) -> dict[str, Any]:
        """The status object, empty before the first one."""
        path = Path(self.store.path, "status.json")
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def ends(self, deadline_s: float = 20.0) -> int:
        """Waits for the agent's own end; its exit status."""
        assert self.process is not None
        return self.process.wait(deadline_s)

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Ends the agent by a signal; its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        return self.ends()

    def close(self) -> None:
        """Leaves nothing running."""
        if self.process is not None:
            self.kill()
        self._ears.close()
