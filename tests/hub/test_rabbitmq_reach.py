"""RabbitMQ out of reach: the hub says why each time, whatever the library makes of it."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Iterator

import pika
import pytest

from firstlight_hub.rabbitmq.consumer import Lane

WHERE, WITHIN_S = "127.0.0.1", 20


@pytest.fixture
def closed() -> int:
    """A port on which nothing listens."""
    with socket.create_server((WHERE, 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture
def cutting() -> Iterator[int]:
    """A port that cuts every connection."""
    listening = socket.create_server((WHERE, 0))

    def cut() -> None:
        while True:
            try:
                listening.accept()[0].close()
            except OSError:
                return

    thread = threading.Thread(target=cut)
    thread.start()
    yield listening.getsockname()[1]
    listening.shutdown(socket.SHUT_RDWR)
    thread.join()
    listening.close()


class Ear(logging.Handler):
    """Hears the first warning."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def emit(self, record: logging.LogRecord) -> None:
        """As the base."""
        if not self.heard.done():
            self.heard.set_result(record.getMessage())


def said(port: int, tls: ssl.SSLContext | None = None) -> str:
    """The reason in the first warning about this port."""

    async def tried() -> str:
        ear, log = Ear(), logging.getLogger("firstlight_hub.rabbitmq")
        log.addHandler(ear)
        place = pika.ConnectionParameters(WHERE, port, ssl_options=pika.SSLOptions(tls, WHERE) if tls else None)
        lane = Lane(place)
        lane.start()
        try:
            return await asyncio.wait_for(ear.heard, WITHIN_S)
        finally:
            log.removeHandler(ear)
            await lane.stop()

    before, _, reason = asyncio.run(tried()).partition(" s: ")
    assert before == "RabbitMQ is out of reach, next try in 0.5"
    return reason


def test_port_where_nothing_listens(closed: int) -> None:
    """The system's own words."""
    assert "Connection refused" in said(closed)


@pytest.mark.parametrize("tls", [None, ssl.create_default_context()])
def test_connection_that_is_cut(cutting: int, tls: ssl.SSLContext | None) -> None:
    """Before a word of AMQP, or within the handshake: never an empty reason."""
    assert said(cutting, tls).strip()
