"""An integrator's executables: which of them may be run.

What is run is root's: an executable, its folder and all above it must be owned by root (or by whoever runs this, where
that is not root) and writable by nobody else.
"""

from __future__ import annotations

import os
import re
import stat
from typing import NamedTuple

from firstlight.system.hooks import KINDS

NAME = re.compile(r"[A-Za-z0-9_-]{1,100}\Z")  # as run-parts(8) has them: no dot, so no copy of an editor's or dpkg's
MAX_HOOKS = 50  # of one kind


class Hook(NamedTuple):
    """One file in a folder of hooks.

    Args:
        kind: of the events it is for.
        name: of the file.
        path: where it is.
        problem: why it is not run, one sentence; "" = it is.
    """

    kind: str
    name: str
    path: str
    problem: str

    @property
    def id(self) -> str:
        """``KIND/NAME``."""
        return f"{self.kind}/{self.name}"


def installed(folder: str, kind: str) -> list[Hook]:
    """All files of ``FOLDER/KIND.d`` in the order of their names; empty where there is no such folder."""
    me = os.geteuid()
    place = os.path.join(folder, f"{kind}.d")
    try:
        names = sorted(os.listdir(place))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        return [Hook(kind, "", place, f"{place} cannot be read: {error.strerror}.")]
    above = problem_above(place, me)
    found = [Hook(kind, name, os.path.join(place, name), "") for name in names]
    judged = [hook._replace(problem=above or problem_of(hook, me)) for hook in found]
    usable = [hook.name for hook in judged if not hook.problem][MAX_HOOKS:]
    too_many = f"There are more than {MAX_HOOKS} in {place}."
    return [hook._replace(problem=too_many) if hook.name in usable else hook for hook in judged]


def all_installed(folder: str) -> list[Hook]:
    """Those of every kind."""
    return [hook for kind in KINDS for hook in installed(folder, kind)]


def problem_above(place: str, me: int) -> str:
    """Who else than root and user ``me`` could put something there, as one sentence; "" = nobody.

    A folder where everybody may write but nobody may take away what another one made (/tmp) is fine above it.
    """
    path, is_own = os.path.abspath(place), True
    while True:
        try:
            found = os.lstat(path)
        except OSError as error:
            return f"{path} cannot be seen: {error.strerror}."
        if stat.S_ISLNK(found.st_mode) and is_own:
            return f"{path} is a symbolic link."
        if stat.S_ISLNK(found.st_mode):
            found = os.stat(path)
        is_shared = bool(found.st_mode & 0o022) and (is_own or not found.st_mode & stat.S_ISVTX)
        if found.st_uid not in (0, me) or is_shared:
            return _foreign(path, found, me)
        if path == os.path.dirname(path):
            return ""
        path, is_own = os.path.dirname(path), False


def problem_of(hook: Hook, me: int) -> str:
    """Why user ``me`` does not run a file, as one sentence; "" = it is run."""
    if not NAME.match(hook.name):
        return "Its name has something else than letters, digits, '-' and '_'."
    try:
        found = os.lstat(hook.path)
    except OSError as error:
        return f"It cannot be seen: {error.strerror}."
    if stat.S_ISLNK(found.st_mode):
        return "It is a symbolic link: put the file itself there."
    if not stat.S_ISREG(found.st_mode):
        return "It is no plain file."
    if found.st_uid not in (0, me) or found.st_mode & 0o022:
        return _foreign("It", found, me)
    return "" if found.st_mode & 0o100 else "It is not executable: chmod 755"


def _foreign(what: str, found: os.stat_result, me: int) -> str:
    wanted = "root" if me == 0 else f"root or user {me}"
    if found.st_uid not in (0, me):
        return f"{what} belongs to user {found.st_uid}, not to {wanted}."
    return f"{what} can be written by others than its owner (mode {stat.S_IMODE(found.st_mode):04o})."
