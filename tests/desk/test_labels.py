"""A sheet of labels, read back from its drawing operators; and where labels and stick files come from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from firstlight.cli import label_sheet, offline_code, offline_output
from firstlight.cli.main import main
from firstlight.core.model import Secret
from firstlight.errors import FirstlightError, InvitationError, UsageError
from firstlight.wire import typed_code
from tests.desk import reading
from tests.desk.codes import PIN, TOKEN, payload

pytest.importorskip("reportlab", reason="the extra labels is not installed")


def said(body: bytes) -> str:
    """The words of a PDF that are set in a font of one byte a letter."""
    return "\n".join(
        re.sub(rb"\\(.)", rb"\1", text).decode("latin-1")
        for page in reading.pages(body)
        for text in re.findall(rb"\(((?:[^()\\]|\\.)*)\) Tj", page)
    )


def size(name: str) -> tuple[float, float]:
    """Paper of a sheet, in points."""
    width, height = label_sheet.SHEETS[name].paper
    return width * label_sheet.MM, height * label_sheet.MM


@pytest.mark.parametrize("name", label_sheet.SHEETS)
def test_every_label_of_a_sheet_is_read(name: str) -> None:
    """On paper of every size, one label more than a page holds: all codes are there, each once, inside the paper."""
    form = label_sheet.SHEETS[name]
    codes = [offline_code.code_of(payload(f"Cam {number}")) for number in range(form.columns * form.rows + 1)]
    body, missing = label_sheet.sheet(codes, name)
    pages = reading.pages(body)
    assert len(pages) == 2 and not missing
    found = [text for page in pages for text in reading.texts(reading.from_page(page, size(name)))]
    assert sorted(found) == sorted(code.payload.reveal() for code in codes)
    for x, y, width, height in (map(float, one) for page in pages for one in reading.RECTANGLE.findall(page)):
        assert x >= 0 and x + width <= size(name)[0] and y >= 0 and y + height <= size(name)[1]


def test_labels_do_not_overlap() -> None:
    """The labels of each sheet lie beside each other and on the paper."""
    for name, form in label_sheet.SHEETS.items():
        assert form.across >= form.width and form.down >= form.height, name
        assert form.left + (form.columns - 1) * form.across + form.width <= form.paper[0] + 0.11, name
        assert form.top + (form.rows - 1) * form.down + form.height <= form.paper[1] + 0.11, name


def test_a_label_says_what_a_person_needs() -> None:
    """The typed code in letters of one width: it is made of the payload's token, and checks itself."""
    code = offline_code.code_of(payload("Ladder cam", serial="SN-7"))
    assert code.typed_code is not None
    assert typed_code.read(code.typed_code.reveal()) == TOKEN
    assert (code.name, code.type, code.serial, code.device_id) == ("Ladder cam", "ai1", "SN-7", "cam-1")
    assert (code.hub, code.pins, code.expires_at_s) == ("https://hub.site.example:8443", (PIN,), 1_797_592_000)
    body, _ = label_sheet.sheet([code])
    assert code.typed_code.reveal() in said(body)
    assert TOKEN.reveal() not in repr(code) and "FL1:" not in repr(code)
    assert payload("Ladder cam", serial="SN-7").encode() not in body


def test_names_of_many_languages_print() -> None:
    """Western, Cyrillic and Greek where the machine has a font, and Chinese, Japanese, Korean by the reader's own."""
    names = ["M\u00fcller-K\u00e4mpf \u00d8st", "\u6771\u4eac\u30ab\u30e1\u30e9", "\uc11c\uc6b8", "\u5317\u4eac"]
    body, missing = label_sheet.sheet([offline_code.code_of(payload(name)) for name in names])
    assert not missing
    assert len(reading.texts(reading.from_page(reading.pages(body)[0], size("a4-2x4")))) == 4


def test_what_does_not_print_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Letters that no font has, and scripts that need shaping, are named; the label is made all the same."""
    file = tmp_path / "made.json"
    told = {"payload": payload("x"), "name": "\u0643\u0627\u0645 \U0001f9c0 Cam"}
    file.write_text(json.dumps(told))
    output = tmp_path / "l.pdf"
    assert main(["device", "labels", str(file), "--output", str(output)]) == 0
    err = capsys.readouterr().err
    assert "U+0643" in err and "U+1F9C0" in err and "--font FILE" in err and "U+0043" not in err
    assert output.stat().st_mode & 0o777 == 0o600


def test_a_font_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--font takes a TrueType file; what is none is refused."""
    import reportlab

    font = Path(str(reportlab.__file__)).parent / "fonts/VeraIt.ttf"
    file, bad = tmp_path / "p.txt", tmp_path / "bad.ttf"
    file.write_text(payload())
    bad.write_text("no font")
    words = ["device", "labels", str(file), "--output", str(tmp_path / "l.pdf"), "--font"]
    assert main([*words, str(font)]) == 0
    assert b"Oblique" in (tmp_path / "l.pdf").read_bytes()
    assert main([*words, str(bad)]) == 2
    assert "no TrueType font" in capsys.readouterr().err


