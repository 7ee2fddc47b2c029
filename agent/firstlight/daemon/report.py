"""What the beating process shows: the status object, the line for systemctl, and one log line per change of state."""

from __future__ import annotations

import os
import time

from firstlight.core import lifecycle
from firstlight.errors import HINTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.core.lifecycle import Accepted, Announce, State, Told
    from firstlight.daemon.parts import Parts

SKEW_WORTH_SAYING_S = 60.0
CLONE = "clone_suspected"


class Report:
    """Remembers what was shown last, so that nothing is said twice."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._message = self._hint = ""
        self._last_accepted_at = ""
        self._skew_s: float | None = None
        self._is_skewed = False
        self._beats = 0
        self._is_online = False
        self._is_cloned = False
        self._broker_code = ""  # why beats go over HTTP instead, "" = they do not
        self._is_refusal = False
        registration = parts.registration
        self._fixed: dict[str, object] = {
            "deviceId": registration.device_id,
            "workspace": registration.workspace,
            "platform": registration.platform,
            "endpoint": registration.endpoint.url,
            "transport": registration.transport,
            "credential": registration.credential.kind,
            "broker": registration.broker.url if registration.transport == "mqtt" and registration.broker else None,
            "agentVersion": parts.agent_version,
            "release": parts.release or None,
            "pid": os.getpid(),
            "bootId": parts.clock.moment().boot_id,
        }

    def started(self, state: State) -> None:
        """Before the first beat: the service is up, whether or not there is a network."""
        url = self._fixed["broker"] or self._fixed["endpoint"]
        self._parts.log(6, f"Beating as {self._fixed['deviceId']} to {url}.")
        self._parts.notifier.ready(f"Starting: first heartbeat to {url}")
        self._publish(state, 0.0)

    def accepted(self, event: Accepted) -> None:
        """The platform has a beat, or a broker has it for the platform."""
        parts = self._parts
        self._saw(event.server_time_s)
        if event.is_confirmed and not self._is_online:
            self._is_online = True
            parts.log(6, f"Online: the platform accepts this device's beats, one every {event.interval_s:g} s.")
            parts.notifier.status(f"Online, a heartbeat every {event.interval_s:g} s")
        elif not self._last_accepted_at:
            parts.log(6, "Connected: the broker takes this device's beats; the platform itself has not answered yet.")
            parts.notifier.status("Connected: the platform itself has not answered yet")
        wall_s = parts.clock.moment().wall_s
        self._last_accepted_at = iso(event.server_time_s or wall_s + (self._skew_s or 0.0))
        self._beats += 1
        if event.is_confirmed:
            self._say_clone(event.clone)

    def told(self, event: Told) -> None:
        """The platform said something unasked."""
        self._saw(event.server_time_s)
        self._say_clone(event.clone)

    def broker(self, code: str, *, is_refusal: bool = False) -> None:
        """Whether the platform accepts over HTTP what its broker does not.

        Args:
            code: why the broker does not, "" = it does.
            is_refusal: it refuses this device; otherwise it is out of reach.
        """
        if code and code != self._broker_code:
            what = "The broker refuses this device" if is_refusal else "The broker is out of reach"
            self._parts.log(
                4, f"{what}, the hub {'does' if is_refusal else 'is'} not; its beats go over HTTP. [{code}]"
            )
        elif self._broker_code and not code:
            again = "lets this device in" if self._is_refusal else "takes this device's beats"
            self._parts.log(6, f"The broker {again} again.")
        self._broker_code, self._is_refusal = code, is_refusal

    def _saw(self, server_time_s: float | None) -> None:
        if server_time_s is not None:
            self._skew_s = server_time_s - self._parts.clock.moment().wall_s
            self._say_skew()

    def _say_clone(self, is_cloned: bool) -> None:
        if is_cloned and not self._is_cloned:
            self._parts.log(4, f"Another box beats with this device's identity. [{CLONE}] {HINTS[CLONE]}")
        elif self._is_cloned and not is_cloned:
            self._parts.log(6, "No other box beats with this device's identity any more.")
        self._is_cloned = is_cloned

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
        self._hint = action.hint or HINTS.get(action.code, "")
        self._message = action.message if state.phase != lifecycle.BEATING else ""
        self._parts.log(action.priority, " ".join(filter(None, (f"{action.message} [{action.code}]", self._hint))))
        self._parts.notifier.status(f"{state.phase.replace('_', ' ').capitalize()}: {action.message}")

    def waits(self, state: State, seconds: float) -> None:
        """The turn is over; the next beat is due in so many seconds."""
        self._publish(state, seconds)

    def ended(self, state: State) -> None:
        """The last word."""
        self._publish(state)
        if state.phase == lifecycle.CHANGING:
            # The same process comes back to the service manager as ready.
            self._parts.notifier.status("Making way for a change of credential or address")
            self._parts.log(6, "Making way for a change of credential or address.")
            return
        self._parts.notifier.stopping()
        self._parts.log(6, "Stopped." if state.phase == lifecycle.STOPPED else f"Ended: {state.phase}.")

    def _publish(self, state: State, next_beat_in_s: float | None = None) -> None:
        parts = self._parts
        moment = parts.clock.moment()
        wall_s = moment.wall_s
        has_reason = state.phase in (lifecycle.CUT_OFF, lifecycle.PARKED, lifecycle.RETIRED)
        hint = (self._hint or HINTS.get(state.reason, "")) if has_reason else ""
        if self._is_cloned and state.phase in (lifecycle.BEATING, lifecycle.CUT_OFF, lifecycle.PARKED):
            hint = HINTS[CLONE]  # two boxes that push each other off a broker end nothing by looking at the broker
        past_broker = self._broker_code if state.phase == lifecycle.BEATING else ""
        parts.publish(
            {
                "state": state.phase,
                "reason": state.reason if has_reason else "",
                "message": self._message if has_reason else "",
                "hint": hint,
                **self._fixed,
                "protocol": getattr(parts.session, "protocol_name", "") or None,
                "brokerRefuses": (past_broker if self._is_refusal else "") or None,
                "brokerOutOfReach": ("" if self._is_refusal else past_broker) or None,
                "clone": self._is_cloned or None,
                "intervalS": state.interval_s,
                # By the platform itself, not only by a broker: what an upgrade is proved by.
                "isConfirmed": self._is_online,
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
