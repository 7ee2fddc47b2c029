"""A WebSocket server that sends anything: what its frames carry, or a named error; never more memory than one frame."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from firstlight.core.model import parse_broker
from firstlight.errors import UnreachableError
from firstlight.transports.connect import Connection
from firstlight.transports.websocket import (
    ACCEPT_SALT,
    BINARY,
    CLOSE,
    CONTINUATION,
    MAX_FRAME_BYTES,
    MAX_HEAD_BYTES,
    PING,
    PONG,
    READ_BYTES,
    WebSocket,
)

BROKER = parse_broker("wss://hub.example:443/mqtt")
MOST_HELD = MAX_FRAME_BYTES + 2 * READ_BYTES


class Wire:
    """A connection whose server sends pieces of bytes; what the client wrote is kept."""

    peer = "hub.example:443"

    def __init__(self, pieces: Iterable[bytes], *, shakes_hands: bool) -> None:
        self.pieces = [piece for piece in pieces if piece]
        self.shakes_hands = shakes_hands
        self.written: list[bytes] = []
        self.reads = 0

    def write(self, data: bytes) -> None:
        """The first thing written is the request; an honest server answers it."""
        self.written.append(data)
        key = re.search(rb"Sec-WebSocket-Key: (\S+)", data)
        if self.shakes_hands and key and len(self.written) == 1:
            accept = base64.b64encode(hashlib.sha1(key[1] + ACCEPT_SALT, usedforsecurity=False).digest())
            head = b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: mqtt\r\n"
            self.pieces.insert(0, head + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")

    def read(self, size: int) -> bytes:
        """The next piece, at most ``size`` of it; none at the end."""
        self.reads += 1
        if not self.pieces:
            return b""
        piece, rest = self.pieces[0][:size], self.pieces[0][size:]
        self.pieces[:1] = [rest] if rest else []
        return piece

    def read_now(self, size: int) -> bytes | None:
        """As ``read``."""
        return self.read(size)

    def fileno(self) -> int:
        """None."""
        return -1

    def close(self) -> None:
        """Nothing to end."""


def heard(pieces: Iterable[bytes], *, shakes_hands: bool = True, now: bool = False) -> tuple[bytes, str, Wire]:
    """Everything that the frames carried until the end, the code of the error that ended it, and the wire."""
    wire = Wire(pieces, shakes_hands=shakes_hands)
    found, code = b"", ""
    try:
        socket = WebSocket(cast(Connection, wire), BROKER)
        while data := (socket.read_now(READ_BYTES) if now else socket.read(READ_BYTES)):
            found += data
            assert len(data) <= MAX_FRAME_BYTES and len(socket._rest) <= MOST_HELD
        assert len(socket._rest) <= MOST_HELD and len(socket.farewell) <= 125 and socket.farewell.isprintable()
    except UnreachableError as error:
        code = error.code
        assert error.message.isprintable() and len(error.message) < 200
    return found, code, wire


def frame(kind: int, payload: bytes, *, first: int = 0x80, form: int = 0) -> bytes:
    """A server's frame; ``form`` 126 or 127 forces a longer length than needed."""
    size = len(payload)
    form = form or (size if size < 126 else 126 if size < 65_536 else 127)
    length = b"" if form < 126 else size.to_bytes(2 if form == 126 else 8, "big")
    return bytes((first | kind, form)) + length + payload


def cut(body: bytes, at: list[int]) -> list[bytes]:
    """The body in pieces."""
    places = sorted({0, len(body), *(place % (len(body) + 1) for place in at)})
    return [body[begin:end] for begin, end in pairwise(places)]


CUTS = st.lists(st.integers(0, 100_000), max_size=12)
FRAMES = st.lists(
    st.tuples(
        st.sampled_from([BINARY, CONTINUATION, PING, PONG]), st.binary(max_size=125), st.sampled_from([0x80, 0x00])
    ),
    max_size=12,
)


