"""Beats over MQTT, for months: one connection, no thread, and words of the platform that come unasked.

MQTT 5 is tried first. A broker that hangs up on it without a word (RabbitMQ 3.10) or says that it does not speak it is
asked again at once in 3.1.1, and so from then on; a login that knows better begins with 3.1.1. What a broken
connection means is named once, here and in ``mqtt_codes.py``; whether to wait before the next one is the caller's
business, who is told where the login asks for a gap between two tries.
"""

from __future__ import annotations

from collections import deque
from math import inf
from time import CLOCK_BOOTTIME, clock_gettime

from firstlight.core.exchange import MqttCall, MqttReply
from firstlight.errors import UnreachableError
from firstlight.transports.connect import Deadline, reach
from firstlight.transports.mqtt_client import MQTT_3_1_1, MQTT_5
from firstlight.transports.mqtt_codes import FIRST_ERROR, refusal
from firstlight.transports.mqtt_link import Link
from firstlight.transports.tls import Contexts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from firstlight.core.exchange import Call, MqttLogin, MqttMessage
    from firstlight.core.model import Broker, Identity, Trust
    from firstlight.transports.connect import Connection
    from firstlight.transports.proxy import Proxy
    from firstlight.transports.websocket import WebSocket

NAMES = {MQTT_5: "MQTT 5", MQTT_3_1_1: "MQTT 3.1.1"}
# A hang-up without a word, or a word about the version.
NOT_MQTT_5 = frozenset({"reply_cut", "mqtt_version"})
# How much of its time a beat waits for a connection that was idle; the rest is for a new one. NAT and load balancers
# forget connections without a word to either side.
KEPT_SHARE = 0.5
# A kept connection that ended so carried nothing, or nobody knows.
DEAD = frozenset({"reply_cut", "reply_timeout", "mqtt_silent"})
# Only for acknowledging what comes unasked; reading it takes no time.
LISTEN_S = 1.0
MAX_UNASKED = 8


