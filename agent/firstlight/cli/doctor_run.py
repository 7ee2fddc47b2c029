"""Makes the checks one after another, each within its time; what hangs is left behind and never waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from firstlight.core.diagnosis import CHECKS, TOTAL_S, Finding, blocked, failed, late, needed, skipped, warned
from firstlight.errors import FirstlightError

Perform = Callable[[], Finding]
OFFLINE = "because of --offline"


def perform(
    performs: Mapping[str, Perform],
    wanted: tuple[str, ...] = (),
    *,
    is_offline: bool = False,
    total_s: float = TOTAL_S,
    deadlines: Mapping[str, float] | None = None,
) -> dict[str, Finding]:
    """Makes the wanted checks and those they come after.

    Args:
        performs: check id -> what makes it; may raise FirstlightError.
        wanted: ids, empty = all.
        is_offline: leaves out what speaks to somebody.
        total_s: for all of them together.
        deadlines: seconds of a check where they differ from those of ``CHECKS``.

    Returns:
        the findings, in the order of ``CHECKS``.
    """
    found: dict[str, Finding] = {}
    until_s = time.monotonic() + total_s
    for name in needed(wanted):
        left_s = until_s - time.monotonic()
        if is_offline and CHECKS[name].is_network:
            found[name] = skipped(name, OFFLINE)
        elif why := blocked(name, found):
            found[name] = skipped(name, why)
        elif left_s <= 0:
            found[name] = skipped(name, "because the time was up")
        else:
            own_s = (deadlines or {}).get(name, CHECKS[name].deadline_s)
            found[name] = _bounded(name, performs[name], min(own_s, left_s))
    return found


def _bounded(name: str, make: Perform, deadline_s: float) -> Finding:
    """One check in a thread of its own: a resolver or a disk that hangs cannot be interrupted, only left."""
    made: list[Finding] = []
    # A daemon thread: the end of the process does not wait for it.
    thread = threading.Thread(target=lambda: made.append(_made(name, make)), name=f"check {name}", daemon=True)
    thread.start()
    thread.join(deadline_s)
    return made[0] if made else late(name)


def _made(name: str, make: Perform) -> Finding:
    try:
        return make()
    except FirstlightError as error:
        return failed(name, f"{error.message} [{error.code}]", error.hint, code=error.code)
    except Exception as error:  # one check that breaks must not hide the others
        said = f"This check itself broke ({type(error).__name__}). [internal]"
        return warned(name, said, "Send the report to the makers of firstlight: firstlight doctor --bundle FILE")
