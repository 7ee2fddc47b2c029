"""Whether a time server has set this machine's clock: as systemd-timesyncd or the kernel (adjtimex(2)) says.

A service with ProtectClock may not even ask the kernel. In such a one only timesyncd's file counts, and a box that has
another time service knows its time no better than by the last moment seen.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SYNCHRONISED = "run/systemd/timesync/synchronized"
TIME_ERROR = 5  # the clock is not synchronised
TIMEX_BYTES = 512  # more than any kernel writes; modes = 0 only asks


def kernel_says() -> bool:
    """True where the kernel's clock follows a time server; False too where it cannot be asked."""
    import ctypes  # here: only whoever takes a payload in needs it

    try:
        ask = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return False
    found: int = ask(ctypes.create_string_buffer(TIMEX_BYTES))
    return 0 <= found < TIME_ERROR


def is_synced(top: str = "/", kernel: Callable[[], bool] = kernel_says) -> bool:
    """Whether somebody sets the clock by the network.

    Args:
        top: takes the place of ``/``.
        kernel: asks the kernel, which every time service tells.
    """
    return os.path.exists(os.path.join(top, SYNCHRONISED)) or kernel()
