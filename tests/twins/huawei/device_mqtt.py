"""The devices' half over MQTT: who may come in, and the ``$oc`` topics."""

from __future__ import annotations

import json
import secrets
from typing import Any

from tests.twins.huawei import device_events, logins, records
from tests.twins.huawei.state import Device, State
from tests.twins.kit import mqtt
from tests.twins.kit.mqtt import Hello, Message, Rules

MOST_FILTERS = 50
MOST_BYTES = 1_048_576


class DeviceRules(Rules):
    """What the platform does with links and messages of devices."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.events = device_events.Events(state, self.say)

    # ---- links ----

    def on_connect(self, hello: Hello) -> int:
        """CONNACK 2 for the client id and the keepalive, 3 for too early, 4 for the proof, 5 for the rest."""
        if self.state.is_down:
            return mqtt.UNAVAILABLE
        said = logins.read_client_id(hello.client_id)
        if said is None or not logins.LEAST_KEEPALIVE_S <= hello.keepalive_s <= logins.MOST_KEEPALIVE_S:
            return mqtt.BAD_CLIENT_ID
        with self.state.lock:
            device = self.state.device(said.device_id)
            if device is None or hello.user != device.device_id or not device.is_direct:
                return mqtt.BAD_LOGIN
            if hello.will is not None or device.is_frozen:
                return mqtt.NOT_AUTHORISED
            if device.secure_access and not hello.is_secure and not self.state.takes_plain:
                return mqtt.NOT_AUTHORISED
            return self._prove(device, said, hello)

    def _prove(self, device: Device, said: logins.ClientId, hello: Hello) -> int:
        now_s = self.state.clock.now_s()
        if device.connect_s is not None and now_s - device.connect_s < self.state.least_gap_s:
            return mqtt.UNAVAILABLE
        device.connect_s = now_s
        if device.auth_type == "CERTIFICATES":
            if not logins.shows_certificate(device, hello.certificate):
                return mqtt.NOT_AUTHORISED
        elif not logins.knows_secret(self.state, device, said.sign_type, said.timestamp, hello.password):
            return mqtt.BAD_LOGIN
        device.is_linked = True
        device.become("ONLINE", now_s)
        self._evict(device, hello.client_id)
        return mqtt.ACCEPTED

    def _evict(self, device: Device, client_id: str) -> None:
        """The client id changes with the hour: an older link of this device under another one is cut here."""
        for other in self.server.clients():
            if other != client_id and self.device_id_of(other) == device.device_id:
                self.server.drop(other, "evicted")

    def on_gone(self, client_id: str, why: str) -> None:
        """Offline at once, unless a newer link took its place."""
        with self.state.lock:
            device = self.state.devices.get(self.device_id_of(client_id))
            if device is not None and not self._is_linked(device.device_id):
                device.is_linked = False
                device.become("OFFLINE", self.state.clock.now_s())

    def _is_linked(self, device_id: str) -> bool:
        return bool(self.clients_of(device_id))

    def clients_of(self, device_id: str) -> list[str]:
        """The client ids under which a device is linked now."""
        return [each for each in self.server.clients() if self.device_id_of(each) == device_id]

    def device_id_of(self, client_id: str) -> str:
        """The device behind a client id."""
        said = logins.read_client_id(client_id)
        return said.device_id if said else ""

    def drop(self, device_id: str, why: str) -> None:
        """Ends a device's link."""
        for client_id in self.clients_of(device_id):
            self.server.drop(client_id, why)

    # ---- messages ----

    def on_subscribe(self, client_id: str, topic_filter: str, qos: int) -> int:
        """Only below its own topics, so many of them, and never QoS 2."""
        device_id = self.device_id_of(client_id)
        own = (f"$oc/devices/{device_id}/", f"/huawei/v1/devices/{device_id}/", f"$oc/m2m/to/{device_id}/")
        if not topic_filter.startswith(own) or len(self.server.filters(client_id)) > MOST_FILTERS or qos > 1:
            self.state.problem(f"{device_id} may not subscribe to {topic_filter[:128]}")
            return mqtt.NO_QOS
        if topic_filter.startswith(f"$oc/devices/{device_id}/sys/properties/set/"):
            with self.state.lock:
                device = self.state.devices.get(device_id)
                if device is not None:
                    self.tell(device)
        return qos

    def on_publish(self, client_id: str, message: Message) -> bool:
        """The link is cut for QoS 2, a retained message and a topic of another device; the rest is acknowledged."""
        device_id = self.device_id_of(client_id)
        if message.qos > 1 or message.retain or len(message.payload) > MOST_BYTES:
            self.state.problem(f"{device_id} publishes with QoS 2, retained, or more than 1 MB")
            return False
        prefix = f"$oc/devices/{device_id}/"
        with self.state.lock:
            device = self.state.devices.get(device_id)
            if device is None or not message.topic.startswith(prefix):
                self.state.problem(f"{device_id} publishes on {message.topic[:128]}")
                return False
            if self.state.count(device_id):
                self._take(device, message.topic[len(prefix) :], message.payload)
        return True

    def _take(self, device: Device, topic: str, payload: bytes) -> None:
        topic, request_id = split_request(topic)
        try:
            body = json.loads(payload) if payload else {}
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            self.state.problem(f"{device.device_id} sends no JSON object on {topic[:64]}")
            return
        if topic == "sys/properties/report":
            self.events.report(device, body)
            self.tell(device)
        elif topic == "sys/gateway/sub_devices/properties/report":
            self.events.report_children(device, body)
        elif topic == "sys/shadow/get":
            self._give_shadow(device, body, request_id)
        elif topic == "sys/events/up":
            self.events.take(device, body)
        elif topic == "sys/messages/up":
            self.state.events.append((device.device_id, "", "message", body))
        elif topic.startswith("sys/") and "/response" in topic:
            self.state.answers[request_id] = body
        elif not topic.startswith("user/"):
            self.state.problem(f"{device.device_id} publishes on {topic[:64]}")

    def _give_shadow(self, device: Device, body: dict[str, Any], request_id: str) -> None:
        shadow = records.told_shadow(device, str(body.get("service_id", "")))
        answer = {"object_device_id": device.device_id, "shadow": shadow}
        self.say(device.device_id, f"sys/shadow/get/response/request_id={request_id}", answer)

    # ---- to devices ----

    def say(self, device_id: str, topic: str, body: dict[str, Any]) -> bool:
        """A message to a device; False where it is not linked or has not subscribed."""
        raw = json.dumps(body).encode()
        clients = self.clients_of(device_id)
        return bool(clients) and self.server.send(clients[-1], f"$oc/devices/{device_id}/{topic}", raw, 1)

    def tell(self, device: Device) -> bool:
        """Sends what is desired and was not reported so; the answer ends up in ``state.answers``."""
        wanted = records.differs(device)
        if not wanted:
            return False
        body = {"object_device_id": device.device_id, "services": wanted}
        return self.say(device.device_id, f"sys/properties/set/request_id={secrets.token_hex(8)}", body)

    def command(self, device_id: str, service_id: str, name: str, paras: dict[str, Any]) -> str:
        """A command; its request id, "" where the device does not listen."""
        request_id = secrets.token_hex(8)
        body = {"object_device_id": device_id, "service_id": service_id, "command_name": name, "paras": paras}
        return request_id if self.say(device_id, f"sys/commands/request_id={request_id}", body) else ""


def split_request(topic: str) -> tuple[str, str]:
    """A topic's name and its request id: ``…/request_id=7`` or ``…?request_id=7``."""
    for mark in ("/request_id=", "?request_id="):
        name, found, request_id = topic.partition(mark)
        if found:
            return name, request_id
    return topic, ""
