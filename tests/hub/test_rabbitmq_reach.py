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


def said(port: int, caplog: pytest.LogCaptureFixture, tls: ssl.SSLContext | None = None) -> str:
    """The reason in the first warning about this port."""

    async def tried() -> None:
        place = pika.ConnectionParameters(WHERE, port, ssl_options=pika.SSLOptions(tls, WHERE) if tls else None)
        lane = Lane(place)
        lane.start()
        until_s = asyncio.get_running_loop().time() + WITHIN_S
        while not lane.was_out and asyncio.get_running_loop().time() < until_s:
            await asyncio.sleep(0.01)
        await lane.stop()

    with caplog.at_level(logging.WARNING):
        asyncio.run(tried())
    before, _, reason = caplog.records[0].getMessage().partition(" s: ")
    assert before == "RabbitMQ is out of reach, next try in 0.5"
    return reason


def test_port_where_nothing_listens(closed: int, caplog: pytest.LogCaptureFixture) -> None:
    """The system's own words."""
    assert "Connection refused" in said(closed, caplog)


@pytest.mark.parametrize("tls", [None, ssl.create_default_context()])
def test_connection_that_is_cut(cutting: int, tls: ssl.SSLContext | None, caplog: pytest.LogCaptureFixture) -> None:
    """Before a word of AMQP, or within the handshake: never an empty reason."""
    assert said(cutting, caplog, tls).strip()
