"""Scripted brokers and sessions, over TCP and WebSocket, in MQTT 3.1.1 and 5."""

import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from firstlight.core import model
from firstlight.core.exchange import MqttCall, MqttLogin, MqttMessage
from firstlight.core.model import Secret, Trust, parse_broker
from firstlight.errors import UnreachableError
from firstlight.transports.mqtt_session import MqttSession
from firstlight.transports.proxy import Proxy
from tests.contract.http_transports.certificates import Identity
from tests.contract.http_transports.servers import PATIENCE_S, Server
from tests.contract.mqtt.broker import Heard, TalkScript, good, playing

PASSWORD = "sEcretPassword"
SECRETS = (PASSWORD, "sEcretPayload", "sEcretOfProxy")
DEADLINE_S = 5.0
BEAT = MqttCall("f/acme/dev-1/heartbeat", b'{"sEcretPayload": 1}')
ASKING = BEAT._replace(answer_topic="f/acme/dev-1/answer/7")


@dataclass(frozen=True)
class Way:
    """How a session reaches its broker."""

    is_websocket: bool = False
    protocol: int = 5


WAYS = [Way(is_websocket, protocol) for is_websocket in (False, True) for protocol in (4, 5)]
WAY_NAMES = [f"{'websocket' if way.is_websocket else 'tcp'}-{way.protocol}" for way in WAYS]


@dataclass
class Site:
    """A scripted broker and the sessions to it."""

    server: Server
    heard: Heard
    way: Way
    is_secure: bool
    logins: int = 0
    sessions: list[MqttSession] = field(default_factory=list)

    def login(self, host: str = "127.0.0.1") -> MqttLogin:
        """How the device begins."""
        self.logins += 1
        scheme = ("ws" if self.way.is_websocket else "mqtt") + ("s" if self.is_secure else "")
        path = "/mqtt" if self.way.is_websocket else ""
        broker = parse_broker(f"{scheme}://{host}:{self.server.port}{path}")
        will = MqttCall("f/acme/dev-1/gone", b'{"bootId": "b"}')
        return MqttLogin(broker, "dev-1", "dev-1", Secret(PASSWORD), 120, ("f/acme/dev-1/answer/+",), will)

    def session(
        self,
        trust: Trust | None = None,
        proxy: Proxy | None = None,
        *,
        check_dates: bool = True,
        identity: model.Identity | None = None,
        host: str = "127.0.0.1",
        protocol: int | None = None,
        login: Callable[[], MqttLogin] | None = None,
    ) -> MqttSession:
        """A session to it, closed in the end."""
        made = MqttSession(
            login or (lambda: self.login(host)),
            trust or Trust(),
            proxy,
            check_dates=check_dates,
            identity=identity,
            protocol=protocol or self.way.protocol,
        )
        self.sessions.append(made)
        return made


def fail(session: MqttSession, call: MqttCall = BEAT, deadline_s: float = DEADLINE_S) -> UnreachableError:
    """The error that one call must end in: in time, with a hint, and without a secret anywhere in it."""
    began_s = time.monotonic()
    with pytest.raises(UnreachableError) as caught:
        session.exchange(call, deadline_s)
    assert time.monotonic() - began_s < deadline_s + 0.5
    error = caught.value
    texts = [str(error), repr(error), error.hint, repr(error.__cause__)]
    assert not [secret for secret in SECRETS if any(secret in text for text in texts)]
    assert error.hint
    assert session.fileno() == -1 or error.message.find("PUBACK") >= 0 or error.code == "mqtt_packet_too_large"
    return error


def await_end(session: MqttSession) -> UnreachableError:
    """Waits as the agent does until the connection has ended; the error that says so."""
    with pytest.raises(UnreachableError) as caught:
        while True:
            session.heard()
            if session.fileno() >= 0:  # the last words come first, the end with the next call
                assert select.select([session], [], [], PATIENCE_S)[0], "nothing was heard"
    assert session.fileno() == -1
    return caught.value


def await_words(session: MqttSession) -> tuple[bytes, ...]:
    """Waits as the agent does until something is said unasked."""
    while not (said := session.heard()):
        assert select.select([session], [], [], PATIENCE_S)[0], "nothing was heard"
    return payloads(said)


def payloads(said: tuple[MqttMessage, ...]) -> tuple[bytes, ...]:
    """What came, without where."""
    return tuple(message.payload for message in said)


MakeSite = Callable[..., Site]


@pytest.fixture
def site() -> Iterator[MakeSite]:
    """Starts scripted brokers that stop with the test, after their sessions."""
    made: list[Site] = []

    def start(
        script: TalkScript = good,
        way: Way = Way(),
        identity: Identity | None = None,
        client_ca: Identity | None = None,
    ) -> Site:
        heard = Heard()
        context = identity.server_context if identity else None
        if identity and client_ca:
            context = identity.server_context_for(client_ca)
        server = Server(playing(script, heard, websocket=way.is_websocket), context)
        made.append(Site(server, heard, way, is_secure=context is not None))
        return made[-1]

    yield start
    for one in made:
        for session in one.sessions:
            session.close()
        one.server.stop()


@pytest.fixture(params=WAYS, ids=WAY_NAMES)
def way(request: pytest.FixtureRequest) -> Way:
    """Each way in turn."""
    found: Way = request.param
    return found