def test_a_code_too_fine_for_its_label_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Squares that no phone reads from paper are not printed; a larger label is named."""
    form = label_sheet.SHEETS["a4-3x8"]
    monkeypatch.setitem(label_sheet.SHEETS, "tiny", form._replace(width=24.0, height=14.0))
    with pytest.raises(UsageError) as caught:
        label_sheet.sheet([offline_code.code_of(payload())], "tiny")
    assert "too small to be read" in caught.value.message and "--sheet" in caught.value.hint


def test_a_long_payload_takes_several_labels() -> None:
    """Each with its number."""
    text = payload("n" * 60, long=True)
    body, _ = label_sheet.sheet([offline_code.code_of(text)])
    found = reading.texts(reading.from_page(reading.pages(body)[0], size("a4-2x4")))
    assert found == offline_output.texts_of(text) and len(found) > 1


def test_a_payload_of_another_platform_is_drawn_as_it_is() -> None:
    """Nothing is known of it but what was told; there is no code to type."""
    code = offline_code.code_of("whatever=1;else", "Cam")
    assert code.typed_code is None and not code.hub
    body, _ = label_sheet.sheet([code])
    assert reading.texts(reading.from_page(reading.pages(body)[0], size("a4-2x4"))) == ["whatever=1;else"]


@pytest.mark.parametrize("separator", [",", ";"])
def test_labels_from_a_table(tmp_path: Path, separator: str) -> None:
    """As spreadsheets of all languages write it, with a byte order mark and line ends of Windows."""
    file = tmp_path / "boxes.csv"
    rows = [("Name", "payload", "serial"), ("Cam A", payload("a"), "S1"), ("", "", ""), ('"Cam B"', payload("b"), "")]
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(separator.join(row) for row in rows).encode())
    found = offline_code.read_codes(str(file))
    assert [(code.name, code.serial, code.device_id) for code in found] == [
        ("Cam A", "S1", "cam-1"),
        ("Cam B", "", "cam-1"),
    ]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "source_unreadable"),
        (b"\xff\xfe\x00", "source_unreadable"),
        (b"{", "source_unreadable"),
        (b"[" * 100_000, "source_unreadable"),
        (b"[1]", "source_unreadable"),
        (b"[]", "source_unreadable"),
        (b'{"deviceId": "cam-1", "installId": "x"}', "no_offline_payload"),
        (b"name,colour\na,b\n", "source_unreadable"),
        (b"name,payload\na,\n", "no_offline_payload"),
        (b"name,payload\na,b,c,d\n", "source_unreadable"),
        (b"name\na\n", "source_unreadable"),
        (b"FL1:NOT A PAYLOAD", "payload_malformed"),
        (b'name,payload\n"' + b"x" * 200_000 + b'",y\n', "source_unreadable"),
    ],
)
def test_what_is_no_payload_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, code: str
) -> None:
    """Nothing is written for it, and no part of it is shown."""
    file, output = tmp_path / "in", tmp_path / "l.pdf"
    file.write_bytes(content)
    assert main(["device", "labels", str(file), "--output", str(output)]) == InvitationError.exit_status
    assert f"[{code}]" in capsys.readouterr().err and not output.exists()


def test_stick_files(tmp_path: Path) -> None:
    """One device: device.json. Several: one for each serial number, which each must have; private all."""
    one, two, folder = tmp_path / "one.json", tmp_path / "two.json", tmp_path / "stick"
    folder.mkdir()
    one.write_text(json.dumps({"payload": payload(serial="S 1/a"), "name": "Cam"}))
    assert main(["device", "stick", str(one), "--output", str(folder)]) == 0
    told = json.loads((folder / "device.json").read_text())
    assert told == {"format": 1, "payload": payload(serial="S 1/a"), "serial": "S 1/a", "name": "Cam"}
    rows = [{"payload": payload(), "serial": serial, "name": serial} for serial in ("S1", "S2")]
    two.write_text(json.dumps(rows))
    assert main(["device", "stick", str(two), "--output", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["device-S1.json", "device-S2.json", "device.json"]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize(
    "serials", [("S1", ""), ("S1", "s1"), ("S-1", "S_1"), ("S1", "../x"), ("S1", "a/b"), ("S1", ".x")]
)
def test_stick_files_need_a_name_each(tmp_path: Path, serials: tuple[str, str]) -> None:
    """No file for many boxes, none that a box would take for another's, and none outside the folder."""
    codes = [offline_code.OfflineCode(Secret(payload()), serial=serial) for serial in serials]
    with pytest.raises(FirstlightError):
        offline_output.write_stick(str(tmp_path), codes)
    assert not list(tmp_path.iterdir())


def test_a_stick_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder is not made: on a laptop it would be the wrong one."""
    file = tmp_path / "p.txt"
    file.write_text(payload())
    assert main(["device", "stick", str(file), "--output", str(tmp_path / "none")]) == 2
    assert "is not a folder" in capsys.readouterr().err
