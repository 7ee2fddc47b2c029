"""What the Qubitro twin knows: projects, keys, devices and what they sent. Looks and changes take ``lock``."""

from __future__ import annotations

import json
import secrets
import threading
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone

from tests.twins.kit.clock import TwinClock

NEVER = "0001-01-01T00:00:00Z"
AVATAR = "https://static.qubitro.com/portal/device/avatar/default.png"
MOST_ROWS = 1000


@dataclass
class Device:
    """One device, and the newest of what it sent.

    Args:
        seen_s: when it sent something last, seconds since 1970; None = never.
    """

    id: str
    token: str = field(repr=False)
    name: str
    description: str
    source: str
    tags: list[str]
    brand: str
    model: str
    seen_s: float | None = None
    rows: deque[dict[str, object]] = field(default_factory=lambda: deque(maxlen=MOST_ROWS))

    @property
    def last_seen(self) -> str:
        """RFC 3339 in UTC, the zero time for never."""
        if self.seen_s is None:
            return NEVER
        return datetime.fromtimestamp(self.seen_s, timezone.utc).isoformat(timespec="milliseconds")[:-6] + "Z"

    def public(self) -> dict[str, object]:
        """The record as lists have it: without credentials."""
        return {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "brand": self.brand,
            "model": self.model,
            "avatar": AVATAR,
            "last_seen": self.last_seen,
            "tags": self.tags,
        }


class State:
    """All of it.

    Args:
        clock: stamps what devices send.
        dialect: "seed" or "newer": where credentials stand and whether a list has an envelope; may be changed later.
    """

    def __init__(self, clock: TwinClock, dialect: str = "seed") -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.dialect = dialect
        self.created_status = 200  # the table of codes lists no 201, the example's body says 201
        self.errors_are_200 = False  # a no is said in the body alone
        self.publish_body = b""  # what the answer to data over HTTP has in it is not documented
        self.projects: dict[str, dict[str, Device]] = {}
        self.keys: dict[str, frozenset[str]] = {}
        self.send: Callable[[str, str, bytes, int], bool] = lambda client_id, topic, payload, qos: False
        self.refused: list[str] = []  # device ids whose data was not taken: not flat

    def add_project(self) -> str:
        """A new one; its id."""
        with self.lock:
            project = str(uuid.uuid4())
            self.projects[project] = {}
            return project

    def add_key(self, *projects: str) -> str:
        """An API key for those projects."""
        with self.lock:
            key = f"QB_{secrets.token_hex(20)}"
            self.keys[key] = frozenset(projects)
            return key

    def add_device(self, project: str, wanted: dict[str, object]) -> Device:
        """A device of checked fields."""
        with self.lock:
            device = Device(id=str(uuid.uuid4()), token=secrets.token_urlsafe(24), **wanted)  # type: ignore[arg-type]
            self.projects[project][device.id] = device
            return device

    def device(self, device_id: str) -> Device | None:
        """A device of any project."""
        with self.lock:
            return next((found[device_id] for found in self.projects.values() if device_id in found), None)

    def by_token(self, token: str) -> Device | None:
        """The device with that token."""
        with self.lock:
            everything = (device for found in self.projects.values() for device in found.values())
            return next((device for device in everything if secrets.compare_digest(device.token, token)), None)

    def take(self, device: Device, data: object) -> bool:
        """What a device sent; False, and nothing kept, where it is not a flat object."""
        is_flat = isinstance(data, dict) and bool(data)
        with self.lock:
            if not is_flat or any(isinstance(value, (dict, list)) for value in data.values()):  # type: ignore[attr-defined]
                self.refused.append(device.id)
                return False
            device.seen_s = self.clock.now_s()
            device.rows.append(dict(data))  # type: ignore[call-overload]
            return True

    def command(self, device_id: str, order: dict[str, object]) -> bool:
        """Sends a device a command over its topic; False where it does not listen there."""
        return self.send(device_id, device_id, json.dumps(order).encode(), 2)
