"""How the operator wants this box to be, on the disk: ``desired.json``."""

from __future__ import annotations

from firstlight.core.desired import merged
from firstlight.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.core.lifecycle import Desired
    from firstlight.system.store import StateDirectory

NAME, FORMAT = "desired.json", 1


def merge(store: StateDirectory, desired: Desired) -> dict[str, object] | None:
    """Keeps what is desired: ``{"format": 1, "version": N, "desired": {service: {property: value}}}``.

    Returns:
        all that is desired now; None where it was so already, and where nothing is and was desired.

    Raises:
        StateError: ``state_unwritable``, ``state_newer``, ``desired_unusable``; what was kept before stays.
    """
    is_damaged = False
    try:
        kept = store.read_json(NAME) or {}
    except StateError as error:
        if error.code != "state_corrupt":
            raise
        kept, is_damaged = {}, True
    store.refuse_newer(NAME, kept, FORMAT)
    before = kept.get("desired")
    before = before if isinstance(before, dict) else {}
    try:
        now = merged(before, desired)
    except (ValueError, RecursionError):
        raise StateError("desired_unusable", "What the platform wants of this box cannot be kept.") from None
    if now == before and (kept or not now) and not is_damaged:
        return None
    store.write_json(NAME, {"format": FORMAT, "version": desired.version, "desired": now})
    return now
