"""The life of a provisioned box without a registration: event -> ``core.detached.step`` -> actions.

What to do is decided in ``core/detached.py``; this is where its actions meet the outside, through the seams.
"""

from __future__ import annotations

import os

from firstlight.core import detached
from firstlight.core.detached import (
    Announce,
    Due,
    LookNow,
    MakeBeat,
    Missed,
    NetworkChanged,
    Quit,
    Reached,
    StopAsked,
    Superseded,
    Tried,
    Wait,
)
from firstlight.core.lifecycle import EXIT_AGAIN
from firstlight.core.model import MissedBeat
from firstlight.daemon.report import iso
from firstlight.daemon.stop import StopNow
from firstlight.errors import HINTS, UnreachableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NamedTuple, Protocol

    from firstlight.core.detached import Action, Event
    from firstlight.core.interfaces import Clock, Notifier, Sensor, Spool, Stop

    class Ear(Protocol):
        """Hears that the network changed; as ``system.netlink.NetworkWatch``."""

        def fileno(self) -> int:
            """What a wait listens to, -1 = nothing."""
            ...

        def heard(self) -> bool:
            """Whether anything changed since the last call."""
            ...
else:
    from firstlight.core.record import NamedTuple

PROVISIONED = "Provisioned, not yet registered"


class Parts(NamedTuple):
    """What the loop is made of.

    Args:
        tried: how the richer process came back.
        about: what the status says all the time: device, endpoint, since when.
        release: how the id of the running release begins, "" = not known.
        spool, sensor, clock, notifier, stop: the seams of ``core.interfaces``.
        ear: hears that the network changed.
        knock: returns where the endpoint, or the proxy on the way, takes a connection; raises UnreachableError.
        is_superseded: whether the provision on the disk is another one by now, or there is a registration.
        chance: random numbers in [0, 1), for jitter.
        log: writes one line, with a priority as in syslog.
        publish: takes the status object.
    """

    tried: Tried
    about: dict[str, object]
    spool: Spool
    sensor: Sensor
    clock: Clock
    notifier: Notifier
    stop: Stop
    ear: Ear
    knock: Callable[[], None]
    is_superseded: Callable[[], bool]
    chance: Callable[[], float]
    log: Callable[[int, str], None]
    publish: Callable[[dict[str, object]], None]
    release: str = ""


class Detached:
    """Beats into the spool and knocks, until there is something better to be."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._state = detached.begin(parts.tried, parts.clock.monotonic_s(), parts.chance())
        # Milliseconds since boot at the start, then one more a beat, as in runner.py.
        self._sequence = int(parts.clock.moment().monotonic_s * 1000)
        self._beats = 0

    def run(self) -> int:
        """Until a stop, or until the richer process is to take over; the exit status."""
        parts = self._parts
        if parts.tried.tries + parts.tried.refusals <= 1:
            name = parts.about.get("deviceId") or "a device that its hub knows"
            parts.log(6, f"Provisioned as {name}, not yet registered; beats are kept until then.")
        parts.notifier.ready(self._line())
        event: Event = Due()
        while True:
            self._state, actions = detached.step(self._state, event, parts.clock.monotonic_s(), parts.chance())
            for action in actions:
                if isinstance(action, Quit):
                    return self._ended(action.exit_status)
                brought = self._perform(action)
                if brought is not None:
                    event = brought
                    break
            parts.notifier.alive()

    def _perform(self, action: Action) -> Event | None:
        """Does one action; the next event, if it brings one."""
        if isinstance(action, MakeBeat):
            self._beat()
            return Superseded() if self._parts.is_superseded() else None
        if isinstance(action, Announce):
            hint = HINTS.get(action.code, "")
            self._parts.log(action.priority, " ".join(filter(None, (f"{action.message} [{action.code}]", hint))))
            self._parts.notifier.status(self._line())
            return None
        return self._wait(action) if isinstance(action, Wait) else self._knock()

    def _beat(self) -> None:
        parts = self._parts
        self._sequence += 1
        self._beats += 1
        moment = parts.clock.moment()
        parts.spool.add(MissedBeat(self._sequence, moment, parts.sensor.metrics(), detached.NOT_REGISTERED))

    def _knock(self) -> Event:
        parts = self._parts
        parts.notifier.alive()  # a resolver may take its whole time
        try:
            with parts.stop:
                parts.knock()
        except StopNow:
            return StopAsked()
        except UnreachableError as error:
            return Missed(error.code, error.message)
        return Reached()

    def _wait(self, action: Wait) -> Event:
        """In one piece, or in pieces of half a watchdog; ends early for a signal and for a change of the network."""
        parts = self._parts
        self._publish()
        while (left_s := action.until_s - parts.clock.monotonic_s()) > 0:
            piece_s = min(left_s, parts.notifier.watchdog_s / 2) if parts.notifier.watchdog_s else left_s
            ear = parts.ear.fileno() if action.listens else -1
            if parts.clock.wait(piece_s, ear):
                if not parts.stop.takes_hangup():
                    return StopAsked()
                return Superseded() if parts.is_superseded() else LookNow()
            if ear >= 0 and parts.ear.heard():
                return NetworkChanged()
            parts.notifier.alive()
        return Due()

    # -- what is shown -----------------------------------------------------------------------------------------------
    def _line(self) -> str:
        message = self._state.message
        return f"{PROVISIONED}: {message}" if message else PROVISIONED

    def _ended(self, exit_status: int) -> int:
        parts = self._parts
        self._publish()
        if exit_status == EXIT_AGAIN:
            # The same process comes back to the service manager as ready.
            parts.notifier.status(f"{PROVISIONED}: registering")
        else:
            parts.notifier.stopping()
            parts.log(6, "Stopped.")
        return exit_status

    def _publish(self) -> None:
        parts, state = self._parts, self._state
        now_s, moment = parts.clock.monotonic_s(), parts.clock.moment()
        parts.publish(
            {
                "state": detached.PARKED if state.tried.refusals else detached.WAITING,
                "reason": state.reason,
                "message": state.message,
                "hint": HINTS.get(state.reason, ""),
                **parts.about,
                "release": parts.release or None,
                "pid": os.getpid(),
                "bootId": moment.boot_id,
                "intervalS": detached.INTERVAL_S,
                "failures": state.failures or state.tried.tries or state.tried.refusals,
                "spooled": len(parts.spool),
                "dropped": parts.spool.dropped,
                "beats": self._beats,
                **_instant("nextBeat", max(0.0, state.beat_at_s - now_s), moment.monotonic_s, moment.wall_s),
                **_instant("nextTry", max(0.0, state.knock_at_s - now_s), moment.monotonic_s, moment.wall_s),
                "writtenAt": iso(moment.wall_s),
            }
        )


def _instant(name: str, in_s: float, mono_s: float, wall_s: float) -> dict[str, object]:
    """An instant to come by all three clocks."""
    return {
        f"{name}InS": round(in_s, 1),
        f"{name}MonoS": round(mono_s + in_s, 1),
        f"{name}At": iso(wall_s + in_s),
    }
