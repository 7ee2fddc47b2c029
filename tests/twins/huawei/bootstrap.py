"""The bootstrap server (Device Provisioning): tells a device where it belongs, and makes members of groups."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from tests.twins.huawei import logins
from tests.twins.huawei.state import Device, State
from tests.twins.kit import mqtt
from tests.twins.kit.mqtt import Hello, Message, Rules

NO_STRATEGY, BAD_DEVICE, FUNCTION_FAILED = 100414, 100206, 100417
TEXTS = {
    NO_STRATEGY: "No strategy matches the device.",
    BAD_DEVICE: "The device is not valid.",
    FUNCTION_FAILED: "The custom function failed.",
}


@dataclass
class Fixed:
    """A device that was registered beforehand.

    Args:
        auth: as at the platform itself: secret, or fingerprint ("" = the first certificate is pinned).
        keyword: what the static strategy looks for in its name; "" = the name itself.
        config: text that is handed on, "" = none.
    """

    auth: Device
    keyword: str = ""
    config: str = ""


@dataclass
class Group:
    """A registration group.

    Args:
        secret: base64; "" = its members show a certificate that the server's device authorities have signed.
        product_id: of what its members become.
    """

    scope_id: str
    product_id: str
    project_id: str
    secret: str = ""
    keyword: str = ""
    config: str = ""
    is_open: bool = True


@dataclass
class Provisioning:
    """What the bootstrap server knows; guarded by the platform's lock.

    Args:
        strategies: static: the address (host:port) by the keyword that a name, or what a device says, begins with.
        failures: error codes that the next requests get, first come first served.
        asks_again: ids of devices that were told to come again.
    """

    state: State
    strategies: dict[str, str] = field(default_factory=dict)
    devices: dict[str, Fixed] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    served: list[str] = field(default_factory=list)

    def add_device(
        self,
        device_id: str,
        product_id: str,
        project_id: str,
        *,
        secret: str = "",
        keyword: str = "",
        config: str = "",
    ) -> Fixed:
        """Registers a device beforehand; without a secret it shows a certificate."""
        with self.state.lock:
            auth = self._new(device_id, product_id, project_id, secret)
            self.devices[device_id] = Fixed(auth, keyword, config)
            return self.devices[device_id]

    def add_group(self, product_id: str, project_id: str, *, with_secret: bool = True, keyword: str = "") -> Group:
        """Makes a registration group."""
        secret = base64.b64encode(secrets.token_bytes(24)).decode() if with_secret else ""
        group = Group(secrets.token_hex(8), product_id, project_id, secret, keyword)
        with self.state.lock:
            self.groups[group.scope_id] = group
        return group

    def allot(self, said: logins.ClientId, body: dict[str, Any]) -> dict[str, Any]:
        """The answer on sys/bootstrap/down: an address, or an error code."""
        if self.failures:
            return failure(self.failures.pop(0))
        group = self.groups.get(said.scope_id)
        fixed = self.devices.get(said.device_id)
        rule = group or fixed
        assert rule is not None
        address = self._address(said.device_id, rule.keyword, str(body.get("baseStrategyKeyword") or ""))
        if not address:
            return failure(NO_STRATEGY)
        answer: dict[str, Any] = {"address": address}
        if rule.config:
            answer["initConfig"] = rule.config
        if group is not None:
            device = self._member(group, said.device_id)
            if device is None:
                return failure(BAD_DEVICE)
            if group.secret:
                answer["deviceSecret"] = device.secret
        elif fixed is not None:
            self.state.devices.setdefault(said.device_id, fixed.auth)
        self.served.append(said.device_id)
        return answer

    def _address(self, device_id: str, keyword: str, said: str) -> str:
        names = [each for each in (said, keyword, device_id) if each]
        for wanted, address in self.strategies.items():
            if any(name.startswith(wanted) for name in names):
                return address
        return ""

    def _member(self, group: Group, device_id: str) -> Device | None:
        """The same device each time; an id with an underscore must begin with a product that is there."""
        device = self.state.devices.get(device_id)
        if device is not None:
            return device if device.product_id == group.product_id else None
        if "_" in device_id and device_id.split("_", 1)[0] not in self.state.products:
            return None
        secret = secrets.token_hex(16) if group.secret else ""
        device = self._new(device_id, group.product_id, group.project_id, secret)
        self.state.devices[device_id] = device
        return device

    def _new(self, device_id: str, product_id: str, project_id: str, secret: str) -> Device:
        state = self.state
        node_id = device_id.removeprefix(product_id + "_")[:64]
        app_id = state.products[product_id].app_id
        device = Device(
            *(device_id, node_id, product_id, app_id, project_id, device_id, state.clock.now_s()),
            record_id=state.new_record_id(),
            device_name=device_id,
            auth_type="SECRET" if secret else "CERTIFICATES",
            secret=secret,
        )
        return device


class BootstrapRules(Rules):
    """Links and messages of the bootstrap server."""

    def __init__(self, provisioning: Provisioning) -> None:
        self.provisioning, self.state = provisioning, provisioning.state

    def on_connect(self, hello: Hello) -> int:
        """A member of a group, or a device that was registered beforehand; always over TLS where there is some."""
        if not logins.LEAST_KEEPALIVE_S <= hello.keepalive_s <= logins.MOST_KEEPALIVE_S:
            return mqtt.BAD_CLIENT_ID
        if hello.will is not None or not (hello.is_secure or self.state.takes_plain):
            return mqtt.NOT_AUTHORISED
        with self.state.lock:
            said = self.read(hello.client_id)
            if said is None:
                return mqtt.BAD_CLIENT_ID
            if said.device_id != hello.user:
                return mqtt.BAD_LOGIN
            if said.scope_id:
                return self._prove_member(said, hello)
            fixed = self.provisioning.devices.get(said.device_id)
            if fixed is None:
                return mqtt.BAD_LOGIN
            if fixed.auth.auth_type == "CERTIFICATES":
                good = logins.shows_certificate(fixed.auth, hello.certificate)
                return mqtt.ACCEPTED if good else mqtt.NOT_AUTHORISED
            good = logins.knows_secret(self.state, fixed.auth, said.sign_type, said.timestamp, hello.password)
            return mqtt.ACCEPTED if good else mqtt.BAD_LOGIN

    def read(self, client_id: str) -> logins.ClientId | None:
        """The parts of a client id; a group's scope id is recognised by its being there."""
        member = logins.read_group_id(client_id)
        if member is not None and member.scope_id in self.provisioning.groups:
            return member
        return logins.read_client_id(client_id) or member

    def _prove_member(self, said: logins.ClientId, hello: Hello) -> int:
        group = self.provisioning.groups.get(said.scope_id)
        if group is None or not group.is_open:
            return mqtt.BAD_LOGIN
        if not group.secret:
            return mqtt.ACCEPTED if hello.certificate is not None else mqtt.NOT_AUTHORISED
        if not said.timestamp or hello.password is None:
            return mqtt.BAD_LOGIN
        secret = logins.group_secret_of(group.secret, said.device_id)
        is_right = logins.is_of_now(self.state, said.sign_type, said.timestamp)
        is_right = is_right and hello.password == logins.password_of(secret, said.timestamp)
        return mqtt.ACCEPTED if is_right else mqtt.BAD_LOGIN

    def on_subscribe(self, client_id: str, topic_filter: str, qos: int) -> int:
        """One topic."""
        said = self.read(client_id)
        own = f"$oc/devices/{said.device_id if said else ''}/sys/bootstrap/down"
        return min(qos, 1) if topic_filter == own else mqtt.NO_QOS

    def on_publish(self, client_id: str, message: Message) -> bool:
        """One topic; the answer goes to who has subscribed."""
        said = self.read(client_id)
        if said is None or message.topic != f"$oc/devices/{said.device_id}/sys/bootstrap/up":
            return False
        if message.qos > 1 or message.retain or len(message.payload) > 65_536:
            return False
        try:
            body = json.loads(message.payload) if message.payload else {}
        except (ValueError, RecursionError):
            body = None
        with self.state.lock:
            answer = self.provisioning.allot(said, body) if isinstance(body, dict) else failure(BAD_DEVICE)
        self.server.send(client_id, f"$oc/devices/{said.device_id}/sys/bootstrap/down", json.dumps(answer).encode())
        return True


def failure(code: int) -> dict[str, Any]:
    """A refusal."""
    return {"errorCode": str(code), "errorMsg": TEXTS.get(code, "The device could not be allocated.")}
