"""What the desk draws is read back: PNG, SVG, terminal, one symbol and parts, and every file is private."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from firstlight.cli import offline_output, output_file, qr_drawing
from firstlight.cli.main import main
from firstlight.errors import StateError, UsageError
from firstlight.wire import parts
from tests.desk import reading
from tests.desk.codes import payload

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of the usual width, with colours."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """What ``device create --json`` printed, in a file."""
    file = tmp_path / "made.json"
    told = {"deviceId": "cam-1", "installId": "a" * 26, "offlineProvisioningQrPayload": payload(), "name": "Cam"}
    file.write_text(json.dumps(told))
    return file


@pytest.mark.parametrize("length", [1, 20, 100, 321, 450, 600, 1_500])
def test_text_of_any_length_is_drawn_and_read(length: int) -> None:
    """Every way of drawing gives the very text back, alphanumeric or not."""
    chance = random.Random(length)
    for alphabet in (ALPHABET, "abc def\u00e4"):
        text = "".join(
            chance.choice(alphabet.strip()) for _ in range(length if alphabet is ALPHABET else length // 2 + 1)
        )
        drawn = qr_drawing.squares(text)
        assert reading.texts(reading.png(qr_drawing.png(qr_drawing.framed(drawn)))) == [text]
        assert reading.texts(reading.from_svg(qr_drawing.svg(qr_drawing.framed(drawn)))) == [text]
        for colours in (True, False):
            shown = qr_drawing.terminal(drawn, 400, colours=colours)
            assert reading.texts(reading.from_terminal(shown)) == [text]


def test_the_symbol_is_as_small_as_the_text_allows() -> None:
    """600 alphanumeric characters are version 15 at level M; one more is version 16; lower case would take 19."""
    text = "A1 $%*+-./:" * 60
    assert qr_drawing.version(qr_drawing.squares(text[:600])) == 15
    assert qr_drawing.version(qr_drawing.squares(text[:601])) == 16
    assert qr_drawing.version(qr_drawing.squares(text[:600].lower())) > 15
    assert qr_drawing.version(qr_drawing.squares(text[:419])) == 12


def test_a_text_that_no_symbol_holds_is_named() -> None:
    """Version 40 is the end."""
    with pytest.raises(UsageError) as caught:
        qr_drawing.squares("A" * 3_392)
    assert caught.value.code == "code_too_large"


def test_a_symbol_has_its_white_margin() -> None:
    """Four squares on every side, also above a caption."""
    rows = qr_drawing.framed(qr_drawing.squares("A" * 40), "12 of 16")
    assert not any(any(row) for row in (*rows[:4], *rows[33:37])) and not any(row[0] or row[3] for row in rows[:37])
    assert any(any(row) for row in rows[37:]) and not any(rows[-1])


def test_a_narrow_terminal_gets_a_narrow_margin_or_nothing() -> None:
    """The margin gives way before the code does."""
    drawn = qr_drawing.squares("A" * 480)
    assert len(drawn) == 69
    for columns, width in ((80, 77), (77, 77), (76, 73), (73, 73), (72, 0)):
        shown = reading.ESCAPE.sub("", qr_drawing.terminal(drawn, columns))
        assert max(map(len, shown.splitlines()), default=0) == width


def test_qr_on_the_terminal(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without other outputs the code is drawn; the payload's text itself is not printed."""
    assert main(["device", "qr", "--payload-file", str(made)]) == 0
    out = capsys.readouterr().out
    assert reading.texts(reading.from_terminal(out)) == [payload()]
    assert "cam-1" in out and "FL1:" not in out


def test_qr_into_files(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A PNG and an SVG, private both; nothing secret on the terminal."""
    png, svg = tmp_path / "q.png", tmp_path / "q.svg"
    assert main(["device", "qr", "--payload-file", str(made), "--png", str(png), "--svg", str(svg), "--json"]) == 0
    assert reading.texts(png) == reading.texts(reading.from_svg(svg.read_bytes())) == [payload()]
    assert {path.stat().st_mode & 0o777 for path in (png, svg)} == {0o600}
    told = json.loads(capsys.readouterr().out)
    assert told == {"files": [str(png), str(svg)], "devices": [{"deviceId": "cam-1", "name": "Cam"}]}


@pytest.mark.parametrize("number", [2, 3, 7])
def test_a_payload_in_parts(made: Path, tmp_path: Path, number: int) -> None:
    """As many codes as asked for, each captioned and small; read in any order they are the payload."""
    png = tmp_path / "q.png"
    assert main(["device", "qr", "--payload-file", str(made), "--png", str(png), "--split", str(number)]) == 0
    names = [tmp_path / f"q-{place}-of-{number}.png" for place in range(1, number + 1)]
    assert sorted(tmp_path.glob("q*")) == sorted(names)
    collected = parts.Parts()
    found = [collected.add(text) for name in reversed(names) for text in reading.texts(name)]
    assert found[:-1] == [None] * (number - 1) and found[-1] == payload()


def test_a_long_payload_splits_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beyond 600 characters; on the terminal each part stands with its number."""
    text = payload("n" * 60, long=True)
    assert len(text) > 600
    file = tmp_path / "payload.txt"
    file.write_text(f"{text}\r\n")
    assert main(["device", "qr", "--payload-file", str(file)]) == 0
    out = capsys.readouterr().out
    collected = parts.Parts()
    total = len(offline_output.texts_of(text))
    assert total > 1 and f"{total} of {total}" in out
    pieces = out.split(f"    1 of {total}\n")
    whole = [collected.add(one) for piece in pieces for one in reading.texts(reading.from_terminal(piece))]
    assert whole[-1] == text


@pytest.mark.parametrize("number", ["-1", "17", "99"])
def test_parts_have_bounds(made: Path, capsys: pytest.CaptureFixture[str], number: str) -> None:
    """No payload becomes more than sixteen codes."""
    assert main(["device", "qr", "--payload-file", str(made), "--split", number]) == 2
    assert "[usage]" in capsys.readouterr().err


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there stays until the new one is complete; a link is replaced, not followed."""
    goal, other = tmp_path / "out", tmp_path / "other"
    other.write_bytes(b"precious")
    goal.symlink_to(other)
    output_file.write(goal, b"new")
    assert goal.read_bytes() == b"new" and other.read_bytes() == b"precious" and not goal.is_symlink()
    with pytest.raises(UsageError):
        output_file.write(tmp_path, b"")
    with pytest.raises(StateError) as caught:
        output_file.write(tmp_path / "nowhere" / "out", b"")
    assert caught.value.code == "output_unwritable"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "out"]


def test_a_umask_opens_nothing(tmp_path: Path) -> None:
    """Files with a secret are 0600 from their first moment, whatever the umask."""
    before = os.umask(0)
    try:
        output_file.write(tmp_path / "out", b"secret")
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600
