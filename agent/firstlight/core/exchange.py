"""What is sent and what came back, as plain values. The only language that platforms and transports share."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from firstlight.core.model import Broker, Secret, Trust
else:
    from firstlight.core.record import NamedTuple

SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-auth-token", "access_token"})


class HttpCall(NamedTuple):
    """One HTTP request.

    Args:
        method: upper-case verb.
        url: absolute http:// or https:// address.
        headers: pairs, in the order they are sent; Host and Content-Length are the transport's.
        body: what is sent, or None for a request without one.
        limit_bytes: the largest answer body that is read before the exchange fails with ``reply_too_large``.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    limit_bytes: int = 65_536

    def __repr__(self) -> str:
        """Shows no header value that may be a secret, no body, and no address (it may hold an installId)."""
        names = ", ".join(name for name, _ in self.headers)
        return f"HttpCall({self.method}, headers=[{names}], body={len(self.body or b'')} bytes)"


class HttpReply(NamedTuple):
    """One HTTP answer, read whole and within bounds.

    Args:
        status: 100 to 599.
        headers: by lower-case name; of a repeated header the last one counts.
        body: as received, at most ``HttpCall.limit_bytes``.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    def __repr__(self) -> str:
        """Shows no header value and no body: the answer to a redeem holds the device's key."""
        return f"HttpReply({self.status}, headers=[{', '.join(self.headers)}], body={len(self.body)} bytes)"


class MqttCall(NamedTuple):
    """One message to publish with QoS 1.

    Args:
        topic: where to.
        payload: what.
        answer_topic: where the platform's own answer is awaited after the broker's acknowledgement, "" = it is not.
    """

    topic: str
    payload: bytes
    answer_topic: str = ""

    def __repr__(self) -> str:
        """Shows no payload."""
        return f"MqttCall({self.topic}, payload={len(self.payload)} bytes)"


class MqttReply(NamedTuple):
    """What came back for one ``MqttCall``.

    Args:
        reason_code: of the broker's acknowledgement: MQTT 5's, 0 for a plain PUBACK of 3.1.1.
        answer: the platform's own answer, None where none was asked for or none came within its time.
    """

    reason_code: int
    answer: bytes | None = None


class MqttMessage(NamedTuple):
    """What a platform said unasked.

    Args:
        topic: where it came.
        payload: what.
    """

    topic: str
    payload: bytes

    def __repr__(self) -> str:
        """Shows no payload."""
        return f"MqttMessage({self.topic}, payload={len(self.payload)} bytes)"


class Token(NamedTuple):
    """What a credential was traded for, good for a while: some platforms take beats over HTTP with it alone.

    Args:
        text: to be shown with each call.
        lasts_s: seconds from the answer on.
    """

    text: Secret
    lasts_s: float


class MqttLogin(NamedTuple):
    """How a session over MQTT begins; a dialect makes one for each connection (a password may be good for one only).

    Args:
        broker: where to.
        client_id: unique at the broker; the device's id.
        user_name: "" for a session that a client certificate alone opens.
        password: None as above.
        keep_alive_s: seconds of silence after which the broker gives the session up.
        listens_to: topic filters that are subscribed to at once.
        will: what the broker publishes when the session breaks, or None.
        protocol: 5, or 4 for MQTT 3.1.1 from the start.
        greets: published, in this order, as soon as the session stands.
        least_gap_s: seconds between two attempts to connect; a try before that fails without one, ``mqtt_too_soon``.
        answer_s: seconds that a platform's own answer is awaited.
        trust: how this broker is recognised, where that is not as the platform itself is.
    """

    broker: Broker
    client_id: str
    user_name: str
    password: Secret | None
    keep_alive_s: int
    listens_to: tuple[str, ...] = ()
    will: MqttCall | None = None
    protocol: int = 5
    greets: tuple[MqttCall, ...] = ()
    least_gap_s: float = 0.0
    answer_s: float = 5.0
    trust: Trust | None = None


# A dialect makes calls and reads replies of the transport its registration names.
Call = HttpCall | MqttCall
Reply = HttpReply | MqttReply
