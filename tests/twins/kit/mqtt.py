"""A small MQTT 3.1.1 server in a thread of its own; what it lets whom do is said by ``Rules``.

QoS 0 and 1 both ways, TLS with optional client certificates, plain on loopback, 1.5 x keepalive, one link per client
id (a newer one evicts the older). MQTT 5 is refused with CONNACK 1. QoS 2, wills and retained messages are told to
the rules, which usually refuse them; none of the three is carried out.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable
from types import TracebackType

from tests.twins.kit import packets
from tests.twins.kit.clock import TwinClock
from tests.twins.kit.log import Log, Seen
from tests.twins.kit.packets import BrokenError, Hello, Message

ACCEPTED, BAD_VERSION, BAD_CLIENT_ID, UNAVAILABLE, BAD_LOGIN, NOT_AUTHORISED = range(6)
NO_QOS = 0x80
CONNECT_WITHIN_S = 10.0
PATIENCE_S = 20.0
LIMIT_BYTES = 1_048_576 + packets.MAX_TOPIC_BYTES
MOST_UNSENT_BYTES = 4 * 1_048_576

__all__ = ["ACCEPTED", "BAD_CLIENT_ID", "BAD_LOGIN", "BAD_VERSION", "NOT_AUTHORISED", "NO_QOS", "UNAVAILABLE"]
__all__ += ["Hello", "Message", "MqttServer", "Rules"]


class Rules:
    """What a platform allows: called in the server's thread, must return at once, never waits for another thread.

    A twin overrides what it cares about. ``server`` is set before the first call.
    """

    server: MqttServer

    def on_connect(self, hello: Hello) -> int:
        """Whether that client may come in: a CONNACK code, 0 = yes. Its older link, if any, is evicted afterwards."""
        return ACCEPTED if hello.will is None else NOT_AUTHORISED

    def on_publish(self, client_id: str, message: Message) -> bool:
        """Takes a message: True = acknowledged, False = the link is cut without an acknowledgement."""
        return message.qos < 2 and not message.retain

    def on_subscribe(self, client_id: str, topic_filter: str, qos: int) -> int:
        """The QoS that is granted, ``NO_QOS`` = none."""
        return min(qos, 1)

    def on_gone(self, client_id: str, why: str) -> None:
        """A link has ended: "disconnect", "cut", "keepalive", "evicted", "dropped", "broken" or "refused"."""


class Link:
    """One client that was let in."""

    def __init__(self, hello: Hello, writer: asyncio.StreamWriter, now_s: float) -> None:
        self.hello, self.writer, self.heard_s = hello, writer, now_s
        self.filters: dict[str, int] = {}
        self.why = ""
        self.number = 0

    def ends_s(self) -> float:
        """When its silence has lasted too long, by the twin's clock."""
        return self.heard_s + 1.5 * self.hello.keepalive_s if self.hello.keepalive_s else float("inf")

    def qos_of(self, topic: str) -> int | None:
        """With which QoS it wants messages of a topic, None = not at all."""
        wanted = [qos for topic_filter, qos in tuple(self.filters.items()) if packets.matches(topic_filter, topic)]
        return max(wanted, default=None)