class MqttSession:
    """The session over MQTT.

    Args:
        login: makes the login of each new connection.
        trust: how the broker is recognised.
        proxy: the way out, or None for the straight one.
        check_dates: whether certificates' dates count, or a function that says so at each new connection.
        identity: the client certificate to show, or None.
        protocol: 5, or 4 to speak 3.1.1 from the start, whatever the login says.
    """

    def __init__(
        self,
        login: Callable[[], MqttLogin],
        trust: Trust,
        proxy: Proxy | None = None,
        *,
        check_dates: Callable[[], bool] | bool = True,
        identity: Identity | None = None,
        protocol: int = MQTT_5,
    ) -> None:
        self._login = login
        self._contexts = Contexts(trust, check_dates, identity)
        self._proxy = proxy
        self._protocol = protocol
        self._deadline = Deadline(0)
        self._link: Link | None = None
        self._end: UnreachableError | None = None
        self._unasked: deque[MqttMessage] = deque(maxlen=MAX_UNASKED)
        self._connections = 0
        self._tried_at_s = -inf  # since boot

    @property
    def connections(self) -> int:
        """How many connections were opened so far."""
        return self._connections

    @property
    def protocol_name(self) -> str:
        """What is spoken, or will be tried first: "MQTT 5" or "MQTT 3.1.1"."""
        return NAMES[self._protocol]

    def exchange(self, call: Call, deadline_s: float) -> MqttReply:
        """Publishes one message and waits until the broker has it, at most ``deadline_s`` seconds in all.

        A connection that was closed while it was idle, or that leads nowhere any more, is replaced at once, so the
        message may arrive twice. Where the call names an answer's topic, that answer is awaited too, as long as the
        login says; the broker has the message even if none comes.

        Raises:
            UnreachableError: with the code of what went wrong, for a PUBACK that is a refusal too. After
                ``mqtt_taken_over`` nothing was sent.
        """
        if not isinstance(call, MqttCall):
            raise TypeError("an MQTT session carries MQTT calls only")
        end, self._end = self._end, None
        if end and end.code == "mqtt_taken_over":
            raise end
        self._deadline.start(deadline_s * KEPT_SHARE)
        code = self._on_kept(call)
        self._deadline.start(self._deadline.left_s() + deadline_s * (1 - KEPT_SHARE))
        if code is None:
            code = self._carried(self._connect(), call)
        return MqttReply(code, self._answer() if call.answer_topic else None)

    def send(self, calls: tuple[MqttCall, ...], deadline_s: float) -> None:
        """Publishes, in this order, on the connection that stands, at most ``deadline_s`` seconds in all.

        Raises:
            UnreachableError: there is none (``mqtt_disconnected``), it broke, or the broker refused one of them.
        """
        self._deadline.start(deadline_s)
        if not self._link:
            raise UnreachableError("mqtt_disconnected", "There is no connection to the broker any more.")
        try:
            for call in calls:
                self._link.tell(call)
        except UnreachableError:
            self._drop()
            raise

    def close(self) -> None:
        """Ends the session properly, if there is one: the broker publishes no will."""
        link, self._link = self._link, None
        if link:
            link.leave()

    def fileno(self) -> int:
        """What a wait listens to; -1 without a connection."""
        return self._link.fileno() if self._link else -1

    def rest_s(self) -> float:
        """Seconds until ``heard`` is to be called though nothing came: the connection wants a ping by then."""
        return self._link.rest_s() if self._link else inf

    def heard(self) -> tuple[MqttMessage, ...]:
        """What came unasked, oldest first, the last ``MAX_UNASKED`` of it; never waits.

        Raises:
            UnreachableError: the connection has ended, told once and after its last words: ``mqtt_taken_over``,
                ``mqtt_disconnected``, or another reason of the broker's.
        """
        if self._link:
            self._deadline.start(LISTEN_S)
            try:
                self._link.listen()
            except UnreachableError as error:
                self._lose(error)
        said = tuple(self._unasked)
        self._unasked.clear()
        if not said and self._end:
            end, self._end = self._end, None
            raise end
        return said

    def _on_kept(self, call: MqttCall) -> int | None:
        """The call on the connection that stands; None where there is none any more."""
        if not self._link:
            return None
        try:
            self._link.listen()
        except UnreachableError as error:
            self._drop()
            if error.code not in DEAD:
                raise
            return None
        try:
            return self._carried(self._link, call)
        except UnreachableError as error:
            if error.code not in DEAD:
                raise
            return None

    def _carried(self, link: Link, call: MqttCall) -> int:
        """The call on one connection, which is given up unless it can carry another one."""
        link.check_size(call)
        try:
            code, said = link.publish(call)
        except BaseException:
            self._drop()
            raise
        if code >= FIRST_ERROR:
            raise refusal(link.peer, "PUBACK", code, said)
        return code

    def _answer(self) -> bytes | None:
        """The platform's own answer. A connection that breaks meanwhile does not undo what the broker has taken."""
        if not self._link:
            return None
        self._deadline.start(min(self._link.answer_s, self._deadline.left_s()))
        try:
            return self._link.answer()
        except UnreachableError as error:
            self._lose(error)
            return None

    def _connect(self) -> Link:
        """A new connection, logged in and subscribed, not sooner after the last one than the login allows."""
        login = self._login()
        gap_s = login.least_gap_s
        now_s = clock_gettime(CLOCK_BOOTTIME)
        if (left_s := self._tried_at_s + gap_s - now_s) > 0:
            once = f"{login.broker.host} takes one connection in {gap_s:.0f} s from a device"
            text = f"{once}; this one may try again in {left_s:.0f} s."
            raise UnreachableError("mqtt_too_soon", text, retry_after_s=left_s)
        if gap_s:
            self._tried_at_s = now_s
        try:
            return self._connected(login)
        except UnreachableError as error:
            # Said with the failure itself, so that its name is not hidden behind one more that came too soon.
            error.retry_after_s = max(error.retry_after_s or 0.0, gap_s) or None
            raise

    def _connected(self, login: MqttLogin) -> Link:
        protocol = min(self._protocol, login.protocol)
        try:
            link = self._open(login, protocol)
        except UnreachableError as error:
            if protocol != MQTT_5 or error.code not in NOT_MQTT_5:
                raise
            link = self._open(self._login(), MQTT_3_1_1)
        self._link = link
        self._connections += 1
        try:
            link.subscribe()
            link.greet()
        except BaseException:
            self._drop()
            raise
        return link

    def _open(self, login: MqttLogin, protocol: int) -> Link:
        """A new connection, logged in; the version that the broker understood is kept."""
        broker = login.broker
        context = self._contexts.now() if broker.is_secure else None
        proxy = self._proxy if broker.is_secure else None
        try:
            connection = reach(broker.host.strip("[]"), broker.port, self._deadline, context, proxy)
        except UnreachableError as error:
            raise _named(error, broker) from None
        try:
            link = Link(self._line(connection, broker), login, protocol, self._deadline, self._unasked)
            try:
                link.begin()
            finally:
                if link.is_understood:
                    self._protocol = protocol
        except BaseException:
            connection.close()
            raise
        return link

    @staticmethod
    def _line(connection: Connection, broker: Broker) -> Connection | WebSocket:
        if broker.scheme not in ("ws", "wss"):
            return connection
        from firstlight.transports.websocket import WebSocket  # few brokers are behind one

        return WebSocket(connection, broker)

    def _lose(self, error: UnreachableError) -> None:
        """The connection has ended by itself; it is told by ``heard``."""
        peer = self._link.peer if self._link else "The broker"
        if error.code == "reply_cut":
            error = UnreachableError("mqtt_disconnected", f"{peer} ended the connection without a word.")
        self._end = error
        self._drop()

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link:
            link.drop()


def _named(error: UnreachableError, broker: Broker) -> UnreachableError:
    """An error of ``connect.reach``, saying that it is the broker that was not reached: the hub may well be up."""
    where, name = f"{broker.host}:{broker.port}", f"The name {broker.host} "
    text = error.message.replace(where, f"the broker {where}", 1).replace(name, f"The broker's name {broker.host} ", 1)
    return UnreachableError(error.code, text[:1].upper() + text[1:], error.hint, error.retry_after_s)
