"""The hub's subscriber: how much it reads while nothing can be stored, and that the queue's end is marked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from firstlight.core.model import Beat, Metrics, Moment, Secret, parse_broker
from firstlight.wire import topics
from firstlight.wire.heartbeat import encode_beat
from firstlight_hub.ingest.group_commit import GroupCommit
from firstlight_hub.ingest.mqtt_ingest import MOST_BYTES as DEFAULT_BYTES
from firstlight_hub.ingest.mqtt_ingest import MqttIngest
from firstlight_hub.ingest.pace import BEATS
from firstlight_hub.model import BeatRow, Device
from firstlight_hub.mqtt.door import Door
from firstlight_hub.service.beats import Beats
from firstlight_hub.store.sqlite import SqliteStore
from tests.hub.hub_world import BOOT, START_MS
from tests.hub.test_mqtt_line import publish

WAITED = bytes.fromhex("2003010000")  # CONNACK: there is a session
CONNECT, PUBLISH, PUBACK, SUBSCRIBE, DISCONNECT = 1, 3, 4, 8, 14
PATIENCE_S, HELD_S = 20.0, 1.5
MOST_BYTES, PADDING = 100_000, b" " * 8_000
TOPIC = topics.heartbeat("demo", "cam").encode()


class Broker:
    """Hands beats to one subscriber, then what the subscriber publishes to itself."""

    def __init__(self, count: int, padding: bytes = b"") -> None:
        self.count, self.padding = count, padding
        self.sent = self.acknowledged = 0
        self.all_acknowledged, self.has_mark, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.all_sent = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        sending = None
        try:
            while True:
                kind, content = await _packet(reader)
                if kind == CONNECT:
                    writer.write(WAITED)
                elif kind == SUBSCRIBE:
                    writer.write(b"\x90\x06" + content[:2] + b"\x00\x01\x01\x01")
                    sending = asyncio.create_task(self._send(writer))
                elif kind == PUBLISH and sending is not None:
                    await self._marked(content, writer)
                elif kind == PUBACK:
                    self.acknowledged += 1
                    if self.acknowledged == self.count + 1:
                        self.all_acknowledged.set()
                elif kind == DISCONNECT:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()
        self.left.set()

    async def _marked(self, content: bytes, writer: asyncio.StreamWriter) -> None:
        end = 2 + int.from_bytes(content[:2], "big")
        writer.write(b"\x40\x02" + content[end : end + 2])
        self.mark = publish(content[2:end], content[end + 3 :], 60_000)
        self.has_mark.set()

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        for number in range(1, self.count + 1):
            beat = Beat(number, Moment(BOOT, 1.0, 1.0), Metrics(), "0.1.0", None, "0123456789abcdef")
            writer.write(publish(TOPIC, encode_beat(beat) + self.padding, number))
            self.sent += 1
            await writer.drain()
        self.all_sent.set()
        await self.has_mark.wait()
        writer.write(self.mark)


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first, size, shift = (await reader.readexactly(1))[0], 0, 0
    while True:
        one = (await reader.readexactly(1))[0]
        size |= (one & 127) << shift
        shift += 7
        if one < 128:
            return first >> 4, await reader.readexactly(size)


class Hub:
    """A store that can be held up, and the subscriber."""

    def __init__(self, folder: Path) -> None:
        self.store = SqliteStore(folder / "hub.sqlite3")
        self.may_write = threading.Event()
        self.stored = 0
        plain = Device(0, "demo", "cam", "cam", None, None, (), False, 1)
        with self.store.writing() as transaction:
            transaction.add_device(plain._replace(key_hash=b"k" * 32, key_generation=1))

    def write(self, rows: Sequence[BeatRow]) -> frozenset[int]:
        """Waits until it may."""
        assert self.may_write.wait(PATIENCE_S)
        self.stored += len(rows)
        return self.store.write_beats(rows)

    def run(self, broker: Broker, most_bytes: int = 0) -> int:
        """Takes all the broker has -> with ``most_bytes`` how many it could send while the store took nothing."""

        async def work() -> int:
            server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            door = Door("hub.user", Secret("x" * 20), broker=parse_broker(f"mqtt://127.0.0.1:{port}"))
            commits = GroupCommit(self.write)
            beats = Beats(self.store, lambda: START_MS, 60, 7)
            bound = most_bytes or DEFAULT_BYTES
            ingest = MqttIngest(beats, commits, door, "hub.user", expiry_s=60, most_bytes=bound)
            running = asyncio.create_task(ingest.run())
            if most_bytes:
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(broker.all_sent.wait(), HELD_S)
            sent = broker.sent
            self.may_write.set()
            await asyncio.wait_for(broker.all_acknowledged.wait(), PATIENCE_S)
            await ingest.stop()
            await running
            await asyncio.wait_for(broker.left.wait(), PATIENCE_S)
            server.close()
            await server.wait_closed()
            await commits.close()
            return sent

        try:
            return asyncio.run(work())
        finally:
            self.store.close()


def test_no_more_is_read_than_can_be_held(tmp_path: Path) -> None:
    """While the store takes nothing the subscriber stops reading; afterwards everything is stored."""
    broker = Broker(3000, PADDING)
    hub = Hub(tmp_path)
    assert 0 < hub.run(broker, MOST_BYTES) < 2500
    assert hub.stored == 3000


def test_what_waited_for_the_hub_is_no_flood(tmp_path: Path) -> None:
    """Beats that the broker kept, many of one device, are all stored although they come at once."""
    hub = Hub(tmp_path)
    hub.run(Broker(3 * BEATS))
    assert hub.stored == 3 * BEATS
