"""One connection to an MQTT broker, from CONNECT to its end: paho speaks MQTT on it, the waiting is ours.

A new link has a new paho client, so nothing of a former connection lives on in it.
"""

from __future__ import annotations

from time import monotonic

from firstlight.core.exchange import MqttCall, MqttMessage
from firstlight.errors import UnreachableError
from firstlight.transports.mqtt_client import PINGREQ, BrokerSocket, Client
from firstlight.transports.mqtt_codes import FIRST_ERROR, UNSUPPORTED_VERSION, refusal
from firstlight.transports.mqtt_packets import Packets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableSequence
    from typing import Any

    from firstlight.core.exchange import MqttLogin
    from firstlight.transports.connect import Connection, Deadline
    from firstlight.transports.lean_paho import MQTTMessage, Properties, ReasonCode
    from firstlight.transports.websocket import WebSocket

QOS = 1
READ_BYTES = 8192
# More than this at once, unasked, is no platform that has something to say.
MAX_READS = 64
FAREWELL_S = 0.5
# Fixed header, topic's length, packet number and properties' length around topic and payload.
AROUND_BYTES = 10
# A ping goes out after so much of the keep-alive without a word of ours, and is to be answered in so many seconds.
PING_AFTER, ANSWERED_IN_S = 0.75, 20
LEAST_REST_S = 1.0  # MQTT's shortest keep-alive
# RabbitMQ 3.10 refuses a login over WebSocket with a close frame that says this, and no CONNACK.
UNAUTHENTICATED = "unauthenticated"


