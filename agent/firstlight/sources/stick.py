"""A USB stick: which are there, what on them is for this box, and the answer that is left on them.

Only the top folder is looked at, only plain files with one of a few names, each bounded; nothing else is opened, and
nothing but ``RESULT.txt`` is written. A stick may be slow, broken, full, read-only, or gone in the middle: who calls
this does so where hanging does no harm, and gets sentences for everything else.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from firstlight.errors import FirstlightError, InvitationError
from firstlight.sources.invitation import decoded
from firstlight.sources.keyboard import split

OWN_FOLDER = "/run/firstlight-stick/"
FOLDERS = (OWN_FOLDER, "/media/", "/run/media/")
MOUNTS = "/proc/self/mountinfo"
FILE, TEXTS, RESULT = "device.json", ("firstlight.txt", "firstlight.txt.txt"), "RESULT.txt"
OF_ONE = re.compile(r"device-(.{1,64})\.json\Z", re.IGNORECASE | re.DOTALL)
PICTURE = re.compile(r".{1,200}\.(png|jpe?g)\Z", re.IGNORECASE | re.DOTALL)
HIDDEN = re.compile(r"[.~]|(?:desktop\.ini|receipt\.png)\Z", re.IGNORECASE)
CODE = re.compile(r"(?im)^\W{0,4}FL1P?:")
FORMAT = 1
MAX_ENTRIES = 2000
MAX_FILE_BYTES = 65_536
MAX_PICTURE_BYTES = 16 * 1024 * 1024
MAX_PICTURES = 6
MAX_RESULT_BYTES = 32_768
HEADING = "Firstlight"
RULER = "-" * 60
WHAT_BELONGS = "device.json, firstlight.txt, or a picture (PNG, JPEG) of the code, in its top folder"

ReadPicture = Callable[[bytes, str], Sequence[str]]


class Stick(NamedTuple):
    """A mounted stick: ``key`` names this very mount, ``folder`` is where it is, ``is_ours`` whether we mounted it."""

    key: str
    folder: str
    is_ours: bool


class Found(NamedTuple):
    """One file that is for this box, or with the name "" the stick: a ``text`` in it, or a ``problem`` and its code."""

    name: str
    text: str
    problem: str = ""
    code: str = ""


def sticks(mountinfo: str, folders: Sequence[str] = FOLDERS) -> list[Stick]:
    """The sticks that are mounted, from the text of ``/proc/self/mountinfo`` (proc_pid_mountinfo(5)).

    Args:
        mountinfo: that text.
        folders: below which mounts count as sticks.
    """
    found = []
    for line in mountinfo.splitlines():
        before, dash, after = line.partition(" - ")
        fields, kind = before.split(" "), after.partition(" ")[0]
        if not dash or len(fields) < 6 or kind == "autofs":
            continue
        folder = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        if folder.startswith(tuple(folders)):
            own = bool(folders) and folder.startswith(folders[0])
            found.append(Stick(f"{fields[0]} {fields[2]} {folder}", folder, own))
    return found


def look(folder: str, serial: str, read_picture: ReadPicture) -> Iterator[Found]:
    """What on a stick is for this box, what to take first, first; what is wrong with it otherwise. Raises nothing.

    Args:
        folder: where it is mounted.
        serial: of this box, "" = not known.
        read_picture: the texts of the codes in a picture, from its bytes and its name; raises FirstlightError.
    """
    try:
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        yield Found("", "", _gone(error), "stick_unreadable")
        return
    try:
        names = _names(top)
        wanted = _wanted(names, serial)
        for name in wanted:
            yield from _one(top, name, serial, read_picture)
        if not wanted:
            yield Found("", "", _nothing(names, serial), "stick_empty")
    except OSError as error:
        yield Found("", "", _gone(error), "stick_unreadable")
    finally:
        os.close(top)


def _names(top: int) -> list[str]:
    with os.scandir(top) as entries:
        return sorted(entry.name for entry, _ in zip(entries, range(MAX_ENTRIES), strict=False))


def _wanted(names: Sequence[str], serial: str) -> list[str]:
    """The names to look into, the one to take first, first; a file system may know no capitals."""
    own = [name for name in names if (made := OF_ONE.match(name)) and serial and _same(made[1], serial)]
    general = [name for name in names if name.lower() == FILE]
    texts = [name for name in names if name.lower() in TEXTS]
    pictures = [name for name in names if PICTURE.match(name) and not HIDDEN.match(name)]
    return [*(own or general), *texts, *pictures[:MAX_PICTURES]]


def _same(one: str, other: str) -> bool:
    """Whether two serial numbers are the same, as file names carry them."""

    def bare(serial: str) -> str:
        return re.sub(r"[^0-9a-z]+", "-", serial.lower()).strip("-")

    return bare(one) == bare(other)


def _one(top: int, name: str, serial: str, read_picture: ReadPicture) -> list[Found]:
    is_picture = bool(PICTURE.match(name))
    try:
        body = _content(top, name, MAX_PICTURE_BYTES if is_picture else MAX_FILE_BYTES)
        if is_picture:
            return [Found(name, text) for text in read_picture(body, name)]
        if name.lower().endswith(".json"):
            return [Found(name, _in_file(body, serial))]
        text = decoded(body)
        # A file may hold the parts of a code, one a line.
        return [Found(name, each) for each in (split(text) if CODE.search(text) else [text])]
    except FirstlightError as error:
        return [Found(name, "", error.message, error.code)]


def _content(top: int, name: str, limit_bytes: int) -> bytes:
    """A file's bytes, never through a link. Raises InvitationError, and OSError where the stick itself fails."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=top)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise InvitationError("stick_unreadable", "It is a link, not a file.") from None
        if error.errno in (errno.EACCES, errno.ENOENT):
            raise InvitationError("stick_unreadable", f"It cannot be read: {error.strerror}.") from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise InvitationError("stick_unreadable", "It is not a plain file.")
        parts, left = [], limit_bytes + 1
        while left > 0 and (part := os.read(fd, min(left, 65_536))):
            parts.append(part)
            left -= len(part)
    finally:
        os.close(fd)
    if left <= 0:
        raise InvitationError("stick_unreadable", f"It has more than {limit_bytes} bytes.")
    return b"".join(parts)


