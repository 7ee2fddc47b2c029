"""A hub with a real RabbitMQ: who comes in, what arrives, what waits; judged by delivery."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import ssl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pika
import pytest
from pika.exceptions import AMQPConnectionError

from firstlight.wire import topics
from firstlight.wire.heartbeat import decode_beat_reply
from firstlight_hub.model import Tombstone
from firstlight_hub.rabbitmq.consumer import QUEUE
from tests.contract.mqtt.broker import CONNECT, packet, text
from tests.e2e.conftest import wait_until
from tests.system.rabbit_hub import TOKEN, Box, Files, Site, now_ms

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

BAD_LOGIN, NOT_AUTHORIZED = 134, 135  # as paho names CONNACK 4 and 5
SECONDS = 15.0
KEY, OTHER_KEY = "1.key-of-cam", "1.key-of-other"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """RabbitMQ and its hub, with two devices of each kind."""
    with tempfile.TemporaryDirectory(prefix="flr-") as folder, Site(Path(folder)) as one:
        one.hub.add("cam", KEY)
        one.hub.add("other", OTHER_KEY)
        for name in ("dock", "yard"):
            one.hub.add(name, certificate=one.files.certify(name))
        yield one


@pytest.fixture
def box(site: Site) -> Iterator[Callable[..., Box]]:
    """Makes boxes that are gone after the test."""
    boxes: list[Box] = []

    def make(*words: object, **more: object) -> Box:
        boxes.append(Box(site.rabbit, *words, **more))  # type: ignore[arg-type]
        return boxes[-1]

    yield make
    for one in boxes:
        one.close()


def certificate(site: Site, name: str) -> tuple[Path, Path]:
    """The certificate of a device of the fixture."""
    return site.files.folder / f"{name}-1.pem", site.files.folder / f"{name}-1.key"


def connected(one: Box) -> Box:
    """Waits until it is in."""
    assert one.next("connected") == 0
    return one


@pytest.mark.parametrize("websocket", [False, True])
@pytest.mark.parametrize("name", ["cam", "dock"])
def test_beats_and_answers(site: Site, box: Callable[..., Box], name: str, websocket: bool) -> None:
    """Both kinds of credential come in, over both ports; a beat that asks is stored and answered."""
    began_ms = site.hub.last_beat_ms(name) or 0
    how = {"login": (name, KEY)} if name == "cam" else {"certificate": certificate(site, name)}
    one = connected(box(name, **how, websocket=websocket))
    one.client.subscribe(topics.answers("demo", name), 1)
    one.next("subscribed")
    sequence = one.beat(asks=True)
    topic, body = one.next("message")
    assert topic == topics.answer("demo", name, sequence)
    assert decode_beat_reply(body).interval_s == 60
    assert (site.hub.last_beat_ms(name) or 0) > began_ms
    site.hub.link.tell("demo", name, b'{"now": 1}')
    assert one.next("message") == (topics.answer("demo", name), b'{"now": 1}')
    asked = site.hub.asked["topic"]
    one.beat(asks=True)
    one.next("message")
    assert site.hub.asked["topic"] == asked  # neither a beat nor an answer costs the hub a question


@pytest.mark.parametrize(
    ("client_id", "login", "certified", "answer"),
    [
        ("cam", ("cam", "1.wrong"), "", BAD_LOGIN),
        ("cam", ("cam", ""), "", BAD_LOGIN),
        ("cam", ("cam", None), "", BAD_LOGIN),
        ("cam", None, "", BAD_LOGIN),
        ("cam", ("cam", ""), "dock", BAD_LOGIN),
        ("dock", ("dock", ""), "", BAD_LOGIN),
        ("dock", ("dock", ""), "yard", BAD_LOGIN),
        ("dock", ("SERIALNUMBER=1,CN=dock,O=demo", ""), "", BAD_LOGIN),
        ("cam", ("other", OTHER_KEY), "", NOT_AUTHORIZED),
        ("cam", None, "dock", NOT_AUTHORIZED),
        ("dock", None, "yard", NOT_AUTHORIZED),
        ("anything", ("cam", KEY), "", NOT_AUTHORIZED),
        ("cam", ("/:cam", "1.wrong"), "", BAD_LOGIN),
    ],
)
def test_wrong_login_takes_nobody_over(
    site: Site,
    box: Callable[..., Box],
    client_id: str,
    login: tuple[str, str | None] | None,
    certified: str,
    answer: int,
) -> None:
    """A wrong or empty password, none at all, or another's client id is refused, and the victim's link stays."""
    victims = [connected(box("cam", ("cam", KEY))), connected(box("dock", None, certificate(site, "dock")))]
    shown = certificate(site, certified) if certified else None
    assert box(client_id, login, shown).next("connected") == answer
    for victim in victims:
        victim.beat()


def test_former_certificate_is_refused(site: Site, box: Callable[..., Box]) -> None:
    """A certificate of another generation is refused, although the same CA signed it for the same device."""
    assert box("dock", None, site.files.certify("dock", 2)).next("connected") == BAD_LOGIN


def test_certificate_of_another_ca(site: Site, box: Callable[..., Box], tmp_path: Path) -> None:
    """A certificate that another CA signed does not get through the handshake."""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        raise_lost(box("dock", None, Files(tmp_path).certify("dock")))


def test_certificate_that_ended(site: Site, box: Callable[..., Box]) -> None:
    """A certificate whose time is over does not get through the handshake, although it is the device's own."""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        raise_lost(box("dock", None, site.files.certify("dock", name="dock-ended", ended=True)))


