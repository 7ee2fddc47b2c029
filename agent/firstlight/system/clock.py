"""Time and waiting on this machine."""

from __future__ import annotations

import os
import select
import time

from firstlight import BUILT_AT_S
from firstlight.core.model import Moment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.system.store import StateDirectory

EARLY_S = 86_400.0
AHEAD_S = 7 * 86_400.0
SKEW_S = 3600.0
BOOT_ID_FILE = "/proc/sys/kernel/random/boot_id"
SYNCHRONISED = "/run/systemd/timesync/synchronized"  # as in system/synced.py, which the beating process does not load


def clock_floor_s(store: StateDirectory) -> float:
    """Seconds since 1970 before which no right clock is: when this agent was made, or the latest time it was told."""
    return max(BUILT_AT_S, store.seen_s())


class SystemClock:
    """Implements ``core.interfaces.Clock``.

    Args:
        floor_s: what ``clock_floor_s`` found.
        wake_fd: file descriptor that becomes readable when a stop is asked for, or -1; see ``daemon/stop.py``.
        haste: waits are that many times shorter, and ``monotonic_s`` goes that many times faster: for tests and
            measurements.
    """

    def __init__(self, floor_s: float = BUILT_AT_S, wake_fd: int = -1, haste: float = 1.0) -> None:
        self._floor_s = floor_s
        self._ears = [wake_fd] if wake_fd >= 0 else []
        self._haste = haste
        self._began_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        self._boot_id = _boot_id()
        self._told: tuple[float, float] | None = None  # a platform's clock, and the time since boot when it told it

    def moment(self) -> Moment:
        """Now, by all three clocks."""
        return Moment(self._boot_id, time.clock_gettime(time.CLOCK_BOOTTIME), time.time())

    def monotonic_s(self) -> float:
        """Seconds since boot, sleep included; never go back."""
        now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        return now_s if self._haste == 1.0 else self._began_s + (now_s - self._began_s) * self._haste

    def wait(self, seconds: float, ear: int = -1) -> bool:
        """Sleeps in one piece; True at once when a signal came. Without ``wake_fd``, Ctrl-C raises as usual.

        Args:
            seconds: how long.
            ear: file descriptor that ends the sleep when it becomes readable, -1 = none.
        """
        heard = [*self._ears, ear] if ear >= 0 else self._ears
        readable, _, _ = select.select(heard, [], [], max(0.0, seconds) / self._haste)
        return any(fd != ear for fd in readable)

    def saw(self, server_time_s: float) -> None:
        """A platform told its time: from now on the wall clock is measured against it."""
        self._floor_s = max(BUILT_AT_S, server_time_s)
        self._told = (server_time_s, time.clock_gettime(time.CLOCK_BOOTTIME))

    def knows_time(self) -> bool:
        """Whether somebody who knows has told the time, and the wall clock agrees with it."""
        if self._told is None and not is_told():
            return False
        return self.is_trustworthy()

    def is_before_floor(self) -> bool:
        """Whether the wall clock must be wrong: it is before what was last seen, by more than a day."""
        return time.time() < self._floor_s - EARLY_S

    def is_trustworthy(self) -> bool:
        """Whether certificates may be judged by the wall clock, where the hub's own CA or key is pinned.

        Once a platform told its time: within an hour of it. Before that: from a day before what was last seen to a week
        after; a box that was off for longer, or whose clock runs ahead, makes its first connection without dates and
        knows then. (A certificate lives about a year: a clock two years ahead must not keep a box offline.)
        """
        now_s = time.time()
        if self._told is not None:
            server_time_s, told_at_s = self._told
            return abs(now_s - (server_time_s + time.clock_gettime(time.CLOCK_BOOTTIME) - told_at_s)) <= SKEW_S
        return self._floor_s - EARLY_S <= now_s <= self._floor_s + AHEAD_S


def is_told() -> bool:
    """Whether a time server has set this machine's clock, as systemd-timesyncd says; asks no kernel."""
    return os.path.exists(SYNCHRONISED)


def _boot_id() -> str:
    try:
        fd = os.open(BOOT_ID_FILE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = os.read(fd, 64).decode("ascii", "replace").strip().replace("-", "").lower()
        finally:
            os.close(fd)
    except OSError:
        found = ""
    # Without one, each process counts as a boot of its own: sequence numbers stay unique.
    return found if len(found) == 32 and not found.strip("0123456789abcdef") else os.urandom(16).hex()
