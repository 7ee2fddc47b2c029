"""A broker that does what a script says: just enough MQTT 3.1.1 and 5, and WebSocket, to misbehave in every way."""

import base64
import hashlib
import queue
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.contract.http_transports.servers import PATIENCE_S, Peer, Script

CONNECT, CONNACK, PUBLISH, PUBACK = 0x10, 0x20, 0x30, 0x40
SUBSCRIBE, SUBACK, PINGREQ, PINGRESP, DISCONNECT = 0x80, 0x90, 0xC0, 0xD0, 0xE0
REASON_STRING, MAXIMUM_PACKET_SIZE = 31, 39
WEBSOCKET_SALT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass
class Login:
    """What a CONNECT said."""

    level: int
    flags: int
    keep_alive_s: int
    properties: bytes
    client_id: str
    will: tuple[str, bytes] | None
    user_name: str | None
    password: str | None


@dataclass
class Heard:
    """What devices said, as queues that a test can wait on."""

    logins: "queue.Queue[Login]" = field(default_factory=queue.Queue)
    messages: "queue.Queue[tuple[str, bytes]]" = field(default_factory=queue.Queue)
    filters: "queue.Queue[str]" = field(default_factory=queue.Queue)
    ends: "queue.Queue[str]" = field(default_factory=queue.Queue)
    pings: "queue.Queue[None]" = field(default_factory=queue.Queue)
    acknowledged: "queue.Queue[int]" = field(default_factory=queue.Queue)

    def message(self) -> tuple[str, bytes]:
        """The next published message."""
        return self.messages.get(timeout=PATIENCE_S)


class GoneError(OSError):
    """The device has closed the connection."""


class Talk:
    """One device's connection, in MQTT's terms."""

    def __init__(self, peer: Peer, heard: Heard) -> None:
        self.peer = peer
        self.heard = heard
        self.level = 4
        self.is_websocket = False
        self.granted: tuple[int, ...] = ()  # for the filters of a subscription; () = each of them
        self._raw = b""
        self._rest = b""

    # -- bytes ---------------------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Bytes to the device, in one write or one frame."""
        self.send_raw(frame(0x82, data) if self.is_websocket else data)

    def send_raw(self, data: bytes) -> None:
        """Bytes beneath the WebSocket."""
        self.peer.sock.sendall(data)

    def open_websocket(self) -> bytes:
        """Takes the device's request and opens the WebSocket; the request."""
        asked = self.peer.request()
        if not asked:
            raise GoneError
        found = re.search(rb"(?i)\r\nsec-websocket-key: (\S+)\r\n", asked)
        assert found
        accept = base64.b64encode(hashlib.sha1(found[1] + WEBSOCKET_SALT).digest())  # noqa: S324
        self.send_raw(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
        )
        self.is_websocket = True
        return asked

    def packet(self) -> tuple[int, bytes]:
        """The next packet: first byte and what comes after its length."""
        first = self._take(1)[0]
        size, shift = 0, 0
        while True:
            byte = self._take(1)[0]
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return first, self._take(size)

    def frame(self) -> tuple[int, bytes]:
        """The next frame of a WebSocket, which must be masked: first byte and content."""
        first, second = self._take_raw(2)
        assert second & 0x80, "a client masks its frames"
        size = second & 0x7F
        if size == 126:
            size = int(struct.unpack("!H", self._take_raw(2))[0])
        elif size == 127:
            size = int(struct.unpack("!Q", self._take_raw(8))[0])
        mask = self._take_raw(4)
        return first, bytes(byte ^ mask[at % 4] for at, byte in enumerate(self._take_raw(size)))

    def _take_raw(self, size: int) -> bytes:
        while len(self._raw) < size:
            data = self.peer.sock.recv(65_536)
            if not data:
                raise GoneError
            self.peer.server.heard.append(data)
            self._raw += data
        taken, self._raw = self._raw[:size], self._raw[size:]
        return taken

    def _take(self, size: int) -> bytes:
        if not self.is_websocket:
            return self._take_raw(size)
        while len(self._rest) < size:
            kind, content = self.frame()
            if kind & 0x0F == 8:
                raise GoneError
            self._rest += content
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    # -- packets -------------------------------------------------------------------------------------------------------

    def login(self) -> Login:
        """Reads the CONNECT."""
        first, body = self.packet()
        assert first == CONNECT
        login = parsed(body)
        self.level = login.level
        self.heard.logins.put(login)
        return login

    def connack(self, code: int = 0, properties: bytes = b"") -> None:
        """Answers the CONNECT."""
        self.send(packet(CONNACK, bytes((0, code)) + self._properties(properties)))

    def publish(self, topic: str, payload: bytes, first: int = PUBLISH | 2, number: int = 77) -> None:
        """A message to the device, QoS 1 unless ``first`` says otherwise."""
        numbered = struct.pack("!H", number) if first & 0x06 else b""
        self.send(packet(first, text(topic) + numbered + self._properties() + payload))

    def disconnect(self, code: int, reason: str = "") -> None:
        """DISCONNECT of MQTT 5."""
        self.send(packet(DISCONNECT, bytes((code,)) + self._properties(reason_string(reason))))

    def puback(self, number: bytes, code: int = 0, reason: str = "") -> None:
        """Acknowledges a message."""
        tail = bytes((code,)) + self._properties(reason_string(reason)) if code and self.level == 5 else b""
        self.send(packet(PUBACK, number + tail))

    def suback(self, number: bytes, *codes: int) -> None:
        """Acknowledges a subscription: a code for each filter."""
        self.send(packet(SUBACK, number + self._properties() + bytes(codes or (1,))))

    def next_message(self) -> tuple[str, bytes, bytes]:
        """Serves the device until it publishes: topic, payload and the packet's number, not acknowledged yet."""
        while True:
            first, body = self.packet()
            if first & 0xF0 == PUBLISH:
                size = int(struct.unpack("!H", body[:2])[0])
                topic, number = body[2 : 2 + size].decode(), body[2 + size : 4 + size]
                payload = body[4 + size + (self.level == 5) :]
                self.heard.messages.put((topic, payload))
                return topic, payload, number
            self._serve(first, body)

    def behave(self) -> None:
        """As a broker should, until the device leaves."""
        while True:
            self.puback(self.next_message()[2])

    def _serve(self, first: int, body: bytes) -> None:
        kind = first & 0xF0
        if kind == SUBSCRIBE:
            at, count = 2 + (self.level == 5), 0
            while at < len(body):
                size = int(struct.unpack("!H", body[at : at + 2])[0])
                self.heard.filters.put(body[at + 2 : at + 2 + size].decode())
                at += 3 + size  # the QoS behind it
                count += 1
            self.suback(body[:2], *self.granted[:count] or (1,) * count)
        elif kind == PINGREQ:
            self.heard.pings.put(None)
            self.send(packet(PINGRESP, b""))
        elif kind == PUBACK:
            self.heard.acknowledged.put(int(struct.unpack("!H", body[:2])[0]))
        else:
            assert kind == DISCONNECT, f"{first:#x} is no packet of a device"
            self.heard.ends.put("disconnect")
            raise GoneError

    def _properties(self, properties: bytes = b"") -> bytes:
        return bytes((len(properties),)) + properties if self.level == 5 else b""


