"""One device that sends as fast as it can, and comes back at once: the others feel nothing of it."""

from __future__ import annotations

import json
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firstlight.wire import topics
from firstlight_hub.ingest.mqtt_ingest import RECEIVE
from firstlight_hub.ingest.pace import BEATS
from firstlight_hub.mqtt.files import QUEUED_BYTES
from tests.bench.crowd import packet
from tests.system.mosquitto_site import WHERE, Member, Site, lines, link

pytestmark = pytest.mark.system

LASTS_S, ASKED_EVERY_S, SOON_S = 8.0, 0.5, 4.0
HUB_MB = 250
# The broker keeps what the hub has not taken yet: its queue, and what is on its way unacknowledged. How much of that a
# flood fills before it is ended hangs on how busy the machine is; that it ends there does not.
BEAT_BYTES = 8_000
BROKER_MB = 1.25 * (QUEUED_BYTES + RECEIVE * BEAT_BYTES) / 1e6 + 20


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A hub with mosquitto."""
    made = Site(tmp_path / "hub")
    yield made
    if made.hub.process.poll() is None:
        made.end()


class Flood:
    """A device that publishes beats with 32 missed ones each at full speed, from as many connections as it takes."""

    def __init__(self, site: Site, member: Member) -> None:
        self.sent = self.connections = 0
        self._site, self._member = site, member
        self._trust = ssl.create_default_context(cafile=site.folder / "ca.pem")
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        beat = json.loads(self._member.box.beat_body(sequence=1))
        past = {name: beat[name] for name in ("bootId", "mono", "wall", "metrics")}
        beat["missed"] = [{**past, "seq": 1000 + number, "reason": "x" * 64} for number in range(32)]
        where = text(topics.heartbeat("demo", self._member.id))
        body = json.dumps(beat).encode()
        many = b"".join(packet(0x32, where + number.to_bytes(2, "big") + body) for number in range(1, 21))
        while not self._is_ending.is_set():
            try:
                with self._enter() as line:
                    self.connections += 1
                    while not self._is_ending.is_set():
                        line.sendall(many)
                        self.sent += 20
                        while select.select([line], [], [], 0)[0] and line.recv(65_536):
                            pass
            except OSError:
                continue

    def _enter(self) -> ssl.SSLSocket:
        connected = socket.create_connection((WHERE, self._site.secret_port), 10)
        line = self._trust.wrap_socket(connected, server_hostname=WHERE)
        who = text(self._member.id)
        line.sendall(packet(0x10, b"\x00\x04MQTT\x04\xc2\x02\x58" + who + who + text(self._member.key)))
        if not line.recv(4):
            raise OSError("not let in")
        return line

    def end(self) -> None:
        """Sends no more."""
        self._is_ending.set()
        self._thread.join(20)


def text(words: str) -> bytes:
    """A string as MQTT writes it."""
    return len(words.encode()).to_bytes(2, "big") + words.encode()


def resident_mb(pid: int) -> int:
    """Memory of a process in RAM."""
    (line,) = lines(Path(f"/proc/{pid}/status").read_text(), "^VmRSS")
    return int(line.split()[1]) // 1024


def test_a_flood_starves_nobody(site: Site, record_property: Callable[[str, object], None]) -> None:
    """During it another device is answered within seconds, all its beats are stored, no process outgrows its bounds."""
    thief, member = site.enroll(), site.enroll()
    device = link(site, member)
    assert device.asks(member, 1)
    flood = Flood(site, thief)
    slowest_s, sequence, hub_mb, broker_mb = 0.0, 1, 0, 0
    ends_s = time.monotonic() + LASTS_S
    try:
        while time.monotonic() < ends_s:
            sequence += 1
            began_s = time.monotonic()
            # More often than one a second it would not be answered itself.
            assert device.asks(member, sequence) if sequence < 9 else device.beats(member, sequence)
            slowest_s = max(slowest_s, time.monotonic() - began_s)
            hub_mb = max(hub_mb, resident_mb(site.hub.process.pid))
            broker_mb = max(broker_mb, resident_mb(site.broker_pid()))
            device.until(lambda: device.lost, ASKED_EVERY_S)
    finally:
        flood.end()
    assert slowest_s < SOON_S
    record_property("memory of hub and broker", f"{hub_mb} and {broker_mb} MB")
    assert hub_mb < HUB_MB
    assert broker_mb < BROKER_MB
    assert flood.sent > 2 * BEATS
    assert flood.connections > 1, "it was thrown out"
    said = site.end()
    assert site.stored(member.id) == list(range(1, sequence + 1))
    assert lines(said, f"{thief.id} floods") and not lines(said, member.id)
