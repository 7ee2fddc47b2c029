"""Whether a time server has set this machine's clock, as the kernel has it (adjtimex(2))."""

from __future__ import annotations

TIME_ERROR = 5  # the clock is not synchronised
TIMEX_BYTES = 512  # more than any kernel writes; modes = 0 only asks


def is_synced() -> bool:
    """True where the kernel says that its clock follows a time server; False too where it cannot be asked."""
    import ctypes  # here: only whoever takes a payload in needs it

    try:
        ask = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return False
    found: int = ask(ctypes.create_string_buffer(TIMEX_BYTES))
    return 0 <= found < TIME_ERROR
