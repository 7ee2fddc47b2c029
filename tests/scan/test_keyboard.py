"""What scanners, keyboards and mail programs make of a code, taken apart again."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.errors import InvitationError
from firstlight.sources import keyboard

BASE45 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
CODE = "FL1:6BF0-/ %A:.$*+Z9"


@pytest.mark.parametrize(
    ("burst", "texts"),
    [
        (CODE, [CODE]),
        (f"\x02{CODE}\x03\r\n", [CODE]),
        (f"]Q1{CODE}\r", [CODE]),
        (f">>{CODE}\t", [CODE]),
        (CODE.lower(), [CODE]),
        ("FL1P:1-2:0F:AB\nFL1P:2-2:0F:CD", ["FL1P:1-2:0F:AB", "FL1P:2-2:0F:CD"]),
        ("FL1:ABC\nDEF\n 12\n", ["FL1:ABCDEF 12"]),
        ("WIFI:S:a;;\nFL1:AB\n", ["WIFI:S:a;;", "FL1:AB"]),
        ("Label of gate 3\n\nFL1:AB\nPlease keep.", ["FL1:AB", "Label of gate 3\n\nPlease keep."]),
        ("hub = https://h\r\npin = x\r\n", ["hub = https://h\npin = x"]),
        ("0123-4567-89AB-CDEF-GH\n", ["0123-4567-89AB-CDEF-GH"]),
        ("BEGIN:VCARD\nFN:a\nEND:VCARD\n", ["BEGIN:VCARD\nFN:a\nEND:VCARD"]),
        ("\r\n \n", []),
    ],
)  # fmt: skip
def test_split(burst: str, texts: list[str]) -> None:
    """Each text alone, without what was put around it."""
    assert keyboard.split(burst) == texts


@given(
    st.text(BASE45, min_size=1, max_size=200).map(lambda body: f"FL1:{body}Z"),
    st.sampled_from(["", "\x02", "]Q3", "#", "QR: "]),
    st.sampled_from(["", "\r", "\n", "\r\n", "\x03\r\n", "\t\n"]),
)
def test_a_code_survives(code: str, before: str, behind: str) -> None:
    """Whatever stands in the code, it comes out as it went in."""
    assert keyboard.split(before + code + behind) == [code]
    assert keyboard.split(before + code.lower() + behind) == [code]


@given(st.text(max_size=400))
def test_any_text(text: str) -> None:
    """Any text is split into texts that are not empty."""
    assert all(each.strip() for each in keyboard.split(text))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(encoding: str) -> None:
    """As editors save a text."""
    assert keyboard.decoded("Gate \u00e9".encode(encoding)) == "Gate \u00e9"
    assert keyboard.decoded(b"Gate \xe9") == "Gate \u00e9"


def test_bursts() -> None:
    """What comes at once is given out before anything else comes; silence ends it."""
    out, into = os.pipe()
    found = keyboard.texts(out, patience_s=0.5)
    os.write(into, b"one\r")
    assert next(found) == "one"
    os.write(into, b"FL1:AB\rFL1:CD\r")
    assert [next(found), next(found)] == ["FL1:AB", "FL1:CD"]
    began_s = time.monotonic()
    assert next(found, None) is None
    assert time.monotonic() - began_s > 0.1
    os.close(out)
    os.close(into)


def test_line_by_line() -> None:
    """An invitation that somebody types line by line is one text; an empty line ends it."""
    out, into = os.pipe()
    found = keyboard.texts(out)
    os.write(into, b"hub = https://h\n")
    reader = iter(found)
    os.write(into, b"install_id = abcdefgh12345678\n\n")
    assert next(reader) == "hub = https://h\ninstall_id = abcdefgh12345678"
    os.close(into)
    assert next(reader, None) is None
    os.close(out)


def test_an_end_without_a_line_end() -> None:
    """A pipe that is closed behind the code gives it out at once."""
    out, into = os.pipe()
    os.write(into, b"FL1:AB")
    os.close(into)
    assert list(keyboard.texts(out)) == ["FL1:AB"]
    os.close(out)


def test_too_much() -> None:
    """More than any code is refused while it still comes."""
    out, into = os.pipe()
    os.set_blocking(into, False)
    os.write(into, b"A" * (keyboard.MAX_BYTES + 1))
    with pytest.raises(InvitationError, match="32768"):
        list(keyboard.texts(out))
    os.close(out)
    os.close(into)
