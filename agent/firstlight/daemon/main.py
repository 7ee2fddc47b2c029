"""The composition root of the beating process: a run file in, an exit status out.

``firstlight run`` reads the settings at the door, writes the run file and becomes this process. The run file (or, where
no disk takes it, an open descriptor named as /dev/fd/NUMBER) is JSON:
``{"stateDir": PATH, "runtimeDir"?: PATH, "proxy"?: {"url": "http://HOST:PORT", "authFile"?: PATH}, "logLevel"?: 3 to 6,
"haste"?: NUMBER}``; ``haste`` makes every wait that many times shorter, for tests and measurements.
"""

from __future__ import annotations

import json
import os

from firstlight import __version__
from firstlight.core.lifecycle import RETIRED
from firstlight.core.model import Facts
from firstlight.daemon.notify import service_notifier
from firstlight.daemon.runner import Parts, Runner
from firstlight.daemon.stop import StopSignals
from firstlight.errors import FirstlightError, NotEnrolledError, StateError, UsageError
from firstlight.platforms import half
from firstlight.system import files
from firstlight.system.clock import SystemClock, clock_floor_s
from firstlight.system.journal import ERROR, INFO, WARNING, Journal
from firstlight.system.metrics import ProcMetrics
from firstlight.system.spool import DiskSpool
from firstlight.system.store import RUNNING, StateDirectory
from firstlight.transports.http_session import HttpSession
from firstlight.transports.proxy import parse_proxy
from firstlight.wire.facts import facts_hash, read_facts
from firstlight.wire.heartbeat import missed_object, read_missed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from firstlight.core.model import Registration
    from firstlight.transports.proxy import Proxy
else:
    from firstlight.core.record import NamedTuple

SEEN_EVERY_S = 86_400.0
EXIT_INTERNAL = 70
MAX_SECRET_BYTES = 4096
HANDED_OVER = "/dev/fd/"


class RunFile(NamedTuple):
    """What the door hands over; the fields as in the module's text."""

    state_dir: str
    runtime_dir: str
    proxy: Proxy | None
    log_level: int
    haste: float


def main(run_file: str) -> int:
    """Beats until told to stop.

    Args:
        run_file: path of the run file, or /dev/fd/NUMBER.

    Returns:
        0 after a stop, 78 when not enrolled or retired, otherwise the status of the error that was logged.
    """
    stream = os.environ.get("JOURNAL_STREAM", "")
    journal = Journal(stream=stream)
    try:
        run = read_run_file(run_file)
        journal = Journal(stream=stream, level=run.log_level)
        return _beat(run, journal)
    except FirstlightError as error:
        journal.write(ERROR, f"{error} {error.hint}")
        return error.exit_status
    except Exception as error:
        # Not its text: what went wrong may have held a secret.
        journal.write(ERROR, f"A fault in firstlight [internal]: {type(error).__name__} at {_place(error)}.")
        return EXIT_INTERNAL


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
    return RunFile(state_dir, runtime_dir, _proxy(found.get("proxy"), path), int(str(log_level)), float(haste))


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


def _beat(run: RunFile, journal: Journal) -> int:
    store = StateDirectory(run.state_dir)
    registration = store.load_registration()
    if registration is None:
        raise NotEnrolledError("not_enrolled", f"There is no registration in {run.state_dir}.")
    stop = StopSignals()
    clock = SystemClock(clock_floor_s(store), stop.wake_fd, run.haste)
    seen = _Seen(store, clock, journal)
    lock = store.lock(RUNNING)
    try:
        # Two agents with one registration would share sequence numbers and the spool.
        lock.__enter__()
    except StateError as error:
        if error.code == "agent_running":
            raise
        journal.write(WARNING, f"{error} {error.hint} Beats go on.")
    runner = _compose(run, journal, store, registration, stop, clock, seen)
    for sentence in store.repairs:
        journal.write(WARNING, sentence)
    exit_status = runner.run()
    seen.save()
    return exit_status


def _compose(
    run: RunFile,
    journal: Journal,
    store: StateDirectory,
    registration: Registration,
    stop: StopSignals,
    clock: SystemClock,
    seen: _Seen,
) -> Runner:
    return Runner(
        Parts(
            registration=registration,
            platform=half(registration.platform, "device"),
            session=HttpSession(registration.trust, run.proxy, check_dates=clock.is_trustworthy),
            store=store,
            spool=DiskSpool(run.state_dir, missed_object, read_missed),
            sensor=ProcMetrics(run.state_dir, facts=_facts(store, journal)),
            clock=clock,
            notifier=service_notifier(os.environ),
            stop=stop,
            facts_hash=facts_hash,
            chance=chance,
            log=journal.write,
            publish=_Publisher(run, store, journal),
            saw_time=seen.note,
            agent_version=__version__,
        )
    )


class _Publisher:
    """Where the status goes: the runtime directory, if any. That ends with the service; a retirement outlives it."""

    def __init__(self, run: RunFile, store: StateDirectory, journal: Journal) -> None:
        self._store = store
        self._live = StateDirectory(run.runtime_dir) if run.runtime_dir else store
        self._journal = journal
        self._fails = False

    def __call__(self, status: dict[str, object]) -> None:
        """Publishes; a disk that refuses is logged once, and whoever reads the old status sees that it is overdue."""
        try:
            self._live.write_status(status)
            if status["state"] == RETIRED and self._live is not self._store:
                self._store.write_status(status)
        except StateError as error:
            if not self._fails:
                self._journal.write(WARNING, f"{error} 'firstlight status' shows nothing new; beats go on.")
            self._fails = True
        else:
            self._fails = False


def _facts(store: StateDirectory, journal: Journal) -> Facts:
    """What the door read; without it the beats go on with what can be read cheaply."""
    try:
        return read_facts(store.read_json("facts.json") or {})
    except (StateError, ValueError) as error:
        journal.write(WARNING, f"facts.json cannot be used: {error}")
        return Facts()


class _Seen:
    """Keeps the platform's clock for the next start: written once a day and at the end, to spare SD cards."""

    def __init__(self, store: StateDirectory, clock: SystemClock, journal: Journal) -> None:
        self._store = store
        self._clock = clock
        self._journal = journal
        self._saved_s = self._latest_s = store.seen_s()

    def note(self, server_time_s: float) -> None:
        """The platform told its time."""
        self._latest_s = server_time_s
        self._clock.saw(server_time_s)
        if abs(server_time_s - self._saved_s) >= SEEN_EVERY_S:
            self.save()

    def save(self) -> None:
        """Writes the latest one, if it is news; a disk that refuses is logged."""
        if self._latest_s == self._saved_s:
            return
        self._saved_s = self._latest_s
        try:
            self._store.save_seen(self._latest_s)
        except StateError as error:
            self._journal.write(WARNING, str(error))


def chance() -> float:
    """A random number in [0, 1); the module ``random`` would cost 0.3 MB."""
    return int.from_bytes(os.urandom(6), "big") / 2**48


def _place(error: BaseException) -> str:
    """Where it happened: module and line, for the report to the makers."""
    step = error.__traceback__
    while step and step.tb_next:
        step = step.tb_next
    return f"{step.tb_frame.f_globals.get('__name__')}:{step.tb_lineno}" if step else "nowhere"
