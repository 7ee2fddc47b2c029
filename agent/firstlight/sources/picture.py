"""A picture of a code, from a file or a camera -> the texts that stand in it.

Whoever hands in a picture may be a stranger: the file is bounded in bytes, its header in pixels before anything is
decoded, and only the formats of ``FORMATS`` are tried. What comes out is grey, upright and in memory, so that reading
has one kind of picture to deal with. How codes are read is in ``picture_cascade``, by which libraries in
``picture_engines``, and what is seen where nothing can be read in ``picture_marks``.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import warnings
from collections.abc import Iterable
from pathlib import Path

from firstlight.errors import InvitationError, UsageError
from firstlight.sources.picture_cascade import Reading, Watching, look

TYPE_CHECKING = False
if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Reading", "Watching", "load", "read", "read_frames"]

MAX_BYTES = 32 * 1024 * 1024
MAX_PIXELS = 40_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
# Two minutes of a camera that gives ten pictures a second.
MAX_FRAMES = 1200

_DEEP_MODES = ("I", "F")
_PHONES = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")
_PHONE_HINT = (
    "Send it as JPEG: on an iPhone choose Settings, Camera, Formats, Most Compatible, and take it again. "
    "A screenshot of the picture does too."
)


def load(source: str | Path | bytes, *, strict: bool = False) -> Image:
    """The picture in a file, or in bytes that were read already.

    Args:
        source: path of the file, or its content.
        strict: refuse links and what is not a plain file, as on a stick that a stranger brought.

    Returns:
        One picture (of an animation the first) as 8-bit grey, turned as its EXIF note says, laid on white.

    Raises:
        InvitationError: ``picture_unreadable``, ``picture_too_large``, ``source_unreadable``.
        UsageError: ``scan_missing`` where pillow is not installed.
    """
    name = "The picture" if isinstance(source, bytes) else str(source)
    body = source if isinstance(source, bytes) else _body(source, strict)
    if len(body) > MAX_BYTES:
        raise InvitationError("picture_too_large", f"{name} has more than {MAX_BYTES // 1024 // 1024} MB.")
    try:
        from PIL import Image as Images
    except ImportError:
        raise UsageError("scan_missing", "Pictures cannot be read here: the library pillow is not installed.") from None
    with warnings.catch_warnings():
        # A damaged note inside a picture is no news; a picture that is far larger than its file says so as a warning.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Images.DecompressionBombWarning)
        try:
            return _decoded(body, name)
        except InvitationError:
            raise
        except (Images.DecompressionBombWarning, Images.DecompressionBombError, MemoryError):
            raise _too_many_pixels(name) from None
        except Exception as error:  # pillow's decoders raise nearly everything on damaged files
            raise InvitationError("picture_unreadable", _what_is_wrong(body, name, error), _hint(body)) from None


def read(image: Image, effort: str = "picture") -> Reading:
    """The texts of the codes in a picture, with bounded work.

    Args:
        image: as ``load`` gives it; any other picture of pillow is turned into grey.
        effort: "frame" for one of many pictures of a camera (quick), "picture" for the only one there is.

    Returns:
        ``texts``: each text once; more than one where the picture shows several codes. ``seen``: "read", or, without
        any text, "blurred", "far" (a code is there) or "none".

    Raises:
        UsageError: ``scan_missing`` where no library that reads codes is installed.
    """
    return look(image if image.mode == "L" else image.convert("L"), effort)


def read_frames(frames: Iterable[Image], limit: int = MAX_FRAMES, watching: Watching | None = None) -> Reading:
    """The pictures of a camera, one after the other, until one gives a text.

    Each is looked at quickly, and in a different way than the one before it; so a code that is hard to read gets the
    whole effort within some twenty pictures.

    Args:
        frames: grey or coloured pictures; may never end.
        limit: how many are looked at.
        watching: from one call to the next, who wants a word now and then from one camera; None = a new one.

    Returns:
        The first that was read, else what the better part of the last ones showed.

    Raises:
        UsageError: ``scan_missing``.
    """
    watching = watching or Watching()
    for number, frame in enumerate(frames, start=1):
        reading = watching.look(frame if frame.mode == "L" else frame.convert("L"))
        if reading.texts or number >= limit:
            break
    return watching.best


def _body(path: str | Path, strict: bool) -> bytes:
    # Not blocking: a pipe without a writer must not hang the command.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_NOFOLLOW if strict else 0)
    try:
        handle = os.open(path, flags)
        with open(handle, "rb") as file:  # noqa: PTH123  a descriptor, not a path
            if strict and not stat.S_ISREG(os.fstat(handle).st_mode):
                raise InvitationError("picture_unreadable", f"{path} is not a plain file.")
            return file.read(MAX_BYTES + 1) or b""
    except OSError as error:
        if strict and error.errno == errno.ELOOP:
            raise InvitationError("picture_unreadable", f"{path} is a link, not a plain file.") from None
        raise InvitationError("source_unreadable", f"{path} cannot be read: {error.strerror}.") from None


def _decoded(body: bytes, name: str) -> Image:
    from PIL import Image as Images
    from PIL import ImageOps

    with Images.open(io.BytesIO(body), formats=FORMATS) as file:
        if file.width * file.height > MAX_PIXELS:
            raise _too_many_pixels(name)
        file.draft("L", file.size)  # of a JPEG only the brightness is decoded: a third of the memory
        file.load()
        return ImageOps.exif_transpose(_grey(file))


def _grey(image: Image) -> Image:
    from PIL import Image as Images

    if image.mode.startswith(_DEEP_MODES):
        # 16 bits and more: pillow would cut off what is above 255.
        deep = image.convert("F")
        low, high = (float(str(end)) for end in deep.getextrema())
        scale = 255.0 / ((high - low) or 1.0)
        return deep.point(lambda value: value * scale - low * scale).convert("L")
    if image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        paper = Images.new("RGBA", image.size, "white")
        return Images.alpha_composite(paper, image.convert("RGBA")).convert("L")
    return image.convert("L")


def _too_many_pixels(name: str) -> InvitationError:
    return InvitationError("picture_too_large", f"{name} has more than {MAX_PIXELS // 1_000_000} megapixels.")


def _what_is_wrong(body: bytes, name: str, error: Exception) -> str:
    if not body:
        return f"{name} is empty."
    if body[4:8] == b"ftyp":
        kind = "a HEIC picture, as iPhones take them," if body[8:12] in _PHONES else "a film"
        return f"{name} is {kind} which cannot be read here."
    if body.startswith(b"%PDF"):
        return f"{name} is a PDF, not a picture."
    if type(error).__name__ == "UnidentifiedImageError":
        return f"{name} is not a picture of a kind that is known here ({', '.join(FORMATS)})."
    return f"{name} is a damaged picture, or a part of it is missing."


def _hint(body: bytes) -> str:
    return _PHONE_HINT if body[4:8] == b"ftyp" and body[8:12] in _PHONES else ""
