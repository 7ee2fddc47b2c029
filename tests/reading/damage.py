"""Sixteen ways to spoil the picture of a code, each from hardly visible to hopeless, with pillow alone."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from PIL import Image, ImageChops, ImageDraw, ImageFilter

Point = tuple[float, float]
BICUBIC = Image.Resampling.BICUBIC


class Shot(NamedTuple):
    """A picture about to be taken.

    Args:
        code: the label flat and sharp, large.
        around: the table that it lies on; has the size of the frame.
        side: of the label in the frame, pixels.
        module: of the code in the frame, pixels.
        degree: of the damage, above 0 to 1.
        dice: of this picture.
    """

    code: Image.Image
    around: Image.Image
    side: float
    module: float
    degree: float
    dice: Random

    def between(self, low: float, high: float) -> float:
        """A value for the degree of damage."""
        return low + (high - low) * self.degree

    def chance(self, low: float, high: float) -> float:
        """A value between two, by chance."""
        return low + (high - low) * self.dice.random()


# ---- taking the picture ----------------------------------------------------------------------------------------


def taken(shot: Shot, turn: float | None = None, tilt: float = 0.02, soft: float = 0.6) -> Image.Image:
    """The label on the table: a little turned, tilted and soft."""
    angle = math.radians(shot.chance(-4, 4) if turn is None else turn)
    middle = (
        shot.around.width / 2 + shot.chance(-0.03, 0.03) * shot.around.width,
        shot.around.height / 2 + shot.chance(-0.03, 0.03) * shot.around.height,
    )
    # What a camera sees from the side: the far edge shorter, and the whole a bit flatter.
    far = int(shot.dice.random() * 4)
    corners = [(-0.5, -0.5), (-0.5, 0.5), (0.5, 0.5), (0.5, -0.5)]
    for index in (far, (far + 1) % 4):
        x, y = corners[index]
        along = far % 2 == 0  # left and right edges shrink upright, the others across
        corners[index] = (x * (1 - 0.6 * tilt), y * (1 - tilt)) if along else (x * (1 - tilt), y * (1 - 0.6 * tilt))
    spots = [
        (
            middle[0] + shot.side * (x * math.cos(angle) - y * math.sin(angle)),
            middle[1] + shot.side * (x * math.sin(angle) + y * math.cos(angle)),
        )
        for x, y in corners
    ]
    return laid(shot.code, shot.around, spots).filter(ImageFilter.GaussianBlur(soft))


def laid(label: Image.Image, around: Image.Image, spots: list[Point]) -> Image.Image:
    """A label on a background, its corners (top left, then against the clock) at four spots."""
    # Reduced first where it shrinks much, as pillow's transform looks at 4 x 4 pixels only.
    side = math.dist(spots[0], spots[2]) / math.sqrt(2)
    if label.width > 2 * side:
        label = label.resize((int(side * 1.5), int(side * 1.5)), Image.Resampling.BOX)
    source = [(0.0, 0.0), (0.0, label.height), (label.width, label.height), (label.width, 0.0)]
    numbers = _perspective(spots, source)
    size = around.size
    over = label.transform(size, Image.Transform.PERSPECTIVE, numbers, BICUBIC)
    mask = Image.new("L", label.size, 255).transform(size, Image.Transform.PERSPECTIVE, numbers, BICUBIC)
    return Image.composite(over, around, mask)


def _perspective(out: list[Point], back: list[Point]) -> list[float]:
    """The eight numbers that pillow wants: where each pixel of the result comes from."""
    rows: list[list[float]] = []
    for (x, y), (u, v) in zip(out, back, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y, u])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y, v])
    for column in range(8):
        best = max(range(column, 8), key=lambda row: abs(rows[row][column]))
        rows[column], rows[best] = rows[best], rows[column]
        head = rows[column][column]
        rows[column] = [value / head for value in rows[column]]
        for row in range(8):
            if row != column and rows[row][column]:
                share = rows[row][column]
                rows[row] = [value - share * other for value, other in zip(rows[row], rows[column], strict=True)]
    return [row[8] for row in rows]


def grainy(image: Image.Image, sigma: float, dice: Random) -> Image.Image:
    """Grain of a sensor: nearly Gaussian, of a standard deviation in grey levels."""
    count = image.width * image.height
    # Four even chances make a bell; its deviation is 255 / sqrt(12) / 2 = 36.8.
    parts = [Image.frombytes("L", image.size, dice.randbytes(count)) for _ in range(4)]
    bell = Image.blend(Image.blend(parts[0], parts[1], 0.5), Image.blend(parts[2], parts[3], 0.5), 0.5)
    scale = sigma / 36.8
    bright = bell.point(lambda value: int(max(0.0, value - 127.5) * scale))
    dark = bell.point(lambda value: int(max(0.0, 127.5 - value) * scale))
    return ImageChops.subtract(ImageChops.add(image, bright), dark)


def _usual(image: Image.Image, shot: Shot) -> Image.Image:
    return grainy(image, 3, shot.dice)


def _spot(size: tuple[int, int], middle: Point, across: float, down: float, soft: float) -> Image.Image:
    mask = Image.new("L", size, 0)
    box = (middle[0] - across, middle[1] - down, middle[0] + across, middle[1] + down)
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    return mask.filter(ImageFilter.BoxBlur(soft)).filter(ImageFilter.BoxBlur(soft))


def _on_code(shot: Shot, reach: float = 0.35) -> Point:
    return (
        shot.around.width / 2 + shot.chance(-reach, reach) * shot.side,
        shot.around.height / 2 + shot.chance(-reach, reach) * shot.side,
    )


# ---- sixteen kinds ---------------------------------------------------------------------------------------------


def blur(shot: Shot) -> Image.Image:
    """Out of focus."""
    return _usual(taken(shot).filter(ImageFilter.GaussianBlur(shot.module * shot.between(0.15, 0.75))), shot)


def motion(shot: Shot) -> Image.Image:
    """Moved while it was taken, in any direction."""
    image, angle = taken(shot), shot.chance(0, math.pi)
    length = shot.module * shot.between(0.4, 2.0)
    total = image
    for step in range(1, 12):
        way = length * (step / 11 - 0.5)
        moved = image.transform(
            image.size,
            Image.Transform.AFFINE,
            (1, 0, way * math.cos(angle), 0, 1, way * math.sin(angle)),
            Image.Resampling.BILINEAR,
        )
        total = Image.blend(total, moved, 1 / (step + 1))
    return _usual(total, shot)


def faint(shot: Shot) -> Image.Image:
    """Hardly any contrast between ink and paper."""
    span, base = shot.between(0.3, 0.03), shot.chance(60, 150)
    return grainy(taken(shot).point(lambda value: int(base + value * span)), shot.between(1, 5), shot.dice)


def shadow(shot: Shot) -> Image.Image:
    """A hand's shadow or a lamp from one side."""
    image = taken(shot)
    mask = Image.new("L", image.size, 0)
    (x, _), lean = _on_code(shot, 0.25), shot.chance(-0.7, 0.7) * image.height
    ImageDraw.Draw(mask).polygon(
        [(x + lean, 0), (image.width, 0), (image.width, image.height), (x - lean, image.height)], 255
    )
    mask = mask.filter(ImageFilter.BoxBlur(shot.chance(2, 90)))
    if shot.dice.random() < 0.5:
        mask = ImageChops.invert(mask)
    dark = image.point(lambda value: int(value * shot.between(0.6, 0.04)))
    return _usual(Image.composite(dark, image, mask), shot)


