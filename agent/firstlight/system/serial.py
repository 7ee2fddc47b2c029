"""The serial number that the maker gave this machine: of its device tree, else of its BIOS."""

from __future__ import annotations

import os

# A Jetson and a Raspberry Pi have the first; a PC has the others, which only root may read.
PLACES = (
    "proc/device-tree/serial-number",
    "sys/class/dmi/id/product_serial",
    "sys/class/dmi/id/board_serial",
    "sys/class/dmi/id/chassis_serial",
)
MAX_BYTES = 128
# What makers leave in the field when they have nothing to say.
FILLERS = frozenset(
    {"", "0", "none", "n/a", "default string", "not specified", "to be filled by o.e.m.", "system serial number"}
)


def is_hidden(top: str = "/") -> bool:
    """Whether this machine has a serial number that this user may not read, as on a PC."""
    paths = [os.path.join(top, place) for place in PLACES]
    return any(os.path.exists(path) and not os.access(path, os.R_OK) for path in paths)


def serial_number(top: str = "/") -> str:
    """It, at most ``MAX_BYTES`` characters; "" where there is none, or it cannot be read. Never raises."""
    for place in PLACES:
        try:
            fd = os.open(os.path.join(top, place), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                found = os.read(fd, MAX_BYTES).rstrip(b"\0\n").decode("ascii", "replace").strip()
            finally:
                os.close(fd)
        except OSError:
            continue
        if found.lower() not in FILLERS and found.isprintable() and found.strip("0 "):
            return found
    return ""
