"""``device create --facts``: what boxes told of themselves as devices of a platform that wants to know it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from firstlight.cli.desk import Desk
from firstlight.cli.offline_code import read_text
from firstlight.errors import InvitationError, UsageError


def rows(desk: Desk, sources: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The fields of each box, with its number.

    Args:
        desk: its dialect has ``from_facts``: facts -> texts by the platform's fields.
        sources: files with what ``firstlight facts --json`` printed: one object, a list, or a hub's ``device list``.

    Raises:
        UsageError: the platform wants no facts, or a file cannot be read.
        InvitationError: ``source_unreadable``.
    """
    read = getattr(desk.dialect, "from_facts", None)
    if read is None:
        raise UsageError("usage", f"The platform {desk.platform} takes no facts: it is for inventories.")
    number = 0
    for source in sources:
        for one in _objects(source):
            number += 1
            yield number, {name: str(value) for name, value in read(one).items()}


def _objects(source: str) -> list[dict[str, object]]:
    try:
        found = json.loads(read_text(source))
    except (ValueError, RecursionError):
        raise InvitationError("source_unreadable", f"{source} is not JSON.", _HINT) from None
    if isinstance(found, dict) and isinstance(found.get("data"), list):
        found = found["data"]
    several = found if isinstance(found, list) else [found]
    if not several or not all(isinstance(one, dict) for one in several):
        raise InvitationError("source_unreadable", f"{source} holds no facts.", _HINT)
    return several


_HINT = "Give what 'firstlight facts --json' printed on the box, or 'firstlight device list --json' at the desk."
