"""Which protections of the service are not in force, as this process can see them on itself.

A drop-in can take any of them away, and so can a kernel that lacks the means: systemd then goes on without a word.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

READ_ONLY = ("/", "/usr", "/etc", "/var")
HOMES = ("/home", "/root")


def missing(top: str = "/") -> list[str]:
    """The unit's lines that have no effect, in the words of systemd.exec(5); empty when all that can be seen is well.

    Args:
        top: takes the place of ``/``.
    """
    fields = _fields(Path(top, "proc/self/status"))
    found = {
        "DynamicUser": fields.get("Uid", "").split()[:1] == ["0"],
        "NoNewPrivileges": fields.get("NoNewPrivs", "1") != "1",
        "SystemCallFilter": fields.get("Seccomp", "2") != "2",
        "CapabilityBoundingSet": any(int(fields.get(name, "0"), 16) for name in ("CapEff", "CapBnd")),
        "ProtectSystem": any(_is_writable(Path(top, place.lstrip("/"))) for place in READ_ONLY),
        "ProtectHome": any(_is_open(Path(top, place.lstrip("/"))) for place in HOMES),
        "MemoryDenyWriteExecute": _may_run_what_it_writes(),
    }
    return [name for name, is_missing in found.items() if is_missing]


def _fields(status: Path) -> dict[str, str]:
    """proc_pid_status(5) by name; empty where it cannot be read: then nothing is claimed."""
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _is_writable(place: Path) -> bool:
    """Whether the file system there is writable, whatever this user may."""
    try:
        return not os.statvfs(place).f_flag & os.ST_RDONLY
    except OSError:
        return False


def _is_open(home: Path) -> bool:
    """Whether homes are as they are outside: systemd puts an empty folder that nobody may enter over each."""
    try:
        return bool(home.stat().st_mode & 0o777)
    except OSError:
        return False


def _may_run_what_it_writes() -> bool:
    try:
        with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC):
            return True
    except OSError:
        return False
