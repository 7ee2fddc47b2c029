"""Running one of an integrator's executables within its bounds: time, output, environment, what it leaves behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from contextlib import suppress
from typing import NamedTuple

from firstlight.system.hook_files import Hook

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PATH, LANG = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "C.UTF-8"
MAX_LINES, MAX_LINE, MAX_OUTPUT_BYTES = 200, 1000, 65_536
READ_BYTES = 65_536
SWEEP_S, POLL_S = 5.0, 0.05
FAILED, LATE, UNSTARTABLE = "hook_failed", "hook_late", "hook_unstartable"
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


class Outcome(NamedTuple):
    """How one run ended.

    Args:
        code: "" = well, else one of ``FAILED``, ``LATE``, ``UNSTARTABLE``.
        message: one sentence.
    """

    code: str
    message: str


class Output:
    """What a hook writes, as lines for the journal; the first ``MAX_LINES`` and ``MAX_OUTPUT_BYTES`` of it.

    Args:
        say: takes one line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._held = b""
        self._lines = self._bytes = self.left_out = 0

    def take(self, part: bytes) -> None:
        """More of it, cut anywhere."""
        room = max(0, MAX_OUTPUT_BYTES - self._bytes)
        self._bytes += len(part)
        self.left_out += max(0, len(part) - room)
        *lines, self._held = (self._held + part[:room]).split(b"\n")
        for line in lines:
            self._line(line)
        while len(self._held) > MAX_LINE:
            self._line(self._held[:MAX_LINE])
            self._held = self._held[MAX_LINE:]

    def end(self) -> None:
        """There is no more."""
        if self._held:
            self._line(self._held)
        self._held = b""
        if self.left_out:
            self._say(f"({self.left_out} more bytes were left out)")

    def _line(self, line: bytes) -> None:
        if self._lines >= MAX_LINES:
            self.left_out += len(line) + 1
            return
        self._lines += 1
        self._say(line[:MAX_LINE].decode("utf-8", "backslashreplace"))
        self.left_out += max(0, len(line) - MAX_LINE)


def run(hook: Hook, body: bytes, limit_s: float, say: Callable[[str], None], *, sweeps: bool) -> Outcome:
    """Runs one hook to its end, and ends it when its time is over.

    Args:
        hook: judged.
        body: its standard input.
        limit_s: how long it may take.
        say: takes one line of what it writes.
        sweeps: end whatever it started, too: this process adopts all of that, and must have no other children. Where
            systemd gave this process a unit of its own, the end of the unit does it.
    """
    if sweeps:
        _adopt()
    until_s = time.monotonic() + limit_s
    output = Output(say)
    read_fd, write_fd = os.pipe()
    try:
        try:
            child = _begun(hook, body, write_fd)
        finally:
            os.close(write_fd)
        try:
            is_late = not _follow(child, read_fd, output, until_s)
        finally:
            _end(child)
            if sweeps:
                _sweep()
        _drain(read_fd, output)
        output.end()
    except OSError as error:
        return Outcome(UNSTARTABLE, f"It cannot be started: {error.strerror}.")
    finally:
        os.close(read_fd)
    return _outcome(child.returncode, limit_s, is_late=is_late)


def _begun(hook: Hook, body: bytes, write_fd: int) -> subprocess.Popen[bytes]:
    """Its input is a file in memory: one that never reads is not waited for. Raises OSError."""
    memory = os.memfd_create("event")
    try:
        os.write(memory, body)
        os.lseek(memory, 0, os.SEEK_SET)
        return subprocess.Popen(  # noqa: S603 - judged
            [hook.path],
            stdin=memory,
            stdout=write_fd,
            stderr=write_fd,
            cwd="/",
            env={"PATH": PATH, "LANG": LANG, "FIRSTLIGHT_EVENT": hook.kind},
            start_new_session=True,
        )
    finally:
        os.close(memory)


def _outcome(status: int, limit_s: float, *, is_late: bool) -> Outcome:
    if is_late:
        return Outcome(LATE, f"It took longer than {limit_s:g} s and was ended.")
    if status < 0:
        return Outcome(FAILED, f"It was ended by signal {-status}.")
    return Outcome(FAILED, f"It ended with exit status {status}.") if status else Outcome("", "It ended well.")


def _follow(child: subprocess.Popen[bytes], read_fd: int, output: Output, until_s: float) -> bool:
    """Takes what it writes until it ends; False where its time is over first."""
    os.set_blocking(read_fd, False)
    try:
        pid_fd = os.pidfd_open(child.pid)
    except OSError:  # a kernel before 5.3
        pid_fd = -1
    ears = [fd for fd in (read_fd, pid_fd) if fd >= 0]
    try:
        while (left_s := until_s - time.monotonic()) > 0:
            ready, _, _ = select.select(ears, [], [], left_s if pid_fd >= 0 else min(left_s, POLL_S))
            if read_fd in ready and not _read(read_fd, output):
                ears.remove(read_fd)
            # Not its end of the pipe: what it started may hold that for ever.
            if (pid_fd in ready or pid_fd < 0) and _has_ended(child.pid):
                return True
        return False
    finally:
        if pid_fd >= 0:
            os.close(pid_fd)


def _has_ended(pid: int) -> bool:
    """Without collecting it: its number, which its group has too, must not go to somebody else yet."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _read(read_fd: int, output: Output) -> bool:
    """Takes one piece; False at the end."""
    with suppress(BlockingIOError):
        part = os.read(read_fd, READ_BYTES)
        output.take(part)
        return bool(part)
    return True


def _drain(read_fd: int, output: Output) -> None:
    """What is still in the pipe: a process that outlived the hook is not waited for."""
    with suppress(BlockingIOError):
        for _ in range(64):
            part = os.read(read_fd, READ_BYTES)
            if not part:
                return
            output.take(part)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ends the hook and its session's group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _adopt() -> None:
    """What loses its parent below this process becomes its child, however often it forked."""
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _sweep() -> None:
    """Ends every child of this process; each one's own children become this process's and are next."""
    until_s = time.monotonic() + SWEEP_S
    while (found := _children()) and time.monotonic() < until_s:
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        select.select([], [], [], POLL_S)


def _children() -> list[int]:
    mine, found = os.getpid(), []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read(4096).rpartition(b")")[2].split()
            if int(fields[1]) == mine:
                found.append(int(name))
    return found
