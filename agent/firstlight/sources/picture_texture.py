"""Is there a large code, where not even its corner squares can be told? Its restless pattern says so.

Under blur, a finger or a worn print head the corners go first. What stays is a patch unlike most things: dark and
light change at the same pace along rows and along columns, all over a square that fills a good part of the picture, and
around it there is quiet. Small patches are not judged: print, keys and leaves look like that from afar.
"""

from __future__ import annotations

import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from PIL.Image import Image

# The copy that is looked at, its longer side in pixels, and the side of the cells that are counted in.
LONGEST, CELL = 480, 8
# Grey levels by which a cell must stand out from its surroundings, on average.
LEAST_CONTRAST = 9
# Changes between dark and light a pixel, along a row or a column: from large modules, soft, to the smallest.
FEWEST, MOST = 0.035, 0.40
# How unlike the two directions may be in a cell, and in all when each is smeared: print lies in lines, no code does.
UNLIKE, IN_LINES = 1.6, 1.33
SURROUNDINGS, SMEAR = 12, 16
# The patch: at least so much of the shorter side; how long and how ragged it may be (a full square has 1 and 1).
LEAST_SIDE, LONGISH, RAGGED = 0.4, 1.3, 0.76
# How many of its cells may lie on the edge of the picture, as a share of one of its sides.
AT_EDGE = 0.7


def module_of(image: Image) -> float | None:
    """About how wide a module of a large code is in an 8-bit grey picture, in pixels; None = none is seen."""
    scale = min(1.0, LONGEST / max(image.size))
    small, plain = _black_and_white(image, scale)
    width, height = small.width // CELL, small.height // CELL
    grid = _restless(small, plain)
    for patch in _patches(grid, width):
        if _is_square(patch, width, height) and not _is_in_lines(plain, patch):
            pace = sum(grid[cell] for cell in patch) / len(patch)
            return 0.5 / pace / scale
    return None


def _black_and_white(image: Image, scale: float) -> tuple[Image, Image]:
    """The small copy, and what of it is lighter than its surroundings."""
    from PIL import Image as Images
    from PIL import ImageChops

    size = (max(CELL, int(image.width * scale)), max(CELL, int(image.height * scale)))
    small = image.resize(size, Images.Resampling.BOX)
    plain = ImageChops.subtract(small, _blurred(small, SURROUNDINGS, SURROUNDINGS), 1, 128)
    return small, plain.point(lambda value: 255 if value > 128 else 0)


def _blurred(image: Image, across: int, down: int) -> Image:
    from PIL import ImageFilter

    return image.filter(ImageFilter.BoxBlur((across, down)))


def _cells(image: Image) -> Image:
    """The mean of each cell, one pixel each."""
    from PIL import Image as Images

    size = (image.width // CELL, image.height // CELL)
    return image.resize(size, Images.Resampling.BOX, (0, 0, size[0] * CELL, size[1] * CELL))


def _restless(small: Image, plain: Image) -> list[float]:
    """Of each cell, row by row: changes a pixel where they are as in a code, else 0."""
    from PIL import ImageChops

    found = [
        _blurred(_cells(each), 1, 1).tobytes()
        for each in (
            ImageChops.difference(plain, ImageChops.offset(plain, 1, 0)),
            ImageChops.difference(plain, ImageChops.offset(plain, 0, 1)),
            ImageChops.difference(small, _blurred(small, SURROUNDINGS, SURROUNDINGS)),
        )
    ]
    return [_pace(*each) for each in zip(*found, strict=True)]


def _is_in_lines(plain: Image, patch: list[int]) -> bool:
    """Whether the patch is print: smeared along its lines these stand out, smeared across them little does."""
    from PIL import ImageChops

    kept = []
    for across, down in ((SMEAR, 0), (0, SMEAR)):
        smeared = _blurred(plain, across, down)
        beside = _blurred(smeared, SURROUNDINGS if down else 0, SURROUNDINGS if across else 0)
        cells = _cells(ImageChops.difference(smeared, beside)).tobytes()
        kept.append(sum(cells[cell] for cell in patch))
    return max(kept) > IN_LINES * min(kept)


def _pace(across: int, down: int, contrast: int) -> float:
    if contrast < LEAST_CONTRAST or max(across, down) > UNLIKE * min(across, down):
        return 0.0
    pace = (across + down) / 510
    return pace if FEWEST < pace < MOST else 0.0


def _patches(grid: list[float], width: int) -> list[list[int]]:
    """Cells that hang together, the largest patch first."""
    found, left = [], {cell for cell, pace in enumerate(grid) if pace}
    while left:
        patch, edge = [], [left.pop()]
        while edge:
            cell = edge.pop()
            patch.append(cell)
            left_edge, right_edge = cell % width == 0, cell % width == width - 1
            for other in (cell - width, cell + width, cell - (not left_edge), cell + (not right_edge)):
                if other in left:
                    left.remove(other)
                    edge.append(other)
        found.append(patch)
    return sorted(found, key=len, reverse=True)[:2]


def _is_square(patch: list[int], width: int, height: int) -> bool:
    """Whether the patch is large, a square in whatever direction, and not cut off by the picture's edge."""
    area = len(patch)
    if math.sqrt(area) < LEAST_SIDE * min(width, height):
        return False
    xs, ys = [cell % width for cell in patch], [cell // width for cell in patch]
    on_edge = sum(x in (0, width - 1) or y in (0, height - 1) for x, y in zip(xs, ys, strict=True))
    x0, y0 = sum(xs) / area, sum(ys) / area
    xx, yy = (sum((value - middle) ** 2 for value in values) / area for values, middle in ((xs, x0), (ys, y0)))
    xy = sum((x - x0) * (y - y0) for x, y in zip(xs, ys, strict=True)) / area
    # The spread along its length and across it; a full square of this area has area / 12 of both.
    half, apart = (xx + yy) / 2, math.hypot((xx - yy) / 2, xy)
    if half <= apart or (half + apart) / (half - apart) > LONGISH**2:
        return False
    return on_edge < AT_EDGE * math.sqrt(area) and area / 12 / math.sqrt(xx * yy - xy * xy) > RAGGED
