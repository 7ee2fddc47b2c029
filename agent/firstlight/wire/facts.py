"""Facts as JSON: the monitoring fields of seed 001, under the seed's own names."""

from __future__ import annotations

import hashlib
import json

from firstlight.core.model import Facts, Hardware
from firstlight.wire import bounded

MAX_MB = 2**50


def facts_object(facts: Facts) -> dict[str, object]:
    """``Facts`` -> its JSON object, without the fields that are not known."""
    hardware = {name: value for name, value in zip(Hardware._fields, facts.hardware, strict=True) if value is not None}
    pairs = zip(Facts._fields, facts, strict=True)
    found: dict[str, object] = {name: value for name, value in pairs if name != "hardware" and value is not None}
    if hardware:
        found["hardware"] = hardware
    return found


def read_facts(source: dict[str, object]) -> Facts:
    """A JSON object -> ``Facts``; unknown names are ignored.

    Raises:
        WireError: a field of the wrong type or size.
    """
    hardware = bounded.child(source, "hardware")
    return Facts(
        hostname=bounded.optional_text(source, "hostname"),
        platform=bounded.optional_text(source, "platform"),
        platform_release=bounded.optional_text(source, "platform_release"),
        platform_version=bounded.optional_text(source, "platform_version"),
        architecture=bounded.optional_text(source, "architecture"),
        type=bounded.optional_text(source, "type"),
        hardware=Hardware(
            processor=bounded.optional_text(hardware, "processor"),
            gpu=bounded.optional_text(hardware, "gpu"),
            total_memory_mb=bounded.optional_integer(hardware, "total_memory_mb", 0, MAX_MB),
            total_disk_space_mb=bounded.optional_integer(hardware, "total_disk_space_mb", 0, MAX_MB),
        ),
    )


def facts_hash(facts: Facts) -> str:
    """16 hex digits that change when the facts do."""
    canonical = json.dumps(facts_object(facts), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
