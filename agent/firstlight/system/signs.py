"""Answers without a screen: how each is told apart by eye and ear, and when the next flash is due.

Nothing here sleeps: the caller asks for ``wait_s`` in its one wait and calls ``tick`` when that time has come. While a
box waits for a code, the kernel's own heartbeat trigger blinks and this process is not woken at all.

==============  =========================================  ==========
state           light                                      tone
==============  =========================================  ==========
looking         the kernel's heartbeat (two beats, pause)  none
blurred         flickers                                   none
far             slow and even: one second on, one off      none
part            one long, one short, pause                 one
wrong_kind      two flashes, pause                         two
expired         three flashes, pause                       three
refused         four flashes, pause                        four
done            stays on                                   one long
==============  =========================================  ==========
"""

from __future__ import annotations

from contextlib import suppress

from firstlight.core import answers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    class Sign(Protocol):
        """Something a person sees or hears."""

        def show(self, state: str, sentence: str) -> None:
            """Tells one answer; never raises and never waits. ``state`` is one of ``core.answers.STATES``."""

    class Light(Protocol):
        """Something that is on or off; never raises and never waits."""

        def switch(self, is_on: bool) -> None:
            """On or off from now on."""

        def rest(self) -> bool:
            """Leaves it to the kernel to say "looking"; False where that is not possible."""


def _flashes(count: int) -> tuple[float, ...]:
    return (*(0.2, 0.3) * (count - 1), 0.2, 1.5)


# Seconds on, off, on, off, … from the beginning, and again; one value alone = on for good.
LIGHT = {
    answers.LOOKING: (0.1, 2.9),
    answers.BLURRED: (0.1, 0.1),
    answers.FAR: (1.0, 1.0),
    answers.PART: (1.2, 0.3, 0.2, 1.5),
    answers.WRONG_KIND: _flashes(2),
    answers.EXPIRED: _flashes(3),
    answers.REFUSED: _flashes(4),
    answers.DONE: (0.0,),
}
# Once.
TONE = {
    answers.PART: (0.15,),
    answers.WRONG_KIND: (0.15, 0.25, 0.15),
    answers.EXPIRED: (0.15, 0.25) * 2 + (0.15,),
    answers.REFUSED: (0.15, 0.25) * 3 + (0.15,),
    answers.DONE: (1.0,),
}


class Rhythm:
    """A light or a tone that follows a pattern by deadlines; implements ``Sign``.

    Args:
        light: what is switched.
        patterns: state -> seconds on, off, on, …; a state that is not in it is silence.
        repeats: whether a pattern begins again at its end.
    """

    def __init__(self, light: Light, patterns: dict[str, tuple[float, ...]], *, repeats: bool) -> None:
        self._light, self._patterns, self._repeats = light, patterns, repeats
        self._pattern: tuple[float, ...] = ()
        self._place = 0
        self._due_s: float | None = None
        self._is_new = False

    def show(self, state: str, sentence: str) -> None:
        """Begins the pattern of a state at the next ``tick``."""
        if state == answers.LOOKING and self._light.rest():
            self._pattern, self._due_s, self._is_new = (), None, False
            return
        self._pattern, self._place, self._is_new = self._patterns.get(state, ()), 0, True
        self._due_s = None

    def tick(self, now_s: float) -> None:
        """Switches when it is time."""
        if self._is_new:
            self._is_new = False
            self._step(now_s, 0)
        elif self._due_s is not None and now_s >= self._due_s:
            self._step(now_s, self._place + 1)

    def _step(self, now_s: float, place: int) -> None:
        if self._repeats and self._pattern:
            place %= len(self._pattern)
        self._place = place
        is_on = place < len(self._pattern) and place % 2 == 0
        self._light.switch(is_on)
        is_last = place >= len(self._pattern) or (self._repeats and len(self._pattern) == 1)
        self._due_s = None if is_last else now_s + self._pattern[place]

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until the next ``tick`` is due, None = not before the next ``show``."""
        if self._is_new:
            return 0.0
        return None if self._due_s is None else max(0.0, self._due_s - now_s)


class Signs:
    """All signs of a box as one; implements ``Sign``. One that fails takes no other with it.

    Args:
        rhythms: those that follow deadlines.
        others: those that are told once.
    """

    def __init__(self, rhythms: Sequence[Rhythm], others: Sequence[Sign]) -> None:
        self._rhythms, self._others = rhythms, others

    def show(self, state: str, sentence: str) -> None:
        """Tells it to each."""
        for each in (*self._rhythms, *self._others):
            with suppress(OSError):
                each.show(state, sentence)

    def tick(self, now_s: float) -> None:
        """Switches what is due."""
        for each in self._rhythms:
            with suppress(OSError):
                each.tick(now_s)

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until something is due, None = nothing is."""
        waits = [wait for wait in (each.wait_s(now_s) for each in self._rhythms) if wait is not None]
        return min(waits) if waits else None
