"""Beats over AMQP: one durable queue that all hubs share, acknowledged only after the commit.

Two connections: RabbitMQ stops reading from one that publishes when it runs short of memory, and the acknowledgements
that would free that memory must still get through. Both are made again for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel

from firstlight_hub.ingest.intake import Intake
from firstlight_hub.rabbitmq.auth import EXCHANGE

QUEUE = "firstlight-hub"
ANSWERS = (
    "firstlight-answers"  # leads to the topics; published there directly, each answer would be a question to the hub
)
KEYS = ("firstlight.*.*.heartbeat", "firstlight.*.*.gone")
PREFETCH = 4000
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 15.0
BACK_AFTER_S = 1.0  # a beat that could not be stored goes back to the queue, not faster than this
CLOSE_S = 5.0
HEARTBEAT_S = 30

LOG = logging.getLogger(__name__)
logging.getLogger("pika").setLevel(logging.CRITICAL)  # it says each failure five times, with tracebacks; we say it once


class Lane:
    """One connection with one channel, made again whenever it is lost. Lives in one event loop.

    Args:
        parameters: where the broker is, as whom, and what is trusted there.
        opened: called with each new channel.
        lost: called when a channel has ended.
    """

    def __init__(
        self,
        parameters: pika.ConnectionParameters,
        opened: Callable[[Channel], None] = lambda channel: None,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self.channel: Channel | None = None
        self.was_out = False  # until somebody has said that it is back
        self._parameters = parameters
        self._opened = opened
        self._lost = lost
        self._connection: AsyncioConnection | None = None
        self._wait_s = FIRST_WAIT_S
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopping = False
        self._ended = asyncio.Event()

    def start(self) -> None:
        """Connects; returns at once."""
        self._timer = None
        self._ended.clear()
        loop = asyncio.get_running_loop()
        self._connection = AsyncioConnection(
            self._parameters, self._on_connected, self._on_failed, self._on_failed, custom_ioloop=loop
        )

    def _on_connected(self, connection: AsyncioConnection) -> None:
        connection.channel(on_open_callback=self._on_channel)

    def _on_channel(self, channel: Channel) -> None:
        self._wait_s = FIRST_WAIT_S
        channel.add_on_close_callback(self._on_channel_closed)
        self.channel = channel
        self._opened(channel)

    def _on_channel_closed(self, channel: Channel, reason: Exception) -> None:
        self.channel = None
        self._lost()
        if self._connection is not None and self._connection.is_open:
            LOG.warning("RabbitMQ closed the hub's channel: %s", reason)
            self._connection.close()

    def _on_failed(self, connection: AsyncioConnection, reason: BaseException | str) -> None:
        self.channel = None
        self._ended.set()
        if self._is_stopping:
            return
        self.was_out = True
        LOG.warning("RabbitMQ is out of reach, next try in %g s: %s", self._wait_s, _said(reason))
        self._timer = asyncio.get_running_loop().call_later(self._wait_s, self.start)
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)

    async def stop(self) -> None:
        """Closes it, for good."""
        self._is_stopping = True
        if self._timer is not None:
            self._timer.cancel()
        if self._connection is None or self._timer is not None:
            return
        if not (self._connection.is_closing or self._connection.is_closed):
            self._connection.close()
        try:
            await asyncio.wait_for(self._ended.wait(), CLOSE_S)
        except asyncio.TimeoutError:
            LOG.warning("RabbitMQ did not answer the goodbye")


def _said(reason: BaseException | str) -> str:
    """What went wrong; pika wraps it in errors that are empty as text."""
    while isinstance(reason, BaseException):
        within = (*reason.args, getattr(reason, "exception", None), *getattr(reason, "exceptions", ()))
        inner = [one for one in within if isinstance(one, BaseException)]
        if not inner:
            break
        reason = inner[-1]
    return str(reason) or type(reason).__name__


class Settled:
    """Which deliveries of one channel are settled; acknowledges them in order, many at once.

    Args:
        channel: whose deliveries.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._done: set[int] = set()
        self._reached = self._acknowledged = 0
        self._is_due = False
        self.last = 0  # the last delivery that came in

    @property
    def open(self) -> int:
        """How many deliveries have not been settled."""
        return self.last - self._reached - len(self._done)

    def settle(self, tag: int, is_stored: bool) -> None:
        """One delivery is settled, or goes back to the queue in a moment."""
        loop = asyncio.get_running_loop()
        if not is_stored:
            loop.call_later(BACK_AFTER_S, self._put_back, tag)
            return
        self._done.add(tag)
        while self._reached + 1 in self._done:
            self._reached += 1
            self._done.remove(self._reached)
        if not self._is_due:
            self._is_due = True
            loop.call_soon(self.acknowledge)

    def _put_back(self, tag: int) -> None:
        if self._channel.is_open:
            self._channel.basic_nack(tag)
            self.settle(tag, True)  # the next acknowledgement may pass over it: it is not RabbitMQ's to expect any more

    def acknowledge(self) -> None:
        """Sends what is due."""
        self._is_due = False
        if self._reached > self._acknowledged and self._channel.is_open:
            self._acknowledged = self._reached
            self._channel.basic_ack(self._reached, multiple=True)


