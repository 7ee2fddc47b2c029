"""Next steps as they can be typed on this very box: with this program's path, and systemctl only where there is one."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

SERVICE = "firstlight.service"
UNIT_FOLDERS = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
COMMAND = re.compile(r"\bfirstlight (?=(?:enroll|run|status|facts|rotate|reset|device)\b)")


def typed(text: str) -> str:
    """The text with each ``firstlight VERB`` spelled so that this program runs, also where it is not on the PATH."""
    mine = Path(sys.argv[0]).absolute()
    found = shutil.which("firstlight")
    is_program = mine.is_file() and os.access(mine, os.X_OK)
    if not is_program or (found is not None and Path(found).resolve() == mine.resolve()):
        return text
    return COMMAND.sub(lambda _: f"{mine} ", text)


def has_service() -> bool:
    """Whether systemd runs here and knows the agent."""
    return Path("/run/systemd/system").is_dir() and any(Path(folder, SERVICE).exists() for folder in UNIT_FOLDERS)


def to_start() -> str:
    """What starts the agent."""
    return "systemctl start firstlight" if has_service() else typed("firstlight run")


def to_stop(pid: int | None) -> str:
    """What stops the agent; ``pid`` as ``StateDirectory.holder`` gives it."""
    if has_service():
        return "systemctl stop firstlight"
    return f"kill {pid}" if pid and pid > 0 else "end the process that runs 'firstlight run'"
