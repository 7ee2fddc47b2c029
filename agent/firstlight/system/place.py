"""Where this very agent was installed, as its own files tell: ``PREFIX/lib/VERSION-ID8/lib/firstlight/…``."""

from __future__ import annotations

import os

MARK = ".firstlight"  # the install script leaves it in its PREFIX
JOURNAL = "upgrade.json"


def _above(path: str, levels: int) -> str:
    for _ in range(levels):
        path = os.path.dirname(path)
    return path


def release_folder() -> str:
    """The folder of the running release; of a Debian package /usr/lib/firstlight."""
    return _above(os.path.abspath(__file__), 4)


def scan_layer() -> str:
    """The folder of what reads codes, "" = it was not installed beside the agent."""
    folder = os.path.join(release_folder(), "scan")
    is_beside = os.path.basename(_above(os.path.abspath(__file__), 3)) == "lib"
    return folder if is_beside and os.path.isdir(folder) else ""


def prefix() -> str:
    """Where the install script put this agent, "" = it was installed in another way."""
    folder = release_folder()
    above = _above(folder, 2)
    is_ours = os.path.dirname(folder) == os.path.join(above, "lib") and os.path.exists(os.path.join(above, MARK))
    return above if is_ours else ""


def release_name() -> str:
    """``VERSION-ID8`` of the running release, "" = it was installed in another way."""
    return os.path.basename(release_folder()) if prefix() else ""


def is_upgrading() -> bool:
    """Whether an upgrade is under way here: until it is proved, going back must find the credential as it was."""
    here = prefix()
    return bool(here) and os.path.lexists(os.path.join(here, JOURNAL))
