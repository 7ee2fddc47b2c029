"""Connections that send too much or too little: over real sockets, against the server that the hub uses."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Iterator, MutableMapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import uvicorn

from firstlight.wire.bounded import WireError
from firstlight_hub.api.problems import read_bounded
from firstlight_hub.client_certificate import accept_devices
from firstlight_hub.connection import MAX_HEAD_BYTES, HubLoop, HubProtocol
from firstlight_hub.folder import HubFolder
from firstlight_hub.tls import certificate_pem, make_key
from tests.hub.identities import certify, new_authority, trusting

PATIENCE_S = 20
KEEP_ALIVE_S = 2


class Hasty(HubProtocol):
    """The hub's protocol, in a hurry."""

    head_s: ClassVar[float] = 0.5
    body_s: ClassVar[float] = 0.5
    linger_s: ClassVar[float] = 0.5


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers ``/early`` at once and everything else when the body is there."""
    while scope["path"] != "/early":
        message = await receive()
        if message["type"] != "http.request":
            return
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    """Where a hasty server listens."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    where: tuple[str, int] = listening.getsockname()
    config = uvicorn.Config(
        app,
        loop="firstlight_hub.connection:HubLoop",
        http=Hasty,
        lifespan="off",
        log_config=None,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    yield where
    server.should_exit = True
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def until_closed(connection: socket.socket) -> bytes:
    """Everything that comes until the other side ends it."""
    came = b""
    try:
        while more := connection.recv(65_536):
            came += more
    except ConnectionResetError:
        pass
    return came


def connect(address: tuple[str, int], sent: bytes) -> socket.socket:
    """A connection on which that was sent."""
    connection = socket.create_connection(address, PATIENCE_S)
    connection.sendall(sent)
    return connection


def asked(connection: socket.socket, request: bytes) -> bytes:
    """Sends a request -> the answer, which ends with ``ok``."""
    connection.sendall(request)
    came = b""
    while not came.endswith(b"ok"):
        more = connection.recv(4096)
        assert more, came
        came += more
    return came


def test_head_of_the_allowed_size_passes(address: tuple[str, int]) -> None:
    """Just under the bound, in one piece and in many, and a second one on the same connection."""
    filling = b"x" * (MAX_HEAD_BYTES - 100)
    with connect(address, b"") as connection:
        for _ in range(2):
            assert asked(connection, b"GET / HTTP/1.1\r\nx: " + filling + b"\r\n\r\n").startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("begin", [b"GET / HTTP/1.1\r\nx: ", b"GET /", b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 9000])
def test_endless_head_is_431(address: tuple[str, int], begin: bytes) -> None:
    """One long header, one long address or many headers: refused by name before they fill the memory."""
    with socket.create_connection(address, PATIENCE_S) as connection:
        try:
            connection.sendall(begin)
            for _ in range(64):
                connection.sendall(b"a" * 16_384)
        except (BrokenPipeError, ConnectionResetError):
            pass
        came = until_closed(connection)
    assert not came or came.startswith(b"HTTP/1.1 431 ")


def test_long_head_is_told_why(address: tuple[str, int]) -> None:
    """A client that is a little too talkative reads the reason."""
    with connect(address, b"GET /" + b"a" * (3 * 16_384)) as connection:
        came = until_closed(connection)
    assert came.startswith(b"HTTP/1.1 431 ")
    assert b'"request_too_large"' in came


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HT", b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nhalf", b"\r\n\r\n"],
    ids=["nothing", "half a head", "half a body", "empty lines"],
)
def test_who_does_not_go_on_is_let_go(address: tuple[str, int], sent: bytes) -> None:
    """No connection stands for ever, however far its request came."""
    with connect(address, sent) as connection:
        assert until_closed(connection) == b""


def test_rest_of_an_answered_body_is_not_awaited(address: tuple[str, int]) -> None:
    """A body that was answered before it came has a moment to end, and the connection closes."""
    with connect(address, b"POST /early HTTP/1.1\r\ncontent-length: 99\r\n\r\nhalf") as connection:
        assert until_closed(connection).endswith(b"ok")


def test_kept_connection_outlives_the_deadlines_and_ends_in_its_time(address: tuple[str, int]) -> None:
    """Between two requests only the keep-alive time counts, also after a body that came later than its answer."""
    with connect(address, b"") as kept:
        asked(kept, b"POST /early HTTP/1.1\r\ncontent-length: 4\r\n\r\n")
        kept.sendall(b"body")
        with connect(address, b"") as idle:
            until_closed(idle)  # head_s has passed
        assert asked(kept, b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 200")
        assert until_closed(kept) == b""


def test_body_that_does_not_come_is_named() -> None:
    """The reader gives up by itself, with a reason, and its task goes on."""

    async def never() -> MutableMapping[str, Any]:
        waiting: Awaitable[MutableMapping[str, Any]] = asyncio.get_running_loop().create_future()
        return await waiting

    async def read() -> str:
        with pytest.raises(WireError) as refused:
            await read_bounded({}, never, 100, within_s=0.05)
        await asyncio.sleep(0)
        return refused.value.code

    assert asyncio.run(read()) == "request_malformed"


class HastyLoop(HubLoop):
    """The hub's loop, in a hurry."""

    handshake_s: ClassVar[float] = 0.3


def test_handshake_that_does_not_end_is_let_go(tmp_path: Path) -> None:
    """A client that connects and says nothing does not keep its file descriptor."""
    folder = HubFolder(tmp_path / "hub")
    folder.create(("127.0.0.1",), 0, "demo")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder.server_certificate, folder.server_key)

    async def wait() -> bytes:
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=context)
        host, port = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port)
        came = await asyncio.wait_for(reader.read(), PATIENCE_S)
        writer.close()
        server.close()
        return came

    loop = HastyLoop()
    try:
        assert loop.run_until_complete(wait()) == b""
    finally:
        loop.close()


def test_refused_certificate_is_not_held_longer(tmp_path: Path) -> None:
    """A client that stays silent after the alert about its certificate is let go like one that never spoke."""
    folder = HubFolder(tmp_path / "hub")
    folder.create(("127.0.0.1",), 0, "demo")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder.server_certificate, folder.server_key)
    accept_devices(context, folder.authorities())
    stranger, key = new_authority(), make_key()
    shown = certificate_pem(certify(stranger, key, {"CN": "x"})).decode()

    def knock(where: tuple[str, int]) -> bytes:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = trusting(folder.ca_pem(), shown, key).wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        with socket.create_connection(where, PATIENCE_S) as connection:
            while True:
                try:
                    client.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    connection.sendall(outgoing.read())
                    incoming.write(connection.recv(65_536))
            connection.sendall(outgoing.read())
            incoming.write(until_closed(connection))
        with pytest.raises(ssl.SSLError, match="unknown ca"):
            client.read(1)
        return b"let go"

    async def wait() -> bytes:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=context)
        came = await loop.run_in_executor(None, knock, server.sockets[0].getsockname())
        server.close()
        return came

    loop = HastyLoop()
    try:
        assert loop.run_until_complete(wait()) == b"let go"
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
