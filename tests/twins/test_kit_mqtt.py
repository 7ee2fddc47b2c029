"""The MQTT server that twins are made of, with paho and with raw sockets."""

import queue
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.twins.kit import mqtt, packets
from tests.twins.kit.clock import TwinClock
from tests.twins.kit.mqtt import Hello, Message, MqttServer, Rules
from tests.twins.kit.tls import Identity, authority, make_context, make_server

PATIENCE_S = 20.0


class Notes(Rules):
    """Lets in whoever says "open", and answers on the same topic."""

    def __init__(self) -> None:
        self.hellos: queue.Queue[Hello] = queue.Queue()
        self.messages: queue.Queue[tuple[str, Message]] = queue.Queue()
        self.gone: queue.Queue[tuple[str, str]] = queue.Queue()

    def on_connect(self, hello: Hello) -> int:
        """By password."""
        self.hellos.put(hello)
        return super().on_connect(hello) if hello.password == "open" else mqtt.BAD_LOGIN

    def on_publish(self, client_id: str, message: Message) -> bool:
        """Echoes."""
        self.messages.put((client_id, message))
        self.server.publish(message.topic, message.payload, 1)
        return super().on_publish(client_id, message)

    def on_subscribe(self, client_id: str, topic_filter: str, qos: int) -> int:
        """All but one."""
        return mqtt.NO_QOS if topic_filter == "no/#" else super().on_subscribe(client_id, topic_filter, qos)

    def on_gone(self, client_id: str, why: str) -> None:
        """Notes it."""
        self.gone.put((client_id, why))


@pytest.fixture
def rules() -> Notes:
    """What the server lets whom do."""
    return Notes()


@pytest.fixture
def clock() -> TwinClock:
    """A clock that stands still."""
    return TwinClock(1_000_000.0, runs=False)


@pytest.fixture
def server(rules: Notes, clock: TwinClock) -> Iterator[MqttServer]:
    """Plain, on loopback."""
    with MqttServer(rules, clock=clock, limit_bytes=2000) as one:
        yield one


class Wire:
    """A client that says what bytes it likes."""

    def __init__(self, server: MqttServer) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.plain_port), PATIENCE_S)

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def hello(self, client_id: str = "a", *, level: int = 4, flags: int = 0xC2, password: str = "open") -> bytes:
        """Begins; the answer."""
        will = packets.text("gone") + packets.text("x") if flags & 0x04 else b""
        body = packets.text("MQTT") + struct.pack("!BBH", level, flags, 60) + (b"\0" if level == 5 else b"")
        self.send(packets.CONNECT, body + packets.text(client_id) + will + packets.text("u") + packets.text(password))
        return self.take(4)

    def send(self, kind: int, body: bytes, flags: int = 0) -> None:
        """One packet."""
        self.socket.sendall(packets.packet(kind, body, flags))

    def take(self, size: int) -> bytes:
        """So many bytes, fewer where the server has ended the link."""
        found = b""
        try:
            while len(found) < size and (more := self.socket.recv(size - len(found))):
                found += more
        except ConnectionResetError:
            pass
        return found


class Paho:
    """An ordinary client."""

    def __init__(self, client_id: str = "box", password: str = "open") -> None:
        self.codes: queue.Queue[int] = queue.Queue()
        self.words: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.granted: queue.Queue[list[int]] = queue.Queue()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id)
        self.client.username_pw_set("box", password)
        self.client.on_connect = lambda client, data, flags, code, more: self.codes.put(code.value)
        self.client.on_message = lambda client, data, message: self.words.put((message.topic, bytes(message.payload)))
        self.client.on_subscribe = lambda client, data, number, codes, more: self.granted.put([c.value for c in codes])

    def connect(self, port: int) -> int:
        """Connects; the CONNACK code as paho has it (it maps 3.1.1's onto 5's)."""
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        return self.codes.get(timeout=PATIENCE_S)

    def subscribe(self, topic_filter: str, qos: int = 1) -> int:
        """Subscribes; what was granted."""
        self.client.subscribe(topic_filter, qos)
        return self.granted.get(timeout=PATIENCE_S)[0]

    def stop(self) -> None:
        """Leaves."""
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def make_paho() -> Iterator[Callable[..., Paho]]:
    """Makes clients that leave with the test."""
    made: list[Paho] = []

    def make(*words: str) -> Paho:
        made.append(Paho(*words))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def test_paho_comes_publishes_and_hears(server: MqttServer, rules: Notes, make_paho: Callable[..., Paho]) -> None:
    """An ordinary client is let in, its message acknowledged, and the echo reaches it at the subscribed QoS."""
    client = make_paho()
    assert client.connect(server.plain_port) == 0
    assert client.subscribe("$oc/+/up") == 1
    client.client.publish("$oc/box/up", b"1", 1).wait_for_publish(PATIENCE_S)
    assert client.words.get(timeout=PATIENCE_S) == ("$oc/box/up", b"1")
    assert rules.messages.get(timeout=PATIENCE_S)[1].qos == 1
    assert server.clients() == ("box",)
    assert server.filters("box") == ("$oc/+/up",)
    assert not server.send("box", "elsewhere", b"")
    assert not server.send("nobody", "$oc/box/up", b"")
    assert client.subscribe("no/#") == 0x80
    assert server.filters("box") == ("$oc/+/up",)
    client.stop()
    assert rules.gone.get(timeout=PATIENCE_S) == ("box", "disconnect")


