"""paho's client on a connection of ours: it encodes and decodes, and waits for nothing.

It gets a connection that stands, writes at once and reads whole packets that are there already; it starts no thread,
connects to nothing, and never connects again by itself.
"""

from __future__ import annotations

from time import monotonic

from firstlight.transports.lean_paho import (
    CallbackAPIVersion,
    MQTTProtocolVersion,
    PacketTypes,
    Properties,
    client,
)
from firstlight.transports.mqtt_packets import MAX_PACKET_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.transports.connect import Connection
    from firstlight.transports.mqtt_packets import Packets
    from firstlight.transports.websocket import WebSocket

MQTT_5 = 5
MQTT_3_1_1 = 4
PINGREQ = b"\xc0\x00"


class Client(client.Client):
    """paho on a connection that stands already."""

    def __init__(self, sock: BrokerSocket, client_id: str, protocol: int) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if protocol == MQTT_5 else True,
            protocol=MQTTProtocolVersion.MQTTv5 if protocol == MQTT_5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        self._ready = sock

    def begin(self, keep_alive_s: int) -> None:
        """Sends the CONNECT. The session is always a new one, and ends with the connection."""
        # The name is not used: the connection stands.
        if self.protocol != MQTT_5:
            self.connect("broker", keepalive=keep_alive_s)
            return
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.MaximumPacketSize = MAX_PACKET_BYTES
        self.connect("broker", keepalive=keep_alive_s, clean_start=True, properties=properties)

    def _create_socket(self) -> BrokerSocket:
        return self._ready


class BrokerSocket:
    """What paho takes for its socket: whole packets come in, and what goes out has gone when ``send`` returns."""

    __slots__ = ("_line", "_packets", "sent_at_s")

    def __init__(self, line: Connection | WebSocket, packets: Packets) -> None:
        self._line = line
        self._packets = packets
        self.sent_at_s = monotonic()  # what the keep-alive counts from

    def recv(self, buffer_size: int) -> bytes:
        """Bytes of whole packets."""
        return self._packets.take(buffer_size)

    def send(self, buffer: bytes | bytearray) -> int:
        """Sends all of it."""
        self._line.write(bytes(buffer))
        self.sent_at_s = monotonic()
        return len(buffer)

    def close(self) -> None:
        """Nothing: the link closes what it was given."""

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._line.fileno()

    def setblocking(self, flag: bool) -> None:
        """Nothing: paho never waits on this."""