class Consumer:
    """Takes beats from the queue and publishes answers.

    Args:
        parameters: where the broker is, as whom, and what is trusted there.
        make_intake: given how answers are published, makes what takes the messages.

    Attributes:
        subscribed: set while beats come in.
    """

    def __init__(
        self, parameters: pika.ConnectionParameters, make_intake: Callable[[Callable[[str, bytes], None]], Intake]
    ) -> None:
        self._lane = Lane(parameters, self._opened, self._lost)
        self._answers = Lane(parameters, self._may_answer)
        self._intake = make_intake(self.publish)
        self._settled: Settled | None = None
        self._is_counting = False
        self._tag = ""
        self.subscribed = asyncio.Event()

    def start(self) -> None:
        """Begins to connect; called in the loop."""
        self._lane.start()
        self._answers.start()

    async def stop(self) -> None:
        """Takes no more, waits for what is being written, acknowledges it and says goodbye."""
        settled, channel = self._settled, self._lane.channel
        if settled is not None and channel is not None and channel.is_open:
            channel.basic_cancel(self._tag)
            end_s = asyncio.get_running_loop().time() + CLOSE_S
            while settled.open and asyncio.get_running_loop().time() < end_s:
                await asyncio.sleep(0.02)
            settled.acknowledge()
        await asyncio.gather(self._lane.stop(), self._answers.stop())

    def publish(self, topic: str, body: bytes) -> None:
        """Sends an answer; dropped where RabbitMQ cannot be reached: the device asks again, or hears it later."""
        channel = self._answers.channel
        if channel is not None and channel.is_open:
            channel.basic_publish(ANSWERS, topic.replace("/", "."), body)

    def _may_answer(self, channel: Channel) -> None:
        channel.exchange_declare(ANSWERS, "fanout", durable=True)
        channel.exchange_bind(EXCHANGE, ANSWERS)

    def _opened(self, channel: Channel) -> None:
        def go(step: int, told: Any = None) -> None:
            if step == 1:
                self._spare(told)
            if step == 0:
                channel.queue_declare(QUEUE, durable=True, callback=partial(go, 1))
            elif step <= len(KEYS):
                channel.queue_bind(QUEUE, EXCHANGE, KEYS[step - 1], callback=partial(go, step + 1))
            elif step == len(KEYS) + 1:
                channel.basic_qos(prefetch_count=PREFETCH, callback=partial(go, step + 1))
            else:
                self._settled = settled = Settled(channel)
                self._tag = channel.basic_consume(QUEUE, partial(self._take, settled))
                self.subscribed.set()
                if self._lane.was_out:
                    self._lane.was_out = False
                    LOG.warning("The broker is back.")

        go(0)

    def _spare(self, declared: Any) -> None:
        """What waits in the queue, and may be on its way, waited for this hub and is no flood."""
        self._is_counting = False
        self._intake.pace.spare(declared.method.message_count + PREFETCH)

    def _count(self, channel: Channel) -> None:
        if channel.is_open:
            channel.queue_declare(QUEUE, passive=True, callback=self._spare)

    def _lost(self) -> None:
        self._settled = None
        self._is_counting = False
        self.subscribed.clear()

    def _take(self, settled: Settled, channel: Channel, method: Any, properties: Any, body: bytes) -> None:
        tag = settled.last = method.delivery_tag
        done = partial(self._done, settled, channel, tag)
        self._intake.take(method.routing_key, body, done, not method.redelivered)

    def _done(self, settled: Settled, channel: Channel, tag: int, is_stored: bool) -> None:
        settled.settle(tag, is_stored)
        if not is_stored and not self._is_counting:  # until it can be stored, the queue grows
            self._is_counting = True
            asyncio.get_running_loop().call_later(BACK_AFTER_S, self._count, channel)