TalkScript = Callable[[Talk], None]


def playing(script: TalkScript, heard: Heard, *, websocket: bool = False) -> Script:
    """A script in MQTT's terms as one of a plain server's."""

    def play(peer: Peer) -> None:
        talk = Talk(peer, heard)
        if websocket:
            talk.open_websocket()
        script(talk)

    return play


def good(talk: Talk) -> None:
    """A broker as it should be."""
    talk.login()
    talk.connack()
    talk.behave()


def parsed(body: bytes) -> Login:
    """The inside of a CONNECT."""
    assert body[:6] == text("MQTT")
    level, flags, keep_alive_s = struct.unpack("!BBH", body[6:10])
    rest = body[10:]

    def prefixed() -> bytes:
        nonlocal rest
        size = int(struct.unpack("!H", rest[:2])[0])
        found, rest = rest[2 : 2 + size], rest[2 + size :]
        return found

    def properties() -> bytes:
        nonlocal rest
        found, rest = rest[1 : 1 + rest[0]], rest[1 + rest[0] :]
        return found

    told = properties() if level == 5 else b""
    client_id = prefixed().decode()
    will = None
    if flags & 0x04:
        if level == 5:
            properties()
        will = (prefixed().decode(), prefixed())
    user_name = prefixed().decode() if flags & 0x80 else None
    password = prefixed().decode() if flags & 0x40 else None
    assert not rest
    return Login(level, flags, keep_alive_s, told, client_id, will, user_name, password)


def packet(first: int, body: bytes) -> bytes:
    """A whole packet."""
    size, length = len(body), b""
    while True:
        size, byte = size >> 7, size & 0x7F
        length += bytes((byte | (0x80 if size else 0),))
        if not size:
            return bytes((first,)) + length + body


def text(value: str) -> bytes:
    """A string as MQTT writes it."""
    return struct.pack("!H", len(value)) + value.encode()


def reason_string(reason: str) -> bytes:
    """The property by which a broker explains itself."""
    return bytes((REASON_STRING,)) + text(reason) if reason else b""


def frame(first: int, content: bytes) -> bytes:
    """A frame of a WebSocket as servers send it."""
    size = len(content)
    if size < 126:
        return bytes((first, size)) + content
    if size < 65_536:
        return bytes((first, 126)) + struct.pack("!H", size) + content
    return bytes((first, 127)) + struct.pack("!Q", size) + content
