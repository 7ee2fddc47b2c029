"""The ways to a broker: whom the session believes, what it shows, proxies, and WebSockets."""

from pathlib import Path

import pytest

from firstlight.core.exchange import MqttReply
from firstlight.core.model import Trust
from firstlight.errors import StateError
from firstlight.transports.proxy import parse_proxy
from tests.contract.http_transports.certificates import EXPIRED, NOT_YET_VALID, Identity, self_signed
from tests.contract.http_transports.servers import Server, answering, proxying, reply
from tests.contract.mqtt.broker import PUBACK, PUBLISH, Talk, frame, good, packet, text
from tests.contract.mqtt.conftest import BEAT, DEADLINE_S, MakeSite, Site, Way, fail, payloads

WRONG_PIN = "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
AUTH = "box:sEcretOfProxy"
AUTH_HEADER = "Basic Ym94OnNFY3JldE9mUHJveHk="
TCP_AND_WEBSOCKET = [Way(), Way(is_websocket=True)]
NAMES = ["tcp", "websocket"]


def assert_heard_nothing(place: Site) -> None:
    """No login left the device: neither its id nor its password."""
    place.server.wait_until_left()
    assert b"".join(place.server.heard) == b""


@pytest.mark.parametrize("way", TCP_AND_WEBSOCKET, ids=NAMES)
def test_brokers_that_are_not_believed(
    site: MakeSite, ca: Identity, other_ca: Identity, hub: Identity, way: Way
) -> None:
    """Another CA, a wrong date, another name and another key are refused before a byte of the login is sent."""
    cases = [
        (hub, Trust(other_ca.pem), "tls_untrusted"),
        (ca.issue("127.0.0.1", dates=EXPIRED), Trust(ca.pem), "tls_expired"),
        (ca.issue("127.0.0.1", dates=NOT_YET_VALID), Trust(ca.pem), "tls_expired"),
        (ca.issue("elsewhere.example"), Trust(ca.pem), "tls_wrong_name"),
        (hub, Trust(ca.pem, (WRONG_PIN,)), "tls_pin_mismatch"),
        (self_signed("127.0.0.1"), Trust(pins=(WRONG_PIN,)), "tls_pin_mismatch"),
    ]
    for identity, trust, code in cases:
        place = site(good, way, identity)
        error = fail(place.session(trust))
        assert error.code == code and f"he broker 127.0.0.1:{place.server.port}" in error.message
        assert_heard_nothing(place)


def test_brokers_that_are_believed(site: MakeSite, ca: Identity, hub: Identity) -> None:
    """By CA and name, by pin alone, and without dates where the clock is known to be wrong."""
    own = self_signed("elsewhere.example")
    assert site(good, identity=hub).session(Trust(ca.pem), host="localhost").exchange(BEAT, 5) == MqttReply(0, None)
    assert site(good, identity=own).session(Trust(pins=(own.pin,))).exchange(BEAT, 5) == MqttReply(0, None)
    old = site(good, identity=ca.issue("127.0.0.1", dates=EXPIRED))
    assert old.session(Trust(ca.pem), check_dates=False).exchange(BEAT, 5) == MqttReply(0, None)


def test_clock_is_asked_at_each_connection(site: MakeSite, ca: Identity) -> None:
    """Whether dates count may change between two connections of one session."""
    place = site(good, identity=ca.issue("127.0.0.1", dates=EXPIRED))
    trustworthy = [True, False]
    session = place.session(Trust(ca.pem), check_dates=lambda: trustworthy.pop(0))  # type: ignore[arg-type]
    assert fail(session).code == "tls_expired"
    assert session.exchange(BEAT, 5) == MqttReply(0, None)


@pytest.mark.parametrize("way", TCP_AND_WEBSOCKET, ids=NAMES)
def test_certificate_opens_the_session(site: MakeSite, ca: Identity, hub: Identity, tmp_path: Path, way: Way) -> None:
    """A device with a certificate of the right CA is let in, without a user name or a password."""

    def named(talk: Talk) -> None:
        shown = talk.peer.sock.getpeercert()  # type: ignore[attr-defined]
        assert ((("commonName", "dev-1"),)) in shown["subject"]
        good(talk)

    place = site(named, way, hub, client_ca=ca)
    identity = ca.issue(title="dev-1").as_client(tmp_path)
    bare = place.login()._replace(user_name="", password=None)
    session = place.session(Trust(ca.pem), identity=identity, login=lambda: bare)
    assert session.exchange(BEAT, 5) == MqttReply(0, None)


