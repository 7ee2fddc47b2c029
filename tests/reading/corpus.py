"""Pictures of codes as a technician takes them: badly printed, in bad light, from too far; the same for the same seed.

512 pictures are 16 kinds of damage x 4 sizes of text x 8 levels, from hardly visible (0) to hopeless (7). Every picture
has a cluttered table as its background, the code a little turned and tilted on a label, soft focus, grain and JPEG's
own loss; the kind of damage comes on top. Made with qrcode and pillow alone; all chance comes from ``random.Random``
with the picture's own name, so each picture can be made without the ones before it.
"""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

import qrcode
from PIL import Image, ImageDraw, ImageFont

from tests.reading import damage
from tests.reading.damage import Shot

SEED = 20261121
HOLD_OUT_SEED = 777
SIZES = (50, 150, 400, 1000)
LEVELS = range(8)
KINDS = tuple(damage.KINDS)
BASE45 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
PLAIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=/:."
LETTERS = "etaoinshrdlucmfwypvbgkETAOINS"
FRAME = (960, 720)
QUIET = 4  # modules, as the standard asks


class Recipe(NamedTuple):
    """What makes one picture.

    Args:
        seed: of the whole corpus.
        kind: of damage, of ``KINDS``.
        size: of the text, in characters.
        level: 0 to 7.
    """

    seed: int
    kind: str
    size: int
    level: int

    @property
    def name(self) -> str:
        """Tells it from all others."""
        return f"{self.seed}-{self.kind}-{self.size}-{self.level}"

    @property
    def text(self) -> str:
        """What the code says: alphanumeric as our payloads, on every other level mixed letters as addresses."""
        dice = Random(f"text {self.name}")
        letters, mark = (BASE45, "FL1:") if self.level % 2 == 0 else (PLAIN, "https://")
        return mark + "".join(letters[int(dice.random() * len(letters))] for _ in range(self.size - len(mark)))


def recipes(seed: int = SEED, kinds: tuple[str, ...] = KINDS, sizes: tuple[int, ...] = SIZES) -> list[Recipe]:
    """All of a corpus, in a fixed order."""
    return [Recipe(seed, kind, size, level) for kind in kinds for size in sizes for level in LEVELS]


def fingerprint(made: list[Recipe]) -> str:
    """SHA-256 over names, texts and modules of the codes: what must not change without somebody noticing.

    Not over the pixels: their last bit depends on the processor and on pillow's version.
    """
    digest = hashlib.sha256()
    for recipe in made:
        digest.update(f"{recipe.name} {recipe.text}\n".encode())
    return digest.hexdigest()


@functools.lru_cache(maxsize=1024)
def symbol(text: str, level: str = "M") -> Image.Image:
    """The code itself with its quiet zone, one pixel a module, mode L."""
    corrections = dict(zip("LMQH", (1, 0, 3, 2), strict=True))
    # One mask for all: to compare the eight is most of the work, and says nothing about reading.
    code = qrcode.QRCode(error_correction=corrections[level], border=0, mask_pattern=len(text) % 8)
    code.add_data(text, optimize=0)
    code.make(fit=True)
    rows = code.get_matrix()
    side = len(rows)
    body = bytes(0 if dark else 255 for row in rows for dark in row)
    paper = Image.new("L", (side + 2 * QUIET, side + 2 * QUIET), 255)
    paper.paste(Image.frombytes("L", (side, side), body), (QUIET, QUIET))
    return paper


def picture(recipe: Recipe) -> Image.Image:
    """One picture, mode L."""
    dice = Random(recipe.name)
    code = symbol(recipe.text)
    hurt = damage.KINDS[recipe.kind]
    degree = (recipe.level + 1) / len(LEVELS)
    room = damage.FRAMES.get(recipe.kind)
    frame, side = room(degree, code.width) if room else (FRAME, FRAME[1] * 0.78)
    flat = code.resize((code.width * 8, code.width * 8), Image.Resampling.NEAREST)
    shot = Shot(flat, table(frame, dice), side, side / code.width, degree, dice)
    return _through_jpeg(hurt(shot), 85)


def _through_jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    with Image.open(file) as back:
        return back.convert("L")


def table(frame: tuple[int, int], dice: Random) -> Image.Image:
    """A table with things on it: what stands around a code, and the picture without one."""
    width, height = frame
    base = Image.linear_gradient("L").rotate(90 * int(dice.random() * 4)).resize(frame)
    low, high = 70 + dice.random() * 60, 20 + dice.random() * 70
    canvas = base.point(lambda value: int(low + value * high / 255))
    draw = ImageDraw.Draw(canvas)
    for _ in range(14):
        x, y = dice.random() * width, dice.random() * height
        across, down = width * (0.02 + 0.2 * dice.random()), height * (0.02 + 0.2 * dice.random())
        tone = int(dice.random() * 255)
        {
            0: lambda box, tone: draw.rectangle(box, fill=tone),
            1: lambda box, tone: draw.ellipse(box, outline=tone, width=5),
            2: lambda box, tone: draw.line(box, fill=tone, width=4),
            3: lambda box, tone: _print(draw, box, tone, dice),
        }[int(dice.random() * 4)]((x, y, x + across, y + down), tone)
    return canvas


