"""Clones: two boxes with one copied disk beat as one device, and what they send interleaves."""

from __future__ import annotations

from firstlight.core.model import Moment

MAX_FORMER = 8
AT_MOST_EVERY_MS = 60_000  # as often does it cost a write that the two go on
SLACK_S = 1.0


class Boots:
    """The boots that beat as one device, and how far each came.

    A box that restarts leaves its boot for ever, and within a boot its sequence numbers and its monotonic clock grow
    together. So there are two boxes where a boot that was left goes on counting, or where a number is not new but was
    made later than the newest one. An old beat that a broker delivers again is neither.

    Args:
        boot_id: of the last beat on disk, or None.
        clone_at_ms: when two boxes were last seen, or None.
    """

    __slots__ = ("_boot_id", "_former", "_monotonic_s", "_sequence", "clone_at_ms")

    def __init__(self, boot_id: str | None, clone_at_ms: int | None) -> None:
        self._boot_id = boot_id
        self._sequence = -1  # the highest of the present boot; -1 = not seen by this process
        self._monotonic_s = 0.0  # of the same beat
        self._former: dict[str, tuple[int, float]] | None = None  # most devices have none
        self.clone_at_ms = clone_at_ms

    def saw(self, moment: Moment, sequence: int, now_ms: int) -> tuple[str | None, int | None]:
        """A beat came -> what is to be written: boot id and time of an interleaving, each None if it stays."""
        if moment.boot_id == self._boot_id:
            if sequence > self._sequence:
                self._sequence, self._monotonic_s = sequence, moment.monotonic_s
                return None, None
            return None, self._interleaved(moment.monotonic_s > self._monotonic_s + SLACK_S, now_ms)
        former = self._former = self._former or {}
        before = former.pop(moment.boot_id, None)
        if self._boot_id is not None:
            former[self._boot_id] = (self._sequence, self._monotonic_s)
            if len(former) > MAX_FORMER:
                del former[next(iter(former))]
        self._boot_id = moment.boot_id
        self._sequence, self._monotonic_s = max(before or (-1, 0.0), (sequence, moment.monotonic_s))
        if before is None:
            return moment.boot_id, None
        clone_at_ms = self._interleaved(0 <= before[0] < sequence, now_ms)
        return (moment.boot_id if clone_at_ms else None), clone_at_ms

    def _interleaved(self, is_sure: bool, now_ms: int) -> int | None:
        is_due = self.clone_at_ms is None or not 0 <= now_ms - self.clone_at_ms < AT_MOST_EVERY_MS
        if not (is_sure and is_due):
            return None
        self.clone_at_ms = now_ms
        return now_ms
