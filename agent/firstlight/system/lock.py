"""Locks on the state directory: of the verbs that change it, and of the agent that runs."""

from __future__ import annotations

import fcntl
import os

from firstlight.errors import StateError
from firstlight.system import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

RUNNING = "running"


def agent_running(pid: int | None, hint: str = "") -> StateError:
    """What is said where the agent may not run but does; ``pid`` as ``StateDirectory.holder`` gives it."""
    named = f" (pid {pid})" if pid and pid > 0 else ""
    return StateError("agent_running", f"The agent runs already{named}.", hint)


class Lock:
    """A record lock (fcntl(2)) on a whole file: unlike flock it can be asked about, and says whose it is.

    Args:
        folder: where it lies.
        name: of the file; made if missing.
        holder: says which process holds a lock of that name.
    """

    def __init__(self, folder: str, name: str, holder: Callable[[str], int | None]) -> None:
        self._folder = folder
        self._name = name
        self._holder = holder
        self._fd = -1

    def __enter__(self) -> None:
        path = os.path.join(self._folder, self._name)
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            files.give_to_owner(self._fd, self._folder)
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            if self._name == RUNNING:
                raise agent_running(self._holder(RUNNING)) from None
            raise StateError("state_locked", f"Another firstlight is at work in {self._folder}.") from None
        except OSError as error:
            raise files.unwritable(path, error) from None

    def __exit__(self, *error: object) -> None:
        os.close(self._fd)
