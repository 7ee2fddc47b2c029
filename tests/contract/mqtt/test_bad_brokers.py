"""Brokers that are silent, drop links, speak another version, or are no brokers at all."""

import struct

import pytest

from firstlight.core.exchange import MqttReply
from firstlight.core.model import Trust
from tests.contract.http_transports.certificates import Identity
from tests.contract.http_transports.servers import PATIENCE_S, Peer, Server, answering, dripping, reply
from tests.contract.mqtt.broker import CONNACK, PINGRESP, PUBACK, PUBLISH, Talk, good, packet, text
from tests.contract.mqtt.conftest import BEAT, MakeSite, Way, await_end, fail, payloads

LARGEST = b"\xff\xff\xff\x7f"


def test_broker_that_takes_the_connection_and_says_nothing(
    site: MakeSite, way: Way, ca: Identity, hub: Identity
) -> None:
    """After the CONNECT comes nothing: named as silence, within the deadline."""

    def script(talk: Talk) -> None:
        talk.peer.wait_for_end()

    error = fail(site(script, way, hub).session(Trust(ca.pem)), deadline_s=0.4)
    assert error.code == "mqtt_silent"


def test_broker_that_never_acknowledges_a_subscription(site: MakeSite) -> None:
    """Silence after the login is a slow reply, not a silent broker."""

    def script(talk: Talk) -> None:
        talk.login()
        talk.connack()
        talk.peer.wait_for_end()

    assert fail(site(script).session(), deadline_s=0.3).code == "reply_timeout"


def test_broker_that_never_acknowledges_a_beat(site: MakeSite, way: Way) -> None:
    """A beat that nobody acknowledges fails in time, and the next one goes over a new connection."""

    def script(talk: Talk) -> None:
        talk.login()
        talk.connack()
        _, _, number = talk.next_message()
        if talk.peer.position == 1:
            talk.peer.wait_for_end()
        talk.puback(number)
        talk.behave()

    session = site(script, way).session()
    assert fail(session, deadline_s=0.3).code == "reply_timeout"
    assert session.exchange(BEAT, 5) == MqttReply(0, None)
    assert session.connections == 2


def test_broker_that_drops_every_link(site: MakeSite, way: Way) -> None:
    """Each drop is heard in the wait by name, and each beat still arrives, on a connection of its own."""

    def script(talk: Talk) -> None:
        talk.login()
        talk.connack()
        talk.puback(talk.next_message()[2])

    place = site(script, way)
    session = place.session()
    for number in range(1, 4):
        session.exchange(BEAT, 5)
        assert session.connections == number
        error = await_end(session)
        assert error.code == "mqtt_disconnected"
        assert f"127.0.0.1:{place.server.port}" in error.message


def test_broker_that_drops_links_before_it_acknowledges(site: MakeSite, way: Way) -> None:
    """A link cut in the middle of a beat on a new connection is an error, for the caller to wait before the next."""

    def script(talk: Talk) -> None:
        talk.login()
        talk.connack()
        talk.next_message()

    place = site(script, way)
    assert fail(place.session()).code == "reply_cut"
    assert place.server.connections == 1


def test_broker_that_hangs_up_on_mqtt_5_gets_3_1_1_at_once(site: MakeSite, ca: Identity, hub: Identity) -> None:
    """As RabbitMQ 3.10 does it: no CONNACK, just an end. The same call goes on in 3.1.1, and so do all later ones."""

    def script(talk: Talk) -> None:
        if talk.login().level == 5:
            return
        talk.connack()
        talk.behave()

    place = site(script, identity=hub)
    session = place.session(Trust(ca.pem))
    assert session.protocol_name == "MQTT 5"
    assert session.exchange(BEAT, 5) == MqttReply(0, None)
    assert session.protocol_name == "MQTT 3.1.1"
    session.close()
    assert session.exchange(BEAT, 5) == MqttReply(0, None)
    assert [place.heard.logins.get_nowait().level for _ in range(3)] == [5, 4, 4]
    assert (place.server.connections, session.connections, place.logins) == (3, 2, 3)


@pytest.mark.parametrize("said", [bytes((0, 0x84, 0)), bytes((0, 1)), bytes((0, 1, 0))])
def test_broker_that_says_it_speaks_no_mqtt_5_gets_3_1_1(site: MakeSite, said: bytes) -> None:
    """Both ways of saying that the version is not spoken lead to 3.1.1 on a new connection."""

    def script(talk: Talk) -> None:
        if talk.login().level == 5:
            talk.send(packet(CONNACK, said))
            return
        talk.connack()
        talk.behave()

    session = site(script).session()
    assert session.exchange(BEAT, 5) == MqttReply(0, None)
    assert session.protocol_name == "MQTT 3.1.1"