def _print(draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], tone: int, dice: Random) -> None:
    left, top, right, bottom = box
    y = top
    while y < bottom:
        x = left
        while x < right:
            word = 3 + dice.random() * 9
            draw.rectangle((x, y, x + word, y + 5), fill=tone)
            x += word + 2 + dice.random() * 4
        y += 10


def without_codes(seed: int = SEED, count: int = 64) -> Iterator[tuple[str, Image.Image]]:
    """Pictures that hold no code: name, mode L."""
    makers = (_things, _bars, _rings, _chequers, _grain, _keys, _tiles, _page)
    for number in range(count):
        maker = makers[number % len(makers)]
        dice = Random(f"none {seed} {number}")
        image = damage.grainy(maker(dice), 2 + dice.random() * 20, dice)
        yield f"{maker.__name__[1:]}-{number}", _through_jpeg(image, 85)


def sheets(seed: int = SEED, count: int = 24) -> Iterator[tuple[str, Image.Image]]:
    """Sheets of print, as square as a label: name, mode L. Restless like a code, but in lines."""
    for number in range(count):
        dice = Random(f"sheet {seed} {number}")
        canvas = table(FRAME, dice)
        draw, side = ImageDraw.Draw(canvas), int(300 + dice.random() * 340)
        left, top = (FRAME[0] - side) // 2, (FRAME[1] - side) // 2
        draw.rectangle((left - 30, top - 30, left + side + 30, top + side + 30), fill=240)
        size = int(10 + dice.random() * 22)
        font = ImageFont.load_default(size)
        for y in range(top, top + side - size, int(size * 1.15)):
            line = ""
            while draw.textlength(line, font=font) < side * 0.97:
                line += (
                    "".join(LETTERS[int(dice.random() * len(LETTERS))] for _ in range(int(2 + dice.random() * 8))) + " "
                )
            draw.text((left, y), line, fill=20, font=font)
        image = canvas.rotate(dice.random() * 8 - 4, fillcolor=90)
        yield f"sheet-{number}", _through_jpeg(damage.grainy(image, 2 + dice.random() * 10, dice), 85)


def _things(dice: Random) -> Image.Image:
    return table(FRAME, dice)


def _bars(dice: Random) -> Image.Image:
    canvas = table(FRAME, dice)
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((180, 180, 780, 540), fill=240)
    x, unit = 220.0, 2 + dice.random() * 4
    while x < 740:
        wide = unit * (1 + int(dice.random() * 4))
        draw.rectangle((x, 220, x + wide, 480), fill=15)
        x += wide + unit * (1 + int(dice.random() * 4))
    return canvas


def _rings(dice: Random) -> Image.Image:
    canvas = table(FRAME, dice)
    draw = ImageDraw.Draw(canvas)
    for _ in range(2):
        x, y, radius = 200 + dice.random() * 560, 200 + dice.random() * 320, 40 + dice.random() * 120
        for step, share in enumerate((1.0, 5 / 7, 3 / 7, 1 / 7)):
            box = (x - radius * share, y - radius * share, x + radius * share, y + radius * share)
            draw.ellipse(box, fill=20 if step % 2 == 0 else 235)
    return canvas


def _chequers(dice: Random) -> Image.Image:
    cell = 4 + int(dice.random() * 40)
    side = 1300 // cell
    small = Image.frombytes("L", (side, side), bytes((x + y) % 2 * 200 + 20 for y in range(side) for x in range(side)))
    large = small.resize((side * cell, side * cell), Image.Resampling.NEAREST).rotate(dice.random() * 90)
    left, top = (large.width - FRAME[0]) // 2, (large.height - FRAME[1]) // 2
    return large.crop((left, top, left + FRAME[0], top + FRAME[1]))


def _grain(dice: Random) -> Image.Image:
    cell = 2 + int(dice.random() * 12)
    width, height = FRAME[0] // cell, FRAME[1] // cell
    small = Image.frombytes("L", (width, height), dice.randbytes(width * height))
    return small.point(lambda value: 20 if value < 128 else 230).resize(FRAME, Image.Resampling.NEAREST)


def _keys(dice: Random) -> Image.Image:
    canvas = Image.new("L", FRAME, 40)
    draw = ImageDraw.Draw(canvas)
    side = 40 + dice.random() * 50
    for row in range(int(FRAME[1] / side)):
        for column in range(int(FRAME[0] / side)):
            x, y = column * side, row * side
            draw.rounded_rectangle((x + 3, y + 3, x + side - 3, y + side - 3), 6, fill=200)
            draw.rectangle((x + side * 0.35, y + side * 0.3, x + side * 0.65, y + side * 0.6), fill=60)
    return canvas.rotate(dice.random() * 20 - 10)


def _tiles(dice: Random) -> Image.Image:
    canvas = Image.new("L", FRAME, 150)
    draw = ImageDraw.Draw(canvas)
    step = 30 + dice.random() * 60
    for row in range(int(FRAME[1] / step) + 1):
        for column in range(-1, int(FRAME[0] / step / 2) + 1):
            x = (column * 2 + row % 2) * step
            draw.rectangle((x, row * step, x + step * 2 - 4, row * step + step - 4), fill=70 + int(dice.random() * 50))
    return canvas


def _page(dice: Random) -> Image.Image:
    canvas = Image.new("L", FRAME, 235)
    _print(ImageDraw.Draw(canvas), (60, 60, 900, 680), 30, dice)
    return canvas.rotate(dice.random() * 8 - 4, fillcolor=90)
