"""A session as it should go: beats, answers, words that come unasked, and its end."""

import select

import pytest

from firstlight.core.exchange import HttpCall, MqttCall, MqttReply
from firstlight.core.model import Trust
from tests.contract.http_transports.certificates import Identity
from tests.contract.http_transports.servers import PATIENCE_S
from tests.contract.mqtt.broker import PUBLISH, Talk, good
from tests.contract.mqtt.conftest import ASKING, BEAT, PASSWORD, MakeSite, Way, await_end, await_words, fail, payloads


def answering(talk: Talk) -> None:
    """Answers each beat on the awaited topic, between two others, before it acknowledges."""
    talk.login()
    talk.connack()
    while True:
        _, _, number = talk.next_message()
        talk.publish("f/acme/dev-1/answer/now", b"unasked 1")
        talk.publish(ASKING.answer_topic, b"the answer")
        talk.puback(number)
        talk.publish("f/acme/dev-1/answer/now", b"unasked 2")


def test_beats_go_over_one_connection(site: MakeSite, way: Way, ca: Identity, hub: Identity) -> None:
    """Over TLS the broker hears who it is, and beats follow each other on one connection, QoS 1."""
    place = site(good, way, hub)
    session = place.session(Trust(ca.pem))
    assert (session.connections, session.fileno(), session.heard()) == (0, -1, ())
    for _ in range(3):
        assert session.exchange(BEAT, 5) == MqttReply(0, None)
        assert place.heard.message() == (BEAT.topic, BEAT.payload)

    login = place.heard.logins.get_nowait()
    assert (login.level, login.client_id, login.user_name, login.password) == (way.protocol, "dev-1", "dev-1", PASSWORD)
    assert login.will == ("f/acme/dev-1/gone", b'{"bootId": "b"}')
    assert (login.flags, login.keep_alive_s) == (0b1100_1110, 120)  # clean start; will with QoS 1, not retained
    assert login.properties == (b"\x27\x00\x01\x00\x00" if way.protocol == 5 else b"")  # no more than 65,536 bytes
    assert place.heard.filters.get_nowait() == "f/acme/dev-1/answer/+"
    assert (session.connections, place.server.connections, place.logins) == (1, 1, 1)
    assert session.protocol_name == {4: "MQTT 3.1.1", 5: "MQTT 5"}[way.protocol]


def test_answer_is_awaited_and_the_rest_is_kept(site: MakeSite, way: Way) -> None:
    """The platform's answer comes with the reply; what else came is heard in its order, and acknowledged."""
    session = site(answering, way).session()
    assert session.exchange(ASKING, 5) == MqttReply(0, b"the answer")
    said = await_words(session)
    while len(said) < 2:
        said += await_words(session)
    assert said == (b"unasked 1", b"unasked 2")
    assert session.heard() == ()


def test_answer_that_never_comes_is_none(site: MakeSite) -> None:
    """Without an answer the beat counts as sent, the connection stays, and a late answer is heard as unasked."""

    def late(talk: Talk) -> None:
        talk.login()
        talk.connack()
        talk.puback(talk.next_message()[2])
        _, _, number = talk.next_message()
        talk.puback(number)
        talk.publish(ASKING.answer_topic, b"late")
        talk.behave()

    session = site(late).session()
    assert session.exchange(ASKING, 1) == MqttReply(0, None)
    assert session.exchange(BEAT, 5) == MqttReply(0, None)
    assert await_words(session) == (b"late",)
    assert session.connections == 1


def test_link_that_breaks_before_the_answer_is_told_afterwards(site: MakeSite) -> None:
    """What the broker has taken counts as sent; that the connection ended is heard next, by its name."""

    def taken_over(talk: Talk) -> None:
        talk.login()
        talk.connack()
        talk.puback(talk.next_message()[2])
        talk.disconnect(0x8E)

    session = site(taken_over).session()
    assert session.exchange(ASKING, 5) == MqttReply(0, None)
    assert fail(session).code == "mqtt_taken_over"
    assert session.exchange(BEAT, 5) == MqttReply(0, None)
    assert session.connections == 2


def test_words_unasked_wake_the_wait_and_are_handled_once(
    site: MakeSite, way: Way, ca: Identity, hub: Identity
) -> None:
    """Something said while the agent waits makes its socket readable once; afterwards the wait is quiet again."""

    def telling(talk: Talk) -> None:
        talk.login()
        talk.connack()
        talk.puback(talk.next_message()[2])
        talk.publish("f/acme/dev-1/answer/now", b"a" * 300)
        talk.publish("f/acme/dev-1/answer/now", b"b", PUBLISH)
        talk.behave()

    place = site(telling, way, hub)
    session = place.session(Trust(ca.pem))
    session.exchange(BEAT, 5)
    said = await_words(session)
    while len(said) < 2:
        said += await_words(session)
    assert said == (b"a" * 300, b"b")
    assert not select.select([session], [], [], 0)[0]


