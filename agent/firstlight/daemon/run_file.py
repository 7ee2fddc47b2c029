"""What the door hands over to the beating process, as JSON in a file or an open descriptor.

``{"stateDir": PATH, "runtimeDir"?: PATH, "proxy"?: {"url": "http://HOST:PORT", "authFile"?: PATH, "hosts"?: [HOST, …]},
"logLevel"?: 3 to 6, "haste"?: NUMBER, "again"?: [WORD, …], "upgrades"?: WHO, "release"?: HEX, "detached"?: {…}}``. The
proxy is for the named hosts only; without names for all. ``haste`` makes every wait that many times shorter, for tests
and measurements; ``again`` is the command by which the door was opened, and by which the process goes back to it;
``upgrades`` is who upgrades this box (``unit``, ``managed``, ``none``), ``release`` how the id of the running release
begins. ``detached`` is there on a box that is provisioned and not registered (``daemon/detached_main.py`` reads it).
What nobody sets at the door (``KEPT``) stays as it was.
"""

from __future__ import annotations

import json
import os

from firstlight.errors import StateError, UsageError
from firstlight.system import files
from firstlight.system.journal import ERROR, INFO, WARNING
from firstlight.system.store import StateDirectory
from firstlight.system.upgrades import BY_NOBODY, WHO
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
KEPT = ("haste", "logLevel")


class RunFile(NamedTuple):
    """What the door hands over; the fields as in the module's text."""

    state_dir: str
    runtime_dir: str
    proxy: Proxy | None
    log_level: int
    haste: float
    again: tuple[str, ...] = ()
    proxied: tuple[str, ...] | None = None
    upgrades: str = BY_NOBODY
    release: str = ""
    detached: dict[str, object] | None = None

    def proxy_to(self, host: str) -> Proxy | None:
        """The proxy on the way to a host, None for a direct way."""
        return self.proxy if self.proxied is None or host in self.proxied else None


def kept(found: dict[str, object]) -> dict[str, object]:
    """What a new run file takes over from the one before: ``KEPT``, as far as it can be used."""
    return {name: found[name] for name in KEPT if name in found and not _unusable({name: found[name]})}


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
    if not isinstance(state_dir, str) or not state_dir or not isinstance(runtime_dir, str):
        raise UsageError("settings_invalid", f"{path} does not name the state directory.")
    if _unusable(found):
        raise UsageError("settings_invalid", f"haste or logLevel in {path} cannot be used.")
    haste, log_level = float(str(found.get("haste", 1))), int(str(found.get("logLevel", INFO)))
    again = _words(found.get("again") or [], path)
    proxy = found.get("proxy")
    proxied = _words(proxy["hosts"], path) if isinstance(proxy, dict) and "hosts" in proxy else None
    upgrades, release, detached = found.get("upgrades"), found.get("release"), found.get("detached")
    return RunFile(
        state_dir,
        runtime_dir,
        _proxy(proxy, path),
        log_level,
        haste,
        again,
        proxied,
        upgrades if isinstance(upgrades, str) and upgrades in WHO else BY_NOBODY,
        release if isinstance(release, str) else "",
        detached if isinstance(detached, dict) else None,
    )


def _unusable(found: dict[str, object]) -> bool:
    haste = found.get("haste", 1)
    if not isinstance(haste, (int, float)) or not 1 <= haste <= 1e6:
        return True
    return found.get("logLevel", INFO) not in (ERROR, WARNING, 5, INFO)


def _words(found: object, path: str) -> tuple[str, ...]:
    if not isinstance(found, list) or len(found) > MAX_WORDS or not all(isinstance(word, str) for word in found):
        raise UsageError("settings_invalid", f"again or proxy in {path} is not a list of words.")
    return tuple(found)


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
