"""mosquitto as the hub's child: found, started, listened to, restarted when it dies, and ended with the hub."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from firstlight.errors import StateError
from firstlight_hub.mqtt.files import CONF, SOCKET

START_S, STOP_S, RELOAD_S = 15.0, 15.0, 8.0
AGAIN_S = 1.0
RESTART_S = (0.2, 1.0, 5.0, 15.0)
SHOWN = 30  # lines of one life
LIVED_S = 60.0
HARMLESS = ("run as root/administrator.", "Unable to set TCP_NODELAY.")  # the second: on the hub's own socket
LOG = logging.getLogger(__name__)

# Run first in the child: the kernel ends it with the hub, however the hub ends (PR_SET_PDEATHSIG, prctl(2)). SIGTERM
# stays blocked in mosquitto: systemd sends it to all processes of the unit at once, but the hub acknowledges what
# it has stored before the broker may end, by SIGINT. As a program of its own, because between fork and exec a process
# with threads must not run Python.
END = signal.SIGINT
WITH_PARENT = """import ctypes, os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
ctypes.CDLL(None).prctl(1, int(signal.SIGINT))
os.getppid() == int(sys.argv[1]) and os.execv(sys.argv[2], sys.argv[2:])"""


def find() -> str:
    """The program. Raises StateError ``broker_missing``."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise StateError("broker_missing", "There is no mosquitto on this machine.")
    return found


class Mosquitto:
    """One broker process.

    ``start`` and ``keep`` are for the main thread: the kernel watches the very thread that made the child.

    Args:
        program: its path.
        folder: with ``mosquitto.conf`` and all that it names.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self._running = threading.Event()
        self._reloaded = threading.Event()
        self._ending = False
        self._last: deque[str] = deque(maxlen=4)
        self._shown = 0
        self._on_death: Callable[[], object] = lambda: None

    @property
    def pid(self) -> int:
        """Its process id, 0 before the start."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Returns when it runs. Raises StateError ``broker_failed`` with its last words."""
        self._spawn()
        if not self._running.wait(START_S) or self._is_dead():
            self.stop()
            raise StateError("broker_failed", f"mosquitto does not start: {self._words()}")

    def _spawn(self) -> None:
        self._running.clear()
        self._last.clear()
        (self._folder / SOCKET).unlink(missing_ok=True)  # what a killed one left would be in the way
        line = [sys.executable, "-IS", "-c", WITH_PARENT, str(os.getpid()), self._program, "-c", CONF]
        process = subprocess.Popen(  # noqa: S603  # our own words only
            line,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C in a terminal is for the hub alone
        )
        self._process = process
        threading.Thread(target=self._listen, args=(process,), name="mosquitto-log", daemon=True).start()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None  # noqa: S101  # for the type checker: it is a pipe
        with process.stderr as said:
            for line in said:
                self._hear(line.rstrip().partition(": ")[2])
        process.wait()
        self._running.set()  # whoever waits looks whether it is dead
        self._reloaded.set()
        if not self._ending:
            self._on_death()

    def _hear(self, words: str) -> None:
        if words.startswith("mosquitto version") and words.endswith(" running"):
            self._running.set()
        elif words == "Reloading config.":
            self._reloaded.set()
        elif words.startswith(("Error", "Warning")) and not words.endswith(HARMLESS):
            self._last.append(words)
            self._shown += 1
            if self._running.is_set() and self._shown <= SHOWN:
                LOG.warning("mosquitto: %s", words)

    def _words(self) -> str:
        return " ".join(self._last) or "it said nothing."

    def _is_dead(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def reload(self) -> bool:
        """Has it read its files again; True when it has begun to. Callable from any thread, one at a time.

        mosquitto says so before it reads, and serves nobody until it has read: whoever is let in after this returned
        meets the new files. A SIGHUP that comes while it reads is lost: the caller must be let in once before the next.
        """
        ends_s = time.monotonic() + RELOAD_S
        self._reloaded.clear()
        while time.monotonic() < ends_s:
            if self._process is None or self._is_dead() or not self._running.is_set():
                return False  # a fresh one reads fresh files
            self._process.send_signal(signal.SIGHUP)
            if self._reloaded.wait(AGAIN_S):
                return not self._is_dead()
        return False

    def save(self) -> None:
        """Has it write down at once what it keeps, so that a new subscription outlives a crash."""
        if self._process is not None and not self._is_dead() and self._running.is_set():
            self._process.send_signal(signal.SIGUSR1)

    async def keep(self) -> None:
        """Starts it again whenever it dies; runs until it is cancelled."""
        loop, died = asyncio.get_running_loop(), asyncio.Event()
        self._on_death = lambda: loop.call_soon_threadsafe(died.set)
        failures, born_at = 0, loop.time()
        while True:
            if not self._is_dead():
                await died.wait()
            died.clear()
            self._shown = 0
            failures = 0 if loop.time() - born_at > LIVED_S else failures
            wait_s = RESTART_S[min(failures, len(RESTART_S) - 1)]
            LOG.error("mosquitto has ended; it is started again in %g s. %s", wait_s, " ".join(self._last))
            await asyncio.sleep(wait_s)
            self._spawn()
            await asyncio.to_thread(self._running.wait, START_S)
            failures, born_at = failures + 1, loop.time()

    def restart(self) -> None:
        """Ends it so that ``keep`` starts it again."""
        if self._process is not None and not self._is_dead():
            self._process.send_signal(END)

    def stop(self) -> None:
        """Ends it; it saves what waits in it first."""
        self._ending = True
        if self._process is None:
            return
        self._process.send_signal(END)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_S)
