"""A WebSocket as a client (RFC 6455): bytes in, bytes out, for MQTT (its version 5, 6.0).

Written here because paho's own reads a byte at a time, believes any length and sends some frames unmasked. Small,
because MQTT asks for little: where one frame ends and the next begins says nothing, so what frames carry is one stream.
"""

from __future__ import annotations

import binascii
import os
import re

from firstlight.errors import UnreachableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.core.model import Broker
    from firstlight.transports.connect import Connection

CONTINUATION, BINARY, CLOSE, PING, PONG = 0x0, 0x2, 0x8, 0x9, 0xA
FINAL, MASKED, RESERVED = 0x80, 0x80, 0x70
MAX_CONTROL_BYTES = 125
CLOSE_CODE_BYTES = 2
MAX_FRAME_BYTES = 131_072
MAX_HEAD_BYTES = 16_384
READ_BYTES = 8192
ACCEPT_SALT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
STATUS_LINE = re.compile(rb"HTTP/1\.1 ([0-9]{3})(?: |\r)")
HEADER = re.compile(rb"\r\n([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n]*)")


class WebSocket:
    """A connection inside another one; reads and writes like the one it is in.

    Args:
        connection: to the server, TLS included, over which nothing was said yet.
        broker: for the request's address.

    Raises:
        UnreachableError: ``websocket_failed``, and those of the connection.
    """

    __slots__ = ("_connection", "_rest", "farewell", "peer")

    def __init__(self, connection: Connection, broker: Broker) -> None:
        self._connection = connection
        self._rest = bytearray()
        self.peer = connection.peer
        # What the server said when it closed, in its own words.
        self.farewell = ""
        self._shake_hands(broker)

    def read(self, size: int) -> bytes:
        """Some of what the server sent; none at its end. ``size`` is a hint. Raises as ``Connection.read``."""
        while True:
            found = self._buffered()
            if found is not None:
                return found
            data = self._connection.read(size)
            if not data:
                return b""
            self._rest += data

    def read_now(self, size: int) -> bytes | None:
        """What has come already; none at the end, None when nothing has. Raises as ``Connection.read_now``."""
        while True:
            found = self._buffered()
            if found is not None:
                return found
            data = self._connection.read_now(size)
            if not data:
                return data
            self._rest += data

    def write(self, data: bytes) -> None:
        """Sends all of ``data`` in one frame. Raises as ``Connection.write``."""
        self._send(BINARY, data)

    def fileno(self) -> int:
        """The descriptor of the socket beneath."""
        return self._connection.fileno()

    def close(self) -> None:
        """Closes at once; MQTT has said its farewell already, where there was one."""
        self._connection.close()

    def _shake_hands(self, broker: Broker) -> None:
        key = binascii.b2a_base64(os.urandom(16), newline=False)
        lines = [
            f"GET {broker.path or '/'} HTTP/1.1",
            f"Host: {broker.url.partition('://')[2].partition('/')[0]}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key.decode('ascii')}",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: mqtt",
        ]
        self._connection.write("\r\n".join([*lines, "", ""]).encode("ascii"))
        head = self._head()
        found = STATUS_LINE.match(head)
        if not found:
            raise self._failed("did not answer in HTTP")
        if found[1] != b"101":
            raise self._failed(f"answered {int(found[1])} instead of opening a WebSocket")
        headers = {name.lower(): value.strip() for name, value in HEADER.findall(head)}
        if headers.get(b"upgrade", b"").lower() != b"websocket" or headers.get(b"sec-websocket-accept") != _accept(key):
            raise self._failed("did not open a WebSocket, although it says so")
        if headers.get(b"sec-websocket-protocol") != b"mqtt":
            raise self._failed("speaks no MQTT in its WebSocket")

    def _head(self) -> bytes:
        """The head of the answer; what comes after it stays for the frames."""
        while (end := self._rest.find(b"\r\n\r\n")) < 0:
            if len(self._rest) > MAX_HEAD_BYTES:
                raise self._failed("gave an answer without an end")
            try:
                data = self._connection.read(READ_BYTES)
            except UnreachableError as error:
                if error.code == "reply_timeout":
                    raise self._failed("did not answer in time") from None
                raise
            if not data:
                raise self._failed("closed the connection instead of opening a WebSocket")
            self._rest += data
        head = bytes(self._rest[: end + 2])
        del self._rest[: end + 4]
        return head

    def _buffered(self) -> bytes | None:
        """What the next whole frame with content carries; none for a farewell, None while there is no such frame."""
        while frame := self._frame():
            kind, payload = frame
            if kind == CLOSE:
                said = payload[CLOSE_CODE_BYTES:].decode("utf-8", "replace")
                self.farewell = "".join(letter if letter.isprintable() else "?" for letter in said)
                return b""
            if kind == PING:
                self._send(PONG, payload)
            elif kind in (BINARY, CONTINUATION):
                if payload:
                    return payload
            elif kind != PONG:
                raise self._failed("sent a frame that MQTT does not use")
        return None

    def _frame(self) -> tuple[int, bytes] | None:
        """Takes the next whole frame out of what has come: its kind and content."""
        rest = self._rest
        if len(rest) < 2:
            return None
        kind, size, start = rest[0] & 0x0F, rest[1] & 0x7F, 2
        if rest[0] & RESERVED or rest[1] & MASKED or (kind >= CLOSE and (size > MAX_CONTROL_BYTES or rest[0] < FINAL)):
            raise self._failed("sent something that is not a WebSocket's")
        if size > MAX_CONTROL_BYTES:
            start = 4 if size == 126 else 10
            if len(rest) < start:
                return None
            size = int.from_bytes(rest[2:start], "big")
        if size > MAX_FRAME_BYTES:
            raise self._failed("sent a frame that is too large")
        if len(rest) < start + size:
            return None
        payload = bytes(rest[start : start + size])
        del rest[: start + size]
        return kind, payload

    def _send(self, kind: int, payload: bytes) -> None:
        size = len(payload)
        if size <= MAX_CONTROL_BYTES:
            head = bytes((FINAL | kind, MASKED | size))
        elif size < 65_536:
            head = bytes((FINAL | kind, MASKED | 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((FINAL | kind, MASKED | 127)) + size.to_bytes(8, "big")
        mask = os.urandom(4)
        # As one number: byte by byte would be a loop of Python's for each.
        key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
        self._connection.write(head + mask + (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big"))

    def _failed(self, said: str) -> UnreachableError:
        return UnreachableError("websocket_failed", f"{self.peer} {said}.")


def _accept(key: bytes) -> bytes:
    """What a server that understood the request answers (RFC 6455, 4.2.2)."""
    import hashlib

    digest = hashlib.sha1(key + ACCEPT_SALT, usedforsecurity=False).digest()
    return binascii.b2a_base64(digest, newline=False)
