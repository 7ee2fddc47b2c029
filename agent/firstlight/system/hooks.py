"""Events for an integrator's hooks: left as files in the state directory, taken away by root's half.

``leave`` writes ``hook-KIND-NUMBER.json``; of ``config-changed`` only the newest waits, in one file without a number.
firstlight-hooks.path sees it, and ``firstlight hooks --run`` (``hook_queue``) does the rest. What an event may say is
listed in ``FIELDS``: a name that is not there is left out, so that no secret slips through. See docs/hooks.md.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress

from firstlight.errors import StateError
from firstlight.system import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.core.model import Registration

ENROLLED, CONFIG_CHANGED, REFUSED, RETIRED, NETWORK = "enrolled", "config-changed", "refused", "retired", "network"
# What each kind says beside ``COMMON``.
FIELDS: dict[str, tuple[str, ...]] = {
    ENROLLED: ("transport", "credential"),
    CONFIG_CHANGED: ("desired", "version"),
    REFUSED: ("code", "message"),
    RETIRED: ("code", "message"),
    NETWORK: ("code", "message"),
}
KINDS = tuple(FIELDS)
COMMON = ("deviceId", "platform", "workspace", "endpoint")
FORMAT = 1
START, END = "hook-", ".json"
MAX_BYTES = 65_536 + 8192  # all that may be desired (``core.desired.MAX_BYTES``), and what goes with it
MAX_WAITING = 16  # of one kind; the oldest go


def leave(store_path: str, kind: str, about: dict[str, object]) -> bool:
    """Leaves one event for root's half. Never raises.

    Args:
        store_path: the state directory; what root leaves in another user's is given to that user.
        kind: one of ``KINDS``.
        about: ``COMMON`` (see ``about``) and the fields of its kind; other names are left out.

    Returns:
        whether it waits now; False where the disk refuses, or what is to be said has more than ``MAX_BYTES``.
    """
    try:
        body = json.dumps(event(kind, about)).encode() + b"\n"
        if len(body) > MAX_BYTES:
            return False
        if kind == CONFIG_CHANGED:
            files.write(store_path, f"{START}{kind}{END}", body)
        else:
            _add(store_path, kind, body)
    except (OSError, StateError, ValueError, TypeError, KeyError, RecursionError):
        return False
    return True


def event(kind: str, about: dict[str, object]) -> dict[str, object]:
    """The object that a hook reads: ``about`` without what its kind does not have, and when. Raises KeyError.

    What is not known of this box ("" where its platform has no workspaces) is null.
    """
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    who = {name: about.get(name) or None for name in COMMON}
    return {"format": FORMAT, "kind": kind, "at": at, **who, **{name: about.get(name) for name in FIELDS[kind]}}


def about(registration: Registration | None) -> dict[str, object]:
    """Who this box is, for ``leave``; nothing where it is not registered."""
    if registration is None:
        return {}
    return {
        "deviceId": registration.device_id,
        "platform": registration.platform,
        "workspace": registration.workspace,
        "endpoint": registration.endpoint.url,
    }


def waiting(store_path: str) -> list[str]:
    """File names of the events that wait, in their order. Raises OSError."""
    found = [(_place(name), name) for name in os.listdir(store_path)]
    return [name for place, name in sorted((place, name) for place, name in found if place is not None)]


def kind_of(name: str) -> str:
    """The kind of an event, from the name of its file; "" for what is none."""
    place = _place(name)
    return place[0] if place else ""


def is_stray(name: str) -> bool:
    """Whether a file is named like an event and is none: a copy, a try, a number without an end."""
    return name.startswith(START) and name.endswith(END) and _place(name) is None


def _place(name: str) -> tuple[str, int] | None:
    """Kind and number; None for a file that is no event."""
    if not (name.startswith(START) and name.endswith(END)):
        return None
    middle = name[len(START) : -len(END)]
    if middle == CONFIG_CHANGED:
        return middle, 0
    kind, _, number = middle.rpartition("-")
    is_one = kind in FIELDS and number.isascii() and number.isdigit() and len(number) <= 9
    return (kind, int(number)) if is_one else None


def _add(store_path: str, kind: str, body: bytes) -> None:
    """One more of its kind, behind those that wait. Raises OSError, StateError."""
    there = [name for name in waiting(store_path) if kind_of(name) == kind]
    for name in there[: max(0, len(there) - MAX_WAITING + 1)]:
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(store_path, name))
    last = _place(there[-1]) if there else None
    files.write(store_path, f"{START}{kind}-{last[1] + 1 if last else 1}{END}", body)
