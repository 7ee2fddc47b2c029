"""Work that may hang, crash or eat memory, in a child of its own: a stick that does not answer, a stranger's picture.

The child is a fork: it has what the parent has loaded. What it has to say comes through a pipe, a JSON object a line,
which the parent listens to among everything else. A child that is silent for too long is ended; one that cannot even
be killed (it waits for a device) is left to the kernel, and the parent goes on.
"""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    Say = Callable[[dict[str, object]], None]

MAX_LINE_BYTES = 262_144
MAX_DATA_BYTES = 400 * 1024 * 1024
FAILED, LATE = "failed", "late"
GRACE_S = 2.0


class SideJob:
    """One piece of work in a child process.

    Args:
        work: does it, and says what it finds. What it raises ends it as ``FAILED``.
        now_s: monotonic seconds.
        quiet_s: how long it may say nothing.

    Attributes:
        fd: becomes readable when there is something to ``collect``, -1 once it is over.
        is_over: whether the child has said all it will say.
        problem: "" while all is well, else ``FAILED`` or ``LATE``.
    """

    def __init__(self, work: Callable[[Say], None], now_s: float, quiet_s: float) -> None:
        self._quiet_s, self._due_s = quiet_s, now_s + quiet_s
        self.is_over, self.problem = False, ""
        self._held = b""
        self._is_gone, self._kill_s = False, 0.0
        self.fd, write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.fd, False)
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self.fd)
            _perform(work, write_fd)
        os.close(write_fd)

    def collect(self, now_s: float) -> list[dict[str, object]]:
        """What it said since the last call; a child that is silent for too long is ended. Never waits."""
        said: list[dict[str, object]] = []
        with suppress(BlockingIOError):
            while not self.is_over:
                part = os.read(self.fd, 65_536)
                self._held += part
                *lines, self._held = self._held.split(b"\n")
                said += map(json.loads, lines)
                if not part:
                    self._hear_end(now_s)
                elif len(self._held) > MAX_LINE_BYTES:
                    self.stop(now_s, FAILED)
        if said:
            self._due_s = now_s + self._quiet_s
        elif not self.is_over and now_s >= self._due_s:
            self.stop(now_s, LATE)
        return said

    def _hear_end(self, now_s: float) -> None:
        """The pipe was closed: the child is ending, and its status says whether all went well."""
        with suppress(ChildProcessError):
            # It has nothing left to do but to end: this wait is as short as its exit.
            self._is_gone = True
            if os.waitpid(self._pid, 0)[1]:
                self.problem = FAILED
        self.stop(now_s, self.problem)

    def wait_s(self, now_s: float) -> float:
        """Seconds until it has been silent for too long."""
        return max(0.0, self._due_s - now_s)

    def stop(self, now_s: float, problem: str = "") -> None:
        """Ends it, whatever it has done by now."""
        if self.is_over:
            return
        self.is_over, self.problem, self._held = True, problem, b""
        os.close(self.fd)
        self.fd, self._kill_s = -1, now_s + GRACE_S
        if not self._is_gone:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)
        self.is_gone(now_s)

    def is_gone(self, now_s: float) -> bool:
        """Whether the child has ended; one that did not after ``GRACE_S`` is killed. Never waits."""
        if not self._is_gone and self.is_over:
            try:
                if now_s >= self._kill_s:
                    os.kill(self._pid, signal.SIGKILL)
                self._is_gone = os.waitpid(self._pid, os.WNOHANG)[0] != 0
            except (ChildProcessError, ProcessLookupError):
                self._is_gone = True
        return self._is_gone


def _perform(work: Callable[[Say], None], write_fd: int) -> None:
    """The child's life; does not return."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, _end)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _limit()
        work(lambda told: _write(write_fd, told))
        status = 0
    except BaseException:  # noqa: S110 - whatever it is, the parent learns of it by the exit status
        pass
    finally:
        os._exit(status)


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit


def _write(fd: int, told: dict[str, object]) -> None:
    rest = memoryview(json.dumps(told).encode() + b"\n")
    while rest:
        rest = rest[os.write(fd, rest) :]


def _limit() -> None:
    import resource

    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (MAX_DATA_BYTES, MAX_DATA_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
