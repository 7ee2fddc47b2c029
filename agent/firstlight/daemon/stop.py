"""SIGTERM and SIGINT: a wait ends at once, a call in flight is broken off, everything else is finished first."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType


class StopNow(BaseException):
    """Raised inside a ``with stop:`` block when a stop is asked for; not an Exception, so that nothing swallows it."""


class StopSignals:
    """Listens for the two signals.

    Attributes:
        wake_fd: readable from the first signal on: what ``SystemClock.wait`` listens to.
        is_asked: whether a signal came.
    """

    def __init__(self) -> None:
        self.is_asked = False
        self._breaks_off = False
        self.wake_fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.is_asked = True
        if self._breaks_off:
            self._breaks_off = False  # once: the way out must not be broken off again
            raise StopNow

    def __enter__(self) -> None:
        self._breaks_off = True
        if self.is_asked:
            self._breaks_off = False
            raise StopNow

    def __exit__(self, *error: object) -> None:
        self._breaks_off = False
