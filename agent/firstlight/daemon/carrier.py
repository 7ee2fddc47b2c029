"""One beat on its way: over the session, or over HTTP where a broker refuses it without a reason."""

from __future__ import annotations

from firstlight.core.exchange import MqttCall
from firstlight.core.lifecycle import Accepted, Failed, Refused
from firstlight.core.model import Beat
from firstlight.errors import FirstlightError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.core.exchange import Call
    from firstlight.core.lifecycle import Event, State
    from firstlight.core.model import MissedBeat
    from firstlight.daemon.parts import Parts
    from firstlight.daemon.report import Report

CALL_DEADLINE_S = 20.0
# What a broker says without a reason: the platform itself is asked for one, over HTTP. A certificate that its TLS does
# not take may be expired, or revoked.
UNEXPLAINED = frozenset({"mqtt_bad_login", "mqtt_not_authorized", "mqtt_client_id", "certificate_refused"})
# What another registration on disk may mend: enrolled anew, a renewed credential, a hub that has moved.
MENDABLE = frozenset({"certificate_refused", "tls_untrusted", "tls_pin_mismatch"})
ASK_EVERY_S = 3600.0


class Carrier:
    """Carries beats, and knows what the platform was told and when it answered.

    Args:
        parts: what the runner is made of.
        report: hears of a broker that refuses.
    """

    def __init__(self, parts: Parts, report: Report) -> None:
        self._parts = parts
        self._report = report
        self._is_mqtt = parts.registration.transport == "mqtt"
        self._told_hash = ""  # of the facts that the platform was told on this connection
        self._told_on = -1  # the connection they were told on
        self._answered_on = -1  # the connection on which the platform itself answered last
        self._answered_at_s = 0.0

    def tell_facts(self) -> None:
        """The next beat carries the whole facts."""
        self._told_hash = ""

    def send(self, due: MissedBeat, missed: tuple[MissedBeat, ...], interval_s: float) -> Event:
        """One beat.

        Args:
            due: sequence number, moment and metrics.
            missed: kept beats that go along.
            interval_s: what counts where only a broker takes the beat.

        Raises:
            FirstlightError: it did not arrive.
        """
        parts = self._parts
        facts = parts.sensor.facts()
        hashed = parts.facts_hash(facts)
        is_told = hashed == self._told_hash and parts.session.connections == self._told_on and not self._is_cut()
        beat = Beat(
            due.sequence,
            due.moment,
            due.metrics,
            parts.agent_version,
            None if is_told else facts,
            hashed,
            missed,
            self._asks() or (self._is_mqtt and bool(missed)),
        )
        event = self._carry(beat)
        if isinstance(event, Accepted):
            if not is_told:
                self._told_hash, self._told_on = hashed, parts.session.connections
            if not event.is_confirmed:
                return event._replace(interval_s=interval_s)
        return event

    def ask_back(self, state: State) -> Event:
        """The platform that lost this device is asked to take it back. Raises FirstlightError."""
        parts = self._parts
        call = parts.platform.take_back(parts.registration)
        if call is None:
            return Refused(state.reason, "The platform does not know this device, and takes none back.")
        if self._is_mqtt and not isinstance(call, MqttCall):
            return self._over_http(call)
        return parts.platform.read_beat(parts.registration, parts.session.exchange(call, self._deadline_s()))

    def _is_cut(self) -> bool:
        return self._is_mqtt and self._parts.session.fileno() < 0

    def _asks(self) -> bool:
        """Over MQTT: on each new connection, hourly, and until the platform itself answers."""
        if not self._is_mqtt:
            return False
        is_fresh = self._parts.clock.monotonic_s() - self._answered_at_s < ASK_EVERY_S
        return self._is_cut() or self._parts.session.connections != self._answered_on or not is_fresh

    def _carry(self, beat: Beat) -> Event:
        parts = self._parts
        try:
            reply = parts.session.exchange(parts.platform.beat(parts.registration, beat), self._deadline_s())
            event = parts.platform.read_beat(parts.registration, reply)
        except FirstlightError as error:
            if not self._is_mqtt or error.code not in UNEXPLAINED:
                raise
            event = failed(error)
        if self._is_mqtt and isinstance(event, Failed) and event.code in UNEXPLAINED:
            return self._appeal(beat, event)
        if isinstance(event, Accepted):
            self._report.broker("")
            if event.is_confirmed:
                self._answered_on, self._answered_at_s = parts.session.connections, parts.clock.monotonic_s()
            elif beat.asks:
                self._answered_on = -1  # it goes on asking
        return event

    def _appeal(self, beat: Beat, refused: Failed) -> Event:
        """What the platform itself says of a device that its broker refuses; out of its reach, the broker's word."""
        parts = self._parts
        call = parts.platform.appeal(parts.registration, beat)
        if call is None:
            return refused
        parts.notifier.alive()
        try:
            event = self._over_http(call)
        except FirstlightError as error:
            # A certificate that TLS does not take says why a broker would not either.
            return failed(error) if error.code in MENDABLE else refused
        if isinstance(event, Accepted):
            self._report.broker(refused.code)
        return refused if isinstance(event, Failed) else event

    def _over_http(self, call: Call) -> Event:
        """One call beside the session, on a connection of its own. Raises FirstlightError."""
        parts = self._parts
        session = parts.open_appeal()
        try:
            return parts.platform.read_beat(parts.registration, session.exchange(call, self._deadline_s()))
        finally:
            session.close()

    def _deadline_s(self) -> float:
        watchdog_s = self._parts.notifier.watchdog_s
        return CALL_DEADLINE_S if watchdog_s is None else min(CALL_DEADLINE_S, watchdog_s / 2)


def failed(error: FirstlightError) -> Failed:
    """An error as the event that the lifecycle knows."""
    return Failed(error.code, error.message, getattr(error, "retry_after_s", None))
