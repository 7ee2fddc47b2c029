"""The composition root of the detached life: what ``firstlight run`` handed over in, an exit status out.

Not loaded by a box that is registered.
"""

from __future__ import annotations

from firstlight.core.detached import Tried
from firstlight.daemon.detached import Detached, Parts
from firstlight.errors import UnreachableError, UsageError
from firstlight.system import provision_file
from firstlight.system.metrics import ProcMetrics
from firstlight.system.netlink import NetworkWatch
from firstlight.system.spool import DiskSpool
from firstlight.system.store import BACKUP, REGISTRATION
from firstlight.transports.connect import Deadline, reach
from firstlight.wire.heartbeat import missed_object, read_missed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NamedTuple

    from firstlight.core.interfaces import Clock, Notifier
    from firstlight.daemon.run_file import RunFile
    from firstlight.daemon.stop import StopSignals
    from firstlight.system.store import StateDirectory
else:
    from firstlight.core.record import NamedTuple

KNOCK_S = 5.0


class Handed(NamedTuple):
    """The object ``detached`` of a run file.

    Args:
        host, port: where to knock: the endpoint's, or those of the proxy on the way.
        is_proxy: which of the two.
        mark: of the provision that this is about (``provision_file.mark``).
        tried: how the richer process fared.
        about: for the status.
        pid: of that process, which this one is still.
    """

    host: str
    port: int
    is_proxy: bool
    mark: tuple[int, ...]
    tried: Tried
    about: dict[str, object]
    pid: int

    def to_json(self) -> dict[str, object]:
        """The object."""
        return {**dict(zip(self._fields, self, strict=True)), "tried": list(self.tried)}


def read_handed(found: dict[str, object]) -> Handed:
    """The object -> ``Handed``. Raises UsageError for what ``to_json`` did not make."""
    try:
        tried, about, mark = found["tried"], found["about"], found["mark"]
        if not isinstance(tried, list) or not isinstance(about, dict) or not isinstance(mark, list):
            raise TypeError
        code, message, tries, refusals, retry_after_s = tried
        how = Tried(str(code), str(message), int(tries), int(refusals), float(retry_after_s))
        port, pid = int(str(found["port"])), int(str(found["pid"]))
        return Handed(str(found["host"]), port, bool(found["is_proxy"]), tuple(mark), how, about, pid)
    except (KeyError, TypeError, ValueError):
        raise UsageError("settings_invalid", "The run file's object 'detached' cannot be used.") from None


def knock(host: str, port: int, *, is_proxy: bool) -> None:
    """Returns where a connection is taken there. Raises UnreachableError: why it is not."""
    try:
        reach(host, port, Deadline(KNOCK_S)).close()
    except UnreachableError as error:
        if is_proxy:
            raise UnreachableError("proxy_failed", f"The proxy cannot be reached: {error.message}") from None
        raise


def live(
    run: RunFile,
    store: StateDirectory,
    clock: Clock,
    notifier: Notifier,
    stop: StopSignals,
    chance: Callable[[], float],
    log: Callable[[int, str], None],
    publish: Callable[[dict[str, object]], None],
) -> int:
    """The whole life until a registration or a stop.

    Returns:
        0 after a stop, ``EXIT_AGAIN`` where the richer process is to take over.

    Raises:
        UsageError: the run file cannot be used.
    """
    handed = read_handed(run.detached or {})

    def is_superseded() -> bool:
        is_registered = store.has(REGISTRATION) or store.has(BACKUP)
        return is_registered or provision_file.mark(store) != handed.mark

    ear = NetworkWatch()
    try:
        return Detached(
            Parts(
                tried=handed.tried,
                about=handed.about,
                spool=DiskSpool(run.state_dir, missed_object, read_missed),
                sensor=ProcMetrics(run.state_dir),
                clock=clock,
                notifier=notifier,
                stop=stop,
                ear=ear,
                knock=lambda: knock(handed.host, handed.port, is_proxy=handed.is_proxy),
                is_superseded=is_superseded,
                chance=chance,
                log=log,
                publish=publish,
                release=run.release,
            )
        ).run()
    finally:
        ear.close()
