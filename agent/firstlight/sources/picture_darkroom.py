"""What is done to a grey picture before a library looks at it; each returns a new picture, all by pillow."""

from __future__ import annotations

import itertools
import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from PIL.Image import Image

STRIPS = 32


def sized(image: Image, longest: int) -> Image:
    """Shrunk so that its longer side has so many pixels; never enlarged. 0 = as it is."""
    from PIL import Image as Images

    scale = longest / max(image.size)
    if not longest or scale >= 1:
        return image
    # Every pixel counts in what is much smaller: that alone takes away grain.
    filter_ = Images.Resampling.BOX if scale < 0.5 else Images.Resampling.BILINEAR
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), filter_)


def split(image: Image) -> Image:
    """Black and white at the middle of its own brightness: faint print."""
    from PIL import ImageOps

    return ImageOps.autocontrast(image, 2).point(lambda value: 255 if value > 127 else 0)


def evened(image: Image, grain: int = 0) -> Image:
    """Black where darker than its wide surroundings: shadow, lamp, glare. Grain is evened out in so many pixels."""
    from PIL import ImageChops, ImageFilter

    soft = image.filter(ImageFilter.BoxBlur(grain)) if grain else image
    around = soft.filter(ImageFilter.BoxBlur(max(8, max(image.size) // 16)))
    return ImageChops.subtract(soft, around, 1, 128).point(lambda value: 255 if value > 128 else 0)


def evened_1(image: Image) -> Image:
    """As ``evened``, a little grain."""
    return evened(image, 1)


def evened_2(image: Image) -> Image:
    """As ``evened``, much grain, or the dots of a screen."""
    return evened(image, 2)


def inverted(image: Image) -> Image:
    """Light for dark."""
    from PIL import ImageChops

    return ImageChops.invert(image)


def evened_inverted(image: Image) -> Image:
    """Light for dark in uneven light."""
    return inverted(evened(image))


def sharpened(image: Image) -> Image:
    """Edges stronger: out of focus."""
    from PIL import ImageFilter

    return image.filter(ImageFilter.UnsharpMask(4, 300, 0))


def straightened(image: Image, side: int, share: float) -> Image:
    """Seen from the front: the far edge as long as the near one, by the same perspective that a camera has.

    Args:
        image: as taken.
        side: which edge is the far one: 0 top, 1 right, 2 bottom, 3 left. That edge comes out on top.
        share: of its length that the far edge of the picture has lost.
    """
    from PIL import Image as Images

    turn = (None, Images.Transpose.ROTATE_90, Images.Transpose.ROTATE_180, Images.Transpose.ROTATE_270)[side]
    if turn is not None:
        image = image.transpose(turn)
    width, height = image.size
    left = 1 - share
    numbers = (left, -share * width / height / 2, share * width / 2, 0, left, 0, 0, -share / height)
    return image.transform(image.size, Images.Transform.PERSPECTIVE, numbers, Images.Resampling.BILINEAR)


def crisp(image: Image) -> Image:
    """Edges stronger, finer than ``sharpened``: small modules."""
    from PIL import ImageFilter

    return image.filter(ImageFilter.UnsharpMask(2, 300, 0))


def sharpened_inverted(image: Image) -> Image:
    """Light for dark, out of focus."""
    return inverted(sharpened(image))


def unbent(image: Image, half: float) -> Image:
    """Unrolled from a pipe that stands upright: narrow strips get wider the farther they are from the middle.

    Args:
        image: the code in its middle, filling it.
        half: angle from the middle to the edge of the picture as seen from the axis of the pipe, radians.
    """
    from PIL import Image as Images

    width, height = image.size
    edges = [
        (width * strip // STRIPS, width / 2 * (1 + math.sin((2 * strip / STRIPS - 1) * half) / math.sin(half)))
        for strip in range(STRIPS + 1)
    ]
    mesh = [
        ((left, 0, right, height), (start, 0, start, height, end, height, end, 0))
        for (left, start), (right, end) in itertools.pairwise(edges)
    ]
    return image.transform(image.size, Images.Transform.MESH, mesh, Images.Resampling.BILINEAR)


def unbent_across(image: Image, half: float) -> Image:
    """As ``unbent``, from a pipe that lies."""
    from PIL import Image as Images

    return unbent(image.transpose(Images.Transpose.ROTATE_90), half)


def cut_out(image: Image, middle: tuple[float, float], side: float, longest: int) -> Image:
    """A square of the picture in the size asked for, enlarged at most four times."""
    from PIL import Image as Images

    left, top = max(0, int(middle[0] - side / 2)), max(0, int(middle[1] - side / 2))
    right, bottom = min(image.width, int(left + side) + 1), min(image.height, int(top + side) + 1)
    part = image.crop((left, top, right, bottom))
    scale = min(4.0, longest / max(part.size))
    size = (max(1, round(part.width * scale)), max(1, round(part.height * scale)))
    return part.resize(size, Images.Resampling.BOX if scale < 0.5 else Images.Resampling.BICUBIC)
