"""What is read from a stick, what is not, and what is written on it."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from firstlight.errors import InvitationError
from firstlight.sources import stick
from firstlight.sources.stick import Found, look, sticks

LINE = "350 29 8:1 / {} rw,nosuid - vfat /dev/sda1 rw"


def texts(body: bytes, name: str) -> Sequence[str]:
    """Implements ``ReadPicture``: the picture's bytes are its text."""
    if not body:
        raise InvitationError("picture_unreadable", "It is empty.")
    return [body.decode()]


def seen(folder: Path, serial: str = "SN-7") -> list[Found]:
    """What is for this box."""
    return list(look(str(folder), serial, texts))


def file_of(payload: str, **more: object) -> str:
    """A device.json."""
    return json.dumps({"format": 1, "payload": payload, **more})


def test_mounts_that_are_sticks() -> None:
    """Ours, and those of the system; spaces in names; no automount, no other disk, no half a line."""
    table = "\n".join(
        [
            LINE.format("/run/firstlight-stick/sda1"),
            LINE.format("/media/USB\\040STICK"),
            LINE.format("/mnt/data"),
            "351 29 0:40 / /media/auto rw - autofs systemd-1 rw",
            "350 29",
        ]
    )
    assert [(each.folder, each.is_ours) for each in sticks(table)] == [
        ("/run/firstlight-stick/sda1", True),
        ("/media/USB STICK", False),
    ]


def test_the_boxs_own_file_is_taken(tmp_path: Path) -> None:
    """Of a batch the one with this box's serial, however a FAT spells it; the general one is left alone then."""
    (tmp_path / "device-SN-8.json").write_text(file_of("OTHER"))
    (tmp_path / "DEVICE-sn_7.JSON").write_text(file_of("MINE", serial="sn 7"))
    (tmp_path / "device.json").write_text(file_of("ANY"))
    assert seen(tmp_path) == [Found("DEVICE-sn_7.JSON", "MINE")]
    assert seen(tmp_path, "SN-9") == [Found("device.json", "ANY")]
    (tmp_path / "device.json").unlink()
    (found,) = seen(tmp_path, "SN-9")
    assert (found.code, found.name) == ("stick_empty", "")
    assert "files for 2 boxes" in found.problem and "device-SN-9.json" in found.problem


def test_a_file_for_another_box_is_refused(tmp_path: Path) -> None:
    """The serial inside counts too."""
    (tmp_path / "device.json").write_text(file_of("OTHER", serial="SN-8"))
    assert [each.code for each in seen(tmp_path)] == ["payload_not_for_this_box"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"payload": 7, "format": 1}', "[" * 10_000, "\x00\xff"])
def test_a_damaged_file_is_told(tmp_path: Path, text: str) -> None:
    """One sentence, by code."""
    (tmp_path / "device.json").write_text(text)
    assert [each.code for each in seen(tmp_path)] == ["stick_malformed"]


def test_a_newer_file_is_told(tmp_path: Path) -> None:
    """Not guessed at."""
    (tmp_path / "device.json").write_text('{"format": 2, "payload": "FL9:"}')
    assert "newer" in seen(tmp_path)[0].problem


def test_links_pipes_and_large_files_are_not_followed(tmp_path: Path) -> None:
    """Nothing outside of the stick is read, nothing hangs, nothing fills the memory."""
    secret = tmp_path / "secret"
    secret.write_text("FL1:SECRET")
    top = tmp_path / "stick"
    top.mkdir()
    (top / "device.json").symlink_to(secret)
    os.mkfifo(top / "firstlight.txt")
    with (top / "a.png").open("wb") as file:
        file.truncate(stick.MAX_PICTURE_BYTES + 1)
    (top / "b.png").mkdir()
    (top / "c.png").write_bytes(b"")
    found = seen(top)
    assert not any(each.text for each in found)
    assert {each.name: each.code for each in found} == {
        "device.json": "stick_unreadable",
        "firstlight.txt": "stick_unreadable",
        "a.png": "stick_unreadable",
        "b.png": "stick_unreadable",
        "c.png": "picture_unreadable",
    }


def test_pictures_are_bounded(tmp_path: Path) -> None:
    """A camera's card full of photographs is not read to its end."""
    for number in range(50):
        (tmp_path / f"IMG_{number:04}.JPG").write_bytes(b"x")
    (tmp_path / "._IMG_0000.JPG").write_bytes(b"x")
    assert [each.name for each in seen(tmp_path)] == [f"IMG_{number:04}.JPG" for number in range(stick.MAX_PICTURES)]


def test_a_text_with_parts(tmp_path: Path) -> None:
    """Several codes in firstlight.txt are several texts; an invitation in lines stays one."""
    (tmp_path / "firstlight.txt").write_bytes("FL1P:1-2:AAAA:B\r\nFL1P:2-2:AAAA:C\r\n".encode("utf-16"))
    assert [each.text for each in seen(tmp_path)] == ["FL1P:1-2:AAAA:B", "FL1P:2-2:AAAA:C"]
    (tmp_path / "firstlight.txt").write_text("hub = https://h:1\npin = x\n")
    assert [each.text for each in seen(tmp_path)] == ["hub = https://h:1\npin = x\n"]


def test_a_stick_that_is_pulled_while_it_is_read(tmp_path: Path) -> None:
    """Named as that, and nothing is raised; so is one that is gone before it was opened."""
    (tmp_path / "a.png").write_bytes(b"x")

    def pulled(body: bytes, name: str) -> Sequence[str]:
        raise OSError(errno.EIO, "Input/output error")

    (found,) = look(str(tmp_path), "", pulled)
    assert found.code == "stick_unreadable" and "pulled out" in found.problem
    (found,) = look(str(tmp_path / "gone"), "", texts)
    assert found.code == "stick_unreadable"


def test_the_answer_is_on_the_stick_newest_on_top(tmp_path: Path) -> None:
    """For Notepad too; a second box's answer stands above the first, and the file stays small."""
    assert stick.leave_word(str(tmp_path), "first\nbox") == ""
    assert stick.leave_word(str(tmp_path), "second") == ""
    body = (tmp_path / "RESULT.txt").read_bytes()
    assert body.startswith(b"Firstlight\r\n\r\nsecond\r\n") and body.endswith(b"Firstlight\r\n\r\nfirst\r\nbox\r\n")
    for _ in range(10):
        stick.leave_word(str(tmp_path), "x" * 10_000)
    assert (tmp_path / "RESULT.txt").stat().st_size <= stick.MAX_RESULT_BYTES


def test_somebody_elses_result_is_written_over_but_no_link_is_followed(tmp_path: Path) -> None:
    """A plain file of that name is ours to write; what a link leads to is not."""
    (tmp_path / "RESULT.txt").write_text("old exam results" * 100)
    assert stick.leave_word(str(tmp_path), "done") == ""
    assert (tmp_path / "RESULT.txt").read_text().splitlines() == ["Firstlight", "", "done"]
    other = tmp_path / "other"
    other.write_text("mine")
    for make in (os.symlink, os.link):
        (tmp_path / "RESULT.txt").unlink()
        make(other, tmp_path / "RESULT.txt")
        assert "RESULT.txt" in stick.leave_word(str(tmp_path), "done")
    assert other.read_text() == "mine"


def test_a_stick_that_takes_nothing_is_told(tmp_path: Path) -> None:
    """A folder of that name, a stick that is gone: a sentence."""
    (tmp_path / "RESULT.txt").mkdir()
    assert "could not be written" in stick.leave_word(str(tmp_path), "done")
    assert "could not be written" in stick.leave_word(str(tmp_path / "gone"), "done")
