"""How the devices behind this one are, as a program of the integrator's writes it: ``children.json``.

``{"children": [{"device_id": "…", "online": true}, …]}`` in the state directory. Read before each heartbeat: whoever
writes it puts a new file in its place (rename), so that no half of one is ever read.
"""

from __future__ import annotations

import json
import os
import re

from firstlight.core.model import Child

NAME = "children.json"
MAX_BYTES, MAX_CHILDREN = 65_536, 500
DEVICE_ID = re.compile(r"[A-Za-z0-9_-]{1,256}\Z")


def read_children(state_dir: str) -> tuple[Child, ...]:
    """The children of this box, () where there are none; never raises.

    A file that cannot be used (damaged, too large, a link, an odd id, an id twice) counts as none: a gateway's own
    heartbeat does not fall with its children's.
    """
    try:
        fd = os.open(os.path.join(state_dir, NAME), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ()
    try:
        body = os.read(fd, MAX_BYTES + 1)
        found = json.loads(body) if len(body) <= MAX_BYTES else None
        entries = found["children"] if isinstance(found, dict) else []
        if not isinstance(entries, list) or len(entries) > MAX_CHILDREN:
            return ()
        made = tuple(_child(entry) for entry in entries)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ()
    finally:
        os.close(fd)
    return made if len({one.device_id for one in made}) == len(made) else ()


def _child(entry: object) -> Child:
    if (
        not isinstance(entry, dict)
        or not isinstance(entry["device_id"], str)
        or not DEVICE_ID.match(entry["device_id"])
    ):
        raise ValueError("device_id")
    if not isinstance(entry["online"], bool):
        raise ValueError("online")
    return Child(entry["device_id"], entry["online"])
