"""Who may do what at the twin's MQTT endpoint: protocols of Qubitro, MQTT guide."""

from __future__ import annotations

import json
import secrets

from tests.twins.kit import mqtt
from tests.twins.kit.mqtt import Hello, Message
from tests.twins.qubitro.state import State


class QubitroRules(mqtt.Rules):
    """User name and client id are the device id, the password is its token, the one topic both ways is its id.

    Beyond the pages: a device whose source is http is not let in, a last will is refused, a foreign topic cuts the
    link, and what is not flat is acknowledged and thrown away (3.1.1 has no word for it).
    """

    def __init__(self, state: State) -> None:
        self.state = state

    def on_connect(self, hello: Hello) -> int:
        """A CONNACK code."""
        device = self.state.device(hello.user or "")
        if device is None or not secrets.compare_digest(device.token.encode(), (hello.password or "").encode()):
            return mqtt.BAD_LOGIN
        if hello.client_id != device.id:
            return mqtt.BAD_CLIENT_ID
        return mqtt.ACCEPTED if device.source != "http" and hello.will is None else mqtt.NOT_AUTHORISED

    def on_publish(self, client_id: str, message: Message) -> bool:
        """Data of the device; everyone who listens on the topic hears it too, its own sender included."""
        device = self.state.device(client_id)
        if device is None or message.topic != client_id or message.retain or message.qos == 2:
            return False
        try:
            data = json.loads(message.payload)
        except (ValueError, RecursionError):
            data = None
        if self.state.take(device, data):
            self.server.publish(message.topic, message.payload, message.qos)
        return True

    def on_subscribe(self, client_id: str, topic_filter: str, qos: int) -> int:
        """Its own topic and no other."""
        return min(qos, 1) if topic_filter == client_id else mqtt.NO_QOS