class MqttServer:
    """Listens on loopback from the moment it is made until ``stop`` (or as a context manager).

    Args:
        rules: what is allowed.
        context: for mqtts://; None = no such port.
        plain: whether there is an mqtt:// port as well (always where there is no context).
        clock: for keepalive and the log.
        limit_bytes: the largest packet; a larger one cuts the link before it is read.
        ports: (secure, plain) of loopback, 0 = any that is free.
    """

    def __init__(
        self,
        rules: Rules,
        *,
        context: ssl.SSLContext | None = None,
        plain: bool = False,
        clock: TwinClock | None = None,
        log: Log | None = None,
        limit_bytes: int = LIMIT_BYTES,
        ports: tuple[int, int] = (0, 0),
    ) -> None:
        self.rules, self.clock, self.log, self.limit_bytes = rules, clock or TwinClock(), log or Log(), limit_bytes
        rules.server = self
        self.secure_port = self.plain_port = 0
        self.errors: list[Exception] = []
        self._links: dict[str, Link] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="mqtt twin")
        self._stopping, self._woken = asyncio.Event(), asyncio.Event()
        self._listens = threading.Event()
        self._context, self._plain, self._ports = context, plain or context is None, ports
        self._thread.start()
        assert self._listens.wait(PATIENCE_S), "the MQTT server does not start"
        self.clock.on_advance(lambda: self._soon(self._woken.set))

    # ---- for twins and tests, from any thread ----

    @property
    def secure_url(self) -> str:
        """Its mqtts:// address, "" where there is none."""
        return f"mqtts://127.0.0.1:{self.secure_port}" if self.secure_port else ""

    @property
    def plain_url(self) -> str:
        """Its mqtt:// address, "" where there is none."""
        return f"mqtt://127.0.0.1:{self.plain_port}" if self.plain_port else ""

    @property
    def url(self) -> str:
        """The secure one where there is one."""
        return self.secure_url or self.plain_url

    def clients(self) -> tuple[str, ...]:
        """Who is linked now, by client id."""
        return tuple(self._links)

    def filters(self, client_id: str) -> tuple[str, ...]:
        """What a client has subscribed to."""
        link = self._links.get(client_id)
        return tuple(link.filters) if link else ()

    def send(self, client_id: str, topic: str, payload: bytes, qos: int = 0) -> bool:
        """A message to one client; False where it is not linked or has not subscribed to that topic.

        Sent after whatever is being answered just now (a PUBACK, a SUBACK).
        """
        link = self._links.get(client_id)
        wanted = link.qos_of(topic) if link else None
        if link is None or wanted is None:
            return False
        self._soon(self._deliver, link, topic, payload, min(qos, wanted))
        return True

    def publish(self, topic: str, payload: bytes, qos: int = 0) -> int:
        """A message to everyone who has subscribed; how many those are."""
        return sum(self.send(client_id, topic, payload, qos) for client_id in self.clients())

    def drop(self, client_id: str, why: str = "dropped") -> bool:
        """Cuts a client's link; False where there is none."""
        link = self._links.get(client_id)
        if link is not None:
            self._soon(self._cut, link, why)
        return link is not None

    def stop(self) -> None:
        """Ends every link and the thread.

        Raises:
            AssertionError: the rules had raised something: a fault of the twin's own.
        """
        if self._thread.is_alive():
            self._soon(self._stopping.set)
            self._thread.join(PATIENCE_S)
            assert not self._thread.is_alive(), "the MQTT server does not stop"
            assert not self.errors, f"the twin has failed: {self.errors}"

    def __enter__(self) -> MqttServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    # ---- in the server's thread ----

    def _soon(self, act: Callable[..., object], *words: object) -> None:
        with contextlib.suppress(RuntimeError):  # it has stopped meanwhile
            self._loop.call_soon_threadsafe(act, *words)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda loop, about: None)  # handshakes that fail: the client's business
        try:
            self._loop.run_until_complete(self._main())
        finally:
            self._loop.close()

    async def _main(self) -> None:
        servers = []
        if self._context is not None:
            servers.append(await asyncio.start_server(self._accept, "127.0.0.1", self._ports[0], ssl=self._context))
            self.secure_port = servers[-1].sockets[0].getsockname()[1]
        if self._plain:
            servers.append(await asyncio.start_server(self._accept, "127.0.0.1", self._ports[1]))
            self.plain_port = servers[-1].sockets[0].getsockname()[1]
        watching = asyncio.ensure_future(self._watch())
        self._listens.set()
        await self._stopping.wait()
        watching.cancel()
        for server in servers:
            server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        await asyncio.gather(watching, *self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # lets the transports say that they are closed

    async def _watch(self) -> None:
        while True:
            self._woken.clear()
            now_s = self.clock.now_s()
            for link in tuple(self._links.values()):
                if link.ends_s() <= now_s:
                    self._cut(link, "keepalive")
            next_s = min((link.ends_s() for link in self._links.values() if not link.why), default=float("inf"))
            wait_s = max(next_s - now_s, 0.01) if self.clock.runs and next_s < float("inf") else None
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._woken.wait(), wait_s)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        link: Link | None = None
        why = "cut"
        try:
            link = await asyncio.wait_for(self._greet(reader, writer), CONNECT_WITHIN_S)
            while link is not None and why == "cut":
                why = await self._serve(link, *await self._packet(reader, self.limit_bytes))
        except BrokenError:
            why = "broken"
        except (OSError, EOFError, asyncio.TimeoutError, ssl.SSLError):
            why = "cut"
        except Exception as error:
            why = "broken"
            self.errors.append(error)
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            if link is not None:
                self._forget(link, link.why or why)
            await self._close(writer)

    async def _close(self, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.TimeoutError, ssl.SSLError):
            writer.close()
            await asyncio.wait_for(writer.wait_closed(), 1)
        writer.transport.abort()

    async def _packet(self, reader: asyncio.StreamReader, limit_bytes: int, wanted: int = -1) -> tuple[int, bytes]:
        first = (await reader.readexactly(1))[0]
        if wanted not in (-1, first):
            raise BrokenError("not the packet that must come first")
        size = 0
        for shift in (0, 7, 14, 21):
            byte = (await reader.readexactly(1))[0]
            size |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
        else:
            raise BrokenError("a length without an end")
        if size > limit_bytes:
            raise BrokenError("more than is taken")
        return first, await reader.readexactly(size)

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Link | None:
        _, body = await self._packet(reader, packets.MAX_CONNECT_BYTES, packets.CONNECT << 4)
        hello = packets.read_hello(body)
        tls = writer.get_extra_info("ssl_object")
        shown = tls.getpeercert(binary_form=True) if tls is not None else None
        hello = hello._replace(is_secure=tls is not None, certificate=shown)
        code = self.rules.on_connect(hello) if hello.level == 4 else BAD_VERSION
        self._note("connect", hello.client_id, hello.user or "", code)
        answer = packets.packet(packets.CONNACK, bytes((0, code)))
        if code != ACCEPTED:
            writer.write(answer)
            await writer.drain()
            return None
        older = self._links.pop(hello.client_id, None)
        if older is not None:
            self._cut(older, "evicted")
        link = self._links[hello.client_id] = Link(hello, writer, self.clock.now_s())
        self._woken.set()
        writer.write(answer)  # last: whoever reads it may count on the link, and on when its silence began
        return link

    async def _serve(self, link: Link, first: int, body: bytes) -> str:
        link.heard_s = self.clock.now_s()
        kind, client_id, write = first >> 4, link.hello.client_id, link.writer.write
        if kind == packets.PUBLISH:
            return self._take(link, packets.read_message(first & 0x0F, body))
        if kind == packets.SUBSCRIBE:
            number, filters = packets.read_filters(body, with_qos=True)
            granted = bytes(self._subscribe(link, topic_filter, qos) for topic_filter, qos in filters)
            write(packets.packet(packets.SUBACK, number + granted))
        elif kind == packets.UNSUBSCRIBE:
            number, filters = packets.read_filters(body, with_qos=False)
            for topic_filter, _ in filters:
                link.filters.pop(topic_filter, None)
            write(packets.packet(packets.UNSUBACK, number))
        elif kind == packets.PINGREQ:
            self._note("ping", client_id, "")
            write(packets.packet(packets.PINGRESP, b""))
        elif kind == packets.DISCONNECT:
            return "disconnect"
        elif kind != packets.PUBACK:
            raise BrokenError(f"no packet of a client: {first:#x}")
        return "cut"

    def _take(self, link: Link, message: Message) -> str:
        client_id = link.hello.client_id
        self._note("publish", client_id, message.topic, message.qos, len(message.payload))
        if not self.rules.on_publish(client_id, message) or message.qos == 2:
            return "refused"
        if message.qos:
            link.writer.write(packets.packet(packets.PUBACK, message.number.to_bytes(2, "big")))
        return "cut"

    def _subscribe(self, link: Link, topic_filter: str, qos: int) -> int:
        link.filters[topic_filter] = min(qos, 1)  # before the rules are asked: they may have something to send at once
        granted = self.rules.on_subscribe(link.hello.client_id, topic_filter, qos)
        self._note("subscribe", link.hello.client_id, topic_filter, granted)
        if granted == NO_QOS:
            link.filters.pop(topic_filter)
        else:
            link.filters[topic_filter] = granted
        return granted

    def _deliver(self, link: Link, topic: str, payload: bytes, qos: int) -> None:
        if link.writer.transport.is_closing():
            return
        link.number = link.number % 65_535 + 1
        link.writer.write(packets.message(topic, payload, qos, link.number))
        if link.writer.transport.get_write_buffer_size() > MOST_UNSENT_BYTES:
            self._cut(link, "cut")

    def _cut(self, link: Link, why: str) -> None:
        if not link.why:
            link.why = why
            link.writer.transport.abort()

    def _forget(self, link: Link, why: str) -> None:
        client_id = link.hello.client_id
        if self._links.get(client_id) is link:
            del self._links[client_id]
        self._note("gone", client_id, why)
        self.rules.on_gone(client_id, why)

    def _note(self, kind: str, who: str, what: str, code: int = 0, size_bytes: int = 0) -> None:
        self.log.add(Seen(self.clock.now_s(), kind, who, what, code, size_bytes))