def test_refusal_in_3_1_1_is_the_one_that_counts(site: MakeSite) -> None:
    """Where 3.1.1 is understood and refused, its word is told, and 5 is not tried again."""

    def script(talk: Talk) -> None:
        if talk.login().level == 4:
            talk.connack(4)

    place = site(script)
    session = place.session()
    assert fail(session).code == "mqtt_bad_login"
    assert fail(session).code == "mqtt_bad_login"
    assert [place.heard.logins.get_nowait().level for _ in range(3)] == [5, 4, 4]


def test_broker_that_hangs_up_on_both_versions_is_not_remembered_as_old(site: MakeSite) -> None:
    """A broker that hangs up on everything may be in trouble: 5 is tried first again."""
    place = site(lambda talk: talk.login())
    session = place.session()
    assert fail(session).code == "reply_cut"
    assert fail(session).code == "reply_cut"
    assert [place.heard.logins.get_nowait().level for _ in range(4)] == [5, 4, 5, 4]
    assert session.protocol_name == "MQTT 5"


def test_broker_that_speaks_neither_version(site: MakeSite) -> None:
    """A broker that says so for both is named."""

    def script(talk: Talk) -> None:
        talk.connack(0x84 if talk.login().level == 5 else 1)

    assert fail(site(script).session()).code == "mqtt_version"


BEFORE_CONNACK = {
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "text": b"220 mail.example ESMTP\r\n",
    "noise": bytes(range(255, 0, -1)),
    "zeros": bytes(64),
    "publish first": packet(PUBLISH, text("f/acme/dev-1/answer/now") + b"x"),
    "too short": packet(CONNACK, b"\0"),
    "empty": packet(CONNACK, b""),
    "length without end": bytes((CONNACK, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF)),
    "properties without end": packet(CONNACK, b"\0\0\xff"),
    "property that does not exist": packet(CONNACK, b"\0\0\x02\x7f\x00"),
    "property cut": packet(CONNACK, b"\0\0\x05\x1f\x00\x70ab"),
}
AFTER_CONNACK = {
    "second connack": packet(CONNACK, b"\0\0\0"),
    "qos 2": packet(PUBLISH | 4, text("f/acme/dev-1/answer/now") + b"\0\1\0x"),
    "qos 3": packet(PUBLISH | 6, text("f/acme/dev-1/answer/now") + b"\0\1\0x"),
    "packet of a client": packet(0x82, b"\0\1\0"),
    "reserved": packet(0x00, b""),
    "authentication": packet(0xF0, b""),
    "flags": packet(PUBACK | 3, b"\0\2"),
    "puback cut": packet(PUBACK, b"\0"),
    "publish cut": packet(PUBLISH, b"\0\x50ab"),
    "publish empty": packet(PUBLISH, b""),
    "suback cut": packet(0x90, b""),
    "ping with content": packet(PINGRESP, b"x"),
    "properties of a publish cut": packet(PUBLISH, text("f") + b"\x05\x1f"),
    "disconnect with noise": packet(0xE0, b"\x8e\xff\xff"),
}


@pytest.mark.parametrize("case", BEFORE_CONNACK)
def test_something_else_than_a_broker_answers(site: MakeSite, case: str) -> None:
    """Whatever comes instead of a CONNACK is named as no MQTT, whole or byte by byte."""
    for is_dripping in (False, True):

        def script(talk: Talk, pieces: int = 1 if is_dripping else 4096) -> None:
            talk.login()
            said = BEFORE_CONNACK[case]
            for at in range(0, len(said), pieces):
                talk.send(said[at : at + pieces])
            talk.peer.wait_for_end()

        assert fail(site(script).session()).code == "mqtt_malformed"


@pytest.mark.parametrize("case", AFTER_CONNACK)
def test_broker_that_talks_nonsense_later(site: MakeSite, case: str) -> None:
    """Nonsense after the login ends the connection by name, in a call and in a wait."""

    def script(talk: Talk) -> None:
        talk.login()
        talk.connack()
        _, _, number = talk.next_message()
        if talk.peer.position == 2:
            talk.puback(number)
        talk.send(AFTER_CONNACK[case])
        talk.peer.wait_for_end()

    session = site(script).session()
    assert fail(session).code == "mqtt_malformed"
    session.exchange(BEAT, 5)
    assert await_end(session).code == "mqtt_malformed"


