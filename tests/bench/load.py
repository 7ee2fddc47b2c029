"""A load of beats: keep-alive connections that each send the next beat as soon as the last one is answered."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple, cast

import uvloop

BOOT_ID = "5eb3d1a04c1b4f7d9e0a6c2b8f713d42"
CONNECTIONS = 128
# A steady beat as the agent sends it; only the numbers change.
BODY = (
    '{{"seq":{sequence},"bootId":"' + BOOT_ID + '","mono":81423.118,"wall":{wall:.3f},"metrics":{{"load1":0.31,'
    '"memoryUsed":0.412,"diskUsed":0.377,"temperatureC":48.5}},"agent":"0.1.0","factsHash":"{facts_hash}"}}'
)


class Target(NamedTuple):
    """Where the beats go, and whose they are."""

    port: int
    workspace: str
    keys: list[tuple[str, str]]  # device id, key
    facts_hash: str


class Result(NamedTuple):
    """What came of it."""

    accepted: int
    refused: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Accepted beats a second."""
        return self.accepted / self.seconds


class Load:
    """The beats of all devices, one after another; sequence numbers go on from run to run."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._heads = [
            f"POST /{target.workspace}/devices/v2/{device_id}/heartbeat HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\n"
            f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: "
            for device_id, key in target.keys
        ]
        self._sent = 0
        self.accepted = self.refused = 0
        self.ends_s = 0.0

    def next_request(self) -> bytes:
        """The next beat of the next device."""
        number, self._sent = self._sent, self._sent + 1
        body = BODY.format(
            sequence=number // len(self._heads), wall=1_795_300_000 + number / 1000, facts_hash=self._target.facts_hash
        )
        return f"{self._heads[number % len(self._heads)]}{len(body)}\r\n\r\n{body}".encode("ascii")

    def run(self, seconds: float) -> Result:
        """Sends for so long, and waits for every answer."""
        self.accepted = self.refused = 0
        loop = uvloop.new_event_loop()
        try:
            took_s = loop.run_until_complete(self._run(seconds))
        finally:
            loop.close()
        return Result(self.accepted, self.refused, took_s)

    async def _run(self, seconds: float) -> float:
        loop = asyncio.get_running_loop()
        self.ends_s = time.monotonic() + 3600
        made = [
            await loop.create_connection(lambda: _Line(self), "127.0.0.1", self._target.port)
            for _ in range(CONNECTIONS)
        ]
        lines = [line for _, line in made]
        began_s = time.monotonic()
        self.ends_s = began_s + seconds
        for line in lines:
            line.send()
        await asyncio.gather(*(line.done for line in lines))
        return time.monotonic() - began_s


class _Line(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._came = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one, but does not inherit from it

    def send(self) -> None:
        """The next beat, or the end."""
        if time.monotonic() < self._load.ends_s:
            self._transport.write(self._load.next_request())
        else:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, found, body = self._came.partition(b"\r\n\r\n")
        if not found or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            return
        if head.startswith(b"HTTP/1.1 200 "):
            self._load.accepted += 1
        else:
            self._load.refused += 1
        self._came = b""
        self.send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)
