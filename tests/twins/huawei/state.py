"""What the twin knows: products, devices, operators, and how much was said today."""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timezone

from tests.twins.kit.clock import TwinClock

HOUR_S = 3600.0
ABNORMAL_AFTER_S, OFFLINE_AFTER_S = 25 * HOUR_S, 49 * HOUR_S
S0_MESSAGES_PER_DAY = 10_000


def compact(at_s: float) -> str:
    """create_time's form: 20151212T121212Z."""
    return datetime.fromtimestamp(at_s, timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def iso(at_s: float | None) -> str | None:
    """The form of the other times: 2015-12-12T12:12:12.000Z; None stays None."""
    if at_s is None:
        return None
    return datetime.fromtimestamp(at_s, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class Product:
    """A product model.

    Args:
        services: default values by property by service; None = the property has no default.
        node_type: of its devices; "" = by whether they are connected directly, as the page's table says.
        facts: what a device of it is born with (fw_version, sw_version, tags), as in the page's example.
    """

    product_id: str
    name: str
    app_id: str
    services: dict[str, dict[str, object]] = field(default_factory=dict)
    node_type: str = ""
    facts: dict[str, object] = field(default_factory=dict)


@dataclass
class Shadow:
    """One service's part of a device's shadow."""

    desired: dict[str, object] = field(default_factory=dict)
    reported: dict[str, object] = field(default_factory=dict)
    desired_s: float | None = None
    reported_s: float | None = None
    version: int = 0


@dataclass
class Device:
    """A registered device; secrets in the clear, as only the platform has them."""

    device_id: str
    node_id: str
    product_id: str
    app_id: str
    project_id: str
    gateway_id: str
    created_s: float
    record_id: str
    device_name: str | None = None
    description: str | None = None
    extension_info: dict[str, object] | None = None
    auth_type: str = "SECRET"
    secret: str = ""
    secondary_secret: str = ""
    fingerprint: str = ""
    secondary_fingerprint: str = ""
    secure_access: bool = True
    timeout_s: int = 0
    facts: dict[str, object] = field(default_factory=dict)
    shadow: dict[str, Shadow] = field(default_factory=dict)
    is_frozen: bool = False
    is_linked: bool = False
    said_status: str = "INACTIVE"
    changed_s: float | None = None
    active_s: float | None = None
    connect_s: float | None = None
    data_s: float | None = None  # of the newest report over HTTPS: a short connection

    @property
    def is_direct(self) -> bool:
        """Whether it speaks to the platform itself."""
        return self.gateway_id == self.device_id

    def status(self, now_s: float) -> str:
        """As the platform tells it."""
        if self.is_frozen:
            return "FROZEN"
        if self.is_linked or self.data_s is None:
            return self.said_status
        silence_s = now_s - self.data_s
        if silence_s < ABNORMAL_AFTER_S:
            return "ONLINE"
        return "ABNORMAL" if silence_s < OFFLINE_AFTER_S else "OFFLINE"

    def told_s(self, now_s: float) -> float | None:
        """When its status last changed: of a short connection the moment at which silence made the difference."""
        if self.data_s is None or self.is_linked:
            return self.changed_s
        steps = {"ABNORMAL": ABNORMAL_AFTER_S, "OFFLINE": OFFLINE_AFTER_S}
        return self.data_s + steps.get(self.status(now_s), 0.0)

    def become(self, status: str, now_s: float) -> None:
        """Online or offline, and active from the first time on."""
        if status != self.said_status:
            self.said_status, self.changed_s = status, now_s
        if self.active_s is None and status == "ONLINE":
            self.active_s = now_s


@dataclass
class Operator:
    """Who may manage: by token, or by access key and secret key."""

    project_id: str
    expires_s: float = float("inf")
    may_write: bool = True
    secret_key: str = ""


class State:
    """Everything, guarded by ``lock``.

    Args:
        clock: the platform's.

    Attributes:
        needs_instance: whether ``Instance-Id`` must be sent, as on the professional editions.
        least_gap_s: seconds between two connects of one device; 60 as the basic edition, 0 = no such limit.
        tolerance_h: hours by which the timestamp of sign type 1 may differ.
        is_down: CONNACK 3 for everybody.
        takes_plain: whether a link without TLS is as good as one with (a twin without certificates).
        messages: uplinks by day (UTC) and device; beyond ``messages_per_day`` they are acknowledged and ``lost``.
        reports_per_s: over HTTPS, for each device; 0 = no limit.
        problems: what devices did wrong, in words.
        answers: by request id, what devices answered to commands and settings.
        events: what devices sent on sys/events/up and sys/messages/up: (device id, service, event, paras).
    """

    def __init__(self, clock: TwinClock) -> None:
        self.clock, self.lock = clock, threading.RLock()
        self.apps = {"twinDefaultApp": "DefaultApp"}
        self.default_app = "twinDefaultApp"
        self.products: dict[str, Product] = {}
        self.devices: dict[str, Device] = {}
        self.tokens: dict[str, Operator] = {}
        self.access_keys: dict[str, Operator] = {}
        self.instance_id = "twin-instance"
        self.needs_instance = False
        self.least_gap_s = 0.0
        self.tolerance_h = 1
        self.is_down = False
        self.takes_plain = False
        self.messages: Counter[tuple[str, str]] = Counter()
        self.messages_per_day = S0_MESSAGES_PER_DAY
        self.reports_per_s = 0
        self.lost = 0
        self.problems: list[str] = []
        self.answers: dict[str, object] = {}
        self.events: list[tuple[str, str, str, dict[str, object]]] = []
        self._records = 0

    def new_record_id(self) -> str:
        """24 hex digits that grow."""
        self._records += 1
        return f"{int(self.clock.now_s()):08x}{self._records:016x}"

    def add_product(self, product: Product) -> Product:
        """A product that the operator has made at the console."""
        with self.lock:
            self.apps.setdefault(product.app_id, product.app_id)
            self.products[product.product_id] = product
        return product

    def add_token(self, project_id: str, lasts_s: float = 86_400.0, *, may_write: bool = True) -> str:
        """A token as IAM gives it."""
        token = "MIIT" + secrets.token_urlsafe(48)
        with self.lock:
            self.tokens[token] = Operator(project_id, self.clock.now_s() + lasts_s, may_write)
        return token

    def add_access_key(self, project_id: str) -> tuple[str, str]:
        """An access key and its secret key."""
        access_key, secret_key = secrets.token_hex(10).upper(), secrets.token_urlsafe(30)
        with self.lock:
            self.access_keys[access_key] = Operator(project_id, secret_key=secret_key)
        return access_key, secret_key

    def device(self, device_id: str) -> Device | None:
        """A device, unless it never came within its ``timeout``: then it is deleted now."""
        with self.lock:
            self.sweep()
            return self.devices.get(device_id)

    def sweep(self) -> None:
        """Deletes what was never connected within its ``timeout``."""
        now_s = self.clock.now_s()
        for device in tuple(self.devices.values()):
            if device.timeout_s and device.active_s is None and now_s > device.created_s + device.timeout_s:
                self.remove(device)

    def remove(self, device: Device) -> list[str]:
        """Deletes a device and all below it; who is gone."""
        gone = [device.device_id]
        del self.devices[device.device_id]
        for child in tuple(self.devices.values()):
            if child.gateway_id == device.device_id and child.device_id in self.devices:
                gone += self.remove(child)
        return gone

    def level(self, device: Device) -> int:
        """0 for a device that is connected directly, 1 for its child, 2 for the child's."""
        return 0 if device.is_direct else 1 + self.level(self.devices[device.gateway_id])

    def is_below(self, device_id: str, gateway_id: str) -> bool:
        """Whether a device is a child of a gateway, or a child's child."""
        device = self.devices.get(device_id)
        while device is not None and not device.is_direct:
            if device.gateway_id == gateway_id:
                return True
            device = self.devices.get(device.gateway_id)
        return False

    def count(self, device_id: str) -> bool:
        """One more uplink; False once the day's are spent, and then it is lost."""
        with self.lock:
            day = iso(self.clock.now_s()) or ""
            self.messages[day[:10], device_id] += 1
            if self.said_today() > self.messages_per_day:
                self.lost += 1
                return False
            return True

    def said_today(self, device_id: str = "") -> int:
        """Uplinks of this day, of one device or of all."""
        today = (iso(self.clock.now_s()) or "")[:10]
        with self.lock:
            return sum(n for (day, who), n in self.messages.items() if day == today and device_id in ("", who))

    def problem(self, what: str) -> None:
        """Notes what a device did wrong."""
        with self.lock:
            self.problems.append(what)