@pytest.mark.parametrize("way", TCP_AND_WEBSOCKET, ids=NAMES)
@pytest.mark.parametrize("case", ["other CA", "expired", "none"])
def test_certificate_that_is_refused(
    site: MakeSite, ca: Identity, other_ca: Identity, hub: Identity, tmp_path: Path, way: Way, case: str
) -> None:
    """Another CA's, an expired and a missing certificate are named, and no other version of MQTT is tried."""
    place = site(good, way, hub, client_ca=ca)
    made = {
        "other CA": lambda: other_ca.issue(title="dev-1"),
        "expired": lambda: ca.issue(title="dev-1", dates=EXPIRED),
    }
    identity = made[case]().as_client(tmp_path) if case in made else None
    error = fail(place.session(Trust(ca.pem), identity=identity))
    assert error.code == "certificate_refused"
    assert "does not accept this device's certificate: " in error.message
    assert place.server.connections == 1
    assert_heard_nothing(place)


def test_key_that_does_not_fit_is_the_boxs_own_trouble(
    site: MakeSite, ca: Identity, hub: Identity, tmp_path: Path
) -> None:
    """A key of another certificate is named, and nothing is opened."""
    place = site(good, identity=hub)
    identity = ca.issue().as_client(tmp_path)._replace(key_file=ca.issue().as_client(tmp_path).key_file)
    with pytest.raises(StateError) as caught:
        place.session(Trust(ca.pem), identity=identity).exchange(BEAT, 5)
    assert caught.value.code == "state_corrupt"
    assert place.server.connections == 0


@pytest.mark.parametrize("way", TCP_AND_WEBSOCKET, ids=NAMES)
@pytest.mark.parametrize("auth", [None, AUTH], ids=["open", "with password"])
def test_proxy_carries_the_session(site: MakeSite, ca: Identity, hub: Identity, way: Way, auth: str | None) -> None:
    """Through a proxy with and without a password the beats arrive, and it sees name and port only."""
    place = site(good, way, hub)
    proxy = Server(proxying(AUTH_HEADER if auth else None))
    try:
        session = place.session(Trust(ca.pem), parse_proxy(f"http://127.0.0.1:{proxy.port}", auth))
        for _ in range(2):
            assert session.exchange(BEAT, 5) == MqttReply(0, None)
        session.close()
        proxy.wait_until_left()
        assert proxy.requests[0].startswith(f"CONNECT 127.0.0.1:{place.server.port} HTTP/1.1\r\n".encode())
        assert proxy.connections == 1
        assert b"dev-1" not in b"".join(proxy.heard)
    finally:
        proxy.stop()


@pytest.mark.parametrize(
    ("script", "auth", "code"),
    [
        (proxying(AUTH_HEADER), None, "proxy_auth_required"),
        (proxying(AUTH_HEADER), "box:sEcretOfProxy2", "proxy_auth_required"),
        (answering(reply(b"no", "401 Unauthorized")), AUTH, "proxy_auth_required"),  # as tinyproxy has it
        (answering(reply(b"no", "403 Forbidden")), None, "proxy_failed"),
        (answering(reply(b"no", "502 Bad Gateway")), None, "proxy_failed"),
        (lambda peer: peer.request(), None, "proxy_failed"),
    ],
)
def test_proxy_that_does_not_let_through(
    site: MakeSite, ca: Identity, hub: Identity, script: object, auth: str | None, code: str
) -> None:
    """A missing or wrong password and a refusal of the proxy are named; the broker hears nothing."""
    place = site(good, identity=hub)
    proxy = Server(script)  # type: ignore[arg-type]
    try:
        session = place.session(Trust(ca.pem), parse_proxy(f"http://127.0.0.1:{proxy.port}", auth))
        assert fail(session).code == code
    finally:
        proxy.stop()
    assert place.server.connections == 0


def test_port_where_nobody_listens(site: MakeSite) -> None:
    """A refused connection has the name that it has over HTTP, and the sentence says that it is the broker's."""
    place = site()
    session = place.session()
    place.server.stop()
    error = fail(session)
    assert error.code == "connect_refused"
    assert error.message == f"The broker 127.0.0.1:{place.server.port} refused the connection."
    assert "its MQTT broker" in error.hint