def test_silence_beyond_keepalive(site: Site) -> None:
    """A device that says nothing for one and a half of its keepalive is cut off."""
    context = ssl.create_default_context(cafile=site.files.folder / "ca.pem")
    raw = socket.create_connection(("127.0.0.1", site.rabbit.mqtt_port), 60)
    with raw, context.wrap_socket(raw, server_hostname="localhost") as silent:
        user_password_clean, keepalive_s = 0xC2, b"\0\2"
        login = text("MQTT") + bytes((4, user_password_clean)) + keepalive_s + text("cam") + text("cam") + text(KEY)
        silent.sendall(packet(CONNECT, login))
        assert silent.recv(4) == bytes((0x20, 2, 0, 0)), "it was let in"
        assert silent.recv(1) == b""


def raise_lost(one: Box) -> None:
    """In TLS 1.3 the refusal of a certificate may come after the client's handshake is done."""
    kind, what = one.events.get(timeout=SECONDS)
    raise ConnectionError(kind, what)


def test_clean_session_0_gets_nothing_of_a_victim(site: Site, box: Callable[..., Box]) -> None:
    """Whoever asks for the victim's kept session is refused; what waited there still reaches the victim."""
    victim = connected(box("cam", ("cam", KEY), clean=False))
    victim.client.subscribe(topics.answers("demo", "cam"), 1)
    victim.next("subscribed")
    victim.close()
    site.hub.link.tell("demo", "cam", b'{"for": "cam"}')
    assert box("cam", ("other", OTHER_KEY), clean=False).next("connected") == NOT_AUTHORIZED
    back = connected(box("cam", ("cam", KEY), clean=False))
    assert back.next("message") == (topics.answer("demo", "cam"), b'{"for": "cam"}')
    back.close()
    connected(box("cam", ("cam", KEY)))  # a clean one, so that nothing is kept for the other tests


def test_foreign_publish_is_not_delivered(site: Site, box: Callable[..., Box]) -> None:
    """A beat, a will, or an answer in another's name reaches nobody; RabbitMQ cuts the link that tried."""
    victim = connected(box("cam", ("cam", KEY)))
    victim.client.subscribe(topics.answers("demo", "cam"), 1)
    victim.next("subscribed")
    before = site.hub.last_beat_ms("cam")
    stored = site.hub.stored
    for topic in (topics.heartbeat("demo", "cam"), topics.gone("demo", "cam"), topics.answer("demo", "cam")):
        other = connected(box("other", ("other", OTHER_KEY)))
        other.client.publish(topic, other.beat_body(), 1)
        other.next("lost")
    assert victim.silent("message", 1.0)
    assert (site.hub.last_beat_ms("cam"), site.hub.stored) == (before, stored)
    with site.hub.store.reading() as view:
        found = view.device("cam")
    assert found is not None and found.gone_at_ms is None