def glare(shot: Shot) -> Image.Image:
    """The reflection of a lamp on a glossy label."""
    image = taken(shot)
    across = shot.side * shot.between(0.06, 0.3)
    mask = _spot(image.size, _on_code(shot, 0.3), across, across * shot.chance(0.4, 1), across * 0.4)
    return _usual(Image.composite(Image.new("L", image.size, 255), image, mask), shot)


def noise(shot: Shot) -> Image.Image:
    """Too little light: grain."""
    return grainy(taken(shot).point(lambda value: int(50 + value * 0.5)), shot.between(12, 90), shot.dice)


def jpeg(shot: Shot) -> Image.Image:
    """Sent through a messenger: shrunk and squeezed."""
    image = _usual(taken(shot), shot)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(shot.between(30, 3)))
    with Image.open(file) as back:
        return back.convert("L")


def far(shot: Shot) -> Image.Image:
    """A small code in a large picture."""
    return _usual(taken(shot, soft=0.5), shot)


def by_hand(shot: Shot) -> Image.Image:
    """All a little at once: turned by any angle, tilted, in half shade, soft, grainy, squeezed."""
    image = taken(shot, turn=shot.chance(0, 360), tilt=shot.between(0.04, 0.3))
    image = image.filter(ImageFilter.GaussianBlur(shot.module * shot.between(0.1, 0.5)))
    mask = _spot(image.size, _on_code(shot, 0.5), shot.side * 0.7, shot.side * 0.5, 60)
    dark = image.point(lambda value: int(value * shot.between(0.9, 0.2)))
    return grainy(Image.composite(image, dark, mask), shot.between(4, 24), shot.dice)


def tilted(shot: Shot) -> Image.Image:
    """Seen from the side: the far edge is much shorter."""
    return _usual(taken(shot, tilt=shot.between(0.08, 0.5)), shot)


def inverted(shot: Shot) -> Image.Image:
    """Light on dark, as engraved or on a dark screen, and a bit soft."""
    image = taken(shot._replace(code=ImageChops.invert(shot.code)))
    return grainy(
        image.filter(ImageFilter.GaussianBlur(shot.module * shot.between(0, 0.55))), shot.between(2, 16), shot.dice
    )


