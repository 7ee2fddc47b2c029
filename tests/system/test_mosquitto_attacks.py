"""What one device, or nobody's, may try against the hub's mosquitto; judged by what is delivered, not by a SUBACK."""

from __future__ import annotations

import itertools
import re
import select
import socket
import ssl
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from firstlight.wire import topics
from firstlight_hub import tls
from tests.system.mosquitto_site import WHERE, Link, Member, Site, link

pytestmark = pytest.mark.system

SEQUENCES = itertools.count(1000)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A hub with mosquitto."""
    made = Site(tmp_path_factory.mktemp("attacks") / "hub")
    yield made
    made.end()


@pytest.fixture(scope="module", autouse=True)
def silent(site: Site) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Connections that say nothing, without and with a handshake; open from the start, since mosquitto waits 90 s."""
    trust = ssl.create_default_context(cafile=site.folder / "ca.pem")
    with socket.create_connection((WHERE, site.secret_port), 150) as silent:
        other = socket.create_connection((WHERE, site.secret_port), 150)
        with trust.wrap_socket(other, server_hostname=WHERE) as greeted:
            yield silent, greeted


@pytest.fixture(scope="module")
def thief(site: Site) -> Member:
    """A device that was let in and misbehaves."""
    return site.enroll()


@pytest.fixture(params=["secret", "certificate"])
def victim(site: Site, request: pytest.FixtureRequest) -> tuple[Member, Link]:
    """A connected device of each kind."""
    member = site.enroll(request.param)
    return member, link(site, member)


def still_beats(member: Member, device: Link) -> bool:
    """Whether the device is connected, beats, and is answered."""
    return device.asks(member, 90)["intervalS"] == 2 and not device.lost


