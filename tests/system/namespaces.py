"""Own mounts, an own network and own cgroups for the tested boxes; all of it is gone when the test process is.

Nothing here changes the machine that runs the tests: mounts and links live in namespaces that a holder process keeps
open, and the kernel takes both away with it.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from tests.e2e.conftest import wait_until

Result = TypeVar("Result")

PLAIN_ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
# What a test starts ends with the test process, also when that is killed.
WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
CGROUPS = Path("/sys/fs/cgroup")
CLONE_NEWNET = 0x40000000
SUBNET = "10.77.0"

_numbers = itertools.count(1)


class Holder:
    """A process in a mount and a network namespace of its own.

    Args:
        prepare: shell commands to run there first.
        words: ``$1`` and so on for them.
    """

    def __init__(self, prepare: str, *words: str) -> None:
        script = f"set -eu\n{prepare}\nip link set lo up\necho ready\nexec sleep infinity"
        line = [*WITH_US, "unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", script, "sh", *words]
        self.process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=PLAIN_ENV
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        ready = self.process.stdout.readline()
        assert ready == "ready\n", self.process.stderr.read()

    @property
    def network(self) -> str:
        """The network namespace, as a path."""
        return f"/proc/{self.process.pid}/ns/net"

    def inside(self, *words: str) -> list[str]:
        """The command line that runs these words there."""
        return ["nsenter", f"--target={self.process.pid}", "--mount", "--net", "--", *words]

    def run(self, *words: str) -> str:
        """Runs a command there; its standard output."""
        done = subprocess.run(self.inside(*words), capture_output=True, text=True, env=PLAIN_ENV, timeout=30)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout

    def end(self) -> None:
        """Ends the holder, and with it the namespaces unless somebody else is in them."""
        self.process.kill()
        self.process.communicate()  # closes its pipes too


class Network:
    """A switch, with an address of its own on it where the hub listens."""

    address = f"{SUBNET}.1"

    def __init__(self) -> None:
        self.holder = Holder("ip link add switch type bridge && ip link set switch up")
        self.holder.run("ip", "address", "add", f"{self.address}/24", "dev", "switch")
        self._hosts = itertools.count(2)
        # A thread that lives in this network: whatever it opens, it opens there.
        self._thread = ThreadPoolExecutor(1, initializer=_enter, initargs=(self.holder.network,))

    def do(self, what: Callable[[], Result]) -> Result:
        """Calls it inside this network."""
        return self._thread.submit(what).result(timeout=60)

    def plug_in(self, box: Holder) -> str:
        """Gives a box a cable to the switch; the address that it has from now on."""
        number = next(self._hosts)
        port, address = f"port{number}", f"{SUBNET}.{number}"
        end = ("peer", "name", "host0", "netns", str(box.process.pid))
        self.holder.run("ip", "link", "add", port, "type", "veth", *end)
        self.holder.run("ip", "link", "set", port, "master", "switch", "up")
        box.run("ip", "address", "add", f"{address}/24", "dev", "host0")
        box.run("ip", "link", "set", "host0", "up")
        return address

    def plug_in_tap(self) -> tuple[str, str, str]:
        """Makes a port for a virtual machine: the name of its tap, the machine's address, and the netmask."""
        number = next(self._hosts)
        tap = f"tap{number}"
        self.holder.run("ip", "tuntap", "add", tap, "mode", "tap")
        self.holder.run("ip", "link", "set", tap, "master", "switch", "up")
        return tap, f"{SUBNET}.{number}", "255.255.255.0"

    def end(self) -> None:
        """Takes the switch away."""
        self._thread.shutdown()
        self.holder.end()


class Cgroup:
    """A cgroup for one box in every hierarchy that systemd uses."""

    def __init__(self) -> None:
        self.name = f"firstlight-test-{os.getpid()}-{next(_numbers)}"
        self._folders = [tree / self.name for tree in _trees()]
        for folder in self._folders:
            folder.mkdir()

    def around(self, line: Sequence[str]) -> list[str]:
        """The command line that moves itself there before it becomes the given one."""
        # By name alone: the script runs in another mount namespace, but cgroups are mounted there at the same place.
        move = "".join(f"echo $$ >{folder}/cgroup.procs && " for folder in self._folders)
        return ["sh", "-c", f'{move}exec "$@"', "sh", *line]

    def remove(self) -> None:
        """Ends whatever is still in it, and removes it."""
        _end_cgroups(self._folders)


def remove_stale_cgroups() -> None:
    """Ends and removes what killed test processes left behind: their number is in the cgroup's name."""
    found = [folder for tree in _trees() for folder in tree.glob("firstlight-test-*")]
    _end_cgroups([folder for folder in found if not Path("/proc", folder.name.split("-")[2]).exists()])


def _trees() -> list[Path]:
    hybrid = [CGROUPS / name for name in ("unified", "systemd") if (CGROUPS / name / "cgroup.procs").exists()]
    return hybrid or [CGROUPS]


def _end_cgroups(folders: Sequence[Path]) -> None:
    for folder in folders:
        if (folder / "cgroup.kill").exists():  # in the newer hierarchy only, but the same processes are in both
            (folder / "cgroup.kill").write_text("1")
    for folder in folders:
        wait_until(f"{folder} is empty", partial(_is_empty, folder))
        wait_until(f"{folder} is removed", partial(_is_removed, folder))


def _is_removed(folder: Path) -> bool:
    """Tries it: a cgroup stays busy for a moment after the last process has left it."""
    try:
        # Bottom-up; the files in a cgroup are the kernel's and go with it.
        for path, _, _ in os.walk(folder, topdown=False):
            Path(path).rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


def _is_empty(folder: Path) -> bool:
    return not any((Path(path) / "cgroup.procs").read_text() for path, _, _ in os.walk(folder))


def _enter(namespace: str) -> None:
    """Moves the calling thread, and only that one, into a network namespace (os.setns came with Python 3.12)."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(namespace, os.O_RDONLY)
    try:
        if libc.setns(fd, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
    finally:
        os.close(fd)
