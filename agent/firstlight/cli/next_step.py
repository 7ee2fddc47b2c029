"""Next steps as they can be typed on this box: this program's path, its state directory, systemctl where it is."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

SERVICE = "firstlight.service"
UNIT_FOLDERS = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
COMMAND = re.compile(
    r"\bfirstlight (?=(?:enroll|firstboot|network|scan|provision|run|status|doctor|logs|facts|receipt|hooks|rotate|"
    r"upgrade|reset|device)\b)"
)
ON_STATE = re.compile(
    r"\bfirstlight (?:enroll|network|scan|run|status|doctor|receipt|hooks|rotate|upgrade|reset)\b(?! --help)"
)
_typed_state_dir = ""


def remember(state_dir: str) -> None:
    """The state directory that was typed, where it is not the one that the settings have; "" = none was."""
    global _typed_state_dir  # one command line a process, and errors are printed far from it
    _typed_state_dir = state_dir


def typed(text: str) -> str:
    """The text with each ``firstlight VERB`` spelled so that this program runs, also where it is not on the PATH."""
    if _typed_state_dir:
        option = f" --state-dir {shlex.quote(_typed_state_dir)}"
        text = ON_STATE.sub(lambda found: found[0] + option, text)
    mine = Path(sys.argv[0]).absolute()
    found = shutil.which("firstlight")
    is_program = mine.is_file() and os.access(mine, os.X_OK)
    if not is_program or (found is not None and Path(found).resolve() == mine.resolve()):
        return text
    return COMMAND.sub(lambda _: f"{mine} ", text)


def has_service() -> bool:
    """Whether systemd runs here and knows the agent of the state directory in question."""
    if _typed_state_dir:
        return False  # the service is about another state directory
    return Path("/run/systemd/system").is_dir() and any(Path(folder, SERVICE).exists() for folder in UNIT_FOLDERS)


def to_start() -> str:
    """What starts the agent."""
    return "systemctl start firstlight" if has_service() else typed("firstlight run")


def to_stop(pid: int | None) -> str:
    """What stops the agent; ``pid`` as ``StateDirectory.holder`` gives it."""
    if has_service():
        return "systemctl stop firstlight"
    return f"kill {pid}" if pid and pid > 0 else "end the process that runs 'firstlight run'"
