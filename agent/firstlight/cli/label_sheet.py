"""Offline codes as a printable sheet of labels (PDF, by reportlab): name, type, code, and what may be typed instead.

The code is drawn as squares, so a printer of any resolution draws it sharp. A label says what the box is called, never
more of a secret than the code and the typed code themselves. Text of scripts that need shaping (Arabic, Devanagari …)
is set letter by letter, which is not how it is written: ``warn_of`` says so.
"""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from firstlight.cli import qr_drawing
from firstlight.cli.label_fonts import Fonts
from firstlight.cli.offline_code import OfflineCode
from firstlight.errors import UsageError

if TYPE_CHECKING:
    from reportlab.pdfgen.canvas import Canvas

MM = 72 / 25.4
PADDING = 2.5 * MM
SMALLEST_SQUARE_MM = 0.3  # what a phone reads from office paper
CODE_SHARE = 0.62  # of a label's width, at most
NAME_SIZE, TEXT_SIZE, TYPED_SIZE, SMALL_SIZE = 12.0, 8.0, 10.0, 5.5
MOST_NAME_LINES = 3
A4, LETTER = (210.0, 297.0), (215.9, 279.4)


class Sheet(NamedTuple):
    """A sheet of labels, in millimetres.

    Args:
        paper: width and height.
        columns, rows: of labels.
        width, height: of a label.
        left, top: from the paper's edge to the first label.
        across, down: from one label's edge to the same edge of the next.
    """

    paper: tuple[float, float]
    columns: int
    rows: int
    width: float
    height: float
    left: float
    top: float
    across: float
    down: float


# Common sheets; the number that shops know them by stands behind.
SHEETS = {
    "a4-2x4": Sheet(A4, 2, 4, 99.1, 67.7, 4.65, 13.1, 101.6, 67.7),  # L7165
    "a4-2x7": Sheet(A4, 2, 7, 99.1, 38.1, 4.65, 15.15, 101.6, 38.1),  # L7163
    "a4-3x7": Sheet(A4, 3, 7, 63.5, 38.1, 7.25, 15.15, 66.04, 38.1),  # L7160
    "a4-3x8": Sheet(A4, 3, 8, 70.0, 36.0, 0.0, 4.5, 70.0, 36.0),  # 3474 and its like
    "a4-1x1": Sheet(A4, 1, 1, 190.0, 277.0, 10.0, 10.0, 190.0, 277.0),  # a poster for one box
    "letter-2x3": Sheet(LETTER, 2, 3, 101.6, 84.7, 4.05, 12.7, 106.0, 84.7),  # 5164
    "letter-2x5": Sheet(LETTER, 2, 5, 101.6, 50.8, 4.05, 12.7, 106.0, 50.8),  # 5163
    "letter-2x7": Sheet(LETTER, 2, 7, 101.6, 33.9, 4.05, 21.3, 106.0, 33.9),  # 5162
}
USUAL_SHEET = "a4-2x4"


def need_library() -> None:
    """Raises UsageError (``labels_missing``) where reportlab is not installed."""
    try:
        import reportlab  # noqa: F401
    except ImportError:
        raise UsageError(
            "labels_missing", "Labels cannot be made here: the library reportlab is not installed."
        ) from None


def sheet(codes: Sequence[OfflineCode], name: str = USUAL_SHEET, font: str | None = None) -> tuple[bytes, str]:
    """The labels as a PDF, and the characters of names that no font here prints.

    Args:
        codes: a label each; a payload that needs several symbols takes several labels.
        name: in ``SHEETS``.
        font: TrueType file that is tried first.

    Raises:
        UsageError: ``labels_missing``; ``usage``: the font cannot be used, or the labels are too small for the code.
    """
    need_library()
    from reportlab.pdfgen.canvas import Canvas

    form = SHEETS[name]
    fonts = Fonts(font)
    made = io.BytesIO()
    page = Canvas(made, pagesize=(form.paper[0] * MM, form.paper[1] * MM), invariant=True, pageCompression=True)
    page.setTitle("Firstlight labels")
    labels = [label for code in codes for label in _labels(code, form)]
    each = form.columns * form.rows
    for start in range(0, len(labels), each):
        if start:
            page.showPage()
        for place, label in enumerate(labels[start : start + each]):
            row, column = divmod(place, form.columns)
            left = (form.left + column * form.across) * MM
            top = (form.paper[1] - form.top - row * form.down) * MM
            _draw(page, label, form, left, top, fonts)
    page.save()
    return made.getvalue(), fonts.missing


