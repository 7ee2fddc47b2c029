"""A flood of beats into a broker, which has acknowledged all of them when ``flood`` returns."""

from __future__ import annotations

import selectors
import socket
import time

from tests.bench.crowd import CONNACK_BYTES, PUBACK_BYTES, packet
from tests.bench.load import BODY

LINES = 20
# As many as may be on their way at once on one connection: packet numbers have 16 bits.
WINDOW = 1000


class Line:
    """One publisher: MQTT 3.1.1, without TLS and password, QoS 1."""

    def __init__(self, port: int, number: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        name = f"flood{number}".encode()
        head = b"\x00\x04MQTT\x04\x02" + (600).to_bytes(2, "big")
        self.socket.sendall(packet(0x10, head + len(name).to_bytes(2, "big") + name))
        answer = b""
        while len(answer) < CONNACK_BYTES:
            answer += self.socket.recv(CONNACK_BYTES - len(answer))
        assert answer[3] == 0, f"the broker answered {answer[3]}"
        self.socket.setblocking(False)
        self.to_send: list[tuple[str, bytes]] = []
        self._sent = self._acknowledged_bytes = 0
        self._rest = memoryview(b"")

    @property
    def is_done(self) -> bool:
        """Everything was sent and acknowledged."""
        return not self._rest and self._sent == len(self.to_send) == self._acknowledged_bytes // PUBACK_BYTES

    def turn(self) -> None:
        """Reads what there is and writes what may be written."""
        try:
            while piece := self.socket.recv(65_536):
                self._acknowledged_bytes += len(piece)
        except BlockingIOError:
            pass
        if not self._rest:
            free = self._acknowledged_bytes // PUBACK_BYTES + WINDOW
            messages = self.to_send[self._sent : free]
            made = [
                packet(0x32, len(topic).to_bytes(2, "big") + topic.encode() + self._number(at) + body)
                for at, (topic, body) in enumerate(messages, self._sent)
            ]
            self._sent += len(messages)
            self._rest = memoryview(b"".join(made))
        try:
            while self._rest:
                self._rest = self._rest[self.socket.send(self._rest) :]
        except BlockingIOError:
            pass

    @staticmethod
    def _number(at: int) -> bytes:
        return (at % 60_000 + 1).to_bytes(2, "big")


def flood(port: int, workspace: str, device_ids: list[str], facts_hash: str, first: int, count: int) -> None:
    """Publishes ``count`` beats of all devices in turn; their sequence numbers go on from ``first``."""
    lines = [Line(port, number) for number in range(LINES)]
    for number in range(first, first + count):
        device_id = device_ids[number % len(device_ids)]
        body = BODY.format(sequence=number, wall=time.time(), facts_hash=facts_hash).encode()
        lines[number % LINES].to_send.append((f"firstlight/{workspace}/{device_id}/heartbeat", body))
    with selectors.DefaultSelector() as ears:
        for line in lines:
            ears.register(line.socket, selectors.EVENT_READ, line)
        while not all(line.is_done for line in lines):
            for line in lines:
                line.turn()
            ears.select(0.02)
    for line in lines:
        line.socket.close()