@pytest.mark.parametrize("filter_", ["firstlight/demo/cam/answer/+", "firstlight/#", "#", "+/+/+/answer/+"])
def test_foreign_subscription_hears_nothing(site: Site, box: Callable[..., Box], filter_: str) -> None:
    """Nobody hears another device's answers, whatever RabbitMQ says to the subscription."""
    victim, other = connected(box("cam", ("cam", KEY))), connected(box("other", ("other", OTHER_KEY)))
    victim.client.subscribe(topics.answers("demo", "cam"), 1)
    victim.next("subscribed")
    other.client.subscribe(filter_, 1)
    site.hub.link.tell("demo", "cam", b'{"secret": 1}')
    victim.next("message")
    victim.beat()
    heard = []
    while not other.events.empty():
        heard.append(other.events.get()[0])
    assert "message" not in heard


def test_foreign_will_is_not_sent(site: Site, box: Callable[..., Box]) -> None:
    """A will in another's name is dropped when its owner vanishes; the owner's own is noted."""

    def gone(name: str) -> int | None:
        with site.hub.store.reading() as view:
            found = view.device(name)
        return found.gone_at_ms if found else None

    foreign = connected(box("other", ("other", OTHER_KEY), will=topics.gone("demo", "yard")))
    foreign.cut()
    own = connected(box("dock", None, certificate(site, "dock"), will=topics.gone("demo", "dock")))
    own.cut()
    wait_until("the own will is noted", lambda: gone("dock") is not None)
    assert gone("yard") is None


def test_no_connect_and_mqtt_5(site: Site, box: Callable[..., Box]) -> None:
    """RabbitMQ drops a CONNECT of MQTT 5 without a word, writes no key into its log, and cuts who says nothing."""
    with pytest.raises(AssertionError, match="lost"):
        box("cam", ("cam", "1.secret-in-a-v5-connect"), version=5).next("connected")
    context = ssl.create_default_context(cafile=site.files.folder / "ca.pem")
    raw = socket.create_connection(("127.0.0.1", site.rabbit.mqtt_port), SECONDS)
    with raw, context.wrap_socket(raw, server_hostname="localhost") as silent:
        assert silent.recv(1) == b""
    log = site.rabbit.output()
    assert "unparseable payload" not in log
    assert TOKEN not in log and KEY not in log


def test_removed_device_is_thrown_out(site: Site, box: Callable[..., Box]) -> None:
    """A removed device loses its link within seconds and cannot come back, with a secret and with a certificate."""
    pair = site.files.certify("gate")
    site.hub.add("gate", certificate=pair)
    site.hub.add("door", "1.key-of-door")
    for name, login, shown in (("door", ("door", "1.key-of-door"), None), ("gate", None, pair)):
        one = connected(box(name, login, shown))
        one.beat()
        wait_until("the queue is empty", lambda: waiting(site) == 0)
        stored = site.hub.stored
        site.hub.remove(name)
        one.next("lost", within_s=SECONDS)
        assert box(name, login, shown).next("connected") == BAD_LOGIN
        assert site.hub.stored == stored
    connected(box("cam", ("cam", KEY))).beat()


def test_a_hub_that_went_before_it_ended_a_session_ends_it_after(site: Site, box: Callable[..., Box]) -> None:
    """What the store says is to end is ended by the next start."""
    site.hub.add("shed", "1.key-of-shed")
    one = connected(box("shed", ("shed", "1.key-of-shed")))
    one.beat()
    wait_until("the queue is empty", lambda: waiting(site) == 0)
    site.hub.stop()
    with site.hub.store.writing() as transaction:
        transaction.remove_device(Tombstone("demo", "shed", None, None, now_ms()))
    site.hub.start()
    one.next("lost", within_s=SECONDS)
    with site.hub.store.reading() as view:
        assert "shed" in dict(view.ended_sessions()).values(), "looked for again for some seconds"


def test_device_cannot_use_amqp_or_the_management(site: Site) -> None:
    """A device's key opens neither the management API nor another door."""
    answer = httpx.get(f"{site.rabbit.management_url}/api/connections", auth=("cam", KEY))
    assert answer.status_code == 401
    parameters = site.hub.place.amqp
    parameters.credentials = pika.PlainCredentials("cam", KEY)
    try:
        with pytest.raises(AMQPConnectionError):
            pika.BlockingConnection(parameters)
    finally:
        login = site.hub.place.login
        parameters.credentials = pika.PlainCredentials(login.user, login.password.reveal())


