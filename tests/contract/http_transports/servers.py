"""Real servers on loopback that do what a script says, connection by connection, and remember what they heard."""

import contextlib
import re
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

PATIENCE_S = 10.0
Script = Callable[["Peer"], None]


class Peer:
    """One accepted connection, as its script sees it."""

    def __init__(self, server: "Server", sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.position = server.connections
        self._rest = b""

    def request(self) -> bytes:
        """The next whole request, or b"" when the client has gone."""
        while not (found := re.match(rb"(?s).*?\r\n\r\n", self._rest)):
            if not self._more():
                return b""
        length = re.search(rb"(?i)\r\ncontent-length: ([0-9]+)", found[0])
        end = found.end() + (int(length[1]) if length else 0)
        while len(self._rest) < end:
            if not self._more():
                return b""
        request, self._rest = self._rest[:end], self._rest[end:]
        self.server.requests.append(request)
        return request

    def send(self, *pieces: bytes) -> None:
        """Each piece in a write of its own."""
        for piece in pieces:
            self.sock.sendall(piece)

    def secure(self, context: ssl.SSLContext) -> None:
        """Speaks TLS from here on."""
        self.sock = context.wrap_socket(self.sock, server_side=True)
        self.sock.settimeout(PATIENCE_S)

    def wait_for_end(self) -> None:
        """Until the client closes, or the server stops."""
        while self.sock.recv(65_536):
            pass

    def _more(self) -> bool:
        data = self.sock.recv(65_536)
        self.server.heard.append(data)
        self._rest += data
        return bool(data)


class Server:
    """Listens on a free port of loopback; each connection runs the script in a thread of its own.

    Args:
        script: called with each connection; whatever it raises because the client went away is as good as its end.
        context: for TLS from the first byte.
        port: of loopback, 0 = any that is free.
    """

    def __init__(self, script: Script, context: ssl.SSLContext | None = None, port: int = 0) -> None:
        self._script = script
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[bytes] = []
        self.heard: list[bytes] = []
        self.connections = 0
        self.stopping = threading.Event()
        self._open: set[Peer] = set()
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        """Its address."""
        return f"{'https' if self._context else 'http'}://{host}:{self.port}{path}"

    def wait_until_left(self) -> None:
        """Until every connection has come to its end, so that all that was ever sent has been heard."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self._open, PATIENCE_S)

    def stop(self) -> None:
        """Ends everything and every thread."""
        self.stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        with self._changed:
            for peer in self._open:
                with contextlib.suppress(OSError):
                    # Not SSLSocket's own: it would have the peer's thread read what is left without TLS.
                    socket.socket.shutdown(peer.sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                sock.settimeout(PATIENCE_S)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._changed:
                    self.connections += 1
                    peer = Peer(self, sock)
                    self._open.add(peer)
                thread = threading.Thread(target=self._serve, args=(peer,))
                self._threads = [running for running in self._threads if running.is_alive()] + [thread]
                thread.start()

    def _serve(self, peer: Peer) -> None:
        with contextlib.suppress(OSError):
            if self._context:
                peer.secure(self._context)
            self._script(peer)
        peer.sock.close()
        with self._changed:
            self._open.discard(peer)
            self._changed.notify_all()


def reply(body: bytes = b"", status: str = "200 OK", *headers: str) -> bytes:
    """A plain answer."""
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]).encode() + body


def answering(*raw: bytes) -> Script:
    """Answers every request of a connection alike, in the given pieces."""

    def script(peer: Peer) -> None:
        while peer.request():
            peer.send(*raw)

    return script


def answering_once(*raw: bytes) -> Script:
    """Answers one request, in the given pieces, and closes."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(*raw)

    return script


def dripping(first: bytes, drop: bytes) -> Script:
    """Answers for ever, a drop at a time."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(first)
        while not peer.server.stopping.wait(0.01):
            peer.send(drop)

    return script


def proxying(password: str | None = None, *, on_open: Script | None = None) -> Script:
    """An HTTP proxy that tunnels to where it is asked to.

    Args:
        password: value of Proxy-Authorization without which it answers 407.
        on_open: plays the other end instead of connecting to it, once the tunnel stands.
    """

    def script(peer: Peer) -> None:
        asked = peer.request()
        shown = re.search(rb"(?i)\r\nproxy-authorization: (.*)\r\n", asked)
        if password is not None and (not shown or shown[1].decode() != password):
            peer.send(reply(b"<html>who are you?</html>", "407 Proxy Authentication Required"))
            return
        peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        if on_open:
            on_open(peer)
            return
        found = re.match(rb"CONNECT (\S+):([0-9]+) HTTP/1\.1\r\n", asked)
        assert found
        with socket.create_connection((found[1].decode(), int(found[2])), PATIENCE_S) as origin:
            for side, data in relayed(peer.sock, origin):
                if side is peer.sock:
                    peer.server.heard.append(data)

    return script


def relayed(one: socket.socket, other: socket.socket) -> Iterator[tuple[socket.socket, bytes]]:
    """Carries bytes both ways until one side ends; yields each piece with the side that it came from."""
    opposite = {one: other, other: one}
    while True:
        readable, _, _ = select.select([one, other], [], [], PATIENCE_S)
        for side in readable:
            data = side.recv(65_536)
            if not data:
                return
            yield side, data
            opposite[side].sendall(data)
        if not readable:
            return
