"""Who upgrades this box: its upgrade unit, its package manager, or nobody. Told from what is installed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from firstlight.system.upgrades import BY_NOBODY, BY_PACKAGE, BY_UNIT

# Where the unit looks for the wish, by both names that it has for a service with a dynamic user.
STATE_DIRS = ("/var/lib/firstlight", "/var/lib/private/firstlight")
UNIT = "firstlight-upgrade.path"
UNIT_FOLDERS = tuple(map(Path, ("/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")))
SYSTEMD_RUNS = Path("/run/systemd/system")
RELEASE_FOLDER = re.compile(r"[0-9][0-9A-Za-z.+~-]*-([0-9a-f]{8})\Z")


def release_of(package_root: Path) -> str:
    """The first eight digits of the id of the release that runs, "" where it is not of a bundle.

    Args:
        package_root: the folder that holds the package ``firstlight``: ``…/lib/VERSION-ID8/lib``.
    """
    found = RELEASE_FOLDER.match(package_root.parent.name)
    return found.group(1) if found else ""


def who_upgrades(
    package_root: Path,
    state_dir: str,
    unit_folders: Sequence[Path] = UNIT_FOLDERS,
    systemd_runs: Path = SYSTEMD_RUNS,
) -> str:
    """``managed`` where a package says so, ``unit`` where the upgrade unit waits for this agent's wish, or ``none``."""
    if (package_root.parent / "share" / "managed").exists():
        return BY_PACKAGE
    waits = systemd_runs.exists() and any((folder / UNIT).exists() for folder in unit_folders)
    return BY_UNIT if waits and state_dir in STATE_DIRS and release_of(package_root) else BY_NOBODY
