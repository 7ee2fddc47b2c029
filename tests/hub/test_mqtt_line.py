"""The hub's own end of an MQTT connection: packets cut out of what came, whole or in pieces, and junk."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest

from firstlight.core.model import Secret, parse_broker
from firstlight_hub.mqtt.door import Door, Line

CONNACK = bytes.fromhex("2003000000")
LARGE = b"x" * 20_000

Taken = list[tuple[str, bytes, int]]


def publish(topic: bytes, body: bytes, number: int = 0, properties: bytes = b"") -> bytes:
    """A PUBLISH of MQTT 5; QoS 1 with a number, else QoS 0."""
    content = len(topic).to_bytes(2, "big") + topic + (number.to_bytes(2, "big") if number else b"")
    content += bytes([len(properties)]) + properties + body
    size, head = len(content), bytearray([0x32 if number else 0x30])
    while True:
        size, low = divmod(size, 128)
        head.append(low | (128 if size else 0))
        if not size:
            return bytes(head) + content


class Wire:
    """A line that is connected to a broker which says what the test wants."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            broker = parse_broker(f"mqtt://127.0.0.1:{listening.getsockname()[1]}")
            door = Door("hub.user", Secret("x" * 20), broker=broker)
            self.line: Line = door.line("hub.user")
            door.connect(self.line, keepalive_s=60, expiry_s=60, receive=100)
            self.broker, _ = listening.accept()
        self.broker.settimeout(10)
        assert self.broker.recv(4096)[:1] == b"\x10"
        self.broker.sendall(CONNACK)
        while not self.line.is_connected():
            assert self.line.loop(10) == 0
        self.taken: Taken = []
        self.line.gather(lambda *one: self.taken.append(one))

    def hears(self, sent: bytes) -> None:
        """Sends something and has the line read it."""
        self.broker.sendall(sent)
        connected = self.line.socket()
        assert connected is not None
        assert select.select([connected], [], [], 10)[0]
        while self.line.read():
            pass

    def close(self) -> None:
        """Ends both sides."""
        self.broker.close()
        if (connected := self.line.socket()) is not None:
            connected.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A connected line."""
    made = Wire()
    yield made
    made.close()


@pytest.mark.parametrize("piece", [1, 2, 7, 1000, 1_000_000])
def test_packets_in_pieces_of_any_size(wire: Wire, piece: int) -> None:
    """Messages with and without number and properties, among other packets, come out whole and in order."""
    alias = b"\x26\x00\x01a\x00\x01b"  # a user property
    sent = publish(b"a/b", b"one", 7) + b"\xd0\x00" + publish(b"c", b"", 0) + publish(b"d", b"two", 65_535, alias)
    sent += publish(b"e", LARGE if piece > 2 else LARGE[:300], 9)
    for at in range(0, len(sent), piece):
        wire.hears(sent[at : at + piece])
    body = LARGE if piece > 2 else LARGE[:300]
    assert wire.taken == [("a/b", b"one", 7), ("c", b"", 0), ("d", b"two", 65_535), ("e", body, 9)]


def test_acknowledgements_go_out_together(wire: Wire) -> None:
    """Nothing is sent before ``flush``, and then a PUBACK for each number."""
    wire.line.acknowledge([1, 258])
    assert not select.select([wire.broker], [], [], 0)[0]
    assert not wire.line.flush()
    assert wire.broker.recv(100) == bytes.fromhex("4002000140020102")


def test_a_topic_that_is_no_text_is_still_a_message(wire: Wire) -> None:
    """It is handed on, so that it can be acknowledged; nobody is called so."""
    wire.hears(publish(b"\xff\xfe", b"x", 3))
    assert wire.taken == [("\ufffd\ufffd", b"x", 3)]


@pytest.mark.parametrize(
    "junk",
    [
        b"\x30\xff\xff\xff\xff\xff",  # a length that never ends
        b"\x32\x03\x00\xff\x00",  # a topic longer than its packet
        b"\x30\x04\x00\x01a\x7f" + b"\x00\x00",  # properties longer than their packet
        b"\xf0\x00",  # AUTH, which nobody asked for
    ],
)
def test_junk_ends_the_connection(wire: Wire, junk: bytes) -> None:
    """What is no MQTT raises; nothing of it is handed on."""
    with pytest.raises((OSError, IndexError)):
        wire.hears(junk)
    assert wire.taken == []


def test_the_end_of_the_connection_is_an_error(wire: Wire) -> None:
    """A broker that goes."""
    wire.broker.shutdown(socket.SHUT_WR)
    connected = wire.line.socket()
    assert connected is not None
    assert select.select([connected], [], [], 10)[0]
    with pytest.raises(OSError, match="closed"):
        wire.line.read()