@settings(max_examples=400, deadline=None)
@given(body=st.binary(max_size=600), at=CUTS, now=st.booleans())
@example(body=b"\x82\x7f" + b"\xff" * 8 + b"x" * 100, at=[], now=False)
@example(body=b"\x82\xfe\x00\x01" + b"x" * 100, at=[3], now=True)
@example(body=frame(CLOSE, b"\x03\xe8" + b"\xff\x1b[31m" * 10), at=[], now=False)
def test_any_bytes_after_the_handshake_are_content_or_a_named_error(body: bytes, at: list[int], now: bool) -> None:
    """However they are cut: no other exception, no endless loop, no memory without bound."""
    found, code, wire = heard(cut(body, at), now=now)

    assert code in ("", "websocket_failed") and len(found) <= len(body)
    assert wire.reads <= len(body) + 20
    assert sum(map(len, wire.written[1:])) <= 5 * len(body), (
        "it answers pings, with no more than four bytes beside them"
    )


@settings(max_examples=200, deadline=None)
@given(frames=FRAMES, at=CUTS, now=st.booleans())
def test_what_frames_carry_is_one_stream_however_it_is_cut(
    frames: list[tuple[int, bytes, int]], at: list[int], now: bool
) -> None:
    """Pings and pongs in between, fragments, empty ones: exactly the content comes out, and each ping has its pong."""
    body = b"".join(
        frame(kind, payload, first=first if kind in (BINARY, CONTINUATION) else 0x80) for kind, payload, first in frames
    )
    found, code, wire = heard(cut(body, at), now=now)

    assert code == "" and found == b"".join(payload for kind, payload, _ in frames if kind in (BINARY, CONTINUATION))
    pongs = wire.written[1:]
    assert [len(one) - 6 for one in pongs] == [len(payload) for kind, payload, _ in frames if kind == PING]
    assert all(one[0] == 0x80 | PONG and one[1] & 0x80 for one in pongs), "what a client sends is masked"


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=400), start=st.sampled_from([b"", b"HTTP/1.1 101 Yes\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]))
def test_any_answer_to_the_request_is_a_named_error(body: bytes, start: bytes) -> None:
    """Nobody guesses the key's answer: whatever comes, no WebSocket is believed to be open."""
    found, code, _ = heard([start + body], shakes_hands=False)

    assert (found, code) == (b"", "websocket_failed")


@pytest.mark.parametrize("piece", [1, 7, READ_BYTES])
def test_an_answer_without_an_end_is_left(piece: int) -> None:
    """After 16 KB of head it is an error, and the rest is not read."""
    body = b"HTTP/1.1 101 Yes\r\n" + b"X: y\r\n" * 100_000
    _, code, wire = heard([body[at : at + piece] for at in range(0, 60_000, piece)], shakes_hands=False)

    assert code == "websocket_failed" and wire.reads <= (MAX_HEAD_BYTES + READ_BYTES) // piece + 2


@pytest.mark.parametrize("size", [MAX_FRAME_BYTES + 1, 2**31, 2**63, 2**64 - 1])
def test_a_frame_that_is_too_large_is_refused_by_its_length(size: int) -> None:
    """Not a byte of its content is waited for."""
    _, code, wire = heard([b"\x82\x7f" + size.to_bytes(8, "big"), *[b"x" * READ_BYTES] * 1000])

    assert code == "websocket_failed" and wire.reads <= 3


def test_the_largest_frame_comes_whole() -> None:
    """128 KB in pieces of 8 KB, and in every form of its length that fits."""
    payload = bytes(range(256)) * (MAX_FRAME_BYTES // 256)
    assert heard([frame(BINARY, payload)])[:2] == (payload, "")
    assert heard([frame(BINARY, b"abc", form=form) for form in (0, 126, 127)])[:2] == (b"abc" * 3, "")


def test_a_million_empty_frames_are_not_kept() -> None:
    """Frames without content cost time as they come, and no memory."""
    found, code, _ = heard([frame(BINARY, b"") * 4096] * 50 + [frame(BINARY, b"end")])

    assert (found, code) == (b"end", "")
