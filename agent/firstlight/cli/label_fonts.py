"""Which font prints which text on a label.

A run of characters is set in the first font that has them all: the one that was asked for, those of the system that
reach far (DejaVu, Noto, Liberation), reportlab's own Vera (western Europe), then for Chinese, Japanese and Korean the
fonts that every PDF reader brings itself. What none has is set as "?" and remembered.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firstlight.errors import UsageError

if TYPE_CHECKING:
    from reportlab.pdfgen.canvas import Canvas

FOLDERS = ("/usr/share/fonts/truetype", "/usr/share/fonts/TTF", "/Library/Fonts", "/System/Library/Fonts/Supplemental")
FILES = (
    "dejavu/DejaVuSans.ttf",
    "DejaVuSans.ttf",
    "noto/NotoSans-Regular.ttf",
    "liberation/LiberationSans-Regular.ttf",
    "liberation2/LiberationSans-Regular.ttf",
    "Arial Unicode.ttf",
)
OWN, OWN_BOLD, CODE = "Vera", "VeraBd", "Courier-Bold"
BOLD = {"DejaVuSans.ttf": "DejaVuSans-Bold.ttf", "NotoSans-Regular.ttf": "NotoSans-Bold.ttf"}
# Script, by the beginning of a character's name -> the font that readers bring for it.
BROUGHT = (
    (("HIRAGANA", "KATAKANA"), "HeiseiKakuGo-W5"),
    (("HANGUL",), "HYGothic-Medium"),
    (("CJK", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH"), "STSong-Light"),
)
UNKNOWN = "?"


class Fonts:
    """The fonts of this machine, loaded as they are needed.

    Args:
        asked: a TrueType file to try first, None = none.

    Attributes:
        missing: characters that were not printed, or not as they are written.
    """

    def __init__(self, asked: str | None = None) -> None:
        self.missing = ""
        self._files = [asked] if asked else []
        self._files += [path for folder in FOLDERS for file in FILES if Path(path := f"{folder}/{file}").is_file()]
        self._asked = asked
        self._loaded: list[tuple[str, str, Any]] | None = None  # plain name, bold name, characters

    def _fonts(self) -> list[tuple[str, str, Any]]:
        from reportlab.pdfbase import pdfmetrics
        from reportlab.pdfbase.ttfonts import TTFError, TTFont

        if self._loaded is not None:
            return self._loaded
        self._loaded = []
        for path in [*self._files, f"{OWN}.ttf"]:
            name = f"label {path}"  # reportlab keeps the first font of a name for good
            try:
                font = TTFont(name, path)
            except (TTFError, OSError) as error:
                if path == self._asked:
                    raise UsageError("usage", f"{path} is no TrueType font that can be used: {error}.") from None
                continue
            pdfmetrics.registerFont(font)
            self._loaded.append((name, self._bold(name, path), font.face.charToGlyph))
        return self._loaded

    def _bold(self, name: str, path: str) -> str:
        from reportlab.pdfbase import pdfmetrics
        from reportlab.pdfbase.ttfonts import TTFError, TTFont

        file = Path(path)
        if path != f"{OWN}.ttf" and file.name not in BOLD:
            return name
        bold = f"{OWN_BOLD}.ttf" if path == f"{OWN}.ttf" else str(file.with_name(BOLD[file.name]))
        try:
            pdfmetrics.registerFont(TTFont(f"{name}-bold", bold))
        except (TTFError, OSError, ValueError):
            return name
        return f"{name}-bold"

    def runs(self, text: str, *, is_bold: bool = False) -> list[tuple[str, str]]:
        """A text as stretches of one font each: (font, text)."""
        found: list[tuple[str, str]] = []
        for character in unicodedata.normalize("NFC", text):
            if is_shaped(character):
                self._note(character)
            font = self._font_of(character, is_bold)
            if not font:
                self._note(character)
                font, character = self._font_of(UNKNOWN, is_bold), UNKNOWN
            if found and found[-1][0] == font:
                found[-1] = (font, found[-1][1] + character)
            else:
                found.append((font, character))
        return found

    def _note(self, character: str) -> None:
        if character not in self.missing:
            self.missing += character

    def _font_of(self, character: str, is_bold: bool) -> str:
        for plain, bold, characters in self._fonts():
            if ord(character) in characters:
                return bold if is_bold else plain
        name = unicodedata.name(character, "")
        for starts, font in BROUGHT:
            if name.startswith(starts):
                return _brought(font)
        return ""

    def width(self, text: str, size: float, *, is_bold: bool = False) -> float:
        """How wide a text is, in points."""
        from reportlab.pdfbase.pdfmetrics import stringWidth

        return sum(stringWidth(part, font, size) for font, part in self.runs(text, is_bold=is_bold))

    def wrapped(self, text: str, size: float, room: float) -> list[str]:
        """A bold text in lines that fit, broken between words where it can be, else within one."""
        lines: list[str] = []
        for word in text.split():
            joined = f"{lines[-1]} {word}" if lines else word
            if lines and self.width(joined, size, is_bold=True) <= room:
                lines[-1] = joined
                continue
            lines.append("")
            for character in word:
                if lines[-1] and self.width(lines[-1] + character, size, is_bold=True) > room:
                    lines.append("")
                lines[-1] += character
        return lines

    def draw(
        self, page: Canvas, left: float, y: float, text: str, size: float, room: float, *, is_bold: bool = False
    ) -> None:
        """One line, set smaller where it would be wider than its room."""
        width = self.width(text, size, is_bold=is_bold)
        size = size if width <= room else size * room / width
        words = page.beginText(left, y)
        for font, part in self.runs(text, is_bold=is_bold):
            words.setFont(font, size)
            words.textOut(part)
        page.drawText(words)

    def draw_code(self, page: Canvas, left: float, y: float, text: str, size: float) -> None:
        """What people type, in letters of one width."""
        page.setFont(CODE, size)
        page.drawString(left, y, text)

    def code_width(self, text: str, size: float) -> float:
        """How wide that is."""
        from reportlab.pdfbase.pdfmetrics import stringWidth

        return stringWidth(text, CODE, size)


def _brought(name: str) -> str:
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont

    if name not in pdfmetrics.getRegisteredFontNames():
        pdfmetrics.registerFont(UnicodeCIDFont(name))
    return name


def is_shaped(character: str) -> bool:
    """Whether a character belongs to a script that letters alone do not write: right to left, or joined ones."""
    joined = ("ARABIC", "DEVANAGARI", "BENGALI", "TAMIL", "THAI", "KHMER", "MYANMAR", "TELUGU", "SINHALA", "LAO")
    name = unicodedata.name(character, "")
    return unicodedata.bidirectional(character) in ("R", "AL") or name.startswith(joined)
