"""Reading a picture in steps: the cheap and likely ones first, and the first step that gives a text ends it.

Each step shrinks the picture, treats it, and asks one library. Which steps there are and in which order was chosen by
measuring (docs/reading-codes.md): a step stays only where it reads what those before it did not. The work is bounded in
steps and in pixels that are handed to a library, not in time: the same picture gives the same answer on every machine.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from firstlight.sources import picture_darkroom as darkroom
from firstlight.sources.picture_engines import Engines, engines, line_codes
from firstlight.sources.picture_marks import place, seen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NamedTuple

    from PIL.Image import Image
else:
    from firstlight.core.record import NamedTuple


class Reading(NamedTuple):
    """What a picture gave.

    Args:
        texts: each text once, in the order they were read.
        seen: "read", or without any text "blurred" or "far" (a code is there), or "none".
    """

    texts: tuple[str, ...]
    seen: str


class Step(NamedTuple):
    """One way of looking.

    Args:
        engine: "zbar" (by pyzbar) or "zxing" (by zxing-cpp).
        longest: longer side that the picture is shrunk to, pixels; 0 = as it is.
        treat: what is done to it then, None = nothing.
        is_cut: take the square around the code, found by its corners, instead of the whole; without one there is
            nothing to do.
    """

    engine: str
    longest: int
    treat: Callable[[Image], Image] | None = None
    is_cut: bool = False


class Effort(NamedTuple):
    """How much work a picture is worth.

    Args:
        steps: at most so many.
        pixels: handed to the libraries in all, at most; the first step may always be taken.
    """

    steps: int
    pixels: int


EFFORTS = {"frame": Effort(6, 6_000_000), "picture": Effort(64, 160_000_000)}


def _straight(longest: int, share: float) -> tuple[Step, ...]:
    # zxing-cpp reads tilted codes as they are.
    ways = (functools.partial(darkroom.straightened, side=side, share=share) for side in range(4))
    return tuple(Step("zbar", longest, way) for way in ways)


def _unbent(engine: str) -> tuple[Step, ...]:
    return tuple(
        Step(engine, 440, functools.partial(way, half=half), is_cut=True)
        for half in (0.8, 1.1, 0.5)
        for way in (darkroom.unbent, darkroom.unbent_across)
    )


STEPS: tuple[Step, ...] = (
    # as it is, and the treatments that cost little because the picture is small
    Step("zbar", 400),
    Step("zxing", 0),
    Step("zbar", 220),
    Step("zxing", 220, darkroom.split),
    Step("zbar", 300, darkroom.evened_inverted),
    Step("zbar", 300, darkroom.crisp),
    Step("zxing", 560, darkroom.sharpened),
    Step("zxing", 560, darkroom.evened),
    Step("zxing", 300, darkroom.split),
    Step("zbar", 220, darkroom.split),
    Step("zbar", 220, darkroom.evened_1),
    Step("zbar", 0),
    Step("zbar", 400, darkroom.sharpened_inverted),
    *_straight(220, 0.5),
    Step("zbar", 560, darkroom.crisp),
    # where corners of a code are seen: from far, and from pipes
    Step("zxing", 640, is_cut=True),
    Step("zbar", 300, is_cut=True),
    *_unbent("zxing"),
    *_unbent("zbar"),
    # from the side
    *_straight(400, 0.35),
    *_straight(560, 0.25),
    # grain, faint ink and small modules: the large copies cost most
    Step("zxing", 800, darkroom.sharpened),
    Step("zbar", 800, darkroom.evened_1),
    Step("zbar", 800, darkroom.evened_2),
    Step("zbar", 800, darkroom.sharpened_inverted),
)
# A second code beside the one that was read is looked for in a copy of at most this longer side.
SECOND_LOOK = Step("zxing", 2000)
SECOND_LOOK_WITHOUT_ZXING = Step("zbar", 640)
# Bar codes of goods are looked for in a copy of this longer side, where no QR code was read.
LINES_LONGEST = 1000


def look(image: Image, effort: str) -> Reading:
    """Carries out the steps of an effort on an 8-bit grey picture.

    Raises:
        UsageError: ``scan_missing``.
    """
    texts = texts_of(image, effort, engines())
    return Reading(texts, "read") if texts else _unread(image)


def _unread(image: Image) -> Reading:
    """What else is in a picture without a readable QR code: corners of one, or the bar code of some goods."""
    if (word := seen(image)) != "none":
        return Reading((), word)
    texts = tuple(dict.fromkeys(line_codes(darkroom.sized(image, LINES_LONGEST))))
    return Reading(texts, "read" if texts else "none")


def texts_of(image: Image, effort: str, found: Engines) -> tuple[str, ...]:
    """What the first step that reads anything reads, with the libraries given; empty when the effort is spent."""
    return next(filter(None, looked(image, steps_for(found), EFFORTS[effort], found)), ())


def steps_for(found: Engines) -> tuple[Step, ...]:
    """The steps whose library is there."""
    return tuple(step for step in STEPS if getattr(found, step.engine))


def looked(image: Image, steps: tuple[Step, ...], effort: Effort, found: Engines) -> Iterator[tuple[str, ...]]:
    """What each step gives, until the effort is spent."""
    spent, copies = 0, _Copies(image)
    for number, step in enumerate(steps[: effort.steps]):
        copy = copies.cut(step.longest) if step.is_cut else copies.sized(step.longest)
        if copy is None:
            continue
        spent += copy.width * copy.height
        if spent > effort.pixels and number:
            continue
        texts = taken(step, copy, found)
        yield (*texts, *_beside(step, copies, found, texts)) if texts else ()


def taken(step: Step, copy: Image, found: Engines) -> tuple[str, ...]:
    """The texts that one step reads in the shrunk copy, each once."""
    call = found.zxing if step.engine == "zxing" else found.zbar
    texts = call(step.treat(copy) if step.treat else copy) if call else []
    return tuple(dict.fromkeys(text for text in texts if text))


def _beside(step: Step, copies: _Copies, found: Engines, texts: tuple[str, ...]) -> tuple[str, ...]:
    """What else stands in the picture: two codes must not be taken for one because one is larger."""
    other = SECOND_LOOK if found.zxing else SECOND_LOOK_WITHOUT_ZXING
    if not step.is_cut and step.treat is None and (step.longest == 0 or step.longest >= other.longest):
        return ()
    return tuple(text for text in taken(other, copies.sized(other.longest), found) if text not in texts)


class _Copies:
    """A picture in the sizes that were asked for so far."""

    def __init__(self, image: Image) -> None:
        self._kept = {0: image}
        self._cuts: dict[int, Image] = {}
        self._place: tuple[tuple[float, float], float] | None = None
        self._is_searched = False

    def sized(self, longest: int) -> Image:
        """The copy with this longer side."""
        if longest not in self._kept:
            self._kept[longest] = darkroom.sized(self._kept[0], longest)
        return self._kept[longest]

    def cut(self, longest: int) -> Image | None:
        """The square around the code in this size, None where no code is seen."""
        if not self._is_searched:
            self._place, self._is_searched = place(self._kept[0]), True
        if self._place and longest not in self._cuts:
            self._cuts[longest] = darkroom.cut_out(self._kept[0], *self._place, longest)
        return self._cuts.get(longest)


class Watching:
    """The pictures of a camera in a row: each gets the first steps, and two of the others in turn.

    So a code that is hard to read gets every step within some twenty pictures, and no picture takes long.
    """

    FIRST = 2
    OTHERS = 2
    MARKS_EVERY = 5
    KEEP = 10

    def __init__(self) -> None:
        self.best = Reading((), "none")
        self.turn = 0  # how many pictures there were
        self._hinted = 0

    def look(self, frame: Image) -> Reading:
        """The next picture.

        Args:
            frame: 8-bit grey.

        Returns:
            The best that is known by now: what this picture says, or the hint of one of the ten before it.
        """
        found = engines()
        if self.best.texts:  # told already
            self.best = Reading((), "none")
        steps = self.next_steps(steps_for(found))
        for texts in looked(frame, steps, EFFORTS["frame"], found):
            if texts:
                self.best = Reading(texts, "read")
                return self.best
        if self.turn % self.MARKS_EVERY == 1:
            self._hint(_unread(frame))
        return self.best

    def next_steps(self, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        """Those for the next picture: the first ones, and some of the others in turn."""
        others = steps[self.FIRST :]
        chosen = tuple(others[(self.turn * self.OTHERS + place) % len(others)] for place in range(self.OTHERS))
        self.turn += 1
        return (*steps[: self.FIRST], *chosen)

    def _hint(self, reading: Reading) -> None:
        if reading.seen != "none" or self.turn - self._hinted > self.KEEP:
            self.best, self._hinted = reading, self.turn
