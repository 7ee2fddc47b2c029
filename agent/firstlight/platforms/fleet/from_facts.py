"""What a box tells of itself -> the fields that Fleet has for it."""

from __future__ import annotations

from collections.abc import Mapping

GIB_MB = 1024
MB_BYTES = 2**20
# A disk of more than so many MB is one that was told in bytes: Roboflow's own example has such a number.
MOST_MB = 100_000_000
COPIED = ("brand", "model_year", "screen_size", "resolution")
MAX_TEXT = 256


def from_facts(facts: Mapping[str, object]) -> dict[str, object]:
    """The fields that a box's facts can fill.

    Args:
        facts: the object that ``firstlight facts --json`` prints, or a device of a hub's or Roboflow's list.

    Returns:
        texts by the names of ``FIELDS``; what the facts do not say, or say in another type, is left out. ``type`` and
        ``category`` are the workspace's own words and stay with the operator.
    """
    inner = facts.get("hardware")
    hardware = inner if isinstance(inner, Mapping) else {}
    serial = _text(facts.get("serial"))
    found = {
        "name": _text(facts.get("name")) or _text(facts.get("hostname")) or serial,
        "serial_number": serial,
        "processor": _text(hardware.get("processor")),
        "graphic": _text(hardware.get("gpu")),
        "ram": _size(hardware.get("total_memory_mb"), is_rounded_up=True),
        "storage": _size(hardware.get("total_disk_space_mb"), is_rounded_up=False),
        "os_platform": _text(facts.get("platform")),
        "comment": ", ".join(filter(None, (_text(facts.get("model")), _text(facts.get("architecture"))))),
        **{name: _text(facts.get(name)) for name in COPIED},
    }
    return {name: text for name, text in found.items() if text}


def _text(value: object) -> str:
    return "".join(c for c in value[:MAX_TEXT] if c.isprintable()).strip() if isinstance(value, str) else ""


def _size(value: object, *, is_rounded_up: bool) -> str:
    """A size in MB as people say it: memory rounded up (the kernel keeps some), a file system to the nearest."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < 2**63:
        return ""
    size_mb = value / MB_BYTES if value > MOST_MB else value
    size_gib = int(-(-size_mb // GIB_MB)) if is_rounded_up else max(1, round(size_mb / GIB_MB))
    return f"{size_gib} GB"