def _in_file(body: bytes, serial: str) -> str:
    """The payload in a ``device.json``. Raises InvitationError."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict) or not isinstance(told.get("payload"), str):
        raise InvitationError("stick_malformed", "It is no device.json of an operator's desk, or it is damaged.")
    if told.get("format") != FORMAT:
        raise InvitationError("stick_malformed", "It was made for a newer agent than this one.")
    meant = told.get("serial")
    if isinstance(meant, str) and meant and serial and not _same(meant, serial):
        raise InvitationError("payload_not_for_this_box", "It is for a box with another serial number.")
    payload: str = told["payload"]
    return payload


def _nothing(names: Sequence[str], serial: str) -> str:
    others = [name for name in names if OF_ONE.match(name)]
    if others:
        unknown = "one, and this box knows no serial number of its own (its settings can say one: serial)"
        mine = f"device-{serial}.json" if serial else unknown
        return f"The stick has files for {len(others)} boxes, but none for this one: it would be {mine}."
    if not names:
        return f"The stick is empty. A box looks for {WHAT_BELONGS}."
    return f"Nothing on the stick is for a box. It looks for {WHAT_BELONGS}."


def _gone(error: OSError) -> str:
    if error.errno in (errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN):
        return "The stick was pulled out, or failed, while it was read. Put it in again."
    return f"The stick cannot be read: {error.strerror}."


def leave_word(folder: str, text: str) -> str:
    """Writes how it went into ``RESULT.txt``, the newest on top, for a laptop of any kind.

    Args:
        folder: where the stick is mounted.
        text: lines for a person.

    Returns:
        "" when it is on the stick for good, else why it is not.
    """
    name = f"{folder.rstrip('/')}/{RESULT}"
    try:
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                return f"{RESULT} on the stick is no plain file of its own; nothing was written."
            body = f"{HEADING}\n\n{text.strip()}\n".replace("\n", "\r\n").encode("utf-8", "replace")
            before = os.read(fd, MAX_RESULT_BYTES)
            if before.startswith(HEADING.encode()):
                body += f"\r\n{RULER}\r\n".encode() + before
            body = body[:MAX_RESULT_BYTES]
            os.pwrite(fd, body, 0)
            os.ftruncate(fd, len(body))
            os.fsync(fd)
        finally:
            os.close(fd)
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(top)
        finally:
            os.close(top)
    except OSError as error:
        return _not_written(error)
    return ""


def _not_written(error: OSError) -> str:
    why = {
        errno.ENOSPC: "the stick is full",
        errno.EROFS: "the stick is read-only",
        errno.EACCES: "this service may not write there",
    }.get(error.errno or 0, error.strerror or "it failed")
    return f"{RESULT} could not be written: {why}."
