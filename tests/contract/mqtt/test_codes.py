"""Every word a broker has for no: CONNACK of 3.1.1 and 5, SUBACK, PUBACK and DISCONNECT."""

import pytest

from firstlight.core.exchange import MqttReply
from firstlight.errors import HINTS, UnreachableError
from tests.contract.http_transports.servers import PATIENCE_S
from tests.contract.mqtt.broker import (
    CONNACK,
    DISCONNECT,
    MAXIMUM_PACKET_SIZE,
    PUBLISH,
    SUBSCRIBE,
    Talk,
    TalkScript,
    packet,
    reason_string,
)
from tests.contract.mqtt.conftest import BEAT, MakeSite, Way, await_end, fail, payloads

# By the text of the standards, not by the table of the program: MQTT 3.1.1, 3.2.2.3; MQTT 5, 2.4.
CONNACK_3_1_1 = {
    1: "mqtt_version",
    2: "mqtt_client_id",
    3: "mqtt_unavailable",
    4: "mqtt_bad_login",
    5: "mqtt_not_authorized",
    6: "mqtt_malformed",
    200: "mqtt_malformed",
}
CONNACK_5 = {
    0x80: "mqtt_disconnected",
    0x81: "mqtt_malformed",
    0x82: "mqtt_malformed",
    0x83: "mqtt_disconnected",
    0x85: "mqtt_client_id",
    0x86: "mqtt_bad_login",
    0x87: "mqtt_not_authorized",
    0x88: "mqtt_unavailable",
    0x89: "mqtt_unavailable",
    0x8A: "mqtt_not_authorized",
    0x8C: "mqtt_bad_login",
    0x90: "mqtt_not_authorized",
    0x95: "mqtt_packet_too_large",
    0x97: "mqtt_quota",
    0x99: "mqtt_malformed",
    0x9A: "mqtt_malformed",
    0x9B: "mqtt_malformed",
    0x9C: "mqtt_moved",
    0x9D: "mqtt_moved",
    0x9F: "mqtt_quota",
    0xB3: "mqtt_malformed",
}
PUBACK_5 = {
    0x80: "mqtt_disconnected",
    0x83: "mqtt_disconnected",
    0x87: "mqtt_not_authorized",
    0x90: "mqtt_not_authorized",
    0x91: "mqtt_malformed",
    0x97: "mqtt_quota",
    0x99: "mqtt_malformed",
}
DISCONNECT_5 = {
    0x00: "mqtt_disconnected",
    0x04: "mqtt_disconnected",
    0x80: "mqtt_disconnected",
    0x81: "mqtt_malformed",
    0x82: "mqtt_malformed",
    0x83: "mqtt_disconnected",
    0x87: "mqtt_not_authorized",
    0x89: "mqtt_unavailable",
    0x8B: "mqtt_unavailable",
    0x8C: "mqtt_bad_login",
    0x8D: "mqtt_disconnected",
    0x8E: "mqtt_taken_over",
    0x8F: "mqtt_not_authorized",
    0x90: "mqtt_not_authorized",
    0x93: "mqtt_quota",
    0x94: "mqtt_malformed",
    0x95: "mqtt_packet_too_large",
    0x96: "mqtt_quota",
    0x97: "mqtt_quota",
    0x98: "mqtt_disconnected",
    0x99: "mqtt_malformed",
    0x9A: "mqtt_malformed",
    0x9B: "mqtt_malformed",
    0x9C: "mqtt_moved",
    0x9D: "mqtt_moved",
    0x9E: "mqtt_malformed",
    0x9F: "mqtt_quota",
    0xA0: "mqtt_disconnected",
    0xA1: "mqtt_malformed",
    0xA2: "mqtt_malformed",
    0xB3: "mqtt_malformed",
}


def refusing(code: int, properties: bytes = b"") -> TalkScript:
    """A broker that answers each CONNECT with this code."""

    def script(talk: Talk) -> None:
        talk.login()
        talk.connack(code, properties)
        talk.behave()

    return script


@pytest.mark.parametrize("code", CONNACK_3_1_1)
def test_connack_of_3_1_1(site: MakeSite, code: int) -> None:
    """Each return code has its name, and the sentence shows where it came from and which number it was."""
    place = site(refusing(code), Way(protocol=4))
    error = fail(place.session())
    assert error.code == CONNACK_3_1_1[code]
    assert error.message.startswith(f"127.0.0.1:{place.server.port} says: ")
    assert f"(CONNACK {code:#04x})" in error.message
    assert place.server.connections == 1


@pytest.mark.parametrize("code", CONNACK_5)
def test_connack_of_5(site: MakeSite, code: int) -> None:
    """Each reason code has its name, whether the broker explains itself or not; the next call asks anew."""
    place = site(refusing(code, reason_string("because")))
    session = place.session()
    error = fail(session)
    assert error.code == CONNACK_5[code]
    assert f"(CONNACK {code:#04x}" in error.message
    if code not in (0x99, 0xB3):  # paho reads no properties after a code that it does not know
        assert error.message.endswith(": because).")
    assert fail(session).code == CONNACK_5[code]
    assert (place.server.connections, session.connections) == (2, 0)


@pytest.mark.parametrize("code", [2, 3, 4, 5])
def test_broker_of_3_1_1_refuses_a_connect_of_5_in_its_own_words(site: MakeSite, code: int) -> None:
    """A broker that answers MQTT 5 with a return code of 3.1.1 is understood."""

    def script(talk: Talk) -> None:
        talk.login()
        talk.send(packet(CONNACK, bytes((0, code))))

    assert fail(site(script).session()).code == CONNACK_3_1_1[code]


