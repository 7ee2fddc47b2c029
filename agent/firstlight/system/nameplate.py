"""What a person reads on the machine: maker, model and screen. Inventories want it, hubs do not: never sent in a beat.

Each optional; none may block: small files of the kernel, open to every user.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from firstlight.system.facts import clean

MAX_BYTES = 4096
# What makers leave in the field when they have nothing to say.
FILLERS = frozenset(
    {"none", "n/a", "default string", "not specified", "to be filled by o.e.m.", "system manufacturer", "unknown"}
    | {"system product name", "o.e.m.", "oem", "undefined", "invalid"}
)
# How the device tree spells makers whose boxes are met often; any other as it is.
MAKERS = {"nvidia": "NVIDIA", "raspberrypi": "Raspberry Pi"}
# A panel that is built in; a monitor that is plugged in is a piece of equipment of its own.
PANELS = ("-eDP-", "-LVDS-", "-DSI-")
EDID_START = b"\x00\xff\xff\xff\xff\xff\xff\x00"
EDID_BYTES = 128
TIMING = 54  # where the panel's own timing begins
MM_PER_INCH = 25.4
LEAST_INCH, MOST_INCH = 1.0, 200.0


class Nameplate(NamedTuple):
    """Maker, model, and of a screen that is built in the diagonal (``15.6"``) and the pixels (``1920x1080``)."""

    brand: str | None = None
    model: str | None = None
    screen_size: str | None = None
    resolution: str | None = None


def read_nameplate(root: str = "/") -> Nameplate:
    """What this machine says of itself.

    Args:
        root: where ``proc`` and ``sys`` are looked for; another folder in tests.

    Returns:
        what could be read; every other field is None. Never raises.
    """
    top = Path(root)
    tree, dmi = top / "proc/device-tree", top / "sys/class/dmi/id"
    prefix = _text(tree / "compatible").split("\0")[0].partition(",")[0]
    return Nameplate(
        _told(MAKERS.get(prefix.lower(), prefix)) or _told(_text(dmi / "sys_vendor")),
        _told(_text(tree / "model")) or _told(_text(dmi / "product_name")),
        *_screen(top / "sys/class/drm"),
    )


def _told(text: str) -> str | None:
    found = clean(text)
    return found if found and found.lower() not in FILLERS else None


def _screen(folder: Path) -> tuple[str | None, str | None]:
    try:
        names = sorted(os.listdir(folder))[:64]
    except OSError:
        return None, None
    for name in names:
        if any(panel in name for panel in PANELS):
            edid = _bytes(folder / name / "edid")[:EDID_BYTES]
            if len(edid) == EDID_BYTES and edid.startswith(EDID_START) and sum(edid) % 256 == 0:
                return _panel(edid)
    return None, None


def _panel(edid: bytes) -> tuple[str | None, str | None]:
    """Size and pixels of the panel's own timing; of an older EDID the size in whole centimetres."""
    timing = edid[TIMING : TIMING + 18]
    across, down = timing[2] | (timing[4] & 0xF0) << 4, timing[5] | (timing[7] & 0xF0) << 4
    wide_mm, high_mm = timing[12] | (timing[14] & 0xF0) << 4, timing[13] | (timing[14] & 0x0F) << 8
    if timing[:2] == b"\0\0":  # no timing, a text
        across = down = wide_mm = high_mm = 0
    if not (wide_mm and high_mm):
        wide_mm, high_mm = edid[21] * 10, edid[22] * 10
    diagonal = (wide_mm**2 + high_mm**2) ** 0.5 / MM_PER_INCH
    size = f'{diagonal:.1f}"' if wide_mm and high_mm and LEAST_INCH <= diagonal <= MOST_INCH else None
    return size, f"{across}x{down}" if across and down else None


def _text(path: Path) -> str:
    return _bytes(path).decode("utf-8", "replace").rstrip("\n")


def _bytes(path: Path) -> bytes:
    """A small file, b"" when it cannot be read; never waits for a writer."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.read(fd, MAX_BYTES)
        finally:
            os.close(fd)
    except OSError:
        return b""
