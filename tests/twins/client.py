"""A client of MQTT 3.1.1 on a bare socket: it says what a test wants said, and hears what really came."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import tempfile
from pathlib import Path
from typing import Any

from tests.twins.kit import packets
from tests.twins.kit.tls import Identity

PATIENCE_S = 20.0


class Client:
    """One link, closed by ``close`` or as a context manager.

    Args:
        url: mqtt:// or mqtts:// on loopback.
        ca_pem: what the server must be signed by.
        identity: what is shown, None = nothing.
    """

    def __init__(self, url: str, ca_pem: str = "", identity: Identity | None = None) -> None:
        raw = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), PATIENCE_S)
        self.socket: socket.socket = raw
        if url.startswith("mqtts"):
            context = ssl.create_default_context(cadata=ca_pem)
            if identity is not None:
                load(context, identity)
            self.socket = context.wrap_socket(raw, server_hostname="localhost")
        self._said: list[tuple[str, bytes]] = []

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Without a DISCONNECT."""
        self.socket.close()

    def connect(
        self,
        client_id: str,
        user: str | None,
        password: str | None = None,
        keep_s: int = 60,
        *,
        will: bool = False,
    ) -> int:
        """Begins; the CONNACK code, -1 where the link ended instead."""
        flags = 0x02 | (0x80 if user is not None else 0) | (0x40 if password is not None else 0) | (0x04 if will else 0)
        body = packets.text("MQTT") + struct.pack("!BBH", 4, flags, keep_s) + packets.text(client_id)
        body += packets.text("gone") * 2 if will else b""
        body += b"".join(packets.text(each) for each in (user, password) if each is not None)
        self.send(packets.CONNECT, body)
        found = self.packet()
        return found[1][1] if found and found[0] >> 4 == packets.CONNACK else -1

    def subscribe(self, topic_filter: str, qos: int = 1) -> int:
        """Subscribes; what was granted."""
        self.send(packets.SUBSCRIBE, b"\0\1" + packets.text(topic_filter) + bytes((qos,)), 2)
        found = self.wait(packets.SUBACK)
        return found[2] if found else -1

    def publish(self, topic: str, body: Any, qos: int = 1, *, retain: bool = False) -> bool:
        """Publishes JSON (or bytes as they are); whether it was acknowledged (with QoS 0: always)."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        flags = qos << 1 | retain
        self.send(packets.PUBLISH, packets.text(topic) + (b"\0\5" if qos else b"") + raw, flags)
        return not qos or self.wait(packets.PUBACK) is not None

    def hear(self, part: str = "") -> tuple[str, Any]:
        """The next message whose topic has that text; its topic and JSON."""
        while True:
            for at, (topic, raw) in enumerate(self._said):
                if part in topic:
                    del self._said[at]
                    return topic, json.loads(raw)
            assert self.wait(packets.PUBLISH) is not None, "the link ended"

    def is_cut(self) -> bool:
        """Waits until the server ends the link."""
        while self.packet() is not None:
            pass
        return True

    def ping(self) -> bool:
        """Whether the link lives."""
        self.send(packets.PINGREQ, b"")
        return self.wait(packets.PINGRESP) is not None

    def leave(self) -> None:
        """With a DISCONNECT."""
        self.send(packets.DISCONNECT, b"")

    def send(self, kind: int, body: bytes, flags: int = 0) -> None:
        """One packet."""
        self.socket.sendall(packets.packet(kind, body, flags))

    def wait(self, kind: int) -> bytes | None:
        """The inside of the next packet of a kind; messages before it are kept for ``hear``. None = the link ended."""
        while (found := self.packet()) is not None:
            if found[0] >> 4 == packets.PUBLISH:
                message = packets.read_message(found[0] & 0x0F, found[1])
                self._said.append((message.topic, message.payload))
            if found[0] >> 4 == kind:
                return found[1]
        return None

    def packet(self) -> tuple[int, bytes] | None:
        """The next packet, None = the link ended."""
        try:
            first, size, shift = self._take(1)[0], 0, 0
            while True:
                byte = self._take(1)[0]
                size, shift = size | (byte & 0x7F) << shift, shift + 7
                if byte < 0x80:
                    return first, self._take(size)
        except (EOFError, ConnectionError, ssl.SSLError):
            return None

    def _take(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            more = self.socket.recv(size - len(found))
            if not more:
                raise EOFError
            found += more
        return found


def load(context: ssl.SSLContext, identity: Identity) -> None:
    """Gives a client its certificate."""
    with tempfile.TemporaryDirectory() as folder:
        client = identity.as_client(Path(folder))
        chain = Path(folder) / "chain.pem"
        chain.write_text(client.certificate_pem)
        context.load_cert_chain(chain, client.key_file)
