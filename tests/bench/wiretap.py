"""Counts what goes over loopback between clients and a hub: every IP packet as root, else what a relay sees."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from select import select
from typing import NamedTuple, Protocol

ETHERTYPE_IPV4 = 0x0800
TCP = 6
HEADERS = 52  # IPv4 20 and TCP 32, with timestamps
BUFFER_BYTES = 8 << 20


class Traffic(NamedTuple):
    """What went over the wire: bytes of whole IP packets by direction, and how many packets."""

    up_bytes: float = 0
    down_bytes: float = 0
    segments: float = 0

    @property
    def total_bytes(self) -> float:
        """Both directions."""
        return self.up_bytes + self.down_bytes

    def minus(self, other: Traffic) -> Traffic:
        """What came since."""
        return Traffic(*(mine - its for mine, its in zip(self, other, strict=True)))


class Tap(Protocol):
    """One of the two ways to count."""

    method: str
    is_exact: bool  # False: an estimate, by which no goal can be judged
    urls: list[str]  # one address for each client; all lead to the hub

    def watch(self, seconds: float) -> None:
        """Counts for so long."""
        ...

    def traffic(self) -> list[Traffic]:
        """So far, by address."""
        ...


@contextmanager
def open_tap(port: int, clients: int) -> Iterator[Tap]:
    """The better way that is allowed here."""
    try:
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    except (PermissionError, AttributeError):
        relay = Relay(port, clients)
        try:
            yield relay
        finally:
            relay.close()
        return
    with packets:
        yield Capture(packets, port, clients)


class Capture:
    """Every IP packet on loopback: true lengths, acknowledgements included. The hub listens on all of 127.0.0.0/8."""

    method = "every IP packet captured on loopback"
    is_exact = True

    def __init__(self, packets: socket.socket, port: int, clients: int) -> None:
        self.urls = [f"https://127.0.0.{number}:{port}" for number in range(1, clients + 1)]
        self._hubs = [(socket.inet_aton(f"127.0.0.{n}"), port.to_bytes(2, "big")) for n in range(1, clients + 1)]
        self._counted = [Traffic() for _ in self.urls]
        self._packets = packets
        with suppress(OSError):
            packets.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), BUFFER_BYTES)
        packets.bind(("lo", ETHERTYPE_IPV4))

    def watch(self, seconds: float) -> None:
        """As ``Tap.watch``."""
        ends_s = time.monotonic() + seconds
        while (left_s := ends_s - time.monotonic()) > 0:
            if select([self._packets], [], [], left_s)[0]:
                self._count(self._packets.recv(256))

    def traffic(self) -> list[Traffic]:
        """As ``Tap.traffic``."""
        while select([self._packets], [], [], 0)[0]:
            self._count(self._packets.recv(256))
        return list(self._counted)

    def _count(self, packet: bytes) -> None:
        head = (packet[0] & 15) * 4
        if packet[9] != TCP or len(packet) < head + 4:
            return
        size = int.from_bytes(packet[2:4], "big")
        source, target = (packet[12:16], packet[head : head + 2]), (packet[16:20], packet[head + 2 : head + 4])
        for number, hub in enumerate(self._hubs):
            if target == hub or source == hub:
                up, down, segments = self._counted[number]
                is_up = target == hub
                self._counted[number] = Traffic(up + size * is_up, down + size * (not is_up), segments + 1)


class Relay:
    """Without root: a relay for each client. What comes in one read counts as one segment, acknowledged once."""

    method = "an estimate: payload in a relay, and 52 B for each piece and for an acknowledgement of each"
    is_exact = False

    def __init__(self, port: int, clients: int) -> None:
        self._hub = ("127.0.0.1", port)
        self._lock = threading.Lock()
        self._counted = [Traffic() for _ in range(clients)]
        self._doors = [socket.create_server(("127.0.0.1", 0)) for _ in range(clients)]
        self.urls = [f"https://127.0.0.1:{door.getsockname()[1]}" for door in self._doors]
        for number, door in enumerate(self._doors):
            threading.Thread(target=self._serve, args=(number, door), daemon=True).start()

    def watch(self, seconds: float) -> None:
        """As ``Tap.watch``: the threads count."""
        select([], [], [], seconds)

    def traffic(self) -> list[Traffic]:
        """As ``Tap.traffic``."""
        with self._lock:
            return list(self._counted)

    def close(self) -> None:
        """No new connections; those that are open end with their programs."""
        for door in self._doors:
            door.close()

    def _serve(self, number: int, door: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = door.accept()
                hub = socket.create_connection(self._hub)
                for end in (client, hub):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # Connecting: two segments up, one down.
                self._add(number, up=2 * HEADERS, down=HEADERS, segments=3)
                for source, target, is_up in ((client, hub, True), (hub, client, False)):
                    pump = threading.Thread(target=self._pump, args=(number, source, target, is_up), daemon=True)
                    pump.start()

    def _pump(self, number: int, source: socket.socket, target: socket.socket, is_up: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(65_536):
                size = len(piece) + HEADERS
                self._add(number, up=size if is_up else HEADERS, down=HEADERS if is_up else size, segments=2)
                target.sendall(piece)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        self._add(number, up=HEADERS, down=HEADERS, segments=2)

    def _add(self, number: int, up: int, down: int, segments: int) -> None:
        with self._lock:
            had = self._counted[number]
            self._counted[number] = Traffic(had.up_bytes + up, had.down_bytes + down, had.segments + segments)
