"""Hand scanners: on a serial line, a pty here, and those that type."""

from __future__ import annotations

import os
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from firstlight.errors import InvitationError
from firstlight.sources import serial_scanner
from firstlight.sources.key_scanner import EVENT, PAUSE_S, PLAIN, SHIFTED, KeyScanner
from firstlight.sources.serial_scanner import MAX_BYTES, MAX_HELD_BYTES, MAX_STRANGE, SerialScanner

CODE = "FL1:ABC 123+$%*-./:"


@pytest.fixture
def line() -> Iterator[tuple[int, str]]:
    """A serial line: our end, and the device's path."""
    master, slave = os.openpty()
    yield master, os.ttyname(slave)
    for fd in (master, slave):
        try:
            os.close(fd)
        except OSError:
            continue


@pytest.mark.parametrize("end", [b"\r\n", b"\r", b"\n", b"", b"\x03\r"])
def test_a_scan_is_one_text(line: tuple[int, str], end: bytes) -> None:
    """Whatever the scanner puts behind a code; it is whole after a short pause and not before."""
    master, path = line
    scanner = SerialScanner(path)
    os.write(master, CODE[:5].encode())
    scanner.take(10.0)
    assert scanner.texts(10.0) == []
    os.write(master, CODE[5:].encode() + end)
    scanner.take(10.1)
    assert scanner.wait_s(10.1) == pytest.approx(serial_scanner.PAUSE_S)
    assert scanner.texts(10.1 + serial_scanner.PAUSE_S) == [CODE]
    assert scanner.wait_s(11.0) is None
    scanner.close()


def test_bytes_pass_as_they_are(line: tuple[int, str]) -> None:
    """No echo, no line editing, no flow control: what a terminal would eat arrives."""
    scanner = SerialScanner(line[1])
    flags = termios.tcgetattr(scanner.fd)
    assert not flags[0] & (termios.IXON | termios.ICRNL) and not flags[3] & (
        termios.ECHO | termios.ICANON | termios.ISIG
    )
    assert flags[4] == termios.B9600
    scanner.close()


def test_rubbish_changes_the_speed(line: tuple[int, str]) -> None:
    """A scanner at another speed sends bytes that are no text: said, and the other speed is tried."""
    master, path = line
    scanner = SerialScanner(path)
    os.write(master, b"\xf8\x80\xff\x00")
    scanner.take(1.0)
    with pytest.raises(InvitationError, match="Scan again") as raised:
        scanner.texts(2.0)
    assert raised.value.code == "scanner_unusable"
    assert termios.tcgetattr(scanner.fd)[4] == termios.B115200
    scanner.close()


def test_a_line_that_keeps_talking_is_left_alone(line: tuple[int, str]) -> None:
    """A GPS: many texts of no kind, or a stream without a pause."""
    master, path = line
    scanner = SerialScanner(path)
    assert all(scanner.was_strange() for _ in range(MAX_STRANGE))
    assert not scanner.was_strange()
    assert "not taken for a scanner" in scanner.problem
    other = SerialScanner(path)
    sent = 0
    while other.fd >= 0 and sent < 4 * MAX_HELD_BYTES:
        sent += os.write(master, b"$GPGGA," * 64)
        other.take(1.0)
    assert other.problem and sent <= 2 * MAX_HELD_BYTES


def test_a_text_without_end_is_refused(line: tuple[int, str]) -> None:
    """More than any code has."""
    master, path = line
    scanner = SerialScanner(path)
    for _ in range(MAX_BYTES // 1024 + 1):
        os.write(master, b"A" * 1024)
        scanner.take(1.0)
    with pytest.raises(InvitationError, match="in one go"):
        scanner.texts(2.0)
    scanner.close()


def test_unplugged_and_missing(line: tuple[int, str], tmp_path: Path) -> None:
    """Both are told, none is raised out of the loop."""
    master, path = line
    scanner = SerialScanner(path)
    os.close(master)
    scanner.take(1.0)
    assert scanner.fd == -1 and "unplugged" in scanner.problem
    with pytest.raises(InvitationError, match="cannot be used"):
        SerialScanner(str(tmp_path / "ttyUSB0"))
    (tmp_path / "plain").write_text("x")
    with pytest.raises(InvitationError, match="cannot be used"):
        SerialScanner(str(tmp_path / "plain"))


def test_lines_of_a_box(tmp_path: Path) -> None:
    """USB lines only; a box without any has none."""
    for name in ("ttyUSB0", "ttyACM1", "ttyS0", "tty1", "null"):
        (tmp_path / name).touch()
    assert serial_scanner.lines(str(tmp_path)) == [str(tmp_path / "ttyACM1"), str(tmp_path / "ttyUSB0")]
    assert serial_scanner.lines(str(tmp_path / "none")) == []


def typed(text: str, *, has_caps: bool = False) -> bytes:
    """The events of a US keyboard that types a text."""
    keys = []
    if has_caps:
        keys += [(58, 1), (58, 0)]
    for character in text:
        needs_shift = character not in PLAIN
        code = 28 if character == "\n" else (SHIFTED if needs_shift else PLAIN).index(character) + 2
        if needs_shift and character != "\n" and not (has_caps and character.isalpha()):
            keys += [(42, 1), (code, 1), (code, 0), (42, 0)]
        else:
            keys += [(code, 1), (code, 0)]
    return b"".join(EVENT.pack(0, 0, 1, code, value) + EVENT.pack(0, 0, 0, 0, 0) for code, value in keys)


@pytest.mark.parametrize("has_caps", [False, True])
def test_a_scanner_that_types(tmp_path: Path, has_caps: bool) -> None:
    """Its keys are put together to the text, whatever Caps Lock says."""
    path = tmp_path / "event3"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    scanner = KeyScanner(str(path), grab=False)
    os.write(writer, typed(CODE + "\n", has_caps=has_caps))
    scanner.take(1.0)
    assert scanner.texts(1.0) == []
    assert scanner.texts(1.0 + PAUSE_S) == [CODE]
    os.close(writer)
    os.close(reader)
    scanner.take(2.0)
    assert scanner.fd == -1 and scanner.problem


def test_what_cannot_be_taken_alone_is_no_scanner(tmp_path: Path) -> None:
    """A keyboard that would also type elsewhere is not read."""
    (tmp_path / "event3").write_bytes(b"")
    with pytest.raises(InvitationError, match="cannot be used"):
        KeyScanner(str(tmp_path / "event3"))
