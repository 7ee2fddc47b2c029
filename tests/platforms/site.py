"""A desk and a box, both with the real command line, at whichever platform."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.e2e.conftest import BIN


class Site:
    """An operator's desk and one box.

    Args:
        folder: of both, empty.
        platform: its name.
        base: address of its management interface.
        workspace: the operator's, "" = the key says it.
        key: the operator's.
        ca_pem: of that address, "" = it is plain, or ``trust`` says how it is recognised.
        extra: further settings of the place.
        trust: further words that say how the platform is recognised.
    """

    def __init__(
        self,
        folder: Path,
        platform: str,
        base: str,
        workspace: str,
        key: str,
        ca_pem: str = "",
        extra: Mapping[str, str] | None = None,
        trust: Sequence[str] = (),
    ) -> None:
        self.folder, self.platform, self.state_dir = folder, platform, folder / "state"
        self.boot = folder / "boot"
        self.boot.mkdir(parents=True)
        self.env = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        self._processes: list[subprocess.Popen[str]] = []
        key_file = folder / "operator.key"
        key_file.write_text(key)
        key_file.chmod(0o600)
        self.desk_words = ["--platform", platform, "--base", base, "--api-key-file", str(key_file), *trust]
        if workspace:
            self.desk_words += ["--workspace", workspace]
        if ca_pem:
            (folder / "ca.pem").write_text(ca_pem)
            self.desk_words += ["--ca-file", str(folder / "ca.pem")]
        for name, value in (extra or {}).items():
            self.desk_words += ["--extra", f"{name}={value}"]

    def cli(self, *words: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Runs ``firstlight``; ``status``: how it must end, None = however."""
        line = [str(BIN / "firstlight"), *words]
        done = subprocess.run(line, capture_output=True, text=True, env=self.env, timeout=90, stdin=subprocess.DEVNULL)
        assert status is None or done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def desk(self, *words: str, status: int | None = 0) -> str:
        """A verb of the desk; what it printed, where it may fail what it said of that too."""
        done = self.cli("device", *words, *self.desk_words, status=status)
        return done.stdout if status == 0 else done.stdout + done.stderr

    def rows(self) -> list[dict[str, object]]:
        """Every device of the place, as ``device list --json`` has it."""
        found = json.loads(self.desk("list", "--json"))["data"]
        assert isinstance(found, list)
        return found

    def told(self, device_id: str) -> str:
        """The status in that list; "gone" where the device is not in it."""
        return next((str(row["status"]) for row in self.rows() if row["id"] == device_id), "gone")

    def enroll(self, boot_file: Path, *words: str, status: int | None = 0) -> str:
        """The box takes the boot file in; what it printed."""
        line = ("enroll", "--file", str(boot_file), "--state-dir", str(self.state_dir), "--no-start")
        done = self.cli(*line, *words, status=status)
        return done.stdout + done.stderr

    def run(self) -> None:
        """Starts the agent."""
        line = [str(BIN / "firstlight"), "run", "--state-dir", str(self.state_dir)]
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.env)
        self._processes.append(process)

    def stop(self) -> str:
        """Ends what runs; what the agents said."""
        said = ""
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
            said += process.communicate(timeout=30)[0] or ""
        self._processes.clear()
        return said

    def status(self) -> dict[str, object]:
        """What the box says of itself."""
        found = json.loads(self.cli("status", "--json", "--state-dir", str(self.state_dir), status=None).stdout)
        assert isinstance(found, dict)
        return found
