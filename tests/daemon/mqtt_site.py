"""A broker with a hub behind it, scripted: the other side of a box that beats over MQTT."""

from __future__ import annotations

import queue
import ssl
import threading

from firstlight.core.model import Beat, Registration, parse_broker
from firstlight.wire.heartbeat import BeatReply, decode_beat, encode_beat_reply
from firstlight.wire.problem import Problem, encode_problem
from tests.contract.http_transports.servers import Server
from tests.contract.mqtt.broker import GoneError, Heard, Talk, TalkScript, playing
from tests.daemon.box import FINGERPRINT
from tests.daemon.platform_server import SERVER_TIME_S, PlatformServer

TOPIC = "firstlight/acme/dev-1"


def answer(interval_s: int = 60, **more: bool) -> bytes:
    """The hub's answer to a beat."""
    return encode_beat_reply(BeatReply(SERVER_TIME_S, interval_s, **more))  # type: ignore[arg-type]


class Site:
    """A broker with a hub behind it; ``script`` plays each connection, and may be changed at any time."""

    def __init__(self, platform: PlatformServer, context: ssl.SSLContext | None = None) -> None:
        self.heard = Heard()
        self.beats: list[Beat] = []
        self.asked: list[Beat] = []
        self.script: TalkScript = self.serve
        self.is_answering = True
        self.talks: queue.Queue[Talk] = queue.Queue()
        self._came = threading.Condition()
        self.server = Server(playing(lambda talk: self.script(talk), self.heard), context or platform.context)

    def serve(self, talk: Talk) -> None:
        """As it should be: every beat is taken, and answered where it asks."""
        talk.login()
        talk.connack()
        self.talks.put(talk)
        while True:
            self.take(talk)

    def take(self, talk: Talk) -> Beat:
        """One beat, acknowledged and answered."""
        topic, payload, number = talk.next_message()
        beat = decode_beat(payload)
        assert topic == f"{TOPIC}/heartbeat"
        talk.puback(number)
        if beat.asks and self.is_answering:
            talk.publish(f"{TOPIC}/answer/{beat.sequence}", answer())
        with self._came:
            self.beats.append(beat)
            self._came.notify_all()
        return beat

    def say(self, talk: Talk, payload: bytes) -> None:
        """The hub speaks unasked."""
        talk.publish(f"{TOPIC}/answer/now", payload)

    def wait_beats(self, count: int) -> None:
        """Waits for so many beats in all."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.beats) >= count, 20), f"{len(self.beats)} of {count} beats"

    def over_mqtt(self, registration: Registration) -> Registration:
        """The registration of a device that beats over this broker."""
        return registration._replace(transport="mqtt", broker=parse_broker(f"mqtts://127.0.0.1:{self.server.port}"))


def refusing(site: Site, talk: Talk) -> None:
    """A broker that lets nobody in."""
    talk.login()
    talk.connack(0x87 if talk.level == 5 else 5)


def broken(site: Site, talk: Talk) -> None:
    """A connection that ends after a beat."""
    talk.login()
    talk.connack()
    site.take(talk)
    raise GoneError


def removed(site: Site, talk: Talk) -> None:
    """The operator has removed the device."""
    talk.login()
    talk.connack()
    _, payload, number = talk.next_message()
    talk.puback(number)
    no = encode_problem(Problem("device_removed", "Removed.", "", FINGERPRINT))
    talk.publish(f"{TOPIC}/answer/{decode_beat(payload).sequence}", no)
    talk.behave()
