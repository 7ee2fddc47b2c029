"""What the twin knows: companies, secrets with their scopes and calls, users, devices."""

from __future__ import annotations

import math
import secrets
import threading
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from tests.twins.fleet.items import CLIENT_STATUSES, MDM_FIELDS, MDM_STATUSES, kept, told
from tests.twins.kit.clock import TwinClock

BOTH = frozenset({"READ", "WRITE"})
MINUTE_S = 60.0


@dataclass
class Device:
    """One device; ``is_fleets``: of Fleet's own rentals, which outsiders may not change."""

    number: int
    item: dict[str, Any]
    client_status: str = "AVAILABLE"
    is_fleets: bool = False
    is_removed: bool = False
    mdm: dict[str, Any] | None = None

    def told(self) -> dict[str, Any]:
        """As an answer has it."""
        source = "FLEET" if self.is_fleets else "EXTERNAL"
        found: dict[str, Any] = told(self.number, self.item, self.client_status, source, self.mdm)
        return found


@dataclass
class Company:
    """One tenant; ``is_gone``: its secrets live on, and find nothing."""

    users: set[int] = field(default_factory=lambda: {1})
    devices: dict[int, Device] = field(default_factory=dict)
    is_gone: bool = False

    def alive(self) -> list[Device]:
        """Those that were not removed, the oldest first."""
        return [device for device in self.devices.values() if not device.is_removed]


@dataclass
class Holder:
    """A secret's rights, and its calls of the minute that runs."""

    company: Company
    scopes: frozenset[str]
    began_s: float = 0.0
    calls: int = 0


class State:
    """All of it.

    Attributes:
        limit: calls a minute for each secret, None = no end.
        is_partial: a batch with bad devices makes the others (the pages do not say; usually none is made).
        makes_at_most: so many devices of a batch are made, then 500 DEVICE_PROVISIONING_FAILED; None = all.
        has_actor: False: every create ends in 500 PLATFORM_DEVICE_ACTOR_NOT_FOUND.
        limiter_is_up: False: every call ends in 503.
    """

    def __init__(self, clock: TwinClock, limit: int | None) -> None:
        self.clock, self.limit = clock, limit
        self.lock = threading.RLock()
        self.secrets: dict[str, Holder] = {}
        self.companies: list[Company] = []
        self.is_partial, self.has_actor, self.limiter_is_up = False, True, True
        self.makes_at_most: int | None = None
        self.last = 100

    @property
    def devices(self) -> list[Device]:
        """Those of the first company that were not removed."""
        with self.lock:
            return self.companies[0].alive()

    def add_company(self) -> Company:
        """A tenant with one user, number 1."""
        with self.lock:
            self.companies.append(Company())
            return self.companies[-1]

    def add_secret(self, company: Company, scopes: frozenset[str] = BOTH) -> str:
        """A platform API secret."""
        text = f"fleet_{secrets.token_urlsafe(24)}"
        with self.lock:
            self.secrets[text] = Holder(company, scopes)
        return text

    def add(self, company: Company, item: dict[str, Any], *, is_fleets: bool = False) -> Device:
        """A device, unchecked."""
        with self.lock:
            self.last += 1
            status = "IN_SERVICE" if item.get("user_id") else "AVAILABLE"
            device = Device(self.last, kept(item), status, is_fleets)
            company.devices[device.number] = device
            return device

    def place(self, number: int, client_status: str) -> None:
        """Moves a device of the first company on its way."""
        assert client_status in CLIENT_STATUSES
        with self.lock:
            self.companies[0].devices[number].client_status = client_status

    def manage(self, number: int, status: str, seen_at_s: float | None = None) -> None:
        """Gives a device of the first company an MDM row."""
        assert status in MDM_STATUSES
        with self.lock:
            row = {"id": number + 5000, "status": status, **dict.fromkeys(MDM_FIELDS)}
            if seen_at_s is not None:
                seen = datetime.fromtimestamp(seen_at_s, timezone.utc).isoformat(timespec="milliseconds")
                row["last_seen_date"] = seen.replace("+00:00", "Z")
            self.companies[0].devices[number].mdm = row

    def count(self, holder: Holder) -> dict[str, str]:
        """Notes a call and returns the limiter's headers, ``retry-after`` with them where there is none left."""
        if self.limit is None:
            return {}
        now_s = self.clock.now_s()
        if now_s - holder.began_s >= MINUTE_S:
            holder.began_s, holder.calls = now_s, 0
        holder.calls += 1
        reset = str(max(1, math.ceil(MINUTE_S - (now_s - holder.began_s))))
        headers = {
            "ratelimit-limit": str(self.limit),
            "ratelimit-remaining": str(max(0, self.limit - holder.calls)),
            "ratelimit-reset": reset,
        }
        return {**headers, "retry-after": reset} if holder.calls > self.limit else headers