def warn_of(missing: str) -> list[str]:
    """Sentences about characters that do not print, or not as they are written."""
    if not missing:
        return []
    shown = " ".join(f"{one} (U+{ord(one):04X})" if one.isprintable() else f"U+{ord(one):04X}" for one in missing[:8])
    more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
    return [f"not printed as written: {shown}{more}. Give a font that has them: --font FILE.ttf"]


class _Label(NamedTuple):
    code: OfflineCode
    squares: list[list[bool]]
    caption: str


def _labels(code: OfflineCode, form: Sheet) -> list[_Label]:
    from firstlight.cli.offline_output import captions, texts_of

    texts = texts_of(code.payload.reveal())
    found = []
    for text, caption in zip(texts, captions(len(texts)), strict=True):
        squares = qr_drawing.squares(text)
        square_mm = _code_side(form) / MM / (len(squares) + 2 * qr_drawing.MARGIN)
        if square_mm < SMALLEST_SQUARE_MM:
            raise UsageError(
                "usage",
                f"The code of {code.called} would have squares of {square_mm:.2f} mm, too small to be read.",
                f"Choose larger labels: --sheet {USUAL_SHEET}",
            )
        found.append(_Label(code, squares, caption))
    return found


def _code_side(form: Sheet) -> float:
    """Side of the code with its white margin, in points. The label's own padding counts as part of that margin."""
    return min(form.height * MM, form.width * MM * CODE_SHARE)


def _draw(page: Canvas, label: _Label, form: Sheet, left: float, top: float, fonts: Fonts) -> None:
    side = _code_side(form)
    unit = side / (len(label.squares) + 2 * qr_drawing.MARGIN)
    margin = unit * qr_drawing.MARGIN
    drop = min((form.height * MM - side) / 2, 10 * MM) if form.height > form.width else (form.height * MM - side) / 2
    upper = top - drop - margin
    path = page.beginPath()
    for row, line in enumerate(label.squares):
        for start, length in qr_drawing.runs(line):
            path.rect(left + margin + start * unit, upper - (row + 1) * unit, length * unit, unit)
    page.drawPath(path, stroke=0, fill=1)
    if form.height > form.width:  # a poster: the words stand below
        _words(page, label, left + margin, upper - side + margin, form.width * MM - 2 * margin, fonts)
        return
    _words(page, label, left + side, top - PADDING, form.width * MM - side - PADDING, fonts)


def _words(page: Canvas, label: _Label, left: float, top: float, room: float, fonts: Fonts) -> None:
    code = label.code
    y = top
    for text, size, is_bold in _lines(label, room, fonts):
        y -= size * 1.25
        fonts.draw(page, left, y, text, size, room, is_bold=is_bold)
    if code.typed_code is not None:
        y -= TYPED_SIZE * 1.8
        size = min(TYPED_SIZE, room / fonts.code_width(code.typed_code.reveal(), 1.0))
        fonts.draw_code(page, left, y, code.typed_code.reveal(), size)
        for text in _about_typing(code):
            for line in fonts.wrapped(text, SMALL_SIZE, room):
                y -= SMALL_SIZE * 1.3
                fonts.draw(page, left, y, line, SMALL_SIZE, room)


def _lines(label: _Label, room: float, fonts: Fonts) -> list[tuple[str, float, bool]]:
    """The words of a label from the top: text, size, whether it is bold."""
    code = label.code
    found = [(line, NAME_SIZE, True) for line in fonts.wrapped(code.name, NAME_SIZE, room)[:MOST_NAME_LINES]]
    plain = [code.type, f"serial {code.serial}" if code.serial else "", code.device_id]
    if code.expires_at_s:
        plain.append(f"scan until {time.strftime('%Y-%m-%d', time.gmtime(code.expires_at_s))}")
    if label.caption:
        plain.append(f"code {label.caption}: scan each")
    return found + [(text, TEXT_SIZE, False) for text in plain if text]


def _about_typing(code: OfflineCode) -> list[str]:
    """Where the typed code's endpoint and pin come from: it holds neither."""
    return ["typed: the box's settings must name", f"hub = {code.hub}", *(f"pin = {pin}" for pin in code.pins[:2])]
