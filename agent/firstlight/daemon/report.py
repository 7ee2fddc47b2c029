"""What the beating process shows: the status object, the line for systemctl, and one log line per change of state."""

from __future__ import annotations

import os
import time

from firstlight.core import lifecycle
from firstlight.errors import HINTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.core.lifecycle import Accepted, Announce, State
    from firstlight.daemon.runner import Parts

SKEW_WORTH_SAYING_S = 60.0


class Report:
    """Remembers what was shown last, so that nothing is said twice."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._message = ""
        self._last_accepted_at = ""
        self._skew_s: float | None = None
        self._is_skewed = False
        self._beats = 0
        registration = parts.registration
        self._fixed: dict[str, object] = {
            "deviceId": registration.device_id,
            "workspace": registration.workspace,
            "platform": registration.platform,
            "endpoint": registration.endpoint.url,
            "agentVersion": parts.agent_version,
            "pid": os.getpid(),
            "bootId": parts.clock.moment().boot_id,
        }

    def started(self, state: State) -> None:
        """Before the first beat: the service is up, whether or not there is a network."""
        registration = self._parts.registration
        self._parts.log(6, f"Beating as {registration.device_id} to {registration.endpoint.url}.")
        self._parts.notifier.ready(f"Starting: first heartbeat to {registration.endpoint.url}")
        self._publish(state, 0.0)

    def accepted(self, event: Accepted) -> None:
        """The platform has a beat."""
        parts = self._parts
        wall_s = parts.clock.moment().wall_s
        server_time_s = wall_s if event.server_time_s is None else event.server_time_s
        self._skew_s = None if event.server_time_s is None else server_time_s - wall_s
        if not self._last_accepted_at:
            parts.log(6, f"Online: the platform accepts this device's beats, one every {event.interval_s:g} s.")
            parts.notifier.status(f"Online, a heartbeat every {event.interval_s:g} s")
        self._last_accepted_at = iso(server_time_s)
        self._beats += 1
        self._say_skew()

    def _say_skew(self) -> None:
        is_skewed = self._skew_s is not None and abs(self._skew_s) > SKEW_WORTH_SAYING_S
        if is_skewed != self._is_skewed and self._skew_s is not None:
            self._is_skewed = is_skewed
            if is_skewed:
                side = "behind" if self._skew_s > 0 else "ahead of"
                self._parts.log(4, f"This box's clock is {abs(self._skew_s):.0f} s {side} the platform's; beats go on.")
            else:
                self._parts.log(6, "This box's clock agrees with the platform's again.")

    def changed(self, state: State, action: Announce) -> None:
        """The lifecycle announces a change of state."""
        hint = HINTS.get(action.code, "")
        self._message = action.message if state.phase != lifecycle.BEATING else ""
        self._parts.log(action.priority, " ".join(filter(None, (f"{action.message} [{action.code}]", hint))))
        self._parts.notifier.status(f"{state.phase.replace('_', ' ').capitalize()}: {action.message}")

    def waits(self, state: State, seconds: float) -> None:
        """The turn is over; the next beat is due in so many seconds."""
        self._publish(state, seconds)

    def ended(self, state: State) -> None:
        """The last word."""
        self._publish(state)
        self._parts.notifier.stopping()
        self._parts.log(6, "Stopped." if state.phase == lifecycle.STOPPED else f"Ended: {state.phase}.")

    def _publish(self, state: State, next_beat_in_s: float | None = None) -> None:
        parts = self._parts
        moment = parts.clock.moment()
        wall_s = moment.wall_s
        has_reason = state.phase in (lifecycle.CUT_OFF, lifecycle.PARKED, lifecycle.RETIRED)
        parts.publish(
            {
                "state": state.phase,
                "reason": state.reason if has_reason else "",
                "message": self._message if has_reason else "",
                "hint": HINTS.get(state.reason, "") if has_reason else "",
                **self._fixed,
                "intervalS": state.interval_s,
                "lastAcceptedAt": self._last_accepted_at or None,
                "nextBeatInS": None if next_beat_in_s is None else round(next_beat_in_s, 1),
                # The clock that nobody sets: by it a reader knows whether this status is overdue.
                "nextBeatMonoS": None if next_beat_in_s is None else round(moment.monotonic_s + next_beat_in_s, 1),
                "nextBeatAt": None if next_beat_in_s is None else iso(wall_s + next_beat_in_s),
                "failures": state.failures,
                "spooled": len(parts.spool),
                "dropped": parts.spool.dropped,
                "skewS": None if self._skew_s is None else round(self._skew_s, 1),
                "connections": parts.session.connections,
                "beats": self._beats,
                "writtenAt": iso(wall_s),
            }
        )


def iso(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
