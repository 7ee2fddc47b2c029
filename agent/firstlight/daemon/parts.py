"""What the runner is made of: everything outside, through the seams."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NamedTuple

    from firstlight.core.interfaces import (
        Changes,
        Clock,
        DevicePlatform,
        Hooks,
        Notifier,
        Sensor,
        Session,
        Spool,
        Stop,
        Store,
        Upgrades,
    )
    from firstlight.core.model import Child, Facts, Registration
else:
    from firstlight.core.record import NamedTuple


class Parts(NamedTuple):
    """What the runner is made of.

    Args:
        registration: what enrolling left.
        platform: the device half of the dialect.
        session: carries the beats.
        open_appeal: opens a session over HTTP, for the calls that have no other way.
        store, spool, sensor, clock, notifier, changes, upgrades, hooks: the seams of ``core.interfaces``.
        gives_way: whether there is a richer process to end for.
        stop: what the signals ask for; it breaks off what is under way by raising ``StopNow``.
        facts_hash: 16 hex digits of facts.
        chance: random numbers in [0, 1), for jitter.
        log: writes one line, with a priority as in syslog.
        publish: takes the status object.
        saw_time: takes the platform's clock, seconds since 1970, whenever it was told.
        knows_time: whether this box's clock was set by somebody who knows.
        agent_version: for the beats.
        release: how the id of the running release begins, "" = not known.
        children: the devices behind this one, as they are now.
    """

    registration: Registration
    platform: DevicePlatform
    session: Session
    open_appeal: Callable[[], Session]
    store: Store
    spool: Spool
    sensor: Sensor
    clock: Clock
    notifier: Notifier
    changes: Changes
    upgrades: Upgrades
    hooks: Hooks
    gives_way: bool
    stop: Stop
    facts_hash: Callable[[Facts], str]
    chance: Callable[[], float]
    log: Callable[[int, str], None]
    publish: Callable[[dict[str, object]], None]
    saw_time: Callable[[float], None]
    knows_time: Callable[[], bool]
    agent_version: str
    release: str = ""
    children: Callable[[], tuple[Child, ...]] = tuple
