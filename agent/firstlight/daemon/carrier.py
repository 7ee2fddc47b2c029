"""One beat on its way: over the session, or over HTTP where a broker stands in the way and the platform does not.

1.  A broker that refuses without a reason is asked after at once: the platform itself may name one.
2.  A broker that is out of reach (down, moved, without a hub behind it) is tried ``APPEAL_AFTER`` times. From then on
    the beat goes over HTTP with the same credential; where that is accepted, the device is online.
3.  The broker is tried again, once a beat at most and never for longer than ``TRIAL_S``; the beats between two trials
    cover the wait of ``backoff.retry_wait_s``. Out of reach over HTTP too: what the broker failed by stands, and the
    next beat tries it first.
4.  What a failure means is the platform's to say (``judge``): some brokers' codes are a refusal there, and are parked.
5.  Where a platform wants a token, it is asked for before it ends, and once more where a beat shows that it is spent.
"""

from __future__ import annotations

from firstlight.core import backoff
from firstlight.core.exchange import HttpReply, MqttCall
from firstlight.core.lifecycle import Accepted, Failed, Refused
from firstlight.core.model import Beat
from firstlight.errors import FirstlightError, RefusedError, UnreachableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.core.exchange import Call
    from firstlight.core.lifecycle import Event, State
    from firstlight.core.model import Child, MissedBeat, Registration
    from firstlight.daemon.parts import Parts
    from firstlight.daemon.report import Report