def test_rules_refuse(server: MqttServer, make_paho: Callable[..., Paho]) -> None:
    """A client that the rules refuse hears why: 3.1.1's code 4, which paho calls 134; MQTT 5 hears code 1."""
    assert make_paho("box", "wrong").connect(server.plain_port) == 134
    with Wire(server) as wire:
        assert wire.hello(level=5) == b"\x20\x02\x00\x01"
    assert "wrong" not in repr(server.log.entries)


def test_a_newer_link_evicts_the_older(server: MqttServer, rules: Notes) -> None:
    """Of two links with one client id the newer stays."""
    with Wire(server) as older, Wire(server) as newer:
        assert older.hello() == newer.hello() == b"\x20\x02\x00\x00"
        assert older.take(1) == b""
        assert rules.gone.get(timeout=PATIENCE_S) == ("a", "evicted")
        newer.send(packets.PINGREQ, b"")
        assert newer.take(2) == b"\xd0\x00"


def test_silence_ends_a_link(server: MqttServer, rules: Notes, clock: TwinClock) -> None:
    """After one and a half times the keepalive without a word the link is cut, not before."""
    with Wire(server) as wire:
        wire.hello()
        clock.advance(89)
        wire.send(packets.PINGREQ, b"")
        assert wire.take(2) == b"\xd0\x00"
        clock.advance(89)
        assert server.clients() == ("a",)
        clock.advance(2)
        assert wire.take(1) == b""
    assert rules.gone.get(timeout=PATIENCE_S) == ("a", "keepalive")


def test_a_running_clock_ends_a_link_too(rules: Notes) -> None:
    """Without anybody moving the clock, a keepalive of one second ends a silent link by itself."""
    with MqttServer(rules) as server, Wire(server) as wire:
        body = packets.text("MQTT") + struct.pack("!BBH", 4, 0xC2, 1)
        wire.send(packets.CONNECT, body + packets.text("a") + packets.text("u") + packets.text("open"))
        assert wire.take(5) == b"\x20\x02\x00\x00"
    assert rules.gone.get(timeout=PATIENCE_S) == ("a", "keepalive")


@pytest.mark.parametrize(("flags", "retain", "qos"), [(0x04, False, 2), (0x03, True, 1)])
def test_qos_2_and_retain_are_told_and_refused(
    server: MqttServer, rules: Notes, flags: int, retain: bool, qos: int
) -> None:
    """A message of QoS 2 or to be retained is told to the rules; the usual ones cut the link."""
    with Wire(server) as wire:
        wire.hello()
        wire.send(packets.PUBLISH, packets.text("t") + b"\0\7x", flags)
        assert wire.take(1) == b""
    message = rules.messages.get(timeout=PATIENCE_S)[1]
    assert (message.qos, message.retain) == (qos, retain)
    assert rules.gone.get(timeout=PATIENCE_S) == ("a", "refused")


def test_a_will_is_told_and_refused(server: MqttServer, rules: Notes) -> None:
    """The rules see a will; the usual ones do not let it in."""
    with Wire(server) as wire:
        assert wire.hello(flags=0xC6) == b"\x20\x02\x00\x05"
    will = rules.hellos.get(timeout=PATIENCE_S).will
    assert will is not None
    assert will.topic == "gone"


