"""A stream of bytes -> the pictures in it: JPEG after JPEG, or PNM (P5 grey, P6 colour) after PNM."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING

from firstlight.sources import camera

if TYPE_CHECKING:
    from PIL.Image import Image

JPEG_BEGIN, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
PNM = re.compile(rb"P([56])(?:\s+#[^\n]{0,200})*\s+(\d{1,5})\s+(\d{1,5})\s+(\d{1,3})\s")
PNM_BEGIN = re.compile(rb"P[56]\s")
# Longer than any head of a PNM with its comments.
MAX_HEAD = 1024
MAX_PIXELS = 16_000_000


class Frames:
    """Cuts a stream into pictures. What is between two of them is passed over; memory is bounded."""

    def __init__(self) -> None:
        self._held = b""

    def add(self, body: bytes) -> Iterator[bytes]:
        """The whole pictures that are there now, each as the bytes of a file of its own."""
        self._held += body
        while True:
            size = self._first()
            if size == 0:
                break
            found, self._held = self._held[:size], self._held[size:]
            yield found
        if len(self._held) > camera.MAX_FRAME_BYTES:
            self._held = b""

    def _first(self) -> int:
        """How many bytes the first picture has, 0 = it is not whole yet."""
        jpeg = self._held.find(JPEG_BEGIN)
        pnm = PNM_BEGIN.search(self._held, 0, jpeg if jpeg >= 0 else len(self._held))
        if pnm is not None:
            self._held = self._held[pnm.start() :]
            return self._pnm()
        if jpeg < 0:
            self._held = self._held[-4:]
            return 0
        self._held = self._held[jpeg:]
        return self._held.find(JPEG_END, 3) + len(JPEG_END) if JPEG_END in self._held[3:] else 0

    def _pnm(self) -> int:
        head = PNM.match(self._held[:MAX_HEAD])
        if head is None:
            if len(self._held) >= MAX_HEAD:
                self._held = self._held[2:]  # not a picture after all
            return 0
        width, height = int(head[2]), int(head[3])
        size = head.end() + width * height * (3 if head[1] == b"6" else 1)
        if not 0 < width * height <= MAX_PIXELS or not 0 < int(head[4]) < 256:
            self._held = self._held[2:]
            return 0
        return size if len(self._held) >= size else 0


def grey_of(body: bytes) -> Image | None:
    """The bytes of a JPEG or PNM -> a grey picture; None for a damaged one, as cameras give at their start."""
    import warnings

    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of a picture with too many pixels pillow only warns
            with Image.open(BytesIO(body), formats=("JPEG", "PPM")) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    return None
                picture.draft("L", None)  # a JPEG's brightness alone is a third of the work
                return picture.convert("L")
    except Exception:  # pillow raises what its decoders raise; the next picture is on its way
        return None
