"""Checks of the machine itself: Python and what is installed, clock, disk, memory and processor."""

from __future__ import annotations

import os
import sys
import time

from firstlight.core.diagnosis import Finding, failed, noted, passed, warned
from firstlight.errors import StateError
from firstlight.system.clock import EARLY_S
from firstlight.system.metrics import ProcMetrics
from firstlight.system.releases import ACTIVE, Releases

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

OLDEST, NEWEST = (3, 10), (3, 13)
MB = 1 << 20
FEW_BYTES, NEXT_TO_NONE_BYTES = 64 * MB, 2 * MB
FEW_INODES, NEXT_TO_NONE_INODES = 500, 20
LITTLE_MEMORY = 0.95
LOAD_PER_CPU, HOT_C = 4.0, 85.0
AGAIN = "Paste the install command again: it puts the program in order and keeps the registration."


def python(prefix: str, version: tuple[int, int, int] = sys.version_info[:3]) -> Finding:
    """Whether this Python is one that was tested, and the launcher leads to what is there.

    Args:
        prefix: where the install script put the agent, "" = it was installed in another way.
        version: of the interpreter that runs.
    """
    named = ".".join(map(str, version))
    if version[:2] < OLDEST:
        return failed("python", f"Python {named} is too old: the agent needs 3.10 or later.", "Install Python 3.10.")
    if prefix and (wrong := _launcher_fault(Releases(prefix))):
        return failed("python", wrong, AGAIN, version=named, prefix=prefix)
    where = f"the agent is in {prefix}" if prefix else _where()
    if version[:2] > NEWEST:
        return noted("python", f"Python {named} is newer than any that the agent was tested with; {where}.")
    return passed("python", f"Python {named}; {where}.", version=named, prefix=prefix or sys.prefix)


def _where() -> str:
    return f"in the virtual environment {sys.prefix}" if sys.prefix != sys.base_prefix else f"in {sys.prefix}"


def _launcher_fault(releases: Releases) -> str:
    """What is wrong with the program that people start, "" = nothing."""
    path = releases.path_of(ACTIVE)
    try:
        launcher = releases.launcher(ACTIVE)
    except StateError as error:
        return error.message
    if launcher is None:
        return f"{path} is missing or was changed."
    if not os.access(launcher.python, os.X_OK):
        return f"{path} starts {launcher.python}, which is not there any more."
    library = os.path.join(releases.folder(launcher.release), "lib", "firstlight", "cli", "main.py")
    return "" if os.path.isfile(library) else f"{path} names release {launcher.release}, which is not whole."


def clock(now_s: float, floor_s: float, synchronised: bool) -> Finding:
    """Whether the clock can be right.

    Args:
        now_s: what it says, seconds since 1970.
        floor_s: no right clock is before that.
        synchronised: as ``system.synced.is_synced``.
    """
    said = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now_s))
    detail = {"now": round(now_s), "synchronised": synchronised}
    if now_s < floor_s - EARLY_S:
        last = time.strftime("%Y-%m-%d", time.gmtime(floor_s))
        return failed(
            "clock", f"The clock says {said}, but it was {last} already when this box last knew.", detail=detail
        )
    if not synchronised:
        return noted("clock", f"The clock says {said}; no time service sets it at the moment.", detail=detail)
    return passed("clock", f"The clock says {said}; a time service sets it.", detail=detail)


def disk(path: str, ask: Callable[[str], os.statvfs_result] = os.statvfs) -> Finding:
    """Room and files left where the state directory is or would be.

    Args:
        path: the state directory.
        ask: statvfs(3).
    """
    place = path
    while not os.path.lexists(place) and os.path.dirname(place) != place:
        place = os.path.dirname(place)
    try:
        found = ask(place)
    except OSError as error:
        return failed("disk", f"The disk of {place} cannot be asked: {error.strerror or error}.")
    free_bytes = found.f_bavail * found.f_frsize
    detail = {"freeBytes": free_bytes, "freeFiles": found.f_favail if found.f_files else None}
    if found.f_flag & os.ST_RDONLY:
        fix = "If nobody made it so on purpose, the disk is failing: see 'sudo dmesg | tail', and replace the SD card."
        return failed("disk", f"The disk of {place} can only be read.", fix, detail=detail)
    if free_bytes < NEXT_TO_NONE_BYTES:
        return failed("disk", f"The disk of {place} is full.", detail=detail)
    if found.f_files and found.f_favail < NEXT_TO_NONE_INODES:
        return failed("disk", f"The disk of {place} takes no more files, though it has room.", detail=detail)
    if free_bytes < FEW_BYTES or (found.f_files and found.f_favail < FEW_INODES):
        left = (
            f"{free_bytes // MB} MB and room for {found.f_favail} files" if found.f_files else f"{free_bytes // MB} MB"
        )
        return warned("disk", f"The disk of {place} is nearly full: {left} left.", detail=detail)
    return passed("disk", f"{free_bytes // MB} MB free where the state is kept ({place}).", detail=detail)


def memory(top: str = "/") -> Finding:
    """Memory left. ``top`` takes the place of ``/``."""
    used = ProcMetrics("/", os.path.join(top, "proc"), os.path.join(top, "sys")).metrics().memory_used
    if used is None:
        return noted("memory", "How much memory is left cannot be read here.")
    if used >= LITTLE_MEMORY:
        return warned("memory", f"{used:.0%} of the memory is taken.", used=used)
    return passed("memory", f"{used:.0%} of the memory is taken.", used=used)


def load(top: str = "/", cpus: int | None = None) -> Finding:
    """Load and temperature. ``top`` takes the place of ``/``; ``cpus`` is how many processors there are."""
    found = ProcMetrics("/", os.path.join(top, "proc"), os.path.join(top, "sys")).metrics()
    cpus = cpus or os.cpu_count() or 1
    detail = {"load1": found.load1, "cpus": cpus, "temperatureC": found.temperature_c}
    warm = f", {found.temperature_c:.0f} °C" if found.temperature_c is not None else ""
    if found.temperature_c is not None and found.temperature_c >= HOT_C:
        return warned("load", f"The box is too hot: {found.temperature_c:.0f} °C; it slows itself down.", detail=detail)
    if found.load1 is None:
        return noted("load", "How busy the processor is cannot be read here.", detail=detail)
    if found.load1 > LOAD_PER_CPU * cpus:
        return warned("load", f"{found.load1:.0f} programs want the {cpus} processors at once{warm}.", detail=detail)
    return passed("load", f"Load {found.load1:.1f} on {cpus} processors{warm}.", detail=detail)
