"""The composition root of the beating process: a run file in, an exit status out.

``firstlight run`` reads the settings at the door, writes the run file and becomes this process. For a rotation or a
move this process becomes ``firstlight run`` again: same pid, same service, same environment.
"""

from __future__ import annotations

import os

from firstlight import __version__
from firstlight.core.lifecycle import EXIT_AGAIN, RETIRED
from firstlight.core.model import Facts
from firstlight.daemon.notify import service_notifier
from firstlight.daemon.parts import Parts
from firstlight.daemon.run_file import read_run_file
from firstlight.daemon.runner import Runner
from firstlight.daemon.sessions import Sessions
from firstlight.daemon.stop import StopSignals
from firstlight.errors import FirstlightError, NotEnrolledError, StateError
from firstlight.platforms import half
from firstlight.system.changes import DiskChanges
from firstlight.system.clock import SystemClock, clock_floor_s
from firstlight.system.journal import ERROR, WARNING, Journal
from firstlight.system.metrics import ProcMetrics
from firstlight.system.spool import DiskSpool
from firstlight.system.store import RUNNING, StateDirectory
from firstlight.system.upgrades import DiskUpgrades
from firstlight.wire.facts import facts_hash, read_facts
from firstlight.wire.heartbeat import missed_object, read_missed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from firstlight.core.model import Child, Offer, Registration, Upgraded
    from firstlight.daemon.run_file import RunFile

SEEN_EVERY_S = 86_400.0
EXIT_INTERNAL = 70


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


def _beat(run: RunFile, journal: Journal) -> int:
    store = StateDirectory(run.state_dir)
    registration = store.load_registration()
    if registration is None and run.detached is None:
        raise NotEnrolledError("not_enrolled", f"There is no registration in {run.state_dir}.")
    stop = StopSignals(gives_way=bool(run.again))
    clock = SystemClock(clock_floor_s(store), stop.wake_fd, run.haste)
    seen = _Seen(store, clock, journal)
    lock, has_lock = store.lock(RUNNING), False
    try:
        # Two agents with one registration would share sequence numbers and the spool.
        lock.__enter__()
        has_lock = True
    except StateError as error:
        if error.code == "agent_running":
            raise
        journal.write(WARNING, f"{error} {error.hint} Beats go on.")
    publish = _Publisher(run, store, journal, has_lock=has_lock)
    if registration is None:
        from firstlight.daemon.detached_main import live  # here: a registered box never needs it

        notifier = service_notifier(os.environ)
        exit_status = live(run, store, clock, notifier, stop, chance, journal.write, publish)
        return _begin_again(run, stop) if exit_status == EXIT_AGAIN else exit_status
    runner = _compose(run, journal, store, registration, stop, clock, seen, publish)
    for sentence in store.repairs:
        journal.write(WARNING, sentence)
    exit_status = runner.run()
    seen.save()
    return _begin_again(run, stop) if exit_status == EXIT_AGAIN else exit_status


def _begin_again(run: RunFile, stop: StopSignals) -> int:
    """Becomes the richer process; returns only where a stop came first."""
    if not stop.give_way():
        return 0
    os.execv(run.again[0], run.again)  # noqa: S606 - the very command by which this process was started


def _compose(
    run: RunFile,
    journal: Journal,
    store: StateDirectory,
    registration: Registration,
    stop: StopSignals,
    clock: SystemClock,
    seen: _Seen,
    publish: _Publisher,
) -> Runner:
    platform = half(registration.platform, "device")
    sessions = Sessions(store, clock, platform, run.proxy_to)
    runner = Runner(
        Parts(
            registration=registration,
            platform=platform,
            session=sessions.for_beats(registration, lambda: runner.interval_s),
            open_appeal=lambda: sessions.over_http(registration),
            store=store,
            spool=DiskSpool(run.state_dir, missed_object, read_missed),
            sensor=ProcMetrics(run.state_dir, facts=_facts(store, journal)),
            clock=clock,
            notifier=service_notifier(os.environ),
            changes=DiskChanges(store, registration, clock, journal.write),
            upgrades=DiskUpgrades(store, run.upgrades, run.release, journal.write, _upgrade_object, _upgraded),
            hooks=_Hooks(store.path),
            gives_way=bool(run.again),
            stop=stop,
            facts_hash=facts_hash,
            chance=chance,
            log=journal.write,
            publish=publish,
            saw_time=seen.note,
            knows_time=clock.knows_time,
            agent_version=__version__,
            release=run.release,
            children=_children(platform, store.path),
        )
    )
    return runner


def _children(platform: ModuleType, state_dir: str) -> Callable[[], tuple[Child, ...]]:
    """The devices behind this one, as they are; where the platform knows no such thing, nothing looks for them."""
    if not getattr(platform, "HAS_CHILDREN", False):
        return tuple
    from firstlight.system.children import read_children

    return lambda: read_children(state_dir)


class _Hooks:
    """What an integrator wants to hear of, left for root's half; loaded once there is something to leave."""

    def __init__(self, state_dir: str) -> None:
        self._state_dir = state_dir

    def leave(self, kind: str, about: dict[str, object]) -> None:
        """As ``core.interfaces.Hooks``."""
        from firstlight.system.hooks import leave

        leave(self._state_dir, kind, about)


class _Publisher:
    """Where the status goes: the runtime directory, if any. That ends with the service; a retirement outlives it."""

    def __init__(self, run: RunFile, store: StateDirectory, journal: Journal, *, has_lock: bool) -> None:
        self._store = store
        # Said only where it is so: who reads the status then knows that a lock nobody holds means nothing.
        self._more: dict[str, object] = {} if has_lock else {"unlocked": True}
        self._live = StateDirectory(run.runtime_dir) if run.runtime_dir else store
        self._journal = journal
        self._fails = False

    def __call__(self, status: dict[str, object]) -> None:
        """Publishes; a disk that refuses is logged once, and whoever reads the old status sees that it is overdue."""
        status = {**status, **self._more} if self._more else status
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
        self._told_at = clock.moment()

    def note(self, server_time_s: float) -> None:
        """The platform told its time."""
        self._latest_s, self._told_at = server_time_s, self._clock.moment()
        self._clock.saw(server_time_s)
        if abs(server_time_s - self._saved_s) >= SEEN_EVERY_S:
            self.save()

    def save(self) -> None:
        """Writes the latest one, if it is news; a disk that refuses is logged."""
        if self._latest_s == self._saved_s:
            return
        self._saved_s = self._latest_s
        try:
            self._store.save_seen(self._latest_s, self._told_at)
        except StateError as error:
            self._journal.write(WARNING, str(error))


def _upgrade_object(value: Offer | Upgraded) -> dict[str, object]:
    from firstlight.wire.upgrade import upgrade_object  # here: most boxes never need it

    return upgrade_object(value)


def _upgraded(source: dict[str, object]) -> Upgraded:
    from firstlight.wire.upgrade import read_upgraded

    return read_upgraded(source)


def chance() -> float:
    """A random number in [0, 1); the module ``random`` would cost 0.3 MB."""
    return int.from_bytes(os.urandom(6), "big") / 2**48


def _place(error: BaseException) -> str:
    """Where it happened: module and line, for the report to the makers."""
    step = error.__traceback__
    while step and step.tb_next:
        step = step.tb_next
    return f"{step.tb_frame.f_globals.get('__name__')}:{step.tb_lineno}" if step else "nowhere"
