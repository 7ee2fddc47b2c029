"""MQTT 3.1.1 on the wire, as a server reads and writes it: pure, and bounded before anything is parsed."""

import struct
from typing import NamedTuple

CONNECT, CONNACK, PUBLISH, PUBACK = 1, 2, 3, 4
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK = 8, 9, 10, 11
PINGREQ, PINGRESP, DISCONNECT = 12, 13, 14
MAX_CONNECT_BYTES = 16_384
MAX_TOPIC_BYTES = 1024


class BrokenError(ValueError):
    """What came is not MQTT 3.1.1, or more than is taken."""


class Will(NamedTuple):
    """What a client wants to be published when its link breaks."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


class Hello(NamedTuple):
    """What a client said to begin.

    Args:
        client_id: as sent.
        user: None = none was sent.
        password: the text, None = none was sent.
        keepalive_s: 0 = none.
        will: None = none.
        certificate: DER of the certificate that the client has shown and proved, None = none.
        is_secure: whether the link is TLS.
        is_clean: whether old subscriptions are to be forgotten.
        level: of the protocol: 4 is 3.1.1, 5 is 5.
    """

    client_id: str
    user: str | None
    password: str | None
    keepalive_s: int
    will: Will | None
    certificate: bytes | None = None
    is_secure: bool = False
    is_clean: bool = True
    level: int = 4

    def __repr__(self) -> str:
        """Shows no password."""
        return f"Hello({self.client_id!r}, {self.user!r}, keepalive_s={self.keepalive_s}, is_secure={self.is_secure})"


class Message(NamedTuple):
    """What a client published."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    is_again: bool = False
    number: int = 0


class Reader:
    """Takes the fields of one packet off, one by one."""

    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0

    def take(self, size: int) -> bytes:
        """So many bytes.

        Raises:
            BrokenError: there are not so many.
        """
        found = self._body[self._at : self._at + size]
        if len(found) != size:
            raise BrokenError("the packet ends too early")
        self._at += size
        return found

    def number(self, size: int = 2) -> int:
        """An unsigned number."""
        return int.from_bytes(self.take(size), "big")

    def prefixed(self) -> bytes:
        """Bytes with their length before them."""
        return self.take(self.number())

    def text(self) -> str:
        """The same as UTF-8 without NUL."""
        try:
            found = self.prefixed().decode()
        except UnicodeDecodeError:
            raise BrokenError("a text is not UTF-8") from None
        if "\0" in found:
            raise BrokenError("a text has a NUL")
        return found

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._body) - self._at)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left."""
        return self._at == len(self._body)


def read_hello(body: bytes) -> Hello:
    """The inside of a CONNECT; of another level than 3.1.1 only that level is read.

    Raises:
        BrokenError: it is none.
    """
    reader = Reader(body)
    if reader.text() not in ("MQTT", "MQIsdp"):
        raise BrokenError("not MQTT")
    level = reader.number(1)
    if level != 4:
        return Hello("", None, None, 0, None, level=level)
    flags = reader.number(1)
    keepalive_s = reader.number()
    if flags & 0x01 or (flags & 0x40 and not flags & 0x80):
        raise BrokenError("the flags of a CONNECT contradict each other")
    client_id = reader.text()
    will = None
    if flags & 0x04:
        will = Will(reader.text(), reader.prefixed(), flags >> 3 & 3, bool(flags & 0x20))
    user = reader.text() if flags & 0x80 else None
    password = reader.text() if flags & 0x40 else None
    if not reader.is_done:
        raise BrokenError("something follows the CONNECT")
    return Hello(client_id, user, password, keepalive_s, will, is_clean=bool(flags & 0x02))


def read_message(flags: int, body: bytes) -> Message:
    """The inside of a PUBLISH.

    Raises:
        BrokenError: it is none, or its topic is longer than ``MAX_TOPIC_BYTES`` or has wildcards.
    """
    reader = Reader(body)
    topic = reader.text()
    qos = flags >> 1 & 3
    if not topic or len(topic.encode()) > MAX_TOPIC_BYTES or "+" in topic or "#" in topic or qos == 3:
        raise BrokenError("not a topic to publish on")
    number = reader.number() if qos else 0
    return Message(topic, reader.rest(), qos, bool(flags & 1), bool(flags & 8), number)


def read_filters(body: bytes, *, with_qos: bool) -> tuple[bytes, list[tuple[str, int]]]:
    """The inside of a SUBSCRIBE or UNSUBSCRIBE: the packet's number, and each topic filter with its QoS.

    Raises:
        BrokenError: it is none.
    """
    reader = Reader(body)
    number = reader.take(2)
    found: list[tuple[str, int]] = []
    while not reader.is_done:
        topic_filter = reader.text()
        if not topic_filter or len(topic_filter) > MAX_TOPIC_BYTES or len(found) >= 100:
            raise BrokenError("not a topic filter")
        found.append((topic_filter, reader.number(1) & 3 if with_qos else 0))
    if not found:
        raise BrokenError("no topic filter")
    return number, found


def packet(kind: int, body: bytes, flags: int = 0) -> bytes:
    """A whole packet."""
    size, length = len(body), b""
    while True:
        size, byte = size >> 7, size & 0x7F
        length += bytes((byte | (0x80 if size else 0),))
        if not size:
            return bytes((kind << 4 | flags,)) + length + body


def text(value: str) -> bytes:
    """A string as MQTT writes it."""
    raw = value.encode()
    return struct.pack("!H", len(raw)) + raw


def message(topic: str, payload: bytes, qos: int, number: int) -> bytes:
    """A PUBLISH to a client."""
    return packet(PUBLISH, text(topic) + (struct.pack("!H", number) if qos else b"") + payload, qos << 1)


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a topic is one of a filter's (MQTT 3.1.1, 4.7); one that begins with $ only where the filter says so."""
    if topic.startswith("$") and topic_filter[:1] in ("+", "#"):
        return False
    wanted, found = topic_filter.split("/"), topic.split("/")
    for at, level in enumerate(wanted):
        if level == "#":
            return True
        if at >= len(found) or level not in ("+", found[at]):
            return False
    return len(wanted) == len(found)