def certificate(folder: Path, ca_folder: Path | None, device_id: str, ended: bool = False) -> Path:
    """A certificate for a device, of a CA made here or of the hub's, good or ended, with its key."""
    now = datetime.now(timezone.utc)
    if ca_folder is None:
        ca_key = tls.make_key()
        ca = tls.make_ca(ca_key, now)
    else:
        ca_key = tls.read_key((ca_folder / "ca.key").read_bytes())
        ca = x509.load_pem_x509_certificate((ca_folder / "ca.pem").read_bytes())
    key = tls.make_key()
    made_at, ends = (now - timedelta(days=60), now - timedelta(days=1)) if ended else (now, now + timedelta(days=1))
    made = tls.make_device_certificate(ca, ca_key, key.public_key(), ("demo", device_id, 1), ends, made_at)
    path = folder / "device.pem"
    path.write_bytes(
        tls.certificate_pem(made)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.mark.parametrize("password", ["wrong", "", None])
def test_a_wrong_password_takes_nobody_over(site: Site, victim: tuple[Member, Link], password: str | None) -> None:
    """With a victim's name and a wrong, empty or no password nobody gets in, and the victim stays connected."""
    member, device = victim
    assert not Link(site, member.id, member.id, password).is_in
    assert still_beats(member, device)


def test_no_name_at_all(site: Site) -> None:
    """Without user name nobody gets in, on any listener."""
    assert not Link(site, "whoever").is_in
    assert not Link(site, "whoever", port=site.websocket_port, transport="websockets").is_in


def test_a_secret_does_not_count_where_certificates_do(site: Site, thief: Member) -> None:
    """The listener for certificates takes no password, and no connection without a certificate."""
    assert not Link(site, thief.id, thief.id, thief.key, port=site.certificate_port).is_in


def test_a_certificate_does_not_count_where_secrets_do(site: Site) -> None:
    """The listener for secrets wants a password, whatever is shown in the handshake."""
    member = site.enroll("certificate")
    assert not Link(site, member.id, member.id, None, certificate=member.certificate, port=site.secret_port).is_in
    assert not Link(site, member.id, member.id, "", certificate=member.certificate, port=site.secret_port).is_in


@pytest.mark.parametrize("how", ["another CA", "ended", "the server's own"])
def test_certificates_that_do_not_count(site: Site, tmp_path: Path, how: str) -> None:
    """A certificate of another CA, one that has ended, or the server's own does not let anybody in."""
    member = site.enroll("certificate")
    device = link(site, member)
    if how == "the server's own":
        shown = tmp_path / "device.pem"
        shown.write_bytes((site.folder / "server.pem").read_bytes() + (site.folder / "server.key").read_bytes())
    else:
        shown = certificate(tmp_path, site.folder if how == "ended" else None, member.id, how == "ended")
    assert not Link(site, member.id, certificate=shown).is_in
    assert still_beats(member, device)


@pytest.mark.parametrize("clean", [True, False])
def test_a_victims_client_id_is_not_to_be_had(
    site: Site, thief: Member, victim: tuple[Member, Link], clean: bool
) -> None:
    """With its own password and a victim's client id, clean session 1 or 0, a device is only itself."""
    member, device = victim
    taking = Link(site, member.id, thief.id, thief.key, clean=clean)
    assert taking.is_in  # as the thief: the broker puts the user name in the client id's place
    taking.hears(topics.answers("demo", member.id))
    taking.hears(topics.answers("demo", thief.id))
    assert still_beats(member, device)
    assert taking.asks(thief, next(SEQUENCES))
    assert [topic for topic, _ in taking.answers if member.id in topic] == []


def test_the_hubs_name_is_not_to_be_had(site: Site, thief: Member, tmp_path: Path) -> None:
    """Nobody guesses its password, and no certificate of this CA may have a name that anybody could know."""
    (user,) = re.findall(r"(?m)^user (.*)$", (site.folder / "mosquitto/acl").read_text())
    assert re.fullmatch(r"hub\.[0-9a-f]{32}", user)
    assert not Link(site, user, user, "").is_in
    taking = Link(site, user, thief.id, thief.key, clean=False)
    assert taking.is_in  # as the thief
    for name in ("hub", "firstlight-hub", "firstlight.hub", "firstlight.probe"):
        stranger = Link(site, name, certificate=certificate(tmp_path, site.folder, name))
        assert stranger.is_in  # a certificate of the hub's own CA: here nobody else gets one
        stranger.hears("firstlight/#")
        device = link(site, thief)
        assert device.asks(thief, next(SEQUENCES))
        assert stranger.answers == []
        stranger.close()


def test_publishing_as_another_is_not_delivered(site: Site, thief: Member, victim: tuple[Member, Link]) -> None:
    """A beat, a last will or an answer that one device publishes for another reaches neither hub nor device."""
    member, device = victim
    false_answer = b'{"serverTime": 1, "intervalS": 86400}'
    attempts = [
        (made("demo", member.id), member.box.beat_body(sequence=66)) for made in (topics.heartbeat, topics.gone)
    ]
    attempts += [(topics.answer("demo", whose.id), false_answer) for whose in (member, thief)]
    attempts += [(topics.answer("demo", member.id, 90), false_answer)]
    stealing = link(site, thief)
    for topic, body in attempts:
        stealing = link(site, thief)  # mosquitto cuts off whoever tries twice
        stealing.publishes(topic, body)
    assert still_beats(member, device)
    stealing = link(site, thief)
    assert stealing.asks(thief, next(SEQUENCES))["intervalS"] == 2
    assert 66 not in site.stored(member.id)
    heard = [body for _, body in (*device.answers, *stealing.answers)]
    assert all(body["intervalS"] == 2 for body in heard)


@pytest.mark.parametrize(
    "filter", ["#", "firstlight/#", "firstlight/+/+/heartbeat", "firstlight/demo/{id}/answer/+", "$SYS/#"]
)
def test_listening_to_another_hears_nothing(
    site: Site, thief: Member, victim: tuple[Member, Link], filter: str
) -> None:
    """Whatever a device subscribes to, only its own answers are delivered to it."""
    member, device = victim
    listening = link(site, thief)
    for one in (filter.format(id=member.id), "$share/hub/" + filter.format(id=member.id)):
        listening.hears(one)
    assert still_beats(member, device)
    assert site.desk("POST", f"{member.id}/rotate") == 202
    assert device.until(lambda: topics.answer("demo", member.id) in dict(device.answers))
    if listening.lost:
        return  # mosquitto cut it off: as good
    listening.asks(thief, next(SEQUENCES))
    assert {topic.split("/")[2] for topic, _ in listening.answers} <= {thief.id}


def test_a_foreign_last_will_is_not_delivered(site: Site, thief: Member, victim: tuple[Member, Link]) -> None:
    """A last will for another device's topic makes no beat of that device."""
    member, device = victim
    leaving = Link(site, thief.id, thief.id, thief.key, will=topics.heartbeat("demo", member.id))
    if leaving.is_in:
        leaving.close()
    assert still_beats(member, device)
    assert site.stored(member.id) == [90]


def test_silence_beyond_keepalive_ends_a_session(site: Site) -> None:
    """A device that says nothing for one and a half of its keepalive is cut off."""
    member = site.enroll()
    device = Link(site, member.id, member.id, member.key, keepalive_s=5)
    assert device.is_in
    connection = device.client.socket()
    assert connection is not None
    assert select.select([connection], [], [], 30)[0]
    assert connection.recv(10) == b""


def test_too_large_packets_end_the_connection_only(site: Site, thief: Member, victim: tuple[Member, Link]) -> None:
    """A packet of 100 kB costs its sender the connection, and nobody else anything."""
    member, device = victim
    large = link(site, thief)
    large.publishes(topics.heartbeat("demo", thief.id), b"x" * 100_000)
    assert large.lost
    assert still_beats(member, device)


@pytest.mark.timeout(200)
def test_no_connect_at_all(silent: tuple[socket.socket, socket.socket]) -> None:
    """A TLS connection, and one without even a handshake, that send nothing are cut off by themselves."""
    for connection in silent:
        assert connection.recv(10) == b""
