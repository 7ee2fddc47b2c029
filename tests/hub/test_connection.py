"""Answers leave in one write: what the transport beneath gets, and when."""

from __future__ import annotations

import asyncio
from typing import Any

from firstlight_hub.connection import MAX_HELD_BYTES, _Gathering


class NotedTransport(asyncio.Transport):
    """A transport that notes what it is told to do."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.done: list[Any] = []

    def write(self, data: Any) -> None:
        """Notes the data."""
        self.done.append(data)

    def close(self) -> None:
        """Notes the end."""
        self.done.append("closed")


def after_one_turn(*sizes: int, close: bool = False) -> list[Any]:
    """What a transport was told to do one turn of the loop after writes of those sizes."""

    async def write() -> list[Any]:
        beneath = NotedTransport()
        gathering = _Gathering(beneath, asyncio.get_running_loop())
        assert gathering.get_extra_info("peername") == ("127.0.0.1", 1)
        for number, size in enumerate(sizes):
            gathering.write(bytes([number]) * size)
        if close:
            gathering.close()
        await asyncio.sleep(0)
        return beneath.done

    return asyncio.run(write())


def test_head_and_body_leave_together() -> None:
    """Two writes of one turn become one, in their order."""
    assert after_one_turn(2, 3) == [b"\x00\x00\x01\x01\x01"]


def test_closing_loses_nothing() -> None:
    """What is held leaves before the connection ends."""
    assert after_one_turn(2, 3, close=True) == [b"\x00\x00\x01\x01\x01", "closed"]


def test_large_answers_are_not_piled_up() -> None:
    """A long list goes on its way as soon as there is a packet's worth of it, so that nothing is piled up in memory."""
    sent = after_one_turn(MAX_HELD_BYTES, MAX_HELD_BYTES, 5)

    assert [len(data) for data in sent] == [MAX_HELD_BYTES, MAX_HELD_BYTES, 5]
