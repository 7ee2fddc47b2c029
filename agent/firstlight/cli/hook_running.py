"""Root's half of the hooks: takes events in, has each hook of their kind run, and tries again what failed."""

from __future__ import annotations

import json
import select
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from firstlight.cli.hook_starting import Start
from firstlight.errors import StateError
from firstlight.system import hook_files
from firstlight.system.arrivals import Arrivals
from firstlight.system.hook_files import Hook
from firstlight.system.hook_queue import Queue, Result, Waiting
from firstlight.system.journal import INFO, WARNING

Log = Callable[[int, str], None]

WAITS_S = (10.0, 60.0, 300.0, 1200.0)  # after the first failure, the second, …
MAX_TRIES = len(WAITS_S) + 1
MANY, MINUTE_S = 20, 60.0  # events of one kind in that time; a platform or an agent that floods waits
LINGER_S = 10.0  # with nothing to do: systemd would give up on a unit that is started too often
LOOK_S = 5.0  # where the kernel tells nothing of new files


class Boot(NamedTuple):
    """Which boot this is, and its clock."""

    id: str
    now_s: Callable[[], float]

    @staticmethod
    def this() -> Boot:
        """The one that runs."""
        try:
            found = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            found = ""
        return Boot(found, lambda: time.clock_gettime(time.CLOCK_BOOTTIME))


class Runs:
    """Goes through what waits.

    Args:
        queue: prepared and locked.
        folder: of the hooks.
        start: runs one hook to its end.
        log: writes one line, with a priority as in syslog.
        boot: for the waits between two tries.
    """

    def __init__(self, queue: Queue, folder: str, start: Start, log: Log, boot: Boot) -> None:
        self._queue, self._folder, self._start, self._log, self._boot = queue, folder, start, log, boot
        self._said: set[str] = set()
        self._begun: dict[str, list[float]] = {}  # kind -> when its newest ones were begun
        self.attempts = 0

    def once(self) -> float | None:
        """Does all that is due; what comes meanwhile too.

        Returns:
            seconds until the next try is due, None where nothing waits any more.

        Raises:
            StateError: what waits cannot be read or taken away.
        """
        while True:
            for sentence in self._queue.take_in():
                self._log(WARNING, sentence)
            heads = self._heads()
            due = [each for each in heads if self._rest_s(each) <= 0]
            if not due:
                return min(map(self._rest_s, heads), default=None)
            self._attempt(due[0])

    def _heads(self) -> list[Waiting]:
        """The oldest event of each kind: one that is tried again holds up its own kind only."""
        heads: dict[str, Waiting] = {}
        for each in self._queue.entries():
            heads.setdefault(each.kind, each)
        return list(heads.values())

    def _rest_s(self, waiting: Waiting) -> float:
        """The unit does not see which boot this is (``ProcSubset``): a wait longer than any of ours is of another."""
        now_s = self._boot.now_s()
        rest_s = waiting.due_s - now_s
        is_of_this = waiting.boot_id == self._boot.id and rest_s <= WAITS_S[-1]
        newest = self._begun.get(waiting.kind, [])
        flood_s = newest[0] + MINUTE_S - now_s if len(newest) >= MANY else 0.0
        return max(0.0, rest_s if is_of_this else 0.0, flood_s)

    def _attempt(self, waiting: Waiting) -> None:
        """Runs what has not ended well yet, in the order of names; one that fails does not keep others from it."""
        self.attempts += 1
        self._begun[waiting.kind] = [*self._begun.get(waiting.kind, []), self._boot.now_s()][-MANY:]
        body = json.dumps(waiting.event).encode() + b"\n"
        for hook in self._usable(waiting.kind):
            if hook.name not in waiting.done and waiting.tries.get(hook.name, 0) < MAX_TRIES:
                waiting = self._run(hook, waiting, body)
        left = [hook.name for hook in self._usable(waiting.kind) if hook.name not in waiting.done]
        tries = [waiting.tries.get(name, 0) for name in left if waiting.tries.get(name, 0) < MAX_TRIES]
        if not tries:
            self._queue.finish(waiting)
            return
        wait_s = WAITS_S[max(min(tries), 1) - 1]
        self._queue.save(waiting._replace(due_s=self._boot.now_s() + wait_s, boot_id=self._boot.id))

    def _usable(self, kind: str) -> list[Hook]:
        found = hook_files.installed(self._folder, kind)
        for hook in found:
            if hook.problem and hook.id not in self._said:
                self._said.add(hook.id)
                self._log(WARNING, f"{hook.path} is not run. {hook.problem}")
        return [hook for hook in found if not hook.problem]

    def _run(self, hook: Hook, waiting: Waiting, body: bytes) -> Waiting:
        """Counted before it begins: one that takes the box down is not tried for ever."""
        count = waiting.tries.get(hook.name, 0) + 1
        waiting = waiting._replace(tries={**waiting.tries, hook.name: count})
        self._queue.save(waiting)
        outcome = self._start(hook, body)
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        is_given_up = bool(outcome.code) and count >= MAX_TRIES
        result = Result(at, outcome.code, outcome.message, count, is_given_up)
        with suppress(StateError):  # only for who looks
            self._queue.record(hook.id, result, {each.id for each in hook_files.all_installed(self._folder)})
        self._tell(hook, result)
        if not outcome.code:
            waiting = waiting._replace(done=(*waiting.done, hook.name))
            self._queue.save(waiting)
        return waiting

    def _tell(self, hook: Hook, result: Result) -> None:
        if not result.code:
            self._log(INFO, f"{hook.id}: {result.message}")
            return
        after = "It is given up." if result.is_given_up else f"Try {result.tries} of {MAX_TRIES}."
        self._log(WARNING, f"{hook.id}: {result.message} {after} [{result.code}]")


def go_through(state_dir: str, runs: Runs, *, waits: bool) -> None:
    """Does all that is due; with ``waits`` it stays until nothing waits and nothing has come for a while.

    Raises:
        StateError: what waits cannot be read or taken away.
    """
    arrivals = Arrivals([state_dir])
    quiet_at_s = time.monotonic()
    try:
        while True:
            before = runs.attempts
            rest_s = runs.once()
            if runs.attempts != before:
                quiet_at_s = time.monotonic() + LINGER_S
            if rest_s is None:
                rest_s = quiet_at_s - time.monotonic()
            if not waits or rest_s <= 0:
                return
            if arrivals.fd >= 0:
                select.select([arrivals.fd], [], [], rest_s)
                arrivals.read()
            else:
                select.select([], [], [], min(rest_s, LOOK_S))
    finally:
        arrivals.close()
