"""What goes wrong with messages: counted always, said at most once a minute for each kind, never with their content."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

EVERY_S = 60.0
LOG = logging.getLogger(__name__)


class Complaints:
    """Counts and says.

    Args:
        clock: seconds that only grow.

    Attributes:
        counted: how often by kind.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.counted: Counter[str] = Counter()
        self._clock = clock
        self._said_s: dict[str, float] = {}

    def say(self, code: str, words: str, *more: object) -> None:
        """One complaint.

        Args:
            code: its kind: one of few, never from outside.
            words: one sentence, with %s for each of ``more``.
            more: put into the sentence only where it is said.
        """
        self.counted[code] += 1
        now_s = self._clock()
        if now_s - self._said_s.get(code, -EVERY_S) >= EVERY_S:
            self._said_s[code] = now_s
            LOG.warning("MQTT: " + words + " (%s, %d so far)", *more, code, self.counted[code])
