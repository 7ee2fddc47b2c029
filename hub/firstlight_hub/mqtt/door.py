"""How the hub itself comes to a broker: one place for the address, the password and the trust."""

from __future__ import annotations

import contextlib
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from firstlight.core.model import Broker, Secret
from firstlight.errors import UnreachableError
from firstlight_hub.mqtt.files import SOCKET

CONNECT_S = 10
AT_ONCE_BYTES = 65_536
PUBLISH = 3

Take = Callable[[str, bytes, int], None]  # topic, body, and the message's number, 0 = not to be acknowledged


class Door(NamedTuple):
    """Where the broker is, and as whom the hub comes.

    Args:
        user: the hub's user name there.
        password: its password.
        folder: with the socket of the hub's child, or None.
        broker: the address of another broker, or None.
        tls: what to trust there, or None where the way stays on this machine.
    """

    user: str
    password: Secret
    folder: Path | None = None
    broker: Broker | None = None
    tls: ssl.SSLContext | None = None

    def line(self, client_id: str) -> Line:
        """A client that is not connected yet."""
        line = Line(client_id, "unix" if self.folder else "tcp")
        line.username_pw_set(self.user, self.password.reveal())
        line.connect_timeout = CONNECT_S
        if self.tls is not None:
            line.tls_set_context(self.tls)
        return line

    def connect(self, line: Line, *, keepalive_s: int, expiry_s: int = 0, receive: int = 20) -> None:
        """Sends the CONNECT of a client; blocks for a name look-up and a handshake.

        Args:
            line: from ``line``.
            keepalive_s: after how long a silent way counts as lost.
            expiry_s: for how long the broker keeps what comes for this client, 0 = not at all.
            receive: how many messages may be on their way without an acknowledgement.

        Raises:
            OSError: nobody there, or a handshake that failed.
        """
        wanted = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        wanted.SessionExpiryInterval = expiry_s
        wanted.ReceiveMaximum = receive
        with self._address() as (host, port):
            line.connect(host, port, keepalive_s, clean_start=expiry_s == 0, properties=wanted)

    @contextlib.contextmanager
    def _address(self) -> Iterator[tuple[str, int]]:
        if self.broker is not None:
            yield self.broker.host.strip("[]"), self.broker.port
        else:  # a socket's path may have 107 characters only, and the hub's folder may be deep: go by its descriptor
            held = os.open(self.folder or ".", os.O_PATH | os.O_DIRECTORY)
            try:
                yield f"/proc/self/fd/{held}/{SOCKET}", 1
            finally:
                os.close(held)

    def visit(self, client_id: str, user: str = "", password: str = "") -> bool:
        """Connects, waits for the answer and goes: whoever was connected with that client id is thrown out.

        Args:
            client_id: also a device's; what waited for it is dropped.
            user: instead of the hub's own.
            password: likewise.

        Returns:
            whether the broker let us in.

        Raises:
            UnreachableError: ``broker_unreachable``.
        """
        line = self.line(client_id)
        if user:
            line.username_pw_set(user, password)
        answered = threading.Event()
        line.on_connect = lambda *_: answered.set()
        try:
            self.connect(line, keepalive_s=CONNECT_S)
            ends_s = time.monotonic() + CONNECT_S
            while not answered.is_set():
                if line.loop(1) != mqtt.MQTT_ERR_SUCCESS:
                    return False
                if time.monotonic() > ends_s:
                    raise OSError("it does not answer")
            is_in = line.is_connected()
            line.disconnect()
        except OSError as error:
            raise UnreachableError("broker_unreachable", f"The broker cannot be reached: {error}.") from None
        return is_in


