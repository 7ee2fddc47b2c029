"""What a broker sends, cut into whole packets and judged by its first bytes before paho sees it (MQTT 5, 2.1).

paho believes any length up to 256 MB, reads a byte at a time, and keeps messages of QoS 2 that nobody has asked for. It
gets whole packets from here, each of a kind that a client may get and no larger than was agreed.
"""

from __future__ import annotations

from firstlight.errors import UnreachableError

MAX_PACKET_BYTES = 65_536
MAX_LENGTH_BYTES = 4
CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP, DISCONNECT = 0x20, 0x30, 0x40, 0x90, 0xD0, 0xE0
EXPECTED = frozenset({PUBACK, SUBACK, PINGRESP})
QOS_2 = 0x04
# Stands for the code of a CONNACK without one: MQTT 5, 2.4, "Malformed Packet".
MALFORMED = 0x81


class Packets:
    """Takes bytes in and gives whole packets out.

    Args:
        peer: host and port, as messages name it.
        protocol: 4 for MQTT 3.1.1, 5 for MQTT 5.
    """

    __slots__ = ("_has_disconnect", "_peer", "_ready", "_rest", "connack")

    def __init__(self, peer: str, protocol: int) -> None:
        self._peer = peer
        self._has_disconnect = protocol >= 5
        self._rest = bytearray()
        self._ready = bytearray()
        # The code of the CONNACK, once there is one: paho does not tell all of them.
        self.connack: int | None = None

    def feed(self, data: bytes) -> None:
        """Adds what has come."""
        self._rest += data

    def release(self) -> bool:
        """Lets the next whole packet be taken; False when there is none yet.

        Raises:
            UnreachableError: ``mqtt_malformed``, ``reply_too_large``.
        """
        size = self._next()
        if size and self._rest[0] & 0xF0 == CONNACK:
            self.connack = self._rest[3] if size > 3 else MALFORMED
        self._ready += self._rest[:size]
        del self._rest[:size]
        return size > 0

    def take(self, size: int) -> bytes:
        """Up to ``size`` bytes of the packets that were released.

        Raises:
            BlockingIOError: there is none; what paho takes as "not yet".
        """
        if not self._ready:
            raise BlockingIOError
        taken = bytes(self._ready[:size])
        del self._ready[:size]
        return taken

    def _next(self) -> int:
        """Size of the packet that ``_rest`` begins with, 0 while it is not whole."""
        rest = self._rest
        if rest and not self._may_come(rest[0]):
            raise UnreachableError("mqtt_malformed", f"{self._peer} did not answer in MQTT.")
        size = 0
        for position, byte in enumerate(rest[1 : 1 + MAX_LENGTH_BYTES]):
            size |= (byte & 0x7F) << 7 * position
            if byte < 0x80:
                whole = 2 + position + size
                if whole > MAX_PACKET_BYTES:
                    raise UnreachableError("reply_too_large", f"{self._peer} sends a message of {size} bytes.")
                return whole if len(rest) >= whole else 0
        if len(rest) > MAX_LENGTH_BYTES:
            raise UnreachableError("mqtt_malformed", f"{self._peer} did not answer in MQTT.")
        return 0

    def _may_come(self, first: int) -> bool:
        """Whether a packet may begin so: first the CONNACK and nothing else, then what a publisher gets."""
        if self.connack is None:
            return first == CONNACK
        if first & 0xF0 == PUBLISH:
            return not first & QOS_2
        return first in EXPECTED or (first == DISCONNECT and self._has_disconnect)