@pytest.mark.parametrize("code", PUBACK_5)
def test_puback_of_5_that_refuses(site: MakeSite, code: int) -> None:
    """A message that the broker did not take is an error by name; the connection stays."""

    def script(talk: Talk) -> None:
        talk.login()
        talk.connack()
        talk.puback(talk.next_message()[2], code, "because")
        talk.behave()

    session = site(script).session()
    error = fail(session)
    assert error.code == PUBACK_5[code]
    assert f"(PUBACK {code:#04x}: because)" in error.message
    assert session.exchange(BEAT, 5) == MqttReply(0, None)
    assert session.connections == 1


def test_puback_without_a_subscriber_is_no_error(site: MakeSite) -> None:
    """0x10 says that nobody listens at the moment: the platform decides what that means."""

    def script(talk: Talk) -> None:
        talk.login()
        talk.connack()
        talk.puback(talk.next_message()[2], 0x10)

    assert site(script).session().exchange(BEAT, 5) == MqttReply(0x10, None)


def test_puback_of_another_message_is_not_taken_for_ours(site: MakeSite) -> None:
    """An acknowledgement with another number acknowledges nothing."""

    def script(talk: Talk) -> None:
        talk.login()
        talk.connack()
        talk.next_message()
        talk.puback(b"\x7f\x7f")
        talk.behave()

    assert fail(site(script).session(), deadline_s=0.3).code == "reply_timeout"


@pytest.mark.parametrize("code", DISCONNECT_5)
@pytest.mark.parametrize("is_idle", [True, False], ids=["idle", "in a call"])
def test_disconnect_of_5(site: MakeSite, code: int, is_idle: bool) -> None:
    """Each reason for ending a connection has its name, heard at once in a wait and told by a call."""

    def script(talk: Talk) -> None:
        talk.login()
        talk.connack()
        _, _, number = talk.next_message()
        if is_idle:
            talk.puback(number)
        talk.disconnect(code, "because")
        if talk.peer.position == 1:
            talk.peer.wait_for_end()

    session = site(script).session()
    if is_idle:
        session.exchange(BEAT, 5)
        error = await_end(session)
    else:
        error = fail(session)
    assert error.code == DISCONNECT_5[code]
    if code != 0xB3:
        assert f"(DISCONNECT {code:#04x}: because)" in error.message
    assert session.heard() == ()


def test_disconnect_without_a_code_is_a_normal_end(site: MakeSite) -> None:
    """A bare DISCONNECT means that the broker has ended the connection."""

    def script(talk: Talk) -> None:
        talk.login()
        talk.connack()
        talk.puback(talk.next_message()[2])
        talk.send(packet(DISCONNECT, b""))

    session = site(script).session()
    session.exchange(BEAT, 5)
    assert await_end(session).code == "mqtt_disconnected"


def test_last_words_come_before_the_end(site: MakeSite) -> None:
    """What was said before the end is heard first, and the end is told once."""

    def script(talk: Talk) -> None:
        talk.login()
        talk.connack()
        talk.puback(talk.next_message()[2])
        talk.publish("f/acme/dev-1/answer/now", b"last words", PUBLISH)
        talk.disconnect(0x8E)

    place = site(script)
    session = place.session()
    session.exchange(BEAT, 5)
    place.server.wait_until_left()
    assert payloads(session.heard()) == (b"last words",)
    with pytest.raises(UnreachableError) as caught:
        session.heard()
    assert caught.value.code == "mqtt_taken_over"
    assert session.heard() == ()


@pytest.mark.parametrize(
    ("protocol", "code", "name"), [(4, 0x80, "mqtt_disconnected"), (5, 0x87, "mqtt_not_authorized")]
)
def test_subscription_that_is_refused(site: MakeSite, protocol: int, code: int, name: str) -> None:
    """A device that may not hear its answers is told so at once."""

    def script(talk: Talk) -> None:
        talk.login()
        talk.connack()
        first, body = talk.packet()
        assert first & 0xF0 == SUBSCRIBE
        talk.suback(body[:2], code)
        talk.behave()

    error = fail(site(script, Way(protocol=protocol)).session())
    assert error.code == name
    assert f"(SUBACK {code:#04x})" in error.message


def test_words_of_the_broker_are_bounded_and_printable(site: MakeSite) -> None:
    """A reason text reaches the log cut and without control characters."""
    reason = "\x1b[2J\r\n" + "a" * 110
    error = fail(site(refusing(0x87, reason_string(reason))).session())
    assert "?[2J??" + "a" * 74 + ")" in error.message
    assert error.message.isprintable()


def test_message_beyond_the_brokers_limit_is_not_sent(site: MakeSite) -> None:
    """What the broker has said it will not take is named without asking it, and the connection stays."""

    def script(talk: Talk) -> None:
        talk.login()
        talk.connack(0, bytes((MAXIMUM_PACKET_SIZE, 0, 0, 0, 200)))
        talk.behave()

    place = site(script)
    session = place.session()
    session.exchange(BEAT, 5)
    assert place.heard.message() == (BEAT.topic, BEAT.payload)
    assert fail(session, BEAT._replace(payload=b"x" * 300)).code == "mqtt_packet_too_large"
    session.exchange(BEAT._replace(payload=b"small"), 5)
    assert place.heard.messages.get(timeout=PATIENCE_S)[1] == b"small"
    assert session.connections == 1


def test_every_meaning_has_a_hint() -> None:
    """No code of the table lacks its hint."""
    names = {*CONNACK_3_1_1.values(), *CONNACK_5.values(), *PUBACK_5.values(), *DISCONNECT_5.values()}
    assert names <= set(HINTS)