def test_nonsense_is_settled(site: Site, box: Callable[..., Box]) -> None:
    """A body that is no beat is taken off the queue, and the beats after it are stored."""
    one = connected(box("cam", ("cam", KEY)))
    for body in (b"", b"no json", b"{}", b"\xff" * 20_000):
        one.client.publish(topics.heartbeat("demo", "cam"), body, 1)
        one.next("taken")
    stored = site.hub.stored
    one.beat()
    wait_until("the beat is stored", lambda: site.hub.stored == stored + 1)
    wait_until("the queue is empty", lambda: waiting(site) == 0)


def waiting(site: Site) -> int:
    """How many messages RabbitMQ holds for the hub, delivered and not yet acknowledged ones too."""
    login = site.hub.place.login
    auth = (login.user, login.password.reveal())
    asked = {"disable_stats": "true", "enable_queue_totals": "true"}  # the figures of this moment
    answer = httpx.get(f"{site.rabbit.management_url}/api/queues", params=asked, auth=auth)
    (found,) = (int(one["messages"]) for one in answer.json() if one["name"] == QUEUE)
    return found


def test_disk_that_fails(site: Site, box: Callable[..., Box]) -> None:
    """Beats that cannot be stored go back to the queue and are stored when the disk holds again."""
    one = connected(box("cam", ("cam", KEY)))
    stored = site.hub.stored
    site.hub.failing = True
    one.beat()
    one.beat()
    assert site.hub.stored == stored
    site.hub.failing = False
    wait_until("both beats are stored", lambda: site.hub.stored == stored + 2)


def test_hub_that_is_down(site: Site, box: Callable[..., Box]) -> None:
    """While no hub is there, connected devices beat on into the queue; the hub stores it all when it is back."""
    one = connected(box("cam", ("cam", KEY)))
    one.beat()
    wait_until("the queue is empty", lambda: waiting(site) == 0)
    site.hub.stop()
    numbers = [one.beat()]
    assert one.silent("lost", 4.0)  # RabbitMQ's own processes go to sleep and forget what they knew
    numbers += [one.beat() for _ in range(20)]
    stored = site.hub.stored
    site.hub.start()
    wait_until("the beats that waited are stored", lambda: site.hub.stored == stored + len(numbers))


def test_two_hubs_share_the_queue(site: Site, box: Callable[..., Box]) -> None:
    """Two hubs take from the one queue; together they store each beat once, and one takes all when the other ends."""
    with site.half(0).start() as second:
        wait_until("two hubs consume", lambda: consumers(site) == 2)
        one = connected(box("other", ("other", OTHER_KEY)))
        first_had = site.hub.stored
        for _ in range(40):
            one.beat()
        wait_until("all beats are stored", lambda: site.hub.stored - first_had + second.stored == 40)
        assert second.stored > 0 and site.hub.stored > first_had
        second.stop()
        one.beat()
        wait_until("the last beat is stored", lambda: site.hub.stored - first_had + second.stored == 41)
        kept = history(site, "other")
        assert sorted(kept) == sorted(set(kept)) and set(range(1, 42)) <= set(kept)


def consumers(site: Site) -> int:
    """How many hubs take from the queue."""
    login = site.hub.place.login
    auth = (login.user, login.password.reveal())
    answer = httpx.get(f"{site.rabbit.management_url}/api/consumers/%2F", auth=auth)
    return len(answer.json())


def history(site: Site, device_id: str) -> list[int]:
    """The sequence numbers in a device's history."""
    question = "SELECT sequence FROM beat JOIN device ON device.number = beat.device WHERE device.id = ?"
    with contextlib.closing(sqlite3.connect(site.database)) as database:
        return [row[0] for row in database.execute(question, (device_id,))]


def test_broker_restarts(site: Site, box: Callable[..., Box], caplog: pytest.LogCaptureFixture) -> None:
    """The hub says what is wrong meanwhile, finds RabbitMQ again by itself after a restart, and takes beats."""
    site.rabbit.stop()
    wait_until("the hub says why", lambda: "Connection refused" in caplog.text)
    site.rabbit.start()
    one = connected(box("cam", ("cam", KEY)))
    stored = site.hub.stored
    one.beat()
    wait_until("the beat is stored", lambda: site.hub.stored == stored + 1, 40)
    assert caplog.text.count("The broker is back.") == 1