@pytest.mark.parametrize(
    "raw",
    [
        b"\x10\xff\xff\xff\xff\x01",  # a length that never ends
        b"\x10\x80\x80\x80\x01",  # a CONNECT of 2 MB
        b"\x30\x03\0\1t",  # not a CONNECT
        b"\x10\x0a\0\4HTTP\4\2\0\0",
        b"\x10\x0c\0\4MQTT\4\x02\0\x3c\0\5",  # ends too early
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_junk_ends_the_connection(server: MqttServer, raw: bytes) -> None:
    """Whatever is not a CONNECT within bounds is not answered."""
    with Wire(server) as wire:
        wire.socket.sendall(raw)
        assert wire.take(1) == b""
    assert server.clients() == ()


@pytest.mark.parametrize(
    ("kind", "body", "flags"),
    [
        (packets.PUBLISH, packets.text("t") + b"x" * 2000, 0),  # more than is taken
        (packets.PUBLISH, packets.text("a/#") + b"x", 0),
        (packets.PUBLISH, packets.text("t") + b"x", 0x06),
        (packets.PUBLISH, b"\0\1\xff" + b"x", 0),
        (packets.SUBSCRIBE, b"\0\1", 2),
        (packets.CONNACK, b"\0\0", 0),
    ],
)
def test_a_broken_packet_ends_the_link(server: MqttServer, rules: Notes, kind: int, body: bytes, flags: int) -> None:
    """A packet beyond the bounds or the protocol costs the link and reaches no rule."""
    with Wire(server) as wire:
        wire.hello()
        wire.send(kind, body, flags)
        assert wire.take(1) == b""
    assert rules.gone.get(timeout=PATIENCE_S) == ("a", "broken")
    assert rules.messages.empty()


def test_the_twin_drops_a_client(server: MqttServer, rules: Notes) -> None:
    """A twin can cut a link at any time."""
    with Wire(server) as wire:
        wire.hello()
        assert server.drop("a")
        assert wire.take(1) == b""
    assert rules.gone.get(timeout=PATIENCE_S) == ("a", "dropped")
    assert not server.drop("a")


def load(context: ssl.SSLContext, identity: Identity, folder: Path) -> None:
    """Gives a client its certificate."""
    client = identity.as_client(folder)
    chain = folder / "chain.pem"
    chain.write_text(client.certificate_pem)
    context.load_cert_chain(chain, client.key_file)


def say_hello(server: MqttServer, context: ssl.SSLContext) -> bytes:
    """Begins over TLS; the answer."""
    raw = socket.create_connection(("127.0.0.1", server.secure_port), PATIENCE_S)
    with raw, context.wrap_socket(raw, server_hostname="localhost") as tls:
        body = packets.text("MQTT") + struct.pack("!BBH", 4, 0xC2, 60)
        words = packets.text("a") + packets.text("u") + packets.text("open")
        tls.sendall(packets.packet(packets.CONNECT, body + words))
        return tls.recv(4)


def test_tls_with_and_without_a_certificate(rules: Notes, tmp_path: Path) -> None:
    """A client certificate of a known authority reaches the rules; without one they see None; a foreign one fails."""
    ca, device_ca = authority("twins"), authority("boxes")
    box, foreign = device_ca.issue(title="box"), authority("others").issue(title="box")
    with MqttServer(rules, context=make_context(make_server(ca), (device_ca,))) as server:
        context = ssl.create_default_context(cadata=ca.pem)
        assert say_hello(server, context) == b"\x20\x02\x00\x00"
        hello = rules.hellos.get(timeout=PATIENCE_S)
        assert (hello.certificate, hello.is_secure) == (None, True)
        load(context, box, tmp_path)
        assert say_hello(server, context) == b"\x20\x02\x00\x00"
        assert rules.hellos.get(timeout=PATIENCE_S).certificate == box.der
        load(context, foreign, tmp_path)
        try:
            assert say_hello(server, context) == b""
        except OSError as error:
            assert isinstance(error, ssl.SSLError | ConnectionError)
    assert rules.hellos.empty()


def test_the_log_can_be_waited_on(server: MqttServer) -> None:
    """A test waits for what the server saw."""
    with Wire(server) as wire:
        wire.hello("first")
    assert server.log.wait_for("connect", who="first")[0].code == 0
    assert server.log.wait_for("gone", "cut", "first")


@pytest.mark.parametrize(
    ("topic_filter", "topic", "does"),
    [
        ("a/b", "a/b", True),
        ("a/+", "a/b", True),
        ("a/+", "a/b/c", False),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("#", "$oc/a", False),
        ("+/a", "$oc/a", False),
        ("$oc/#", "$oc/a", True),
        ("a/b", "a", False),
    ],
)
def test_topic_filters(topic_filter: str, topic: str, does: bool) -> None:
    """Filters match as MQTT 3.1.1 says."""
    assert packets.matches(topic_filter, topic) == does