CALL_DEADLINE_S = 20.0
# What a broker says without a reason: the platform itself is asked for one, over HTTP. A certificate that its TLS does
# not take may be expired, or revoked.
UNEXPLAINED = frozenset({"mqtt_bad_login", "mqtt_not_authorized", "mqtt_client_id", "certificate_refused"})
# What another registration on disk may mend: enrolled anew, a renewed credential, a hub that has moved.
MENDABLE = frozenset({"certificate_refused", "tls_untrusted", "tls_pin_mismatch"})
ASK_EVERY_S = 3600.0
# With the waits of core/backoff.py the fourth failure in a row comes 17 to 35 s after the first, later where each is a
# time-out: longer than a broker takes to restart, or a whole fleet would knock at the hub for that; and sooner than a
# device with a beat a minute is missed.
APPEAL_AFTER = 4
TRIAL_S = 10.0
# No fault of the broker's: another box has the same identity.
TAKEN_OVER = "mqtt_taken_over"
# Nor is that: it was asked again before it wants to be.
TOO_SOON = "mqtt_too_soon"
# The broker is there, and nobody behind it takes beats.
NOBODY_LISTENS = "mqtt_unavailable"
# A token is asked for anew that much before its end: a beat on its way must not meet it.
TOKEN_MARGIN_S, TOKEN_SHARE = 300.0, 0.9
SPENT = "token_spent"


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
        self._told_children: tuple[Child, ...] = ()  # as the platform was told of them on it
        self._answered_on = -1  # the connection on which the platform itself answered last
        self._answered_at_s = 0.0
        self._broker_failed = Failed("", "")  # how the broker failed last
        self._failures = 0  # of the broker, in a row
        self._skips = 0  # so many beats go over HTTP before the broker is tried again
        self._has_tokens = not self._is_mqtt
        self._token, self._token_until_s = "", 0.0

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
        children = parts.children()
        beat = Beat(
            due.sequence,
            due.moment,
            due.metrics,
            parts.agent_version,
            None if is_told else facts,
            hashed,
            missed,
            self._asks() or (self._is_mqtt and bool(missed)),
            parts.upgrades.result(is_first=not is_told),
            parts.knows_time(),
            () if is_told and children == self._told_children else children,
        )
        event = self._carry(beat, interval_s) if self._is_mqtt else self._judged(beat)
        if isinstance(event, Accepted):
            self._send_also(beat)
            parts.upgrades.told()
            if not is_told:
                self._told_hash, self._told_on = hashed, parts.session.connections
            self._told_children = children
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

    def _carry(self, beat: Beat, interval_s: float) -> Event:
        """Over MQTT, or past a broker that stands in the way."""
        parts = self._parts
        if self._skips:
            self._skips -= 1
            return self._appeal(beat, self._broker_failed)
        try:
            event = self._over_session(beat)
            is_brokers = isinstance(event, Failed) and event.code == NOBODY_LISTENS
        except UnreachableError as error:
            event = parts.platform.judge(parts.registration, failed(error))
            is_brokers = error.code not in (TAKEN_OVER, TOO_SOON)
        if not isinstance(event, Failed) or not is_brokers:
            self._failures = 0
            return event
        self._failures += 1
        if event.code in UNEXPLAINED:
            return self._appeal(beat, event)
        if self._failures < APPEAL_AFTER:
            return event
        wait_s = backoff.retry_wait_s(self._failures, parts.chance(), event.retry_after_s)
        self._skips = int(wait_s / max(interval_s, 1.0))
        return self._appeal(beat, event)

    def _judged(self, beat: Beat) -> Event:
        """Over HTTP, where there is no other way."""
        try:
            return self._over_session(beat)
        except UnreachableError as error:
            return self._parts.platform.judge(self._parts.registration, failed(error))

    def _send_also(self, beat: Beat) -> None:
        """What the platform wants beside a beat; a failure is told by the session, or comes with the next beat."""
        parts = self._parts
        calls = parts.platform.also(parts.registration, beat)
        if calls and not self._is_cut():
            try:
                parts.session.send(calls, self._deadline_s())
            except UnreachableError as error:
                parts.log(4, f"{error} What goes beside a heartbeat did not arrive.")

    def _over_session(self, beat: Beat) -> Event:
        """Raises UnreachableError, RefusedError."""
        parts = self._parts
        deadline_s = min(TRIAL_S, self._deadline_s()) if self._failures >= APPEAL_AFTER else self._deadline_s()
        event = self._tried(beat, deadline_s)
        if isinstance(event, Failed) and event.code == SPENT and self._token:
            self._token = ""
            parts.notifier.alive()
            event = self._tried(beat, deadline_s)
        if isinstance(event, Accepted):
            self._report.broker("")
            if event.is_confirmed:
                self._answered_on, self._answered_at_s = parts.session.connections, parts.clock.monotonic_s()
            elif beat.asks:
                self._answered_on = -1  # it goes on asking
        return event

    def _tried(self, beat: Beat, deadline_s: float) -> Event:
        parts = self._parts
        call = parts.platform.beat(parts.registration, beat, self._fresh_token(deadline_s))
        return parts.platform.read_beat(parts.registration, parts.session.exchange(call, deadline_s))

    def _fresh_token(self, deadline_s: float) -> str:
        """The token that beats want, "" where they want none. Raises UnreachableError, RefusedError."""
        parts = self._parts
        if not self._has_tokens:
            return ""
        if self._token and parts.clock.monotonic_s() < self._token_until_s:
            return self._token
        call = parts.platform.token_call(parts.registration, parts.clock.moment(), knows_time=parts.knows_time())
        if call is None:
            self._has_tokens = False  # nor will it want any of the next beats to have one
            return ""
        asked_at_s = parts.clock.monotonic_s()
        reply = parts.session.exchange(call, deadline_s)
        if not isinstance(reply, HttpReply):
            raise TypeError("a token comes over HTTP")
        token = parts.platform.read_token(parts.registration, reply)
        self._token = token.text.reveal()
        self._token_until_s = asked_at_s + max(token.lasts_s * TOKEN_SHARE, token.lasts_s - TOKEN_MARGIN_S)
        parts.notifier.alive()
        return self._token

    def _appeal(self, beat: Beat, by_broker: Failed) -> Event:
        """What the platform itself says where its broker fails; out of its reach too, the broker's word."""
        parts = self._parts
        self._broker_failed = by_broker
        call = parts.platform.appeal(parts.registration, beat)
        if call is None:
            return by_broker
        parts.notifier.alive()
        try:
            event = self._over_http(call)
        except FirstlightError as error:
            # A certificate that TLS does not take says why a broker would not either.
            event = failed(error) if error.code in MENDABLE else by_broker
        if isinstance(event, Accepted):
            self._report.broker(by_broker.code, is_refusal=by_broker.code in UNEXPLAINED)
            return event
        self._skips = 0
        return by_broker if isinstance(event, Failed) and event.code not in MENDABLE else event

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


def unspoken(event: Event, registration: Registration) -> Event:
    """The event without the device's secret, should a platform repeat it in its no: that goes to logs and to hooks."""
    secret = registration.credential.secret
    if secret is None or not isinstance(event, (Failed, Refused)) or secret.reveal() not in event.message:
        return event
    return event._replace(message=event.message.replace(secret.reveal(), "***"))


def failed(error: FirstlightError) -> Failed:
    """An error as the event that the lifecycle knows."""
    return Failed(error.code, error.message, getattr(error, "retry_after_s", None))


def told_by(error: FirstlightError) -> Failed | Refused:
    """An error as an event: a refusal where the platform has named one."""
    return Refused(error.code, error.message) if isinstance(error, RefusedError) else failed(error)
