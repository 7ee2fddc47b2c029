"""A camera that watches for a code as long as it takes, at a pace that leaves the box alone.

It runs in a child process of the headless service: a driver that hangs, or a picture that breaks a decoder, ends the
child and nothing else. A code that was read is said once for each look; the service knows what it heard before.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from firstlight.errors import FirstlightError, UsageError
from firstlight.sources import camera
from firstlight.sources.picture_cascade import Watching

# Looks a second: while somebody is there, and once nothing was seen for ``LONELY_S``.
BUSY_PACE_S, LONELY_PACE_S, LONELY_S = 0.2, 1.0, 60.0

Say = Callable[[dict[str, object]], None]


def watch(device: str, command: str, say: Say) -> None:
    """Says what the camera sees, until it fails: ``{"seen": …, "texts": […]}`` each, at last ``{"code", "problem"}``.

    Args:
        device: path of a video device, "" = choose.
        command: the setting ``camera_command``.
        say: takes each message; what it raises ends this.
    """
    try:
        with camera.open_camera(device, command) as frames:
            _look(frames, say)
        say({"code": camera.GONE, "problem": "The camera gives no more pictures."})
    except (FirstlightError, UsageError) as error:
        say({"code": error.code, "problem": error.message})
    except MemoryError:
        say({"code": "picture_too_large", "problem": "The camera's pictures are too large for this box."})


def _look(frames: camera.FrameSource, say: Say) -> None:
    watching = Watching()
    next_s, seen_s = 0.0, time.monotonic()
    for frame in frames:
        now_s = time.monotonic()
        if now_s < next_s:
            continue  # dropped, so that the next look is at what is there then
        reading = watching.look(frame)
        now_s = time.monotonic()
        if reading.seen != "none":
            seen_s = now_s
        next_s = now_s + (LONELY_PACE_S if now_s - seen_s > LONELY_S else BUSY_PACE_S)
        say({"seen": reading.seen, "texts": list(reading.texts)})
