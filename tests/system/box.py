"""A box: a booted Debian with systemd as its first process, on a disposable disk, with a network cable."""

from __future__ import annotations

import os
import queue
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from tests.system.any_box import AGENT, UNIT, AnyBox
from tests.system.namespaces import PLAIN_ENV, WITH_US, Cgroup, Holder, Network

__all__ = ["AGENT", "UNIT", "Box"]

REBOOT_ASKED = 133
WITHOUT_CLOCK = ("setpriv", "--bounding-set=-sys_time", "--inh-caps=-sys_time", "--")
# The disk is a layer over the shared tree, in memory: it is gone when the box is.
DISK = """
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/systemd
mount -t tmpfs -o "mode=755,size=$3" tmpfs "$2"
mkdir "$2/changes" "$2/work" "$2/top"
mount -t overlay -o "lowerdir=$1,upperdir=$2/changes,workdir=$2/work" overlay "$2/top"
echo "127.0.1.1 $4" >>"$2/top/etc/hosts"
"""


class Box(AnyBox):
    """One machine.

    Args:
        name: its hostname.
        tree: the root file system that it shares with others, read-only.
        scratch: an own, empty folder.
        network: where its cable leads.
        disk_size: what fits on its disk beyond the shared tree, as tmpfs understands it.
        binds: folder of this machine -> where the box sees it, read-only.
    """

    disk_script = DISK

    def __init__(
        self,
        name: str,
        tree: Path,
        scratch: Path,
        network: Network,
        disk_size: str = "2g",
        binds: Mapping[Path, str] | None = None,
    ) -> None:
        super().__init__(name)
        self._scratch = scratch
        self._binds = [f"--bind-ro={here}:{there}" for here, there in (binds or {}).items()]
        (scratch / "disk").mkdir()
        self._root = scratch / "disk" / "top"
        self._ends = ExitStack()
        self._holder = Holder(self.disk_script, str(tree), str(scratch / "disk"), disk_size, name)
        self._ends.callback(self._holder.end)
        self.address = network.plug_in(self._holder)
        self._cgroup = Cgroup()
        self._ends.callback(self._cgroup.remove)
        self._ear = self._ends.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self._ear.bind(str(scratch / "notify"))
        self._heard: queue.SimpleQueue[str] = queue.SimpleQueue()
        # Always read: with a full queue systemd-nspawn waits for its reader, and the box's first process for it.
        threading.Thread(target=self._listen, daemon=True).start()
        self._ends.callback(self._ear.shutdown, socket.SHUT_RD)
        self._nspawn: subprocess.Popen[bytes] | None = None
        self.leader = 0  # its first process, by the number it has outside
        self.boot_s = 0.0

    # -- power -------------------------------------------------------------------------------------------------------
    def boot(self, *options: str) -> None:
        """Switches it on; returns when systemd has started everything. Options are systemd-nspawn's, for this start."""
        # systemd 253 and later say READY=1 after a daemon-reload too: what an earlier life said does not count.
        while not self._heard.empty():
            self._heard.get()
        started_s = time.monotonic()
        self._nspawn = self._spawn("--boot", "--notify-ready=yes", *options)
        self._wait_ready()
        self.boot_s = time.monotonic() - started_s

    def reboot(self) -> None:
        """``systemctl reboot``, to the end of the next start."""
        assert self._nspawn is not None
        self.run("systemctl", "reboot")
        assert self._nspawn.wait(60) == REBOOT_ASKED, self.console()
        self.boot()

    def cut_power(self, chance: random.Random | None = None) -> int:
        """Every process ends at once, and nobody is asked. Its disk loses nothing: returns 0."""
        assert self._nspawn is not None
        os.kill(self.leader, signal.SIGKILL)
        self._nspawn.wait(20)
        return 0

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
            try:
                said = self._heard.get(timeout=max(0.0, deadline_s - time.monotonic()))
            except queue.Empty:
                raise AssertionError(self.console()) from None
            assert self._nspawn.poll() is None, self.console()
            for line in said.splitlines():
                if line.startswith("X_NSPAWN_LEADER_PID="):
                    self.leader = int(line.partition("=")[2])
                elif line == "READY=1":
                    return

    def _listen(self) -> None:
        """Takes what systemd-nspawn says, until the box is taken away."""
        with suppress(OSError):
            while said := self._ear.recv(4096):
                self._heard.put(said.decode())

    def console(self) -> str:
        """What it printed on its console."""
        return (self._scratch / "console").read_text(errors="replace")[-4000:]

    # -- inside ------------------------------------------------------------------------------------------------------
    def run(self, *words: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Runs a command as root, who may not set this machine's clock: nsenter keeps rights that the box lacks."""
        line = ["nsenter", f"--target={self.leader}", "--all", "--", *WITHOUT_CLOCK, *words]
        done = subprocess.run(line, input=stdin, capture_output=True, text=True, env=PLAIN_ENV, timeout=90)
        return self._checked(done, words, check)

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

    def read(self, inside: str) -> str:
        """A file's text. Raises FileNotFoundError."""
        return self.path(inside).read_text()

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
