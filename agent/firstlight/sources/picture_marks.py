"""Is there a code at all, where nothing could be read? The three squares in its corners say so.

Across the middle of such a square, in any direction, dark and light follow each other as 1 : 1 : 3 : 1 : 1 modules.
That is looked for in a black and white copy, along rows and then along the column through each find. Three squares of
like size at the corners of a square, with the restless pattern of a code between them, are a code; the width of their
modules says whether it is too far away. Where corners cannot be told, a large code is known by its pattern
(``picture_texture``).
"""

from __future__ import annotations

import itertools
import math
import re

from firstlight.sources import picture_texture

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from PIL.Image import Image
else:
    from firstlight.core.record import NamedTuple

# How the picture is looked at: longer side of the copy in pixels, radius of what evens out grain, radius of a pixel's
# surroundings as a share of the longer side, grey levels that dark is below them, the smallest module that counts.
_LOOKS = ((640, 1, 1 / 40, 4, 1.6), (640, 1, 1 / 10, 4, 1.6), (1600, 0, 1 / 80, 18, 1.0))
# Bounds of the work in one look: rows, candidates, squares that are compared with each other.
MOST_ROWS = 640
MOST_CANDIDATES = 240
MOST_SQUARES = 12
# Below so many pixels a module, engines read hardly anything (measured: docs/reading-codes.md).
FAR_BELOW = 2.2

_RUNS = re.compile(rb"\x00+|\xff+")
_SHARES = (1, 1, 3, 1, 1)


class Square(NamedTuple):
    """One corner square.

    Args:
        x, y: its middle, pixels of the picture.
        module: width of a module there, pixels.
    """

    x: float
    y: float
    module: float


def seen(image: Image) -> str:
    """What an 8-bit grey picture shows that could not be read: "none", "far" or "blurred"."""
    found = squares(image)
    module = sum(one.module for one in found) / len(found) if found else picture_texture.module_of(image)
    if module is None:
        return "none"
    return "far" if module < FAR_BELOW else "blurred"


def place(image: Image) -> tuple[tuple[float, float], float] | None:
    """Where a code is: its middle and the side of a square around it with its margin, pixels; None = none is seen."""
    found = squares(image)
    if not found:
        return None
    _, first, second = found
    side = math.dist(first[:2], second[:2]) / math.sqrt(2) + 16 * max(one.module for one in found)
    return ((first.x + second.x) / 2, (first.y + second.y) / 2), side * 1.15


def squares(image: Image) -> list[Square]:
    """The corner squares of what is likely one code, else none."""
    for longest, grain, share, below, smallest in _LOOKS:
        scale = min(1.0, longest / max(image.size))
        plain = _black_and_white(image, scale, grain, share, below)
        found = _of_one_code(plain, _merged(_candidates(plain, smallest), _step(plain)))
        if found:
            return [Square(one.x / scale, one.y / scale, one.module / scale) for one in found]
    return []


def _black_and_white(image: Image, scale: float, grain: int, share: float, below: int) -> Image:
    """Dark is what is darker than its surroundings: light that falls unevenly does not matter."""
    from PIL import Image as Images
    from PIL import ImageChops, ImageFilter

    if scale < 1:
        size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
        image = image.resize(size, Images.Resampling.BOX)
    around = image.filter(ImageFilter.BoxBlur(max(6, int(max(image.size) * share))))
    soft = image.filter(ImageFilter.BoxBlur(grain)) if grain else image
    return ImageChops.subtract(soft, around, 1, 128).point(lambda value: 255 if value > 128 - below else 0)


