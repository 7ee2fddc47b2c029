"""A box: a booted Debian with systemd as its first process, on a disposable disk, with a network cable."""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from tests.e2e.conftest import wait_until
from tests.system.namespaces import PLAIN_ENV, WITH_US, Cgroup, Holder, Network

REBOOT_ASKED = 133
# The disk is a layer over the shared tree, in memory: it is gone when the box is.
DISK = """
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/systemd
mount -t tmpfs -o "mode=755,size=$3" tmpfs "$2"
mkdir "$2/changes" "$2/work" "$2/top"
mount -t overlay -o "lowerdir=$1,upperdir=$2/changes,workdir=$2/work" overlay "$2/top"
echo "127.0.1.1 $4" >>"$2/top/etc/hosts"
"""
AGENT = "/opt/firstlight/bin/firstlight"
UNIT = "firstlight.service"


class Box:
    """One machine.

    Args:
        name: its hostname.
        tree: the root file system that it shares with others, read-only.
        scratch: an own, empty folder.
        network: where its cable leads.
        disk_size: what fits on its disk beyond the shared tree, as tmpfs understands it.
        binds: folder of this machine -> where the box sees it, read-only.
    """

    def __init__(
        self,
        name: str,
        tree: Path,
        scratch: Path,
        network: Network,
        disk_size: str = "2g",
        binds: Mapping[Path, str] | None = None,
    ) -> None:
        self.name, self._scratch = name, scratch
        self._binds = [f"--bind-ro={here}:{there}" for here, there in (binds or {}).items()]
        (scratch / "disk").mkdir()
        self._root = scratch / "disk" / "top"
        self._ends = ExitStack()
        self._holder = Holder(DISK, str(tree), str(scratch / "disk"), disk_size, name)
        self._ends.callback(self._holder.end)
        self.address = network.plug_in(self._holder)
        self._cgroup = Cgroup()
        self._ends.callback(self._cgroup.remove)
        self._ear = self._ends.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self._ear.bind(str(scratch / "notify"))
        self._nspawn: subprocess.Popen[bytes] | None = None
        self.leader = 0  # its first process, by the number it has outside
        self.boot_s = 0.0

    # -- power -------------------------------------------------------------------------------------------------------
    def boot(self) -> None:
        """Switches it on; returns when systemd has started everything."""
        started_s = time.monotonic()
        self._nspawn = self._spawn("--boot", "--notify-ready=yes")
        self._wait_ready()
        self.boot_s = time.monotonic() - started_s

    def reboot(self) -> None:
        """``systemctl reboot``, to the end of the next start."""
        assert self._nspawn is not None
        self.run("systemctl", "reboot")
        assert self._nspawn.wait(60) == REBOOT_ASKED, self.console()
        self.boot()

    def cut_power(self) -> None:
        """Every process ends at once, and nobody is asked."""
        assert self._nspawn is not None
        os.kill(self.leader, signal.SIGKILL)
        self._nspawn.wait(20)

    def unplug(self) -> None:
        """Pulls the network cable."""
        self._holder.run("ip", "link", "set", "host0", "down")

    def plug_in(self) -> None:
        """Puts the network cable back."""
        self._holder.run("ip", "link", "set", "host0", "up")

    def end(self) -> None:
        """Takes the box away, with all that was on it."""
        self._ends.close()
        if self._nspawn is not None:
            self._nspawn.wait(20)

    def _spawn(self, *options: str, output: int | None = None, errors: int | None = None) -> subprocess.Popen[bytes]:
        # Not registered: there is no systemd on the outside to register with.
        line = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--settings=no", "--resolv-conf=off"]
        line += [f"--machine={self.name}", f"--directory={self._root}", *self._binds]
        line += [f"--network-namespace-path={self._holder.network}", *options]
        env = {**PLAIN_ENV, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "NOTIFY_SOCKET": str(self._scratch / "notify")}
        with (self._scratch / "console").open("ab") as console:
            return subprocess.Popen(
                self._cgroup.around([*WITH_US, *self._holder.inside(*WITH_US, *line)]),
                stdin=subprocess.DEVNULL,
                stdout=output or console,
                stderr=errors or console,
                env=env,
            )

    def _wait_ready(self) -> None:
        assert self._nspawn is not None
        deadline_s = time.monotonic() + 60
        while True:
            heard = select.select([self._ear], [], [], max(0.0, deadline_s - time.monotonic()))[0]
            assert heard and self._nspawn.poll() is None, self.console()
            for line in self._ear.recv(4096).decode().splitlines():
                if line.startswith("X_NSPAWN_LEADER_PID="):
                    self.leader = int(line.partition("=")[2])
                elif line == "READY=1":
                    return

    def console(self) -> str:
        """What it printed on its console."""
        return (self._scratch / "console").read_text(errors="replace")[-4000:]

    # -- inside ------------------------------------------------------------------------------------------------------
    def run(self, *words: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Runs a command as root."""
        line = ["nsenter", f"--target={self.leader}", "--all", "--", *words]
        done = subprocess.run(line, input=stdin, capture_output=True, text=True, env=PLAIN_ENV, timeout=90)
        assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def sh(self, script: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a line as somebody would type it."""
        return self.run("sh", "-c", script, check=check)

    def sh_without_systemd(self, script: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs a line on a box that was not booted: in a container image, a chroot, another init."""
        words = ("--as-pid2", "--console=pipe", "sh", "-c", script)
        process = self._spawn(*words, output=subprocess.PIPE, errors=subprocess.PIPE)
        try:
            output, errors = process.communicate(timeout=timeout_s)
        finally:
            process.terminate()  # and with it what runs in the box
            process.wait(20)
        return subprocess.CompletedProcess(script, process.returncode, output.decode(), errors.decode())

    def start_without_systemd(self, script: str) -> subprocess.Popen[bytes]:
        """Starts a line on a box that was not booted; the caller ends it."""
        return self._spawn("--as-pid2", "--console=pipe", "sh", "-c", script)

    def path(self, inside: str) -> Path:
        """A file of the box as this machine sees it, in memory file systems too."""
        pid = self.leader if self._nspawn is not None and self._nspawn.poll() is None else 0
        top = Path(f"/proc/{pid}/root") if pid else Path(f"/proc/{self._holder.process.pid}/root{self._root}")
        return top / inside.lstrip("/")

    def files(self, *below: str) -> dict[str, tuple[int, int, int, int]]:
        """Every file and folder on its disk, or below some folders, without the journal's.

        Returns:
            name -> mode, owner, size in bytes and time of change in ns (both 0 for a folder).
        """
        found = {}
        top = self.path("/")
        device = top.stat().st_dev
        for start in below or ("",):
            for folder, folders, files in os.walk(top / start.lstrip("/")):
                for name in (*folders, *files):
                    path = os.path.join(folder, name)  # noqa: PTH118 - thousands of them
                    stat = os.lstat(path)
                    size_bytes = 0 if name in folders else stat.st_size
                    changed_ns = 0 if name in folders else stat.st_mtime_ns
                    found[path.removeprefix(str(top))] = (stat.st_mode, stat.st_uid, size_bytes, changed_ns)
                folders[:] = [name for name in folders if os.lstat(f"{folder}/{name}").st_dev == device]
                if folder.endswith("/var/log"):
                    folders.remove("journal")
        return found

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
            found = json.loads(self.path("/run/firstlight/status.json").read_text())
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
        """Until the agent publishes that state."""
        wait_until(f"{self.name} is {state}", lambda: self.live().get("state") == state, within_s)
        return self.live()

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