class Line(mqtt.Client):
    """paho for MQTT 5, which from ``gather`` on reads and writes in large pieces and takes messages by itself.

    As it comes, paho asks the kernel three times for one message, makes some hundred objects of it and sends each
    acknowledgement alone: that costs several times what decoding and storing a beat do (measured). So packets are cut
    out here; a PUBLISH goes straight to ``take``, every other one to paho. Lives in one thread.
    """

    def __init__(self, client_id: str, transport: str) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=mqtt.MQTTv5,
            transport=transport,  # type: ignore[arg-type]  # one of its literals
            reconnect_on_failure=False,
            manual_ack=True,
        )
        self.max_inflight_messages_set(0)
        self._take: Take | None = None
        self._came = b""
        self._at = self._end = 0  # what paho may read of it
        self._held = bytearray()

    def gather(self, take: Take) -> None:
        """From now on messages go to ``take``, and what is written waits for ``flush``."""
        self._take = take

    def read(self) -> bool:
        """Handles what came; True when there may be more. A connection that is lost is told by ``on_disconnect``.

        Raises:
            OSError: it is lost, or what came is no MQTT.
        """
        try:
            piece = super()._sock_recv(AT_ONCE_BYTES)
        except BlockingIOError:
            return False
        if not piece:
            raise OSError("the broker closed the connection")
        came = self._came = self._came + piece if self._came else piece
        at = 0
        while at < len(came):
            begin, end = _packet(came, at)
            if end > len(came):
                break
            if came[at] >> 4 == PUBLISH and self._take is not None:
                self._publish(came, at, begin, end)
            else:
                self._at, self._end = at, end
                if self.loop_read() != mqtt.MQTT_ERR_SUCCESS:
                    raise OSError("the connection ended")
            at = end
        self._came = came[at:]
        return True

    def _publish(self, came: bytes, at: int, begin: int, end: int) -> None:
        """MQTT 5, 3.3: the topic, with QoS 1 the message's number, properties (of no interest here), the body."""
        topic_end = begin + 2 + int.from_bytes(came[begin : begin + 2], "big")
        number_end = topic_end + 2 if came[at] & 0x06 else topic_end
        size, body = _variable(came, number_end)
        if self._take is None or body + size > end:
            raise OSError("what came is no MQTT")
        topic = came[begin + 2 : topic_end].decode("utf-8", "replace")
        self._take(topic, came[body + size : end], int.from_bytes(came[topic_end:number_end], "big"))

    def acknowledge(self, numbers: list[int]) -> None:
        """Acknowledges messages of QoS 1 (MQTT 5, 3.4: without a reason code it is Success)."""
        self._held += b"".join([b"\x40\x02" + number.to_bytes(2, "big") for number in numbers])

    def flush(self) -> bool:
        """Sends what was written; True while something is left. Raises OSError."""
        self.loop_write()
        connected = self.socket()
        if not self._held or connected is None:
            return False
        try:
            del self._held[: connected.send(self._held)]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return True
        return bool(self._held)

    def close(self) -> None:
        """Sends what was written and says goodbye; the broker keeps what comes for this client as agreed."""
        self.flush()
        self._take = None
        self.disconnect()

    def _sock_recv(self, bufsize: int) -> bytes:
        if self._take is None:
            return super()._sock_recv(bufsize)
        if self._at >= self._end:
            raise BlockingIOError
        piece = self._came[self._at : min(self._at + bufsize, self._end)]
        self._at += len(piece)
        return piece

    def _sock_send(self, buf: bytes | bytearray) -> int:
        if self._take is None:
            return super()._sock_send(buf)
        self._held += buf
        return len(buf)


def _packet(came: bytes, at: int) -> tuple[int, int]:
    """Where the content of the packet that begins at ``at`` begins and ends; past the end where it is not all there."""
    if at + 1 >= len(came):
        return at, len(came) + 1
    if came[at + 1] < 128:
        return at + 2, at + 2 + came[at + 1]
    try:
        size, begin = _variable(came, at + 1)
    except IndexError:
        return at, len(came) + 1
    return begin, begin + size


def _variable(came: bytes, at: int) -> tuple[int, int]:
    """A variable byte integer (MQTT 5, 1.5.5), and where it ends. Raises IndexError; OSError for what is none."""
    value = 0
    for shift in (0, 7, 14, 21):
        one = came[at]
        at += 1
        value |= (one & 127) << shift
        if one < 128:
            return value, at
    raise OSError("what came is no MQTT")


def trust(ca_pem: str) -> ssl.SSLContext:
    """A client's context that trusts these CAs and checks the broker's name."""
    context = ssl.create_default_context(cadata=ca_pem)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
