"""A camera behind a program: the setting ``camera_command``, which writes pictures to its standard output.

For cameras that no video device shows, such as the CSI cameras of a Jetson. The operator sets the command; it is run
without a shell, ended with its children, and what it says on standard error is only used to say why it ended.
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from firstlight.errors import InvitationError
from firstlight.sources import camera
from firstlight.sources.camera_frames import Frames, grey_of

if TYPE_CHECKING:
    from types import TracebackType

    from PIL.Image import Image

END_S = 3.0
MAX_SAID = 2048


class _Running(NamedTuple):
    child: subprocess.Popen[bytes]
    pictures: int  # descriptors
    words: int


class CommandCamera:
    """Implements ``FrameSource``.

    Args:
        command: a line, split as a shell would split it.
        frame_s: how long it may be silent.
    """

    def __init__(self, command: str, frame_s: float = camera.FRAME_S) -> None:
        self._command = command
        self._frame_s = frame_s
        self._running: _Running | None = None
        self._said = b""

    def __enter__(self) -> CommandCamera:
        """As ``FrameSource``."""
        try:
            words = shlex.split(self._command)
        except ValueError as error:
            raise InvitationError(camera.MISSING, f"The setting camera_command is no command: {error}.") from None
        if not words:
            raise InvitationError(camera.MISSING, "The setting camera_command is empty.")
        try:
            child = subprocess.Popen(  # noqa: S603 - what root has set
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # it is ended with all that it started
            )
        except OSError as error:
            code = camera.FORBIDDEN if isinstance(error, PermissionError) else camera.MISSING
            raise InvitationError(code, f"The camera's command {words[0]} cannot be run: {error.strerror}.") from None
        assert child.stdout is not None and child.stderr is not None  # noqa: S101 - pipes, as asked for
        self._running = _Running(child, child.stdout.fileno(), child.stderr.fileno())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """As ``FrameSource``."""
        running, self._running = self._running, None
        if running is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):  # what it started may not listen to the first
            with suppress(ProcessLookupError):
                os.killpg(running.child.pid, number)
            with suppress(subprocess.TimeoutExpired):
                running.child.wait(END_S)
        for pipe in (running.child.stdout, running.child.stderr):
            if pipe is not None:
                pipe.close()

    def __iter__(self) -> Iterator[Image]:
        """As ``FrameSource``."""
        frames = Frames()
        until = time.monotonic() + self._frame_s
        while True:
            body = self._read(until - time.monotonic())
            for each in frames.add(body):
                picture = grey_of(each)
                if picture is not None:
                    yield picture
                    until = time.monotonic() + self._frame_s

    def _read(self, left_s: float) -> bytes:
        """What came, b"" for words on standard error only. Raises InvitationError: ``camera_gone``."""
        assert self._running is not None  # noqa: S101 - only inside the with block
        ready = select.select([self._running.pictures, self._running.words], [], [], max(0.0, left_s))[0]
        if not ready:
            raise InvitationError(camera.GONE, f"The camera's command gave no picture for {self._frame_s:g} s.")
        said = os.read(self._running.words, 65_536) if self._running.words in ready else b""
        self._said = (self._said + said)[-MAX_SAID:]
        if self._running.pictures not in ready:
            if not said:  # closed its words; the pictures may go on
                return self._pictures_only(left_s)
            return b""
        return self._picture_bytes()

    def _pictures_only(self, left_s: float) -> bytes:
        assert self._running is not None  # noqa: S101 - only inside the with block
        if not select.select([self._running.pictures], [], [], max(0.0, left_s))[0]:
            raise InvitationError(camera.GONE, f"The camera's command gave no picture for {self._frame_s:g} s.")
        return self._picture_bytes()

    def _picture_bytes(self) -> bytes:
        assert self._running is not None  # noqa: S101 - only inside the with block
        body = os.read(self._running.pictures, 1_048_576)
        if body:
            return body
        while select.select([self._running.words], [], [], 0)[0] and (more := os.read(self._running.words, 65_536)):
            self._said = (self._said + more)[-MAX_SAID:]
        with suppress(subprocess.TimeoutExpired):
            self._running.child.wait(END_S)
        status = self._running.child.returncode
        ended = "ended" if status is None or status == 0 else f"ended with status {status}"
        raise InvitationError(camera.GONE, f"The camera's command {ended}{self._last_words()}.")

    def _last_words(self) -> str:
        lines = self._said.decode("utf-8", "replace").strip().splitlines()
        last = "".join(each for each in lines[-1] if each.isprintable())[:160].rstrip(". ") if lines else ""
        return f": {last}" if last else ""