@pytest.mark.parametrize("way_of", [4, 5])
def test_hostile_length_is_refused_at_its_head(site: MakeSite, way_of: int) -> None:
    """A packet that announces 256 MB is refused when its length is read, and nothing of it is kept."""

    def script(talk: Talk) -> None:
        talk.login()
        talk.connack()
        talk.next_message()
        talk.send(bytes((PUBLISH,)) + LARGEST)
        talk.peer.wait_for_end()

    assert fail(site(script, Way(protocol=way_of)).session()).code == "reply_too_large"


def test_half_a_packet_is_waited_for(site: MakeSite, way: Way, ca: Identity, hub: Identity) -> None:
    """Packets that come in pieces, or several at once, are understood."""

    def script(talk: Talk) -> None:
        talk.login()
        for byte in packet(CONNACK, b"\0\0" + (b"\0" if talk.level == 5 else b"")):
            talk.send(bytes((byte,)))
        _, _, number = talk.next_message()
        tail = b"\0" if talk.level == 5 else b""
        now = packet(PUBLISH | 2, text("f/acme/dev-1/answer/now") + b"\0\x09" + tail + b"x" * 200)
        both = now + packet(PUBACK, number)
        for piece in (both[:1], both[1:40], both[40:]):
            talk.send(piece)
        talk.behave()

    session = site(script, way, hub).session(Trust(ca.pem))
    assert session.exchange(BEAT, 5) == MqttReply(0, None)
    assert payloads(session.heard()) == (b"x" * 200,)


def test_half_a_packet_and_an_end(site: MakeSite) -> None:
    """A broker that goes away in the middle of a packet has cut its reply."""

    def script(talk: Talk) -> None:
        talk.login()
        talk.connack()
        talk.next_message()
        talk.send(bytes((PUBACK, 2, 0)))

    assert fail(site(script).session()).code == "reply_cut"


def test_deadline_holds_against_a_broker_that_drips(site: MakeSite) -> None:
    """A packet that never ends holds nobody longer than the deadline."""

    def script(talk: Talk) -> None:
        talk.login()
        talk.connack()
        talk.next_message()
        talk.send(bytes((PUBLISH, 0xFF, 0x7F)))
        while not talk.peer.server.stopping.wait(0.01):
            talk.send(b"x")

    assert fail(site(script).session(), deadline_s=0.4).code == "reply_timeout"


def test_flood_ends_the_connection(site: MakeSite) -> None:
    """A broker that does not stop talking is left by name, and what the agent keeps of its words is bounded."""
    message = packet(PUBLISH, text("f/acme/dev-1/answer/now") + b"\0" + b"x" * 60_000)

    def script(talk: Talk) -> None:
        talk.login()
        talk.connack()
        talk.puback(talk.next_message()[2])
        while True:
            talk.send(message)

    session = site(script).session()
    session.exchange(BEAT, 5)
    assert await_end(session).code == "mqtt_quota"
    assert len(session._unasked) <= 8


def test_topic_that_is_no_text_is_ignored(site: MakeSite) -> None:
    """A message on a topic that is no UTF-8 is acknowledged and forgotten."""

    def script(talk: Talk) -> None:
        talk.login()
        talk.connack()
        _, _, number = talk.next_message()
        talk.send(packet(PUBLISH | 2, struct.pack("!H", 2) + b"\xff\xfe" + b"\0\x09" + b"\0" + b"x"))
        talk.puback(number)
        talk.behave()

    place = site(script)
    session = place.session()
    session.exchange(BEAT, 5)
    assert place.heard.acknowledged.get(timeout=PATIENCE_S) == 9
    assert session.heard() == ()


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (answering(reply(b"no", "404 Not Found")), "answered 404"),
        (answering(reply(b"no", "200 OK")), "answered 200"),
        (answering(b"SSH-2.0-x\r\n\r\n"), "did not answer in HTTP"),
        (answering(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), "although it says so"),
        (lambda peer: peer.request(), "closed the connection"),
        (dripping(b"HTTP/1.1 101 Switching Protocols\r\n", b"a: " + b"b" * 2000 + b"\r\n"), "without an end"),
        (Peer.wait_for_end, "did not answer in time"),
    ],
)
def test_port_that_opens_no_websocket(site: MakeSite, answer: object, shown: str) -> None:
    """Whatever answers the WebSocket's request otherwise is named, with what it said."""
    server = Server(answer)  # type: ignore[arg-type]
    try:
        place = site(good, Way(is_websocket=True))
        place.server, real = server, place.server
        error = fail(place.session(), deadline_s=0.6)
        place.server = real
    finally:
        server.stop()
    assert error.code == "websocket_failed"
    assert shown in error.message
