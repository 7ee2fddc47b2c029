"""Tally's servers on loopback: a greeter and a counter over MQTT with an authority each, and the counter over HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.e2e.conftest import wait_until
from tests.twins.kit.mqtt import ACCEPTED, BAD_LOGIN, Hello, Message, MqttServer, Rules
from tests.twins.kit.tls import Identity, authority, make_context, make_server

SECRET, OWN_SECRET, GROUP_SECRET = "pl4nted-secret", "pl4nted-own-secret", "pl4nted-group-secret"
DEVICE = "box-1"


def is_password(given: str | None, secret: str) -> bool:
    """Whether it is the secret with this minute, or the one before."""
    minute = int(time.time() // 60)
    return given in (f"{secret}-{minute}", f"{secret}-{minute - 1}")


class Counter(Rules):
    """Takes counts and hears what boxes say."""

    def __init__(self, secrets: tuple[str, ...], ca: Identity) -> None:
        self.secrets, self.ca = secrets, ca
        self.counts: list[str] = []  # "mqtt" or "http", one a count
        self.said: list[tuple[str, dict[str, object]]] = []
        self.has_fingerprints: list[str] = []

    def on_connect(self, hello: Hello) -> int:
        """By the password of this minute, or a certificate."""
        if hello.will is not None or hello.client_id != DEVICE:
            return BAD_LOGIN
        if hello.certificate is not None:
            return ACCEPTED
        return ACCEPTED if any(is_password(hello.password, one) for one in self.secrets) else BAD_LOGIN

    def on_publish(self, client_id: str, message: Message) -> bool:
        """Keeps it."""
        self.said.append((message.topic, json.loads(message.payload)))
        if message.topic.endswith("/count"):
            self.counts.append("mqtt")
        return True

    def topics(self) -> list[str]:
        """The last words of what was said."""
        return [topic.partition(f"{DEVICE}/")[2] for topic, _ in self.said]


class Greeter(Rules):
    """Says where a device belongs."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: dict[str, object] = {}

    def on_connect(self, hello: Hello) -> int:
        """By the group's password of this minute."""
        return ACCEPTED if is_password(hello.password, GROUP_SECRET) else BAD_LOGIN

    def on_publish(self, client_id: str, message: Message) -> bool:
        """Answers."""
        self.asked += 1
        self.server.send(client_id, "greeter/down", json.dumps(self.answer).encode(), 1)
        return True


class Site:
    """All of it."""

    def __init__(self) -> None:
        self.ca, self.greeter_ca = authority("tally"), authority("greeter")
        self.counter, self.greeter = Counter((SECRET, OWN_SECRET), self.ca), Greeter()
        self.mqtt = MqttServer(self.counter, context=make_context(make_server(self.ca), (self.ca,)))
        self.greets = MqttServer(self.greeter, context=make_context(make_server(self.greeter_ca)))
        self.tokens: list[str] = []
        self.token_lasts_s = 3600.0
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        self.greeter.answer = {"broker": self.mqtt.url, "secret": OWN_SECRET}

    @property
    def url(self) -> str:
        """Where it counts over HTTP."""
        return f"http://127.0.0.1:{self.http.server_port}"

    def file(self, **changes: object) -> dict[str, object]:
        """A finished device file over MQTT; a name that is None is left out."""
        whole: dict[str, object] = {
            "format": 1,
            "platform": "tally",
            "road": "finished",
            "deviceId": DEVICE,
            "broker": self.mqtt.url,
            "ca": self.ca.pem,
            "secret": SECRET,
            "extra": {"every": "1"},
            **changes,
        }
        return {name: value for name, value in whole.items() if value is not None}

    def over_http(self) -> dict[str, object]:
        """A finished one over HTTP."""
        return self.file(broker=None, ca=None, endpoint=self.url)

    def at_greeter(self) -> dict[str, object]:
        """One that asks the greeter, which another authority vouches for."""
        extra = {"every": "1", "bootstrap_ca": self.greeter_ca.pem}
        return self.file(road="bootstrap", broker=self.greets.url, secret=GROUP_SECRET, extra=extra)

    def wait_counts(self, count: int, patience_s: float = 60.0) -> None:
        """Waits for so many counts in all."""
        wait_until(f"{count} counts came", lambda: len(self.counter.counts) >= count, patience_s)

    def wait_said(self, word: str) -> None:
        """Waits until the box has said that."""
        wait_until(f"the box says {word}", lambda: word in self.counter.topics(), 60.0)

    def close(self) -> None:
        """Ends all of it."""
        self.http.shutdown()
        self._thread.join()
        self.http.server_close()
        self.mqtt.stop()
        self.greets.stop()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                """A token, or a count."""
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path == "/token":
                    is_known = is_password(said["password"], SECRET)
                    site.tokens += [f"t{len(site.tokens)}"] if is_known else []
                    answer = {"token": site.tokens[-1], "lasts": site.token_lasts_s} if is_known else {}
                    self.answer(200 if is_known else 401, answer)
                elif self.headers["X-Auth-Token"] == (site.tokens or [""])[-1] and site.tokens:
                    site.counter.counts.append("http")
                    self.answer(200, {})
                else:
                    self.answer(403, {})

            def answer(self, status: int, said: dict[str, object]) -> None:
                """JSON."""
                body = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        return Handler


@contextmanager
def serve() -> Iterator[Site]:
    """The servers, while the block runs."""
    site = Site()
    try:
        yield site
    finally:
        site.close()
