"""Private files of one directory: whole or not at all, bounded when read, never through a symbolic link.

A write is temporary file, fsync, rename, fsync of the directory: after a crash at any point the old content or the new
one is there. Each of those steps is announced to ``on_step`` first, so that a test can end the process right there.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from firstlight.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    OnStep = Callable[[str], None]

MAX_BYTES = 1_048_576
TEMPORARY_END = ".tmp"


def no_step(name: str) -> None:
    """The ``on_step`` of every day: nothing happens between two steps."""


def unwritable(path: str, error: OSError) -> StateError:
    """What a full disk, a read-only one or missing rights are called."""
    return StateError("state_unwritable", f"{path} cannot be written: {error.strerror or error}.")


def write(
    directory: str, name: str, body: bytes, *, durable: bool = True, mode: int = 0o600, on_step: OnStep = no_step
) -> None:
    """Puts ``body`` in place of what ``name`` held.

    Args:
        directory: where the file lives; a file that root writes into another user's directory is given to that user.
        name: file name without a folder.
        body: the new content.
        durable: on disk when this returns; without it a power cut may bring the old content back.
        mode: rights of the file.
        on_step: called with the name of each step before it is taken, and once at the end.

    Raises:
        StateError: ``state_unwritable``; the old content is still there.
    """
    path = os.path.join(directory, name)
    temporary = os.path.join(directory, f".{name}.{os.getpid()}{TEMPORARY_END}")
    try:
        try:
            _fill(temporary, body, mode, durable, lambda step: on_step(f"{step} {name}"))
            on_step(f"rename {name}")
            os.replace(temporary, path)
        except OSError:
            _unlink_quietly(temporary)
            raise
        if durable:
            on_step(f"sync directory of {name}")
            sync_directory(directory)
    except OSError as error:
        raise unwritable(path, error) from None
    on_step(f"written {name}")


def _fill(temporary: str, body: bytes, mode: int, durable: bool, on_step: OnStep) -> None:
    on_step("create")
    _unlink_quietly(temporary)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        os.fchmod(fd, mode)
        give_to_owner(fd, os.path.dirname(temporary))
        on_step("fill")
        write_all(fd, body)
        if durable:
            on_step("sync")
            os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, body: bytes) -> None:
    """Writes every byte. Raises OSError."""
    rest = memoryview(body)
    while rest:
        rest = rest[os.write(fd, rest) :]


def give_to_owner(fd: int, directory: str) -> None:
    """Gives what root made to the user who owns the directory: the service must be able to read it.

    Never what has another name elsewhere: whoever owns the directory may have linked a file of root's into it.
    """
    if os.geteuid() == 0:
        owner = os.stat(directory)
        if owner.st_uid != 0 and not _is_elsewhere(os.fstat(fd)):
            os.fchown(fd, owner.st_uid, owner.st_gid)


def make_private(directory: str, name: str) -> None:
    """Takes the rights of others from a plain file, never from what a link leads to. Raises OSError."""
    fd = os.open(os.path.join(directory, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or _is_elsewhere(found):
            raise OSError(errno.EPERM, "it is not only here")
        os.fchmod(fd, 0o600)
    finally:
        os.close(fd)


def _is_elsewhere(found: os.stat_result) -> bool:
    """Whether an open file has another name, by a hard link."""
    return not stat.S_ISDIR(found.st_mode) and found.st_nlink > 1


def _is_foreign(found: os.stat_result, directory: str) -> bool:
    """Whether root reads a hard link in another user's directory, to a file of somebody else's: it may be a trap."""
    if os.geteuid() != 0 or found.st_nlink < 2:
        return False
    owner = os.stat(directory).st_uid
    return owner not in (0, found.st_uid)


def sync_directory(directory: str) -> None:
    """Makes renames and removals in it last. Raises OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read(directory: str, name: str, limit_bytes: int = MAX_BYTES) -> tuple[bytes, int] | None:
    """A file's content and rights, or None where there is none.

    Raises:
        StateError: ``state_corrupt`` for what is too large or no plain file, ``state_unreadable``.
    """
    path = os.path.join(directory, name)
    try:
        # O_NONBLOCK: opening a pipe that somebody put here must not hang.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise StateError("state_corrupt", f"{path} is a symbolic link; the agent does not follow it.") from None
        raise unreadable(path, error) from None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or _is_foreign(found, directory):
            raise StateError("state_corrupt", f"{path} is not a plain file.")
        body = read_up_to(fd, limit_bytes + 1)
    except OSError as error:
        raise unreadable(path, error) from None
    finally:
        os.close(fd)
    if len(body) > limit_bytes:
        raise StateError("state_corrupt", f"{path} has more than {limit_bytes} bytes.")
    return body, stat.S_IMODE(found.st_mode)


def unreadable(path: str, error: OSError) -> StateError:
    """What missing rights or a failing disk are called when reading."""
    return StateError("state_unreadable", f"{path} cannot be read: {error.strerror or error}.")


def read_up_to(fd: int, limit_bytes: int) -> bytes:
    """At most that many bytes from an open file. Raises OSError."""
    parts = []
    left = limit_bytes
    while left > 0 and (part := os.read(fd, min(left, 65_536))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def remove_leftovers(directory: str) -> None:
    """Removes temporary files of processes that are gone: a crash between two steps leaves one."""
    for name in os.listdir(directory):
        if not (name.startswith(".") and name.endswith(TEMPORARY_END)):
            continue
        pid = name[: -len(TEMPORARY_END)].rpartition(".")[2]
        if pid.isdecimal() and not _runs(int(pid)):
            _unlink_quietly(os.path.join(directory, name))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return pid > 0


def _unlink_quietly(path: str) -> None:
    with suppress(OSError):  # it was not there, or the directory is read-only: the caller says what matters
        os.unlink(path)
