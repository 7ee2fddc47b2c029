"""Connections that are idle for long: pings in time, and a link that died without a word."""

import math
import select
import struct
import time

import pytest

from firstlight.core.exchange import MqttReply
from firstlight.transports.mqtt_session import MqttSession
from tests.contract.http_transports.servers import PATIENCE_S
from tests.contract.mqtt.broker import Talk, good
from tests.contract.mqtt.conftest import BEAT, MakeSite, Site, Way, await_end, fail

SERVER_KEEP_ALIVE = 19


def server_keep_alive(seconds: int) -> bytes:
    """MQTT 5's property by which a broker names its own keep-alive."""
    return bytes((SERVER_KEEP_ALIVE,)) + struct.pack("!H", seconds)


def idle(session: MqttSession, seconds: float) -> None:
    """An idle agent: wakes when something came or the session asks for it, as the runner does."""
    ends_s = time.monotonic() + seconds
    while (left_s := ends_s - time.monotonic()) > 0:
        session.heard()
        select.select([session], [], [], min(left_s, session.rest_s()))


def with_keep_alive(place: Site, seconds: int) -> MqttSession:
    """A session that promises so much."""
    return place.session(login=lambda: place.login()._replace(keep_alive_s=seconds))


def deaf(talk: Talk) -> None:
    """A broker whose first connection dies without a word after a beat: nothing is answered, nothing is closed."""
    talk.login()
    talk.connack()
    talk.puback(talk.next_message()[2])
    if talk.peer.position == 1:
        talk.peer.server.stopping.wait(PATIENCE_S)
    talk.behave()


def test_an_idle_connection_pings_in_time(site: MakeSite, way: Way) -> None:
    """Before the keep-alive is over, over every way; the answer ends the matter, and the same connection goes on."""
    place = site(good, way)
    session = with_keep_alive(place, 1)
    session.exchange(BEAT, 5)
    assert 0.5 < session.rest_s() <= 1
    idle(session, 2.5)
    assert place.heard.pings.qsize() == 2
    session.exchange(BEAT, 5)
    assert session.connections == 1


def test_beats_that_come_in_time_need_no_ping(site: MakeSite) -> None:
    """What is sent counts as a sign of life, also right before the ping would be due."""
    place = site(good)
    session = with_keep_alive(place, 1)
    for _ in range(4):
        session.exchange(BEAT, 5)
        idle(session, 0.5)
    assert place.heard.pings.empty()


@pytest.mark.parametrize(("named", "rest_s"), [(2, 1.5), (60, 45.0), (600, 90.0), (0, 90.0)])
def test_the_brokers_own_keep_alive_counts(site: MakeSite, named: int, rest_s: float) -> None:
    """A shorter one than ours is kept; a longer one, or none, changes nothing: the way there may forget us."""

    def naming(talk: Talk) -> None:
        talk.login()
        talk.connack(properties=server_keep_alive(named))
        talk.behave()

    session = with_keep_alive(site(naming), 120)
    session.exchange(BEAT, 5)
    assert session.rest_s() == pytest.approx(rest_s, abs=0.5)


def test_without_a_connection_there_is_nothing_to_tend(site: MakeSite) -> None:
    """Before the first beat and after the farewell no wait ends early."""
    session = site(good).session()
    assert session.rest_s() == math.inf
    session.exchange(BEAT, 5)
    session.close()
    assert session.rest_s() == math.inf


def test_a_ping_that_nobody_answers_ends_the_connection(site: MakeSite) -> None:
    """Noticed between two beats, and named; the next beat goes over a new connection."""
    place = site(deaf)
    session = with_keep_alive(place, 1)
    session.exchange(BEAT, 5)
    with pytest.raises(Exception, match="did not answer a ping") as caught:
        idle(session, 5)
    assert getattr(caught.value, "code", "") == "mqtt_silent" and session.fileno() == -1
    session.exchange(BEAT, 5)
    assert session.connections == 2


def test_a_kept_connection_that_leads_nowhere_costs_no_beat(site: MakeSite) -> None:
    """NAT has forgotten it: half the time is waited, then the beat goes over a new connection within the same call."""
    place = site(deaf)
    session = place.session()
    session.exchange(BEAT, 5)
    began_s = time.monotonic()
    assert session.exchange(BEAT._replace(payload=b"again"), 2) == MqttReply(0, None)
    assert 0.9 < time.monotonic() - began_s < 2 and session.connections == 2
    assert [place.heard.message()[1] for _ in range(2)] == [BEAT.payload, b"again"]


def test_a_new_connection_that_is_silent_is_not_tried_twice(site: MakeSite) -> None:
    """A broker that acknowledges nothing costs its deadline and one connection each time."""

    def mute(talk: Talk) -> None:
        talk.login()
        talk.connack()
        talk.next_message()
        talk.behave()

    session = site(mute).session()
    assert fail(session, deadline_s=1).code == "reply_timeout"
    assert session.connections == 1


def test_a_broker_that_hangs_up_on_a_ping_is_heard(site: MakeSite) -> None:
    """The end comes instead of an answer."""

    def rude(talk: Talk) -> None:
        talk.login()
        talk.connack()
        talk.puback(talk.next_message()[2])
        talk.packet()

    session = with_keep_alive(site(rude), 1)
    session.exchange(BEAT, 5)
    select.select([], [], [], session.rest_s())
    session.heard()
    assert await_end(session).code == "mqtt_disconnected"
