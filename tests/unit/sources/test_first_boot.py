"""Where invitations wait, what is found first, and what is taken away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from firstlight.errors import InvitationError
from firstlight.sources.first_boot import (
    Source,
    checked,
    leave_word,
    parameter,
    take_away,
    waiting,
)


def place(path: Path, text: str) -> Path:
    """A file with that text, and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_order(tmp_path: Path) -> None:
    """Credential, kernel line, boot partition; the file that a laptop shows first comes before the others."""
    credentials = place(tmp_path / "run/credentials/firstlight.invitation", "one").parent
    line = place(tmp_path / "cmdline", "quiet firstlight.invitation=two ro\n")
    place(tmp_path / "boot/firmware/firstlight.txt", "three")
    place(tmp_path / "boot/firstlight.txt.txt", "four")
    found = list(waiting(str(tmp_path), str(credentials), str(line)))
    assert [source.body for source in found] == [b"one", b"two", b"three", b"four"]
    assert [source.kind for source in found] == ["credential", "kernel line", "file", "file"]
    assert len({source.fingerprint for source in found}) == 4


def test_nothing_waits(tmp_path: Path) -> None:
    """An ordinary box: no source, and no kernel line of another machine's."""
    place(tmp_path / "cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro quiet")
    assert not list(waiting(str(tmp_path), "", str(tmp_path / "cmdline")))
    assert not list(waiting(str(tmp_path), str(tmp_path), ""))


def test_a_credential_and_its_file(tmp_path: Path) -> None:
    """Handed over by systemd: what lies in the stores is removed. Not handed over: the store is read all the same."""
    stored = place(tmp_path / "etc/credstore/firstlight.invitation", "text")
    sealed = place(tmp_path / "etc/credstore.encrypted/firstlight.invitation", "sealed")
    (read,) = waiting(str(tmp_path), "", "")
    assert (read.body, read.files) == (b"text", (str(stored),))
    credentials = place(tmp_path / "run/firstlight.invitation", "opened").parent
    (handed,) = waiting(str(tmp_path), str(credentials), "")
    assert handed.body == b"opened"
    assert take_away(handed) == f"{stored} was removed."
    assert not stored.exists() and not sealed.exists()


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("quiet firstlight.invitation=a,b ro", "a,b"),
        ('quiet firstlight.invitation="a b" ro', "a b"),
        ('quiet "firstlight.invitation=a b" ro', "a b"),
        ("firstlight.invitation=a firstlight.invitation=b", "b"),
        ("firstlight.invitation=", ""),
        ("xfirstlight.invitation=a firstlight.invitationx=b", None),
        ("firstlight.invitation", None),
    ],
)
def test_kernel_line(line: str, value: str | None) -> None:
    """The last one counts, and quotes hold its spaces together, as the kernel itself reads them."""
    assert parameter(line) == value


def test_what_cannot_be_removed_is_said() -> None:
    """The kernel line and a machine's own credential stay, and whoever reads that knows who can remove them."""
    assert "boot loader" in take_away(Source("kernel line", "the kernel's command line", b"x"))
    assert "what started this machine" in take_away(Source("credential", "the credential", b"x"))


def test_a_file_that_is_none(tmp_path: Path) -> None:
    """A folder, a link and a pipe in its place are named, and nothing hangs."""
    for number, folder in enumerate(("boot/firmware", "boot/efi", "boot")):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        path = tmp_path / folder / "firstlight.txt"
        (path.mkdir, lambda path=path: path.symlink_to("/etc/shadow"), lambda path=path: os.mkfifo(path))[number]()
    found = list(waiting(str(tmp_path), "", ""))
    assert len(found) == 3
    for source in found:
        with pytest.raises(InvitationError) as refused:
            checked(source)
        assert refused.value.code == "source_unreadable" and source.where in refused.value.message


def test_a_large_file_is_read_in_part(tmp_path: Path) -> None:
    """No more than one byte over the limit comes into memory."""
    place(tmp_path / "boot/firstlight.txt", "x" * 100_000)
    (source,) = waiting(str(tmp_path), "", "")
    assert len(source.body) == 32_769


def test_word_is_left_beside_the_file(tmp_path: Path) -> None:
    """Replaced as a whole, with line ends that Notepad shows; the same words are not written twice."""
    path = place(tmp_path / "firstlight.txt", "x")
    source = Source("file", str(path), b"x")
    result = tmp_path / "firstlight-result.txt"
    assert leave_word(source, "A long first sentence. [code]\nNext.\n") == ""
    assert leave_word(source, "Short. [ok]\n") == ""
    assert result.read_bytes() == b"Short. [ok]\r\n"
    before = result.stat().st_mtime_ns
    assert leave_word(source, "Short. [ok]\n") == ""
    assert result.stat().st_mtime_ns == before
    assert leave_word(source._replace(kind="credential"), "Other.\n") == ""
    assert result.read_bytes() == b"Short. [ok]\r\n"


def test_word_cannot_be_left(tmp_path: Path) -> None:
    """A link in the result's place is not followed, and that is said."""
    target = place(tmp_path / "elsewhere", "kept")
    (tmp_path / "firstlight-result.txt").symlink_to(target)
    said = leave_word(Source("file", str(tmp_path / "firstlight.txt"), b"x"), "A.\n")
    assert "cannot be written" in said and target.read_text() == "kept"


def test_no_word_through_a_hard_link(tmp_path: Path) -> None:
    """Nor is a file overwritten that has another name elsewhere on that disk."""
    target = place(tmp_path / "elsewhere", "kept")
    (tmp_path / "firstlight-result.txt").hardlink_to(target)
    said = leave_word(Source("file", str(tmp_path / "firstlight.txt"), b"x"), "A.\n")
    assert "nothing was written" in said and target.read_text() == "kept"
