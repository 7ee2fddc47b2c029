"""The hub's MQTT topics, all below ``firstlight/WORKSPACE/DEVICE/``; both directions side by side.

A device publishes to ``heartbeat``; its last will goes to ``gone``. The hub publishes to ``answer/SEQ`` what a beat
asked for, and to ``answer/now`` what changed meanwhile. Ids have no dot, so RabbitMQ's routing keys are unambiguous.
"""

from __future__ import annotations

import re

PREFIX = "firstlight"
EVERY_BEAT, EVERY_WILL = f"{PREFIX}/+/+/heartbeat", f"{PREFIX}/+/+/gone"
FROM_DEVICE = re.compile(PREFIX + r"[/.]([A-Za-z0-9_-]{1,64})[/.]([A-Za-z0-9_-]{1,64})[/.](heartbeat|gone)\Z")


def heartbeat(workspace: str, device_id: str) -> str:
    """Where a device's beats go."""
    return f"{PREFIX}/{workspace}/{device_id}/heartbeat"


def gone(workspace: str, device_id: str) -> str:
    """Where its last will goes."""
    return f"{PREFIX}/{workspace}/{device_id}/gone"


def answer(workspace: str, device_id: str, sequence: int | None = None) -> str:
    """Where the hub answers the beat with that sequence number; without one, where it speaks unasked."""
    return f"{PREFIX}/{workspace}/{device_id}/answer/{'now' if sequence is None else sequence}"


def answers(workspace: str, device_id: str) -> str:
    """The filter that a device subscribes to."""
    return f"{PREFIX}/{workspace}/{device_id}/answer/+"


def read(topic: str) -> tuple[str, str, str] | None:
    """A topic (or RabbitMQ's routing key) from a device -> workspace, device id, and ``heartbeat`` or ``gone``."""
    found = FROM_DEVICE.match(topic)
    return (found[1], found[2], found[3]) if found else None
