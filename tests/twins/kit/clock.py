"""The time that a twin lives in: this machine's, moved forward or held still by a test."""

import time
from collections.abc import Callable


class TwinClock:
    """Seconds since 1970 in UTC; passes by itself unless it is held.

    Args:
        at_s: what it shows at first; None = this machine's time.
        runs: False holds it: time passes by ``advance`` alone.
    """

    def __init__(self, at_s: float | None = None, *, runs: bool = True) -> None:
        self.runs = runs
        self._base_s = time.time() if at_s is None else at_s
        self._since_s = time.monotonic()
        self._told: list[Callable[[], None]] = []

    def now_s(self) -> float:
        """What it shows."""
        return self._base_s + (time.monotonic() - self._since_s if self.runs else 0.0)

    def advance(self, seconds: float) -> None:
        """Lets time pass at once; every server that waits for an hour looks again."""
        self._base_s += seconds
        for told in tuple(self._told):
            told()

    def on_advance(self, told: Callable[[], None]) -> None:
        """Calls that after each ``advance``, in the thread of whoever advances."""
        self._told.append(told)
