"""Beats over MQTT: the hub's subscriber, in its event loop.

The broker is told that a message was taken only when it is on disk. Until then the broker keeps it, and sends it again
to whoever connects next with the same client id; the store refuses what it has already.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from paho.mqtt.client import ConnectFlags

from firstlight.wire import topics
from firstlight_hub.ingest.group_commit import GroupCommit
from firstlight_hub.ingest.intake import Intake
from firstlight_hub.mqtt.door import Door, Line
from firstlight_hub.service.beats import Beats

# What is on its way; the broker keeps the rest, so nothing here grows without bound. A body takes several times as much
# once it is decoded.
RECEIVE, MOST_BYTES = 10_000, 16_777_216
KEEPALIVE_S, LOOK_S = 60, 15.0
RETRY_S = (0.1, 0.5, 1.0, 2.0, 5.0)


class Held(NamedTuple):
    """A message that is not acknowledged yet."""

    line: Line
    topic: str
    body: bytes
    number: int


class MqttIngest:
    """Takes beats from a broker until it is stopped; connects again for ever.

    Args:
        beats: the use case.
        commits: the group commit that HTTP beats go through too.
        door: the way to the broker.
        client_id: this hub's own; what waits for it is kept under this name.
        expiry_s: for how long the broker keeps it while the hub is away.
        share: name of a group of hubs that divide the beats among them, "" = this hub takes all.
        on_ready: called whenever beats begin to come in; True when the broker had kept nothing for this hub.
        most_bytes: as many bytes of bodies may be unsettled before no more is read.
    """

    def __init__(
        self,
        beats: Beats,
        commits: GroupCommit,
        door: Door,
        client_id: str,
        *,
        expiry_s: int,
        share: str = "",
        on_ready: Callable[[bool], None] = lambda is_fresh: None,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._most_bytes = most_bytes
        self._intake = Intake(beats, commits, self.publish)
        self._door = door
        self._client_id = client_id
        self._expiry_s = expiry_s
        prefix = f"$share/{share}/" if share else ""
        self._mark, self._marked = f"{topics.PREFIX}/{client_id}/mark", b""
        self._filters = [(prefix + one, 1) for one in (topics.EVERY_BEAT, topics.EVERY_WILL)] + [(self._mark, 1)]
        self._on_ready = on_ready
        self._is_fresh = False
        self.subscribed = asyncio.Event()
        self.counted, self._complain = self._intake.complaints.counted, self._intake.complaints.say
        self._loop: asyncio.AbstractEventLoop | None = None
        self._line: Line | None = None
        self._lost = asyncio.Event()
        self._settled: list[int] = []
        self._put_back: list[Held] = []
        self._failures = 0
        self._open = self._open_bytes = 0
        self._is_full = False
        self._all_settled = asyncio.Event()
        self._is_stopping = False

    async def run(self) -> None:
        """Connects, and again whenever the way is lost; runs until ``stop``, or until it is cancelled."""
        self._loop = asyncio.get_running_loop()
        failures = 0
        while not self._is_stopping:
            try:
                await self._attend(self._loop)
            except (OSError, ValueError) as error:  # ValueError: paho's for what it cannot use
                self._complain("broker_unreachable", "The broker cannot be reached: %s", error)
            failures = 0 if self.subscribed.is_set() else failures + 1
            self.subscribed.clear()
            if not self._is_stopping:
                await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])

    async def _attend(self, loop: asyncio.AbstractEventLoop) -> None:
        """One connection, from its CONNECT to its end."""
        line = self._door.line(self._client_id)
        line.on_connect = self._connected
        line.on_subscribe = self._has_subscribed
        line.on_disconnect = lambda *_: self._lost.set()
        self._lost.clear()
        connect = partial(self._door.connect, keepalive_s=KEEPALIVE_S, expiry_s=self._expiry_s, receive=RECEIVE)
        await asyncio.to_thread(connect, line)
        connection = line.socket()
        if connection is None:
            raise OSError("the connection was cut")
        self._line = line
        self._settled = []
        self._is_full = False
        line.gather(partial(self._take, line))
        number = connection.fileno()
        loop.add_reader(number, self._readable, line)
        try:
            while not self._lost.is_set():
                try:
                    await asyncio.wait_for(self._lost.wait(), LOOK_S)
                except asyncio.TimeoutError:
                    line.loop_misc()
                    if self._marked:
                        self._line_up()  # a queue that is full drops marks too
                    self._flush(line)
        finally:
            self._line = None
            loop.remove_reader(number)
            loop.remove_writer(number)

    def _connected(self, line: Any, _: object, flags: ConnectFlags, reason: Any, __: object) -> None:
        if reason.is_failure:
            self._complain("broker_unreachable", "The broker does not let this hub in: %s", reason)
            return
        self._is_fresh = not flags.session_present
        if flags.session_present:
            self._open -= len(self._put_back)
            self._open_bytes -= sum(len(held.body) for held in self._put_back)
            self._put_back = []  # the broker sends it again
        line.subscribe(self._filters)

    def _has_subscribed(self, line: Any, _: object, __: int, reasons: Sequence[Any], ___: object) -> None:
        if any(reason.is_failure for reason in reasons):
            self._complain("broker_unreachable", "The broker refuses this hub's subscription: %s", reasons[0])
            return
        self.subscribed.set()
        self._marked = secrets.token_hex(8).encode()
        self._line_up()
        self._on_ready(self._is_fresh)

    def _line_up(self) -> None:
        """Puts a mark at the end of the queue: what stands before it waited for this hub, and is no flood."""
        self._intake.pace.spare(math.inf)
        self.publish(self._mark, self._marked)

    # ---- messages ----

    def _readable(self, line: Line) -> None:
        if line is not self._line or self._lost.is_set() or self._is_stopping or self._loop is None:
            return
        if self._open_bytes > self._most_bytes and self.subscribed.is_set():
            self._is_full = True
            if (connected := line.socket()) is not None:
                self._loop.remove_reader(connected.fileno())
            return
        try:
            # Over TLS more may wait inside the library than the kernel knows of.
            if line.read():
                self._loop.call_soon(self._readable, line)
        except (OSError, IndexError) as error:
            self._complain("broker_unreachable", "The broker's connection is lost: %s", error)
            self._lost.set()
            return
        self._flush(line)

    def _take(self, line: Line, topic: str, body: bytes, number: int) -> None:
        self._open += 1
        self._open_bytes += len(body)
        held = Held(line, topic, body, number)
        if topic == self._mark:
            if body == self._marked:
                self._marked = b""
                self._intake.pace.spare(0)
            self._done(held, True)
            return
        self._intake.take(topic, body, partial(self._done, held))

    def _done(self, held: Held, is_settled: bool) -> None:
        if not is_settled:
            self._keep(held)
            return
        self._open -= 1
        self._open_bytes -= len(held.body)
        self.counted["settled"] += 1
        if self._is_full and self._open_bytes < self._most_bytes // 2:
            self._read_on()
        if held.line is self._line and held.number and self._loop is not None:
            if not self._settled:
                self._loop.call_soon(self._acknowledge, held.line)
            self._settled.append(held.number)
        self._look_whether_settled()

    def _read_on(self) -> None:
        self._is_full = False
        if self._line is not None and self._loop is not None and (connected := self._line.socket()) is not None:
            self._loop.add_reader(connected.fileno(), self._readable, self._line)
            self._loop.call_soon(self._readable, self._line)  # TLS may hold some of it already

    def _look_whether_settled(self) -> None:
        if self._is_stopping and self._open <= len(self._put_back):
            self._all_settled.set()

    def _acknowledge(self, line: Line) -> None:
        if line is self._line:
            settled, self._settled = self._settled, []
            line.acknowledge(settled)
            self._flush(line)
        self._failures = 0

    def _keep(self, held: Held) -> None:
        """Not on disk: tried again here, while the broker sends no more than ``RECEIVE``."""
        self._put_back.append(held)
        self._look_whether_settled()
        if len(self._put_back) == 1 and self._loop is not None:
            self._complain("not_stored", "Beats could not be stored and are tried again.")
            self._loop.call_later(RETRY_S[min(self._failures + 1, len(RETRY_S) - 1)], self._try_again)
            self._failures += 1
            self._marked = secrets.token_hex(8).encode()  # until it can, the broker's queue grows
            self._line_up()

    def _try_again(self) -> None:
        if self._is_stopping:
            return
        put_back, self._put_back = self._put_back, []
        for held in put_back:
            self._intake.take(held.topic, held.body, partial(self._done, held), is_new=False)

    # ---- the other direction, and the end ----

    def publish(self, topic: str, body: bytes) -> None:
        """Says something to a device, now or never; only in the loop's thread."""
        if self._line is not None and not self._lost.is_set() and self._loop is not None:
            self._line.publish(topic, body, qos=1)
            self._loop.call_soon(self._flush, self._line)

    def tell(self, topic: str, body: bytes) -> None:
        """As ``publish``, from any thread."""
        if self._loop is not None and not self._is_stopping:
            self._loop.call_soon_threadsafe(self.publish, topic, body)

    def _flush(self, line: Line) -> None:
        connected = line.socket()
        if line is not self._line or connected is None or self._loop is None:
            return
        try:
            is_left = line.flush()
        except OSError:
            self._lost.set()
            return
        if is_left:
            self._loop.add_writer(connected.fileno(), self._flush, line)
        else:
            self._loop.remove_writer(connected.fileno())

    async def stop(self) -> None:
        """Reads no more, and returns when all that was read is on disk and acknowledged, or cannot be stored now."""
        self._is_stopping = True
        self._look_whether_settled()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._all_settled.wait(), LOOK_S)
        if self._line is not None:
            self._acknowledge(self._line)
            self._line.close()
        self._lost.set()
