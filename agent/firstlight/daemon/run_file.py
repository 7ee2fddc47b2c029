"""What the door hands over to the beating process, as JSON in a file or an open descriptor.

``{"stateDir": PATH, "runtimeDir"?: PATH, "proxy"?: {"url": "http://HOST:PORT", "authFile"?: PATH}, "logLevel"?: 3 to 6,
"haste"?: NUMBER, "again"?: [WORD, …]}``. ``haste`` makes every wait that many times shorter, for tests and
measurements; ``again`` is the command by which the door was opened, and by which the process goes back to it.
"""

from __future__ import annotations

import json
import os

from firstlight.errors import StateError, UsageError
from firstlight.system import files
from firstlight.system.journal import ERROR, INFO, WARNING
from firstlight.system.store import StateDirectory
from firstlight.transports.proxy import parse_proxy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from firstlight.transports.proxy import Proxy
else:
    from firstlight.core.record import NamedTuple

MAX_SECRET_BYTES = 4096
MAX_WORDS = 64
HANDED_OVER = "/dev/fd/"


class RunFile(NamedTuple):
    """What the door hands over; the fields as in the module's text."""

    state_dir: str
    runtime_dir: str
    proxy: Proxy | None
    log_level: int
    haste: float
    again: tuple[str, ...] = ()


def read_run_file(path: str) -> RunFile:
    """Path -> ``RunFile``.

    Raises:
        StateError: the file cannot be read or is damaged.
        UsageError: a field in it cannot be used.
    """
    found = _handed_over(path)
    if found is None:
        raise StateError("state_corrupt", f"{path} does not exist.", "Start the agent with: firstlight run")
    state_dir, runtime_dir = found.get("stateDir"), found.get("runtimeDir") or ""
    haste, log_level = found.get("haste", 1.0), found.get("logLevel", INFO)
    if not isinstance(state_dir, str) or not state_dir or not isinstance(runtime_dir, str):
        raise UsageError("settings_invalid", f"{path} does not name the state directory.")
    if not isinstance(haste, (int, float)) or not 1 <= haste <= 1e6 or log_level not in (ERROR, WARNING, 5, INFO):
        raise UsageError("settings_invalid", f"haste or logLevel in {path} cannot be used.")
    again = found.get("again") or []
    if not isinstance(again, list) or len(again) > MAX_WORDS or not all(isinstance(word, str) for word in again):
        raise UsageError("settings_invalid", f"again in {path} is not a command.")
    proxy = _proxy(found.get("proxy"), path)
    return RunFile(state_dir, runtime_dir, proxy, int(str(log_level)), float(haste), tuple(again))


def _handed_over(path: str) -> dict[str, object] | None:
    """The object in a run file, or from the descriptor that the door left open."""
    if not path.startswith(HANDED_OVER):
        return StateDirectory(os.path.dirname(path) or ".").read_json(os.path.basename(path))
    try:
        fd = int(path[len(HANDED_OVER) :])
        try:
            found = json.loads(files.read_up_to(fd, files.MAX_BYTES))
        finally:
            os.close(fd)
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _proxy(found: object, path: str) -> Proxy | None:
    if found is None:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("url"), str):
        raise UsageError("settings_invalid", f"proxy in {path} cannot be used.")
    auth_file = found.get("authFile")
    return parse_proxy(found["url"], _secret(auth_file) if isinstance(auth_file, str) and auth_file else None)


def _secret(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return files.read_up_to(fd, MAX_SECRET_BYTES).decode("utf-8", "replace").strip()
        finally:
            os.close(fd)
    except OSError as error:
        raise UsageError("settings_unreadable", f"{path} cannot be read: {error.strerror}.") from None
