"""``firstlight facts``: what this machine tells about itself when it enrolls and beats."""

from __future__ import annotations

import json

from firstlight.cli import options
from firstlight.system.facts import read_facts
from firstlight.system.nameplate import read_nameplate
from firstlight.system.serial import serial_number
from firstlight.wire.facts import facts_hash, facts_object


def verb(words: list[str], config: str | None) -> int:
    """Prints the facts; returns 0."""
    made = options.parser("facts", "Show what this machine tells about itself when it enrolls and beats.")
    made.add_argument("--json", action="store_true", help="print one JSON object")
    typed = made.parse_args(words)
    settings = options.load(typed, config)
    facts = read_facts()
    found = facts_object(facts)
    # Not sent: it is what the serial of an offline payload is compared with, and on its label.
    if serial := settings.serial or serial_number():
        found["serial"] = serial
    # Nor are these: an inventory wants them, which the desk tells ('firstlight device create --facts').
    found.update({name: value for name, value in read_nameplate()._asdict().items() if value})
    if typed.json:
        print(json.dumps({**found, "facts_hash": facts_hash(facts)}))
        return 0
    found.update(facts.hardware._asdict())
    found.pop("hardware", None)
    for name, value in found.items():
        if value is not None:
            print(f"{name.replace('_', ' '):<22} {value}")
    return 0
