"""What this machine is, read once at the door: the monitoring fields of seed 001. Each optional; none may block."""

from __future__ import annotations

import os
from pathlib import Path

from firstlight.core.model import Facts, Hardware

MAX_TEXT = 256
MAX_FILE_BYTES = 65_536
MB = 2**20

# The system-on-chip of a Jetson names the family of its graphics unit.
TEGRA_GPUS = {
    "nvidia,tegra210": "NVIDIA Maxwell (Tegra X1)",
    "nvidia,tegra186": "NVIDIA Pascal (Tegra X2)",
    "nvidia,tegra194": "NVIDIA Volta (Xavier)",
    "nvidia,tegra234": "NVIDIA Ampere (Orin)",
    "nvidia,tegra264": "NVIDIA Blackwell (Thor)",
}


def read_facts(root: str = "/") -> Facts:
    """The facts of this machine.

    Args:
        root: where ``proc`` and ``sys`` are looked for; another folder in tests.

    Returns:
        what could be read; every other field is None. Never raises.
    """
    system = os.uname()
    board = _Board(Path(root) / "proc/device-tree")
    return Facts(
        hostname=clean(system.nodename),
        platform=clean(system.sysname),
        platform_release=clean(system.release),
        platform_version=clean(system.version),
        architecture=clean(system.machine),
        type=board.type,
        hardware=Hardware(
            processor=_processor(Path(root), board),
            gpu=_gpu(Path(root), board),
            total_memory_mb=_memory_mb(),
            total_disk_space_mb=_disk_mb(),
        ),
    )


def clean(text: str) -> str | None:
    """Text fit for the wire: printable, trimmed, at most 256 characters; None when nothing is left."""
    kept = "".join(c for c in text.replace("\t", " ") if c.isprintable() and not 0xD800 <= ord(c) < 0xE000)
    return kept.strip()[:MAX_TEXT] or None


class _Board:
    """What the device tree says; empty on machines without one."""

    def __init__(self, tree: Path) -> None:
        self.model = clean(_read(tree / "model"))
        self.compatible = [name for name in _read(tree / "compatible").lower().split("\0") if name]

    @property
    def type(self) -> str | None:
        model = (self.model or "").lower()
        # The NVIDIA kits name the Jetson; carrier boards of others name only its chip.
        if "jetson" in model or any("nvidia,tegra" in name or "jetson" in name for name in self.compatible):
            return "jetson"
        if "raspberry pi" in model or any(name.startswith("raspberrypi,") for name in self.compatible):
            return "raspberry_pi"
        return None

    @property
    def gpu(self) -> str | None:
        return next((TEGRA_GPUS[name] for name in self.compatible if name in TEGRA_GPUS), None)


def _processor(root: Path, board: _Board) -> str | None:
    for line in _read(root / "proc/cpuinfo").splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip() in ("model name", "Model"):
            return clean(value)
    return board.model


def _gpu(root: Path, board: _Board) -> str | None:
    if board.gpu:
        return board.gpu
    try:
        cards = sorted((root / "proc/driver/nvidia/gpus").iterdir())[:8]
    except OSError:
        return None
    for card in cards:
        for line in _read(card / "information").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "Model":
                return clean(value)
    return None


def _memory_mb() -> int | None:
    try:
        import psutil

        return int(psutil.virtual_memory().total) // MB
    except Exception:  # psutil raises what the platform raises; a fact is optional
        return None


def _disk_mb() -> int | None:
    try:
        import psutil

        return int(psutil.disk_usage("/").total) // MB
    except Exception:  # as above
        return None


def _read(path: Path) -> str:
    """A small file's text, "" when it cannot be read; never waits for a writer."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.read(fd, MAX_FILE_BYTES).decode("utf-8", "replace")
        finally:
            os.close(fd)
    except OSError:
        return ""