def _step(plain: Image) -> int:
    return max(1, plain.height // MOST_ROWS)


def _candidates(plain: Image, smallest: float) -> list[Square]:
    width, height = plain.size
    pixels, found = plain.tobytes(), []
    step = _step(plain)
    # Every fourth row first: where chance fills the list, it does so from all over the picture.
    for y in (y for first in range(4) for y in range(first * step, height, 4 * step)):
        edges = [match.start() for match in _RUNS.finditer(pixels, y * width, (y + 1) * width)]
        for index in range(0 if edges and not pixels[edges[0]] else 1, len(edges) - 5, 2):
            unit = (edges[index + 5] - edges[index]) / 7
            if unit < smallest or not _is_like(edges[index : index + 6]):
                continue
            x = (edges[index + 2] + edges[index + 3]) // 2 - y * width
            if (middle := _upright(pixels[x::width], y, unit)) is not None:
                found.append(Square(x, middle, unit))
                if len(found) >= MOST_CANDIDATES:
                    return found
    return found


def _is_like(edges: list[int]) -> bool:
    unit = (edges[5] - edges[0]) / 7
    slack = unit * 0.45 + 0.25
    return all(
        abs(after - before - unit * share) <= slack * (1 if share == 1 else 1.6)
        for before, after, share in zip(edges[:-1], edges[1:], _SHARES, strict=True)
    )


def _upright(column: bytes, y: int, unit: float) -> float | None:
    """The middle of the same pattern in a column through row ``y``, None where it is not there."""
    reach = int(unit * 9)
    top = max(0, y - reach)
    edges = [match.start() for match in _RUNS.finditer(column, top, min(len(column), y + reach))]
    for index in range(len(edges) - 5):
        six = edges[index : index + 6]
        inside = six[2] <= y < six[3] and not column[six[0]]
        if inside and 0.6 < (six[5] - six[0]) / 7 / unit < 1.7 and _is_like(six):
            return (six[2] + six[3]) / 2
    return None


def _merged(found: list[Square], step: int) -> list[Square]:
    """One for all finds of the same square, those found most often first; what too few rows have found is chance."""
    groups: list[list[Square]] = []
    for one in found:
        for group in groups:
            if math.dist(one[:2], group[0][:2]) < 3 * group[0].module:
                group.append(one)
                break
        else:
            groups.append([one])
    # Three modules high is the middle of a square; half of the rows through it should have found it.
    groups = [group for group in groups if len(group) >= max(2.0, 1.5 * group[0].module / step)]
    groups.sort(key=len, reverse=True)
    return [
        Square(*(sum(one[field] for one in group) / len(group) for field in range(3)))
        for group in groups[:MOST_SQUARES]
    ]


def _of_one_code(plain: Image, found: list[Square]) -> list[Square]:
    """Three squares at the corners of a square, with the pattern of a code along its sides."""
    pixels = plain.tobytes()
    for corner in found:
        beside = [one for one in found if one is not corner and _belong(pixels, plain.width, corner, one)]
        for index, first in enumerate(beside):
            for second in beside[index + 1 :]:
                if _is_corner(corner, first, second):
                    return [corner, first, second]
    return []


def _is_corner(corner: Square, first: Square, second: Square) -> bool:
    """Whether two sides of a square begin here, seen a bit from the side at most."""
    one, other = math.dist(corner[:2], first[:2]), math.dist(corner[:2], second[:2])
    across = (first.x - corner.x) * (second.x - corner.x) + (first.y - corner.y) * (second.y - corner.y)
    return 0.55 < one / other < 1.8 and abs(across / (one * other)) < 0.5 and 0.6 < first.module / second.module < 1.7


def _belong(pixels: bytes, width: int, first: Square, other: Square) -> bool:
    unit = (first.module + other.module) / 2
    modules = math.dist(first[:2], other[:2]) / unit
    if not 0.65 < first.module / other.module < 1.55 or not 11 < modules < 220:
        return False
    # Between two squares of a code dark and light change every two modules or so; between two rings they do not.
    steps = int(modules * 3)
    across, down = (other.x - first.x) / steps, (other.y - first.y) / steps
    line = [pixels[int(first.y + down * step) * width + int(first.x + across * step)] for step in range(steps)]
    changes = sum(before != after for before, after in itertools.pairwise(line))
    return 0.25 * modules < changes < modules
