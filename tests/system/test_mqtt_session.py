"""The MQTT session against a real mosquitto: TLS, both kinds of credential, WebSocket, both versions, take-over."""

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from firstlight.core.exchange import MqttCall, MqttLogin, MqttMessage, MqttReply
from firstlight.core.model import Identity, Secret, Trust, parse_broker
from firstlight.errors import UnreachableError
from firstlight.transports.mqtt_session import MqttSession
from tests.contract.http_transports import certificates
from tests.contract.http_transports.certificates import EXPIRED, authority

pytestmark = pytest.mark.system

PATIENCE_S = 20.0
PASSWORD = "a device key"
BEAT = "f/acme/{}/heartbeat"
ANSWER = "f/acme/{}/answer/now"


class Mosquitto:
    """A mosquitto child with a listener for secrets, one for certificates, and each again over WebSocket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = authority("the hub's CA")
        self.server = self.ca.issue("127.0.0.1", "localhost")
        self._write(self.server, "server")
        (folder / "ca.pem").write_text(self.ca.pem, encoding="ascii")
        (folder / "acl").write_text("pattern readwrite f/acme/%u/#\n", encoding="ascii")
        subprocess.run(
            ["mosquitto_passwd", "-c", "-b", str(folder / "passwords"), "dev-1", PASSWORD], check=True, timeout=60
        )
        subprocess.run(["mosquitto_passwd", "-b", str(folder / "passwords"), "dev-2", PASSWORD], check=True, timeout=60)
        self.ports = dict(zip(("mqtts", "wss", "mqtts-certificate", "wss-certificate"), free_ports(4), strict=True))
        (folder / "mosquitto.conf").write_text(self._configuration(), encoding="ascii")
        self.log = (folder / "log").open("w+b")
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Starts it and waits until it listens."""
        self.process = subprocess.Popen(
            ["mosquitto", "-c", str(self.folder / "mosquitto.conf")], stdout=self.log, stderr=self.log
        )
        for port in self.ports.values():
            self._await(port)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends it."""
        if self.process:
            os.kill(self.process.pid, number)
            self.process.wait(PATIENCE_S)
            self.process = None

    def identity(self, name: str, dates: certificates.Dates = certificates.VALID) -> Identity:
        """A certificate for a device."""
        return self.ca.issue(dates=dates, title=name).as_client(self.folder)

    def _await(self, port: int) -> None:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENCE_S):
                return
            assert self.process and self.process.poll() is None, (self.folder / "log").read_text()
            select.select([], [], [], 0.05)
        raise AssertionError("mosquitto never listened")

    def _configuration(self) -> str:
        lines = ["per_listener_settings true", "user root"]
        for name, port in self.ports.items():
            lines += [f"listener {port} 127.0.0.1", f"acl_file {self.folder}/acl", "allow_anonymous false"]
            lines += [f"certfile {self.folder}/server.pem", f"keyfile {self.folder}/server.key"]
            if name.startswith("wss"):
                lines += ["protocol websockets"]
            if name.endswith("certificate"):
                lines += [f"cafile {self.folder}/ca.pem", "require_certificate true", "use_identity_as_username true"]
            else:
                lines += [f"password_file {self.folder}/passwords"]
        return "\n".join([*lines, ""])

    def _write(self, identity: certificates.Identity, name: str) -> None:
        (self.folder / f"{name}.pem").write_text(identity.pem, encoding="ascii")
        (self.folder / f"{name}.key").write_bytes(
            identity.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody has."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in sockets]


@pytest.fixture(scope="module")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """One broker for all tests here."""
    assert shutil.which("mosquitto"), "make test-system needs the Debian package mosquitto"
    broker = Mosquitto(tmp_path_factory.mktemp("mosquitto"))
    yield broker
    broker.stop()
    broker.log.close()


Open = Callable[..., MqttSession]


@pytest.fixture
def session(mosquitto: Mosquitto) -> Iterator[Open]:
    """Opens sessions that end with the test."""
    made: list[MqttSession] = []

    def start(
        scheme: str = "mqtts",
        protocol: int = 5,
        name: str = "dev-1",
        password: str = PASSWORD,
        identity: Identity | None = None,
        trust: Trust | None = None,
    ) -> MqttSession:
        port = mosquitto.ports[f"{scheme}-certificate" if identity or not password else scheme]
        broker = parse_broker(f"{scheme}://127.0.0.1:{port}")
        secret = None if identity or not password else Secret(password)
        will = MqttCall(f"f/acme/{name}/gone", b"{}")
        login = MqttLogin(broker, name, name if secret else "", secret, 120, (f"f/acme/{name}/answer/+",), will)
        believed = trust or Trust(mosquitto.ca.pem)
        made.append(MqttSession(lambda: login, believed, identity=identity, protocol=protocol))
        return made[-1]

    yield start
    for one in made:
        one.close()


def beat(name: str = "dev-1") -> MqttCall:
    """A message that the broker lets this device publish."""
    return MqttCall(BEAT.format(name), b"{}")


def failure(session: MqttSession) -> UnreachableError:
    """What a call ends in."""
    with pytest.raises(UnreachableError) as caught:
        session.exchange(beat(), 10)
    return caught.value


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize("scheme", ["mqtts", "wss"])
@pytest.mark.parametrize("kind", ["secret", "certificate"])
def test_beats_and_answers(mosquitto: Mosquitto, session: Open, scheme: str, protocol: int, kind: str) -> None:
    """Every pairing of way, version and credential beats, hears its answer, and hears what comes unasked."""
    identity = mosquitto.identity("dev-1") if kind == "certificate" else None
    one = session(scheme, protocol, identity=identity)
    assert one.exchange(beat(), 10).reason_code == (0x10 if protocol == 5 else 0)  # nobody has subscribed
    answer = ANSWER.format("dev-1").replace("now", "7")
    assert one.exchange(MqttCall(answer, b"to myself", answer), 10) == MqttReply(0, b"to myself")
    assert one.exchange(MqttCall(ANSWER.format("dev-1"), b"now" * 5000), 10) == MqttReply(0, None)
    while not (said := one.heard()):
        assert select.select([one], [], [], PATIENCE_S)[0]
    assert said == (MqttMessage(ANSWER.format("dev-1"), b"now" * 5000),)
    assert one.connections == 1
    assert one.protocol_name == {4: "MQTT 3.1.1", 5: "MQTT 5"}[protocol]


@pytest.mark.parametrize("protocol", [4, 5])
def test_wrong_secret_is_refused_by_name(session: Open, protocol: int) -> None:
    """Mosquitto says 0x87 of MQTT 5, and 5 of 3.1.1."""
    assert failure(session(protocol=protocol, password="another")).code == "mqtt_not_authorized"


@pytest.mark.parametrize("scheme", ["mqtts", "wss"])
@pytest.mark.parametrize("case", ["other CA", "expired", "none"])
def test_certificate_that_mosquitto_refuses(
    mosquitto: Mosquitto, session: Open, tmp_path: Path, scheme: str, case: str
) -> None:
    """A certificate of another CA, an expired one and none at all end the handshake by name."""
    made = {
        "other CA": lambda: authority("another").issue(title="dev-1").as_client(tmp_path),
        "expired": lambda: mosquitto.identity("dev-1", EXPIRED),
    }
    identity = made[case]() if case in made else None
    error = failure(session(scheme, identity=identity, password=""))
    assert error.code == "certificate_refused"


def test_other_brokers_are_not_believed(session: Open) -> None:
    """Under another CA nothing of a login is sent to it."""
    assert failure(session(trust=Trust(authority("another").pem))).code == "tls_untrusted"


@pytest.mark.parametrize("protocol", [4, 5])
def test_taken_over_session_is_noticed_in_the_wait(session: Open, protocol: int) -> None:
    """A second connection with the same client id ends the first one, whose wait wakes at once.

    mosquitto 2.0.11 closes without the DISCONNECT that MQTT 5 has for this; a newer one may say it.
    """
    first, second = session(protocol=protocol), session(protocol=protocol)
    first.exchange(beat(), 10)
    second.exchange(beat(), 10)
    with pytest.raises(UnreachableError) as caught:
        while True:
            assert select.select([first], [], [], PATIENCE_S)[0]
            first.heard()
    assert caught.value.code in ("mqtt_disconnected", "mqtt_taken_over")
    assert first.fileno() == -1


@pytest.mark.parametrize(("protocol", "code"), [(5, "mqtt_not_authorized"), (4, None)])
def test_topic_of_another_device_is_not_taken(session: Open, protocol: int, code: str | None) -> None:
    """MQTT 5 says that a message was not allowed; 3.1.1 has no word for it."""
    one = session(protocol=protocol)
    if code:
        with pytest.raises(UnreachableError) as caught:
            one.exchange(beat("dev-2"), 10)
        assert caught.value.code == code
    else:
        assert one.exchange(beat("dev-2"), 10) == MqttReply(0, None)
    one.exchange(beat(), 10)
    assert one.connections == 1


def test_broker_that_restarts_costs_no_beat(mosquitto: Mosquitto, session: Open) -> None:
    """Its end is heard by name, refused connections too, and the next beat after its return arrives."""
    one = session()
    one.exchange(beat(), 10)
    mosquitto.stop(signal.SIGKILL)
    try:
        with pytest.raises(UnreachableError) as caught:
            while True:
                assert select.select([one], [], [], PATIENCE_S)[0]
                one.heard()
        assert caught.value.code == "mqtt_disconnected"
        assert failure(one).code == "connect_refused"
    finally:
        mosquitto.start()
    one.exchange(beat(), 10)
    assert one.connections == 2
