"""Enrolls with a device file again and again, killed one step later each time; goes on after each kill with the verb.

Not a test: test_kill_enrolling_files.py runs it with the folder of the state directories and that file as arguments.
Prints a JSON line a round. A step is every durable step of the state directory.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from pathlib import Path

# Most of them for the forks, which would each have to load them.
from firstlight.cli import enroll, lifetime
from firstlight.cli.main import main
from firstlight.cli.settings import Settings
from firstlight.platforms import PLATFORMS
from firstlight.sources.device_file import read_device_file
from firstlight.system import facts, hooks, keys
from firstlight.system.store import StateDirectory
from firstlight.transports import http_calls, mqtt_session

LOADED = (lifetime, facts, hooks, keys, http_calls, mqtt_session)


class Fuse:
    """Counts steps and ends the process at one of them, telling which through a pipe."""

    def __init__(self, burns_at: int, tell: int) -> None:
        self.left, self.tell = burns_at, tell

    def step(self, name: str) -> None:
        """One step is about to be taken."""
        if self.left == 0:
            os.write(self.tell, name.encode())
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1


def until_killed(state_dir: str, file: bytes, fuse: Fuse) -> None:
    """As ``firstlight enroll --file``, with the fuse in it."""
    found = read_device_file(file)
    store = StateDirectory(state_dir, on_step=fuse.step)
    settings = Settings(state_dir=state_dir)
    enroll.perform(state_dir, found.invitation, settings, 30.0, lambda line: None, store, key=found.key)


def go_on(state_dir: str, path: str) -> int:
    """As the technician runs it again."""
    sys.stdout = io.StringIO()
    return main(["enroll", "--file", path, "--state-dir", state_dir, "--no-start", "--json"])


def in_child(act: object, *words: object) -> int:
    """Performs in a forked child; its wait status."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            assert callable(act)
            status = act(*words) or 0
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1]


def rounds(folder: Path, path: str) -> None:
    """Until a round was not killed."""
    file, number, killed = Path(path).read_bytes(), 0, True
    while killed:
        state_dir = str(folder / str(number))
        reading, writing = os.pipe()
        status = in_child(until_killed, state_dir, file, Fuse(number, writing))
        os.close(writing)
        step = os.read(reading, 200).decode()
        os.close(reading)
        killed = os.WIFSIGNALED(status)
        resumed = in_child(go_on, state_dir, path)
        sys.stdout.write(json.dumps({"killed": killed, "step": step, "resumed": resumed}) + "\n")
        sys.stdout.flush()
        number += 1


if __name__ == "__main__":
    PLATFORMS["tally"] = "tests.example.tally"
    rounds(Path(sys.argv[1]), sys.argv[2])