def test_name_that_nobody_knows(site: MakeSite) -> None:
    """It is the broker's name that cannot be resolved; the hub's may be another one."""
    place = site(identity=None)
    place.is_secure = True
    error = fail(place.session(host="nobody.invalid"))
    assert error.code == "dns_failed" and error.message.startswith("The broker's name nobody.invalid cannot be")


def test_port_that_speaks_no_tls(site: MakeSite, ca: Identity) -> None:
    """TLS to a plain listener is named within the deadline."""
    place = site(lambda talk: talk.peer.wait_for_end())
    place.is_secure = True
    assert fail(place.session(Trust(ca.pem)), deadline_s=0.4).code == "tls_failed"


def test_request_of_a_websocket(site: MakeSite) -> None:
    """The request names path, host and MQTT, and neither who the device is nor its password."""
    place = site(good, Way(is_websocket=True))
    place.session().exchange(BEAT, DEADLINE_S)
    head = place.server.requests[0].decode()
    assert head.startswith("GET /mqtt HTTP/1.1\r\n")
    for line in (f"Host: 127.0.0.1:{place.server.port}", "Sec-WebSocket-Protocol: mqtt", "Sec-WebSocket-Version: 13"):
        assert f"\r\n{line}\r\n" in head
    assert "dev-1" not in head


def test_frames_of_a_websocket_in_every_shape(site: MakeSite) -> None:
    """Packets split over frames, several in one, empty frames and pings between them make one stream."""

    def script(talk: Talk) -> None:
        talk.login()
        talk.connack()
        _, _, number = talk.next_message()
        now = packet(PUBLISH, text("f/acme/dev-1/answer/now") + b"\0" + b"x" * 300)
        talk.send_raw(frame(0x02, now[:1]) + frame(0x00, b"") + frame(0x89, b"are you there"))
        talk.send_raw(frame(0x80, now[1:]) + frame(0x8A, b"unasked pong"))
        kind, content = talk.frame()
        assert (kind, content) == (0x8A, b"are you there")
        talk.send(packet(PUBLISH, text("f/acme/dev-1/answer/now") + b"\0" + b"y") + packet(PUBACK, number))
        talk.behave()

    session = site(script, Way(is_websocket=True)).session()
    assert session.exchange(BEAT, 5) == MqttReply(0, None)
    assert payloads(session.heard()) == (b"x" * 300, b"y")


@pytest.mark.parametrize(
    "sent",
    [
        frame(0x81, b"text"),
        bytes((0x82, 0x81, 1, 2, 3, 4, 5)),
        frame(0xC2, b"x"),
        frame(0x83, b"x"),
        frame(0x89, b"x" * 126),
        frame(0x09, b"x"),
        bytes((0x82, 127)) + b"\xff" * 8,
        bytes((0x82, 127)) + (200_000).to_bytes(8, "big"),
    ],
    ids=["text", "masked", "reserved", "unknown", "long ping", "split ping", "endless", "too large"],
)
def test_frame_that_is_against_the_rules(site: MakeSite, sent: bytes) -> None:
    """A frame that a server must not send ends the session by name, at its head."""

    def script(talk: Talk) -> None:
        talk.login()
        talk.connack()
        talk.next_message()
        talk.send_raw(sent)
        talk.peer.wait_for_end()

    assert fail(site(script, Way(is_websocket=True)).session()).code == "websocket_failed"


def test_login_that_is_refused_by_closing_the_websocket(site: MakeSite) -> None:
    """As RabbitMQ 3.10 does it: MQTT 5 gets a close frame, and so does a wrong password in 3.1.1, with a word."""

    def script(talk: Talk) -> None:
        said = b"\x03\xeaunauthenticated" if talk.login().level == 4 else b"\x03\xf3"
        talk.send_raw(frame(0x88, said))
        talk.peer.wait_for_end()

    assert fail(site(script, Way(is_websocket=True)).session()).code == "mqtt_bad_login"


def test_farewell_of_a_websocket_is_an_end(site: MakeSite) -> None:
    """A close frame ends the session like a closed connection."""

    def script(talk: Talk) -> None:
        talk.login()
        talk.connack()
        talk.next_message()
        talk.send_raw(frame(0x88, b"\x03\xe8good\x1b night"))
        talk.peer.wait_for_end()

    error = fail(site(script, Way(is_websocket=True)).session())
    assert error.code == "reply_cut"
    assert error.message.endswith(" closed the connection: good? night.")
