"""Where an invitation waits on a box that boots for the first time, and taking it away after use.

In this order: a systemd credential, the kernel's command line, a file on the boot partition.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from firstlight.errors import InvitationError
from firstlight.sources.device_file import MAX_BYTES

CREDENTIAL = "firstlight.invitation"
PARAMETER = "firstlight.invitation"
# The second name is what Windows makes of the first where it hides the ends of names.
NAMES = ("firstlight.txt", "firstlight.txt.txt")
RESULT = "firstlight-result.txt"
CREDENTIAL_STORES = ("etc/credstore", "etc/credstore.encrypted")
BOOT_FOLDERS = ("boot/firmware", "boot/efi", "boot", "efi")
MAX_KERNEL_LINE = 65_536


class Source(NamedTuple):
    """One invitation that waits.

    Args:
        kind: "credential", "kernel line" or "file".
        where: as a technician finds it.
        body: the text as it was read, not decoded, at most ``MAX_BYTES`` + 1 bytes; empty where it could not be read.
        problem: why it could not be read, "" = it was.
        files: what holds it and can be removed.
    """

    kind: str
    where: str
    body: bytes
    problem: str = ""
    files: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Source({self.kind!r}, {self.where!r})"

    @property
    def fingerprint(self) -> str:
        """By which it is known again: 64 hex digits."""
        return hashlib.sha256(self.body or self.where.encode()).hexdigest()


def waiting(top: str, credentials: str, kernel_line: str) -> Iterator[Source]:
    """Every invitation that waits, the one to take first, first.

    Args:
        top: ``/``, or a folder that takes its place.
        credentials: ``CREDENTIALS_DIRECTORY`` as systemd set it, "" without one.
        kernel_line: the file that holds the kernel's command line, "" where it is another system's (in a container).
    """
    yield from _credential(top, credentials)
    yield from _on_kernel_line(kernel_line)
    for folder in BOOT_FOLDERS:
        for name in NAMES:
            path = str(Path(top, folder, name))
            yield from _read("file", path, path, (path,))


def _credential(top: str, credentials: str) -> Iterator[Source]:
    """What systemd handed over, else what lies in the store: older ones do not look there themselves."""
    stored = [str(Path(top, store, CREDENTIAL)) for store in CREDENTIAL_STORES]
    handed = list(_read("credential", f"the credential {CREDENTIAL}", str(Path(credentials, CREDENTIAL)), ()))
    if not credentials or not handed:
        yield from _read("credential", stored[0], stored[0], (stored[0],))
        return
    mine = [path for path in stored if Path(path).exists()]
    where = mine[0] if mine else handed[0].where
    yield handed[0]._replace(where=where, files=tuple(mine))


def _on_kernel_line(kernel_line: str) -> Iterator[Source]:
    found = list(_read("kernel line", kernel_line, kernel_line, (), MAX_KERNEL_LINE)) if kernel_line else []
    for source in found:
        value = parameter(source.body.decode("utf-8", "replace"))
        if value is not None:
            where = f"the kernel's command line ({PARAMETER}=)"
            yield source._replace(where=where, body=value.encode()[: MAX_BYTES + 1])


def parameter(line: str) -> str | None:
    """The value of ``firstlight.invitation=`` on the kernel's command line; None without one. Quotes hold spaces."""
    words, word, is_quoted = [], "", False
    for c in line:
        if c == '"':
            is_quoted = not is_quoted
        elif c.isspace() and not is_quoted:
            words.append(word)
            word = ""
        else:
            word += c
    values = [each.partition("=")[2] for each in [*words, word] if each.startswith(f"{PARAMETER}=")]
    return values[-1] if values else None


def _read(kind: str, where: str, path: str, files: tuple[str, ...], limit_bytes: int = MAX_BYTES) -> Iterator[Source]:
    """The file as a source, if it is there; never through a link, never more than a little over the limit."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        yield Source(kind, where, b"", f"{where} cannot be read: {error.strerror}.", ())
        return
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            yield Source(kind, where, b"", f"{where} is not a plain file.", ())
            return
        body = b""
        while len(body) <= limit_bytes and (part := os.read(fd, limit_bytes + 1 - len(body))):
            body += part
        yield Source(kind, where, body, "", files)
    except OSError as error:
        yield Source(kind, where, b"", f"{where} cannot be read: {error.strerror}.", ())
    finally:
        os.close(fd)


def checked(source: Source) -> bytes:
    """Its bytes. Raises InvitationError (``source_unreadable``) where they could not be read."""
    if source.problem:
        raise InvitationError("source_unreadable", source.problem)
    return source.body


def take_away(source: Source) -> str:
    """Removes what held it, for good; the sentence that says so, or why it stays."""
    if not source.files:
        place = "what started this machine" if source.kind == "credential" else "the boot loader's settings"
        return f"Only {place} can take the invitation away; it is not used again."
    for path in source.files:
        try:
            Path(path).unlink()
            _sync_folder(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            return f"{path} cannot be removed ({error.strerror}); it is not used again."
    return f"{source.files[0]} was removed."


def leave_word(source: Source, text: str) -> str:
    """Writes how it went into ``RESULT`` beside the file that held the invitation; why that failed, or "".

    Nothing for an invitation from elsewhere, and nothing where that very text stands already.
    """
    if source.kind != "file":
        return ""
    path = str(Path(source.where).with_name(RESULT))
    body = text.replace("\n", "\r\n").encode()  # it is read where the file was written: on a laptop, in Notepad too
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                return f"{path} is no plain file of its own: nothing was written there."
            if os.read(fd, len(body) + 1) == body:
                return ""
            os.ftruncate(fd, 0)
            os.pwrite(fd, body, 0)
            os.fsync(fd)
        finally:
            os.close(fd)
        _sync_folder(path)
    except OSError as error:
        return f"{path} cannot be written: {error.strerror}."
    return ""


def _sync_folder(path: str) -> None:
    """Makes what was made or removed last; a file system that cannot do it for a folder does it in its own time."""
    with suppress(OSError):
        fd = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