class Link:
    """A session at a broker.

    Attributes:
        answer_s: seconds that an answer is awaited, as the login says.

    Args:
        line: connected to the broker, WebSocket included where there is one.
        login: who this is.
        protocol: ``MQTT_5`` or ``MQTT_3_1_1``.
        deadline: the one of ``line``.
        unasked: takes what comes on other topics than the awaited one.
    """

    def __init__(
        self,
        line: Connection | WebSocket,
        login: MqttLogin,
        protocol: int,
        deadline: Deadline,
        unasked: MutableSequence[MqttMessage],
    ) -> None:
        self._line = line
        self._deadline = deadline
        self._unasked = unasked
        self._packets = Packets(line.peer, protocol)
        self._socket = BrokerSocket(line, self._packets)
        self._client = Client(self._socket, login.client_id, protocol)
        self._error: UnreachableError | None = None
        self._reason_text = ""
        self._awaited: int | None = None
        self._acknowledged: list[tuple[int, str]] = []
        self._answer_topic = ""
        self._answer: bytes | None = None
        self._max_packet_bytes = 0
        self._keep_alive_s = login.keep_alive_s
        self._listens_to = login.listens_to
        self._greets = login.greets
        self.answer_s = login.answer_s
        self._pinged_at_s: float | None = None  # None: no answer is owed
        self._listen_to_paho()
        self._log_in(login)

    @property
    def peer(self) -> str:
        """Host and port, as messages name them."""
        return self._line.peer

    @property
    def is_understood(self) -> bool:
        """Whether the broker has answered the CONNECT otherwise than that it does not speak this version."""
        return self._packets.connack is not None and self._packets.connack not in UNSUPPORTED_VERSION

    def fileno(self) -> int:
        """The descriptor that becomes readable when the broker says something."""
        return self._line.fileno()

    def begin(self) -> None:
        """Logs in.

        Raises:
            UnreachableError: ``reply_cut`` where the broker hung up without a word, ``mqtt_silent``, and all that a
                CONNACK can say.
        """
        try:
            self._client.begin(self._keep_alive_s)
            while self._packets.connack is None:
                self._read_on()
        except UnreachableError as error:
            if error.code == "reply_timeout":
                text = f"{self.peer} took the connection and did not answer in MQTT in time."
                raise UnreachableError("mqtt_silent", text) from None
            if error.code == "reply_cut" and self._line.farewell == UNAUTHENTICATED:
                text = f"{self.peer} says: the user name or password is wrong (WebSocket closed)."
                raise UnreachableError("mqtt_bad_login", text) from None
            raise
        finally:
            self._client.username_pw_set(None)  # paho has no more need of the password

    def subscribe(self) -> None:
        """Asks for the messages that the login names, QoS 1. Raises UnreachableError."""
        if not self._listens_to:
            return
        number = self._client.subscribe([(one, QOS) for one in self._listens_to])[1]
        code, said = self._acknowledgement(number)
        if code >= FIRST_ERROR:
            raise refusal(self.peer, "SUBACK", code, said)

    def greet(self) -> None:
        """Publishes what the login wants said first. Raises UnreachableError."""
        for call in self._greets:
            self.tell(call)

    def tell(self, call: MqttCall) -> None:
        """Publishes a message whose acknowledgement must be good; no answer is awaited. Raises UnreachableError."""
        self.check_size(call)
        code, said = self.publish(call._replace(answer_topic=""))
        if code >= FIRST_ERROR:
            raise refusal(self.peer, "PUBACK", code, said)

    def check_size(self, call: MqttCall) -> None:
        """Raises UnreachableError (``mqtt_packet_too_large``) for what the broker has said it will not take."""
        size_bytes = len(call.topic) + len(call.payload) + AROUND_BYTES
        if self._max_packet_bytes and size_bytes > self._max_packet_bytes:
            text = f"{self.peer} takes {self._max_packet_bytes} bytes at once, the message has {size_bytes}."
            raise UnreachableError("mqtt_packet_too_large", text)

    def publish(self, call: MqttCall) -> tuple[int, str]:
        """Sends a message with QoS 1 and waits for the broker's PUBACK.

        Returns:
            Its reason code, 0 for MQTT 3.1.1, and what the broker adds in words.

        Raises:
            UnreachableError: all that can happen to a connection.
        """
        self._answer_topic, self._answer = call.answer_topic, None
        self._check()
        return self._acknowledgement(self._client.publish(call.topic, call.payload, QOS).mid)

    def answer(self) -> bytes | None:
        """Waits for a message on the last call's answer topic until the deadline; None when none has come.

        Raises:
            UnreachableError: the connection has ended.
        """
        try:
            while self._answer is None:
                self._check()
                self._read_on()
        except UnreachableError as error:
            if self._answer is None and error.code != "reply_timeout":
                raise
        finally:
            self._answer_topic = ""
        return self._answer

    def listen(self) -> None:
        """Takes in all that has come, without waiting.

        Raises:
            UnreachableError: the connection has ended: ``reply_cut``, or what the broker's DISCONNECT says.
        """
        self._check()
        for _ in range(MAX_READS):
            data = self._line.read_now(READ_BYTES)
            if data is None:
                break
            self._take_in(data)
        else:
            raise UnreachableError("mqtt_quota", f"{self.peer} sends more than anybody asked for.")
        self._check()
        self._keep_alive()

    def rest_s(self) -> float:
        """Seconds until ``listen`` is to be called, though nothing may have come: for a ping, or one unanswered."""
        if self._pinged_at_s is not None:
            due_at_s = self._pinged_at_s + min(ANSWERED_IN_S, self._keep_alive_s)
        else:
            due_at_s = self._socket.sent_at_s + max(LEAST_REST_S, self._keep_alive_s * PING_AFTER)
        return max(0.0, due_at_s - monotonic())

    def leave(self) -> None:
        """Ends the session properly, so that the broker publishes no will; whatever fails now, fails."""
        self._deadline.start(FAREWELL_S)
        try:
            self._client.disconnect()
        except UnreachableError:
            pass
        finally:
            self.drop()

    def drop(self) -> None:
        """Ends the connection without a word."""
        self._line.close()

    def _keep_alive(self) -> None:
        """Pings when it is time to. paho's own pings come at the last moment, and may be unanswered as long again."""
        if self.rest_s() > 0:
            return
        if self._pinged_at_s is not None:
            raise UnreachableError("mqtt_silent", f"{self.peer} did not answer a ping.")
        self._socket.send(PINGREQ)
        self._pinged_at_s = monotonic()

    def _log_in(self, login: MqttLogin) -> None:
        if login.user_name:
            self._client.username_pw_set(login.user_name, login.password.reveal() if login.password else None)
        if login.will:
            self._client.will_set(login.will.topic, login.will.payload, QOS, retain=False)

    def _listen_to_paho(self) -> None:
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_publish = self._on_publish
        self._client.on_message = self._on_message
        self._client.on_disconnect = self._on_disconnect

    def _acknowledgement(self, number: int | None) -> tuple[int, str]:
        """Reason code and text of the acknowledgement of the packet that was sent with this number."""
        self._awaited = number
        self._acknowledged.clear()
        while not self._acknowledged:
            try:
                self._read_on()
            except UnreachableError:
                if not self._acknowledged:  # otherwise the next step raises it: what is acknowledged has arrived
                    raise
        return self._acknowledged.pop()

    def _read_on(self) -> None:
        self._take_in(self._line.read(READ_BYTES))

    def _take_in(self, data: bytes) -> None:
        """Hands paho what has come, packet by packet; an error stays, and every later step raises it again."""
        try:
            if not data:
                said = f": {self._line.farewell}" if self._line.farewell else ""
                raise UnreachableError("reply_cut", f"{self.peer} closed the connection{said}.")
            self._pinged_at_s = None  # whatever it says, it is there
            self._packets.feed(data)
            while self._packets.release():
                self._step()
                self._check()
        except UnreachableError as error:
            self._error = error
            raise

    def _step(self) -> None:
        """One or more packets, by paho, whose decoders were made for brokers that mean well."""
        try:
            self._client.loop_read()
        except UnreachableError:
            raise
        except Exception:
            raise self._malformed() from None

    def _check(self) -> None:
        """Raises what the last step of paho has come to."""
        if code := self._packets.connack:
            raise refusal(self.peer, "CONNACK", code, self._reason_text)
        if self._error:
            raise self._error
        if self._client.socket() is None:
            raise self._malformed()

    def _malformed(self) -> UnreachableError:
        return UnreachableError("mqtt_malformed", f"{self.peer} sent something that cannot be read.")

    def _on_connect(
        self, _client: Any, _data: Any, _flags: Any, _code: ReasonCode, properties: Properties | None
    ) -> None:
        self._reason_text = _reason_text(properties)
        self._max_packet_bytes = getattr(properties, "MaximumPacketSize", 0)
        # MQTT 5, 3.2.2.3.14: the broker's own counts. A longer one, or none at all, changes nothing for the way there.
        self._keep_alive_s = min(self._keep_alive_s, getattr(properties, "ServerKeepAlive", 0) or self._keep_alive_s)

    def _on_subscribe(
        self, _client: Any, _data: Any, number: int, codes: list[ReasonCode], properties: Properties | None
    ) -> None:
        if number == self._awaited:
            # One filter that is refused is a subscription that is: which of them may be done without, nobody knows.
            worst = max((code.value for code in codes), default=FIRST_ERROR)
            self._acknowledged.append((worst, _reason_text(properties)))

    def _on_publish(
        self, _client: Any, _data: Any, number: int, code: ReasonCode, properties: Properties | None
    ) -> None:
        if number == self._awaited:
            self._acknowledged.append((code.value, _reason_text(properties)))

    def _on_message(self, _client: Any, _data: Any, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return
        if topic == self._answer_topic:
            self._answer = bytes(message.payload)
        else:
            self._unasked.append(MqttMessage(topic, bytes(message.payload)))

    def _on_disconnect(
        self, _client: Any, _data: Any, flags: Any, code: ReasonCode, properties: Properties | None
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._error = refusal(self.peer, "DISCONNECT", code.value, _reason_text(properties))


def _reason_text(properties: Properties | None) -> str:
    return str(getattr(properties, "ReasonString", ""))
