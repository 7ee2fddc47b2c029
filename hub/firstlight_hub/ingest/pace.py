"""How much of one device is read: far more than any honest one sends, and little beside what a flood sends."""

from __future__ import annotations

import time
from collections.abc import Callable

WINDOW_S = 10.0
BEATS = 300  # of one device in a window; an honest one sends one a second at most, and a burst when it reconnects
FLOOD = 20 * BEATS  # with so many in one window it is thrown out at once, and again with every so many more
ANSWERS = 10  # to one device in a window: one a second
PATIENCE = 3  # windows in a row with too many beats, and the device is thrown out


class Pace:
    """Counts what each device sends and is told, in windows of ten seconds. Lives in one event loop.

    Args:
        expel: called for a device whose flood should end where it comes in.
        clock: seconds that only grow.
    """

    def __init__(self, expel: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._expel = expel
        self._clock = clock
        self._ends_s = 0.0
        self._spared = 0.0
        self._came: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._over: dict[str, int] = {}  # who sent too many, and in how many windows in a row
        self._over_before: dict[str, int] = {}

    def spare(self, count: float) -> None:
        """The next messages waited while nobody read, and so come all at once: that many are not counted."""
        self._spared = count

    def admits(self, device_id: str) -> bool:
        """Whether one more message of this device is to be read."""
        if self._spared > 0:
            self._spared -= 1
            return True
        if self._clock() >= self._ends_s:
            self._turn()
        came = self._came[device_id] = self._came.get(device_id, 0) + 1
        return came <= BEATS or self._is_too_many(device_id, came)

    def answers(self, device_id: str) -> bool:
        """Whether one more answer goes to this device."""
        if self._clock() >= self._ends_s:
            self._turn()
        told = self._told[device_id] = self._told.get(device_id, 0) + 1
        return told <= ANSWERS

    def _is_too_many(self, device_id: str, came: int) -> bool:
        if came == BEATS + 1:
            self._over[device_id] = self._over_before.get(device_id, 0) + 1
            if self._over[device_id] >= PATIENCE:
                self._expel(device_id)
        if came % FLOOD == 0:
            self._expel(device_id)
        return False

    def _turn(self) -> None:
        now_s = self._clock()
        self._over_before = self._over if now_s < self._ends_s + WINDOW_S else {}
        self._over, self._came, self._told = {}, {}, {}
        self._ends_s = now_s + WINDOW_S
