"""The two libraries that read codes, behind one call each: what is not installed is None.

Both check a QR code by its error correction before they give a text out. Neither is imported before it is needed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from firstlight.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from PIL.Image import Image
else:
    from firstlight.core.record import NamedTuple


class Engines(NamedTuple):
    """Calls that take an 8-bit grey picture and give the texts of its codes; None = not installed.

    Args:
        zbar: QR codes by pyzbar.
        zxing: QR codes by zxing-cpp.
    """

    zbar: Callable[[Image], list[str]] | None
    zxing: Callable[[Image], list[str]] | None


# Of zbar: on so many lines of the picture a bar code must have been read.
LINES = 10


@functools.cache
def engines() -> Engines:
    """What this machine has.

    Raises:
        UsageError: ``scan_missing`` where it has neither.
    """
    found = Engines(_zbar(), _zxing())
    if found.zbar is None and found.zxing is None:
        raise UsageError("scan_missing", "Codes cannot be read here: neither zxing-cpp nor pyzbar with zbar is there.")
    return found


def _zbar() -> Callable[[Image], list[str]] | None:
    try:
        from pyzbar import pyzbar  # ImportError too where zbar itself is missing
    except ImportError:
        return None

    def zbar(image: Image) -> list[str]:
        return [mended(one.data.decode("utf-8", "replace")) for one in pyzbar.decode(image, [pyzbar.ZBarSymbol.QRCODE])]

    return zbar


def _zxing() -> Callable[[Image], list[str]] | None:
    try:
        import zxingcpp
    except ImportError:
        return None

    # Its smaller kinds (Micro QR, rMQR) have fewer marks to tell them by, and nobody prints them for us.
    kind = zxingcpp.barcode_formats_from_str("QRCodeModel2")

    def zxing(image: Image) -> list[str]:
        found = zxingcpp.read_barcodes(image, formats=kind, return_errors=False)
        return [one.text for one in found if one.valid]

    return zxing


def line_codes(image: Image) -> list[str]:
    """The bar codes of goods and parcels (EAN, UPC, Code 128) that are plainly there, to say what they are.

    Their one check digit is little: each must be read the same on several lines of the picture.
    """
    try:
        import zxingcpp
    except ImportError:
        return _line_codes_of_zbar(image)
    kinds = zxingcpp.barcode_formats_from_str("EAN13,EAN8,UPCA,Code128")
    found = zxingcpp.read_barcodes(image, formats=kinds, try_downscale=False, try_invert=False)
    return [one.text for one in found if one.valid]


def _line_codes_of_zbar(image: Image) -> list[str]:
    try:
        from pyzbar import pyzbar
    except ImportError:
        return []
    kinds = [pyzbar.ZBarSymbol[name] for name in ("EAN13", "EAN8", "UPCA", "CODE128")]
    found = pyzbar.decode(image, kinds)
    return [one.data.decode("ascii", "replace") for one in found if one.quality >= LINES]


def mended(text: str) -> str:
    """A text of zbar with its letters put right.

    zbar guesses the alphabet of bytes that are no ASCII, and often takes UTF-8 for Japanese or Chinese. Where the
    text turned back into bytes is proper UTF-8, that is what was printed: no other text looks like it by chance.
    """
    if text.isascii():
        return text
    for alphabet in ("shift_jis", "big5", "latin-1"):
        try:
            return text.encode(alphabet).decode("utf-8")
        except UnicodeError:
            continue
    return text
