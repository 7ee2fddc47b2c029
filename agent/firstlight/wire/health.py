"""The hub's answer to ``GET /health``: ``{"hub": VERSION, "serverTime": seconds}``. Public; asking spends nothing."""

from __future__ import annotations

from firstlight.wire import bounded
from firstlight.wire.heartbeat import MAX_SECONDS


def encode_health(version: str, server_time_s: float) -> bytes:
    """The hub's version and clock -> body."""
    return bounded.encode_object({"hub": version, "serverTime": round(server_time_s, 3)})


def decode_health(body: bytes) -> tuple[str, float]:
    """Body -> (the hub's version, its clock in seconds since 1970).

    Raises:
        WireError: what answers is not a hub.
    """
    source = bounded.decode_object(body, bounded.MAX_REPLY_BYTES)
    return bounded.text(source, "hub", 64), bounded.number(source, "serverTime", 0, MAX_SECONDS)
