"""Pictures from a camera: the seam, and the choice of what stands behind it.

A box has a USB camera (``camera_v4l2``), or one that only a program of its maker reaches, as the CSI cameras of a
Jetson (the setting ``camera_command``, ``camera_command.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from firstlight.errors import InvitationError

if TYPE_CHECKING:
    from types import TracebackType

    from PIL.Image import Image

MISSING, BUSY, GONE, FORBIDDEN = "camera_missing", "camera_busy", "camera_gone", "camera_forbidden"
UNSUPPORTED = "camera_unsupported"
# A camera that gives no picture for so long is as good as gone. Some take seconds to find their exposure.
FRAME_S = 10.0
MAX_FRAME_BYTES = 16_777_216
MAX_CAMERAS = 16
NODE = re.compile(r"video([0-9]{1,3})\Z")


class FrameSource(Protocol):
    """Grey pictures (pillow, mode "L") one after another, for ever; a ``with`` block opens and closes it.

    Entering and iterating raise InvitationError: ``camera_missing``, ``camera_busy``, ``camera_gone``,
    ``camera_forbidden``, ``camera_unsupported``.
    """

    def __enter__(self) -> FrameSource:
        """Opens it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes it; what it used is free again."""

    def __iter__(self) -> Iterator[Image]:
        """Each picture as it comes."""


def nodes(folder: str = "/dev") -> list[str]:
    """Paths of the video devices of this box, in the order of their numbers; a camera may have several."""
    try:
        names = [(int(found[1]), path) for path in Path(folder).iterdir() if (found := NODE.match(path.name))]
    except OSError:
        return []
    return [str(path) for _, path in sorted(names)[:MAX_CAMERAS]]


def open_camera(device: str = "", command: str = "", folder: str = "/dev") -> FrameSource:
    """The camera to read with; what is wrong with it is said by its ``with`` block.

    Args:
        device: path of a video device, "" = the command, else the first that is a camera.
        command: the setting ``camera_command``, "" = none.
        folder: where video devices are looked for.
    """
    from firstlight.sources.camera_command import CommandCamera
    from firstlight.sources.camera_v4l2 import V4l2Camera

    if device:
        return V4l2Camera(device)
    return CommandCamera(command) if command else FirstCamera([V4l2Camera(node) for node in nodes(folder)])


class FirstCamera:
    """The first of several that can be opened; implements ``FrameSource``.

    Args:
        cameras: in the order in which they are tried.
    """

    def __init__(self, cameras: Sequence[FrameSource]) -> None:
        self._cameras = cameras
        self._opened: FrameSource | None = None

    def __enter__(self) -> FrameSource:
        """As ``FrameSource``; where none can be opened, with what is wrong with the one that comes closest."""
        trouble = InvitationError(MISSING, "This box has no camera.")
        for each in self._cameras:
            try:
                self._opened = each.__enter__()
                return self._opened
            except InvitationError as error:
                # Metadata nodes and encoders have such a path too: what a real camera says counts more.
                if trouble.code in (MISSING, UNSUPPORTED):
                    trouble = error
        raise trouble

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """As ``FrameSource``."""
        if self._opened is not None:
            self._opened.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[Image]:
        """As ``FrameSource``."""
        return iter(self._opened or ())
