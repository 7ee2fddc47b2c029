"""How the operator wants this box to be: what a platform says of it, put together with what it said before."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.core.lifecycle import Desired

MAX_BYTES = 65_536


def merged(before: dict[str, object], desired: Desired) -> dict[str, object]:
    """What is desired from now on.

    Args:
        before: what was desired so far, ``{service: {property: value}}``.
        desired: what was said now. Where it is not all there is, it adds to that, property by property.

    Raises:
        ValueError: its text is not of that shape, or all of it together has more than ``MAX_BYTES``.
    """
    said = json.loads(desired.text) if len(desired.text) <= MAX_BYTES else None
    if not isinstance(said, dict) or not all(isinstance(wanted, dict) for wanted in said.values()):
        raise ValueError("not an object of objects within bounds")
    if not desired.is_whole:
        kept = {name: wanted for name, wanted in before.items() if isinstance(wanted, dict)}
        said = {**kept, **{name: {**kept.get(name, {}), **wanted} for name, wanted in said.items()}}
    if len(json.dumps(said)) > MAX_BYTES:
        raise ValueError("too much")
    return said
