"""Reads back what was drawn: characters of a terminal, SVG and PDF as pictures, pictures by zxing-cpp."""

from __future__ import annotations

import base64
import io
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import zxingcpp
from PIL import Image, ImageDraw

INK = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}
ESCAPE = re.compile("\x1b\\[[0-9;]*m")
RUN = re.compile(r"M(\d+) (\d+)h(\d+)v1h-(\d+)z")
RECTANGLE = re.compile(rb"(-?[\d.]+) (-?[\d.]+) (-?[\d.]+) (-?[\d.]+) re")
SCALE = 4


def texts(picture: Image.Image | Path) -> list[str]:
    """The texts of all codes in a picture, from left to right and top to bottom."""
    image = picture if isinstance(picture, Image.Image) else Image.open(picture)
    found = zxingcpp.read_barcodes(image)
    return [one.text for one in sorted(found, key=lambda one: (one.position.top_left.y // 40, one.position.top_left.x))]


def from_squares(rows: Sequence[Sequence[bool]], ground: int = 255) -> Image.Image:
    """Squares as a picture, dark ones black."""
    image = Image.new("L", (len(rows[0]), len(rows)), ground)
    image.putdata([0 if dark else 255 for row in rows for dark in row])
    return image.resize((image.width * SCALE, image.height * SCALE), Image.Resampling.NEAREST)


def from_terminal(shown: str) -> Image.Image:
    """The lines of half blocks in what a terminal was sent, as it looks there: colours obeyed, else light on dark."""
    lines = [line for line in shown.splitlines() if len(set(ESCAPE.sub("", line)) - set(INK)) == 0 and line.strip()]
    coloured = [line for line in lines if line.startswith("\x1b")]
    rows: list[list[bool]] = []
    for line in coloured or lines:
        pairs = [INK[character] for character in ESCAPE.sub("", line)]
        rows += [[bool(pair[half]) != (not coloured) for pair in pairs] for half in (0, 1)]
    return from_squares(rows)


def from_svg(body: bytes) -> Image.Image:
    """An SVG of one path of squares as a picture."""
    text = body.decode()
    box, paths = re.findall(r'viewBox="0 0 (\d+) (\d+)"', text), re.findall(r'<path d="([^"]*)"', text)
    (width, height), (drawn,) = map(int, box[0]), paths
    rows = [[False] * width for _ in range(height)]
    assert RUN.sub("", drawn) == ""
    for x, y, length, back in RUN.findall(drawn):
        assert length == back
        for place in range(int(x), int(x) + int(length)):
            rows[int(y)][place] = True
    return from_squares(rows)


def pages(body: bytes) -> list[bytes]:
    """The drawing operators of each page of a PDF."""
    found = []
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", body, re.DOTALL):
        data = stream.strip()
        if data.endswith(b"~>"):
            data = base64.a85decode(data[:-2])
        try:
            plain = zlib.decompress(data)
        except zlib.error:
            continue
        if b" re" in plain and b"\0" not in plain:
            found.append(plain)
    return found


def from_page(operators: bytes, size: tuple[float, float], dots: float = 3.0) -> Image.Image:
    """The filled rectangles of a page as a picture, ``dots`` pixels a point."""
    image = Image.new("L", (round(size[0] * dots), round(size[1] * dots)), 255)
    pen = ImageDraw.Draw(image)
    for found in RECTANGLE.findall(operators):
        x, y, width, height = (float(number) * dots for number in found)
        top = image.height - y - height
        pen.rectangle((round(x), round(top), round(x + width) - 1, round(top + height) - 1), fill=0)
    return image


def png(body: bytes) -> Image.Image:
    """PNG bytes as a picture."""
    return Image.open(io.BytesIO(body))
