"""Durations as people say them."""

from __future__ import annotations


def spoken(seconds: float) -> str:
    """A duration as people say it: ``4 s``, ``12 min``, ``3 h``, ``20 days``."""
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{max(1, round(seconds / unit))} {name}"
    return f"{round(seconds / 86_400)} days"
