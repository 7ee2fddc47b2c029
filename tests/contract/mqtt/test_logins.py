"""What a login may ask for beyond the usual: several filters, a greeting, MQTT 3.1.1, a gap, its own patience."""

from __future__ import annotations

import time

import pytest

from firstlight.core.exchange import HttpCall, MqttCall, MqttLogin, MqttMessage, MqttReply
from firstlight.core.model import Trust
from firstlight.errors import UnreachableError
from firstlight.transports.http_session import HttpSession
from tests.contract.mqtt.broker import Talk, good
from tests.contract.mqtt.conftest import ASKING, BEAT, MakeSite, Site, Way, await_words, fail

HELLO, VERSION = MqttCall("f/acme/dev-1/hello", b"1"), MqttCall("f/acme/dev-1/version", b"2")
FILTERS = ("f/acme/dev-1/want/+", "f/acme/dev-1/time")


def greeting(place: Site) -> MqttLogin:
    """A login that asks for all of it."""
    return place.login()._replace(listens_to=FILTERS, greets=(HELLO, VERSION))


def test_filters_and_greetings_come_before_the_first_beat(site: MakeSite, way: Way) -> None:
    """Every filter is subscribed to in one packet, then each greeting is published, in order, on each connection."""
    place = site(good, way)
    session = place.session(login=lambda: greeting(place))
    for _ in range(2):
        session.exchange(BEAT, 5)
        assert tuple(place.heard.filters.get_nowait() for _ in FILTERS) == FILTERS
        assert [place.heard.message() for _ in range(3)] == [tuple(call[:2]) for call in (HELLO, VERSION, BEAT)]
        session.close()
    assert session.connections == 2


@pytest.mark.parametrize("granted", [(1, 0x80), (0x80, 1), (0x80, 0x80)])
def test_a_filter_that_is_refused(site: MakeSite, granted: tuple[int, int]) -> None:
    """One refused filter among several is a refused subscription: nobody knows which may be done without."""

    def refusing(talk: Talk) -> None:
        talk.granted = granted
        good(talk)

    place = site(refusing)
    assert "SUBACK 0x80" in fail(place.session(login=lambda: greeting(place))).message


def test_a_greeting_that_is_refused(site: MakeSite) -> None:
    """A broker that does not take the greeting is told by its own code, and the beat is not sent."""

    def refusing(talk: Talk) -> None:
        talk.login()
        talk.connack()
        talk.puback(talk.next_message()[2], 0x87)
        talk.behave()

    place = site(refusing, Way(protocol=5))
    error = fail(place.session(login=lambda: greeting(place)))
    assert error.code == "mqtt_not_authorized"
    assert place.heard.message()[0] == HELLO.topic
    assert place.heard.messages.empty()


def test_3_1_1_from_the_start(site: MakeSite) -> None:
    """A login that knows the broker's version begins with it: one connection, one login."""
    place = site(good)
    session = place.session(login=lambda: place.login()._replace(protocol=4))
    session.exchange(BEAT, 5)
    assert place.heard.logins.get_nowait().level == 4
    assert (session.connections, place.server.connections, place.logins) == (1, 1, 1)
    assert session.protocol_name == "MQTT 3.1.1"


def test_a_gap_between_two_connections(site: MakeSite) -> None:
    """A try that comes too soon fails without one and without waiting, and says when; a failure says it at once."""

    def refusing(talk: Talk) -> None:
        talk.login()
        talk.connack(3)

    place = site(refusing, Way(protocol=4))
    session = place.session(login=lambda: place.login()._replace(protocol=4, least_gap_s=60.0))
    first = fail(session)
    assert (first.code, first.retry_after_s) == ("mqtt_unavailable", 60.0)
    began_s = time.monotonic()
    second = fail(session)
    assert second.code == "mqtt_too_soon"
    assert time.monotonic() - began_s < 30.0
    assert second.retry_after_s is not None
    assert 50 < second.retry_after_s <= 60
    assert place.server.connections == 1


def test_a_kept_connection_knows_no_gap(site: MakeSite) -> None:
    """Beats on a connection that stands come as fast as they like."""
    place = site(good)
    session = place.session(login=lambda: place.login()._replace(least_gap_s=60.0))
    for _ in range(3):
        assert session.exchange(BEAT, 5) == MqttReply(0)


def test_an_answer_is_awaited_as_long_as_the_login_says(site: MakeSite) -> None:
    """A short patience ends without an answer, long before the call's own time."""
    place = site(good)
    session = place.session(login=lambda: place.login()._replace(answer_s=0.1))
    began_s = time.monotonic()
    assert session.exchange(ASKING, 20) == MqttReply(0, None)
    assert time.monotonic() - began_s < 4.0


def test_answers_go_on_the_connection_that_stands(site: MakeSite, way: Way) -> None:
    """What is sent beside the beats arrives in order, with its topic; the topic of what came unasked is told."""

    def asking(talk: Talk) -> None:
        talk.login()
        talk.connack()
        talk.puback(talk.next_message()[2])
        talk.publish("f/acme/dev-1/want/7", b"{}")
        talk.behave()

    place = site(asking, way)
    session = place.session(login=lambda: place.login()._replace(listens_to=FILTERS))
    session.exchange(BEAT, 5)
    assert await_words(session) == (b"{}",)
    session.send((HELLO, VERSION), 5)
    assert [place.heard.message()[0] for _ in range(3)] == [BEAT.topic, HELLO.topic, VERSION.topic]
    session.send((), 5)


def test_unasked_messages_name_their_topic(site: MakeSite) -> None:
    """Where it came is part of what came."""

    def saying(talk: Talk) -> None:
        talk.login()
        talk.connack()
        number = talk.next_message()[2]
        talk.publish("f/acme/dev-1/want/7", b"seven")
        talk.puback(number)
        talk.behave()

    session = site(saying).session()
    session.exchange(BEAT, 5)
    assert session.heard() == (MqttMessage("f/acme/dev-1/want/7", b"seven"),)
    assert "seven" not in repr(MqttMessage("t", b"seven"))


def test_nothing_is_sent_without_a_connection(site: MakeSite) -> None:
    """What goes beside the beats opens no connection of its own, and a refusal ends the one there is."""

    def refusing(talk: Talk) -> None:
        talk.login()
        talk.connack()
        talk.puback(talk.next_message()[2])
        talk.puback(talk.next_message()[2], 0x97)
        talk.behave()

    place = site(refusing, Way(protocol=5))
    session = place.session()
    with pytest.raises(UnreachableError) as caught:
        session.send((HELLO,), 5)
    assert caught.value.code == "mqtt_disconnected"
    assert place.server.connections == 0
    session.exchange(BEAT, 5)
    with pytest.raises(UnreachableError) as caught:
        session.send((HELLO,), 5)
    assert caught.value.code == "mqtt_quota"
    assert session.fileno() == -1


def test_over_http_nothing_goes_beside_the_calls() -> None:
    """The HTTP session takes an empty list and nothing else."""
    session = HttpSession(Trust())
    session.send((), 1)
    with pytest.raises(TypeError):
        session.send((HELLO,), 1)
    with pytest.raises(TypeError):
        session.exchange(HELLO, 1)
    assert HttpCall("GET", "https://h/").body is None