def scratched(shot: Shot) -> Image.Image:
    """Scratches and dirt on the label."""
    label = shot.code.copy()
    draw = ImageDraw.Draw(label)
    unit = label.width / 100
    for _ in range(int(shot.between(2, 16))):
        start = (shot.chance(0, label.width), shot.chance(0, label.width))
        end = (start[0] + shot.chance(-60, 60) * unit, start[1] + shot.chance(-60, 60) * unit)
        draw.line((*start, *end), fill=int(shot.chance(120, 255)), width=max(1, int(shot.chance(0.1, 0.9) * unit)))
    for _ in range(int(shot.between(2, 18))):
        x, y, radius = shot.chance(0, label.width), shot.chance(0, label.width), shot.chance(0.3, 1.8) * unit
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=int(shot.chance(0, 120)))
    return _usual(taken(shot._replace(code=label)), shot)


def covered(shot: Shot) -> Image.Image:
    """A finger over an edge, or a corner torn off."""
    label = shot.code.copy()
    draw = ImageDraw.Draw(label)
    size, reach = label.width, label.width * shot.between(0.05, 0.3)
    corner, along = int(shot.dice.random() * 4), shot.chance(0.15, 0.85) * size
    if shot.dice.random() < 0.5:
        spots = [(0, 0), (reach, 0), (0, reach)]
        draw.polygon([(x, y) for x, y in spots], fill=int(shot.chance(60, 200)))
        label = label.rotate(90 * corner)
    else:
        draw.ellipse((along - reach * 0.45, -reach, along + reach * 0.45, reach), fill=int(shot.chance(110, 190)))
        label = label.rotate(90 * corner)
    return _usual(taken(shot._replace(code=label)), shot)


def curved(shot: Shot) -> Image.Image:
    """Stuck on a pipe or a bottle: the code runs away at two sides."""
    label, strips, half = shot.code, 48, shot.between(0.25, 1.1)
    size = label.width
    sine = math.sin(half)
    mesh = []
    for number in range(strips):
        left, right = number * size // strips, (number + 1) * size // strips
        from_, to = (math.asin((2 * x / size - 1) * sine) / half * size / 2 + size / 2 for x in (left, right))
        mesh.append(((left, 0, right, size), (from_, 0, from_, size, to, size, to, 0)))
    bent = label.transform(label.size, Image.Transform.MESH, mesh, BICUBIC)
    if shot.dice.random() < 0.5:
        bent = bent.transpose(Image.Transpose.ROTATE_90)
    return _usual(taken(shot._replace(code=bent)), shot)


def banded(shot: Shot) -> Image.Image:
    """A printer short of ink, with lines that its head leaves out."""
    label = shot.code.copy()
    draw, unit = ImageDraw.Draw(label), 8  # pixels a module in the flat label
    y, gap = 0.0, shot.between(16, 6) * unit
    while y < label.height:
        y += gap * shot.chance(0.6, 1.4)
        draw.rectangle((0, y, label.width, y + unit * shot.between(0.15, 0.7)), fill=255)
    pale = shot.between(30, 170)
    label = label.point(lambda value: int(pale + value * (255 - pale) / 255))
    return grainy(taken(shot._replace(code=label)), shot.between(3, 9), shot.dice)


def screen(shot: Shot) -> Image.Image:
    """Photographed from a screen: its dots beat against the camera's, and bright bands run across."""
    image = taken(shot)
    strength, turn = shot.between(0.15, 0.65), shot.chance(-12, 12)
    dots, bands = shot.chance(2.2, 4.5), shot.chance(60, 160)
    for period, angle in ((dots, turn), (dots, turn + 90), (bands, shot.chance(0, 25))):
        wave = _waves(image.size, period, angle)
        image = ImageChops.multiply(image, wave.point(lambda value: int(255 * (1 - strength) + value * strength)))
    return _usual(image.point(lambda value: min(255, int(value * (1 + strength)))), shot)


def _waves(size: tuple[int, int], period: float, angle: float) -> Image.Image:
    """Light and dark lines, a period of so many pixels, turned by degrees."""
    side = int(math.hypot(*size)) + 2
    line = bytes(int(127.5 + 127.5 * math.cos(2 * math.pi * x / period)) for x in range(side))
    stripes = Image.frombytes("L", (side, 1), line).resize((side, side), Image.Resampling.NEAREST)
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    turned = stripes.rotate(angle, Image.Resampling.BILINEAR)
    return turned.crop((left, top, left + size[0], top + size[1]))


KINDS: dict[str, Callable[[Shot], Image.Image]] = {
    "blur": blur,
    "motion": motion,
    "faint": faint,
    "shadow": shadow,
    "glare": glare,
    "noise": noise,
    "jpeg": jpeg,
    "far": far,
    "by hand": by_hand,
    "tilted": tilted,
    "inverted": inverted,
    "scratched": scratched,
    "covered": covered,
    "curved": curved,
    "banded": banded,
    "screen": screen,
}


def _far_frame(degree: float, modules: int) -> tuple[tuple[int, int], float]:
    return (1600, 1200), min(modules * (3.6 - 2.4 * degree), 1000)


def _squeezed_frame(degree: float, modules: int) -> tuple[tuple[int, int], float]:
    side = min(modules * (5.5 - 3.5 * degree), 720)
    return (int(side * 1.6), int(side * 1.3)), side


FRAMES: dict[str, Callable[[float, int], tuple[tuple[int, int], float]]] = {
    "far": _far_frame,
    "jpeg": _squeezed_frame,
}
