"""SIGTERM and SIGINT: a wait ends at once, a call in flight is broken off, everything else is finished first.

SIGHUP ends a wait too: "look now" whether a rotation or move waits to be made; a call in flight is finished first.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

ENDS = (signal.SIGTERM, signal.SIGINT)
TERMINAL = 2


class StopNow(BaseException):
    """Raised inside a ``with stop:`` block when a stop is asked for; not an Exception, so that nothing swallows it."""


class StopSignals:
    """Implements ``core.interfaces.Stop``.

    Args:
        gives_way: whether SIGHUP has a meaning: without a way back into the richer process it has none.

    Attributes:
        wake_fd: readable from a signal on: what ``SystemClock.wait`` listens to.
        is_asked: whether a stop is asked for.
    """

    def __init__(self, *, gives_way: bool = False) -> None:
        self.is_asked = False
        self._breaks_off = False
        self.wake_fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        for number in ENDS:
            signal.signal(number, self._on_end)
        self._has_terminal = os.isatty(TERMINAL)
        without = signal.SIG_DFL if self._has_terminal else signal.SIG_IGN
        signal.signal(signal.SIGHUP, self._on_hangup if gives_way else without)
        # ``give_way`` of the process before this one blocked it: what came meanwhile is heard now.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])

    def takes_hangup(self) -> bool:
        """Forgets a SIGHUP, so that the next wait sleeps; False where a stop is asked for.

        One that comes meanwhile leaves a byte or is looked after by the caller now: none is lost.
        """
        with suppress(BlockingIOError):
            while os.read(self.wake_fd, 4096):
                pass
        return not self.is_asked

    def give_way(self) -> bool:
        """Makes ready for ``execv``: a SIGHUP from now on waits for the next ``StopSignals``, a stop ends at once.

        Returns:
            False when a stop was asked for meanwhile: then there is nothing to give way to.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
        for number in ENDS:
            signal.signal(number, signal.SIG_DFL)
        return not self.is_asked

    def _on_end(self, number: int, frame: FrameType | None) -> None:
        self.is_asked = True
        if self._breaks_off:
            self._breaks_off = False  # once: the way out must not be broken off again
            raise StopNow

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:
        if self._has_terminal and not os.isatty(TERMINAL):
            self._on_end(number, frame)  # what SIGHUP is named after: the terminal that it ran in is gone

    def __enter__(self) -> None:
        self._breaks_off = True
        if self.is_asked:
            self._breaks_off = False
            raise StopNow

    def __exit__(self, *error: object) -> None:
        self._breaks_off = False