def test_queue_of_words_is_bounded(site: MakeSite) -> None:
    """Of many words the last eight are kept."""

    def chatty(talk: Talk) -> None:
        talk.login()
        talk.connack()
        _, _, number = talk.next_message()
        for position in range(30):
            talk.publish("f/acme/dev-1/answer/now", b"%d" % position, PUBLISH)
        talk.puback(number)
        talk.behave()

    session = site(chatty).session()
    session.exchange(BEAT, 5)
    assert payloads(session.heard()) == tuple(b"%d" % position for position in range(22, 30))


@pytest.mark.parametrize("size_bytes", [0, 1, 200, 70_000])
def test_size_of_a_message_is_no_matter(site: MakeSite, way: Way, ca: Identity, hub: Identity, size_bytes: int) -> None:
    """Empty and large messages arrive as they were sent, and so does a large answer."""

    def echo(talk: Talk) -> None:
        talk.login()
        talk.connack()
        _, payload, number = talk.next_message()
        talk.puback(number)
        talk.publish(ASKING.answer_topic, payload[:60_000], PUBLISH)
        talk.behave()

    place = site(echo, way, hub)
    payload = bytes(position % 251 for position in range(size_bytes))
    reply = place.session(Trust(ca.pem)).exchange(ASKING._replace(payload=payload), 5)
    assert place.heard.message() == (BEAT.topic, payload)
    assert reply.answer == payload[:60_000]


def test_close_is_a_farewell(site: MakeSite, way: Way) -> None:
    """Closing says DISCONNECT, so that the broker publishes no will; a closed session connects anew when asked."""
    place = site(good, way)
    session = place.session()
    session.exchange(BEAT, 5)
    session.close()
    session.close()
    assert place.heard.ends.get(timeout=PATIENCE_S) == "disconnect"
    assert session.fileno() == -1
    assert session.heard() == ()
    session.exchange(BEAT, 5)
    assert (session.connections, place.logins) == (2, 2)


def test_connection_that_ended_while_idle_is_replaced(site: MakeSite, way: Way) -> None:
    """A broker that hung up between two beats costs a new connection and no beat."""

    def one_beat(talk: Talk) -> None:
        talk.login()
        talk.connack()
        talk.puback(talk.next_message()[2])

    place = site(one_beat, way)
    session = place.session()
    for number in (1, 2, 3):
        assert session.exchange(BEAT, 5) == MqttReply(0, None)
        assert session.connections == number
        place.server.wait_until_left()
    assert await_end(session).code == "mqtt_disconnected"


def test_beat_that_a_dying_link_swallows_is_sent_again(site: MakeSite) -> None:
    """A broker that goes away with a beat unacknowledged gets it again on a new connection, at once."""

    def forgetful(talk: Talk) -> None:
        talk.login()
        talk.connack()
        talk.puback(talk.next_message()[2])
        if talk.peer.position == 1:
            talk.next_message()
            return
        talk.behave()

    place = site(forgetful)
    session = place.session()
    session.exchange(BEAT, 5)
    assert session.exchange(BEAT._replace(payload=b"again"), 5) == MqttReply(0, None)
    assert [place.heard.message()[1] for _ in range(3)] == [BEAT.payload, b"again", b"again"]


def test_certificate_alone_needs_no_user_name(site: MakeSite) -> None:
    """A login without a user name and a subscription sends neither, nor a password, nor a will."""
    place = site(good)
    session = place.session(login=lambda: place.login()._replace(user_name="", password=None, listens_to=(), will=None))
    session.exchange(BEAT, 5)
    login = place.heard.logins.get_nowait()
    assert (login.flags, login.user_name, login.password, login.will) == (0b10, None, None, None)
    assert place.heard.filters.empty()


def test_session_carries_mqtt_only(site: MakeSite) -> None:
    """A call for another transport is a fault of the program."""
    with pytest.raises(TypeError):
        site().session().exchange(HttpCall("GET", "https://127.0.0.1/"), 5)


def test_password_shows_nowhere(site: MakeSite) -> None:
    """After the login no object of the session holds the password, and no text of a call shows its payload."""
    place = site(good)
    session = place.session()
    session.exchange(BEAT, 5)
    client = session._link._client  # type: ignore[union-attr]
    assert (client.username, client.password) == (None, None)
    assert "sEcretPayload" not in repr(MqttCall(BEAT.topic, BEAT.payload)) + repr(BEAT)
