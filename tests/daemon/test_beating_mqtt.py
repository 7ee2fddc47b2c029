"""The beating process over MQTT, with a scripted broker on a real socket and the hub's HTTPS beside it."""

from __future__ import annotations

import itertools
import os
import signal
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from firstlight.core.model import Credential, Registration
from firstlight.wire.heartbeat import decode_beat
from firstlight.wire.problem import Problem, encode_problem
from tests.contract.http_transports.servers import PATIENCE_S
from tests.contract.mqtt.broker import GoneError, Talk
from tests.daemon.box import DEVICE_KEY, Box
from tests.daemon.mqtt_site import TOPIC, Site, answer, broken, refusing, removed
from tests.daemon.platform_server import PlatformServer, common_name, refused
from tests.daemon.test_beating import kernel_says, loaded_by, strangers_among

MakeBox = Callable[..., Box]
Change = Callable[[Registration], Registration]


@pytest.fixture
def site(server: PlatformServer) -> Iterator[Site]:
    """A broker that behaves, until a test says otherwise."""
    made = Site(server)
    yield made
    made.server.stop()


def test_it_beats_over_one_connection_and_stops_with_a_farewell(site: Site, make_box: MakeBox) -> None:
    """The first beat asks and tells the facts, the others are short; SIGTERM says goodbye, so no last will is read."""
    box = make_box(60.0, site.over_mqtt)
    box.start()
    box.wait_for("STATUS=Online")
    site.wait_beats(4)
    status = box.wait_status(lambda found: found["beats"] >= 4)
    assert box.kill(signal.SIGTERM) == 0

    login = site.heard.logins.get(timeout=PATIENCE_S)
    assert (login.client_id, login.user_name, login.password) == ("dev-1", "dev-1", DEVICE_KEY)
    assert login.will is not None and login.will[0] == f"{TOPIC}/gone" and site.beats[0].moment.boot_id in str(login)
    assert site.heard.filters.get(timeout=PATIENCE_S) == f"{TOPIC}/answer/+"
    assert [beat.asks for beat in site.beats[:4]] == [True, False, False, False]
    assert [beat.facts is not None for beat in site.beats[:4]] == [True, False, False, False]
    assert (status["transport"], status["protocol"], status["credential"]) == ("mqtt", "MQTT 5", "secret")
    assert status["broker"] == f"mqtts://127.0.0.1:{site.server.port}" and site.server.connections == 1
    assert site.heard.ends.get(timeout=PATIENCE_S) == "disconnect"
    assert DEVICE_KEY not in box.log.read_text() + str(box.status())


def test_a_beat_costs_few_wake_ups(site: Site, make_box: MakeBox) -> None:
    """One thread, at most five wake-ups for each beat, no connection but the one."""
    box = make_box(120.0, site.over_mqtt)
    box.start()
    site.wait_beats(3)
    before = kernel_says(box.pid, "status", "voluntary_ctxt_switches"), len(site.beats)
    site.wait_beats(13)
    switches = kernel_says(box.pid, "status", "voluntary_ctxt_switches") - before[0]

    assert kernel_says(box.pid, "status", "Threads") == 1 and site.server.connections == 1
    assert switches <= 5 * (len(site.beats) - before[1] + 1)


def test_a_broker_that_wants_to_hear_more_gets_pings(site: Site, make_box: MakeBox) -> None:
    """Server Keep Alive of two seconds: pings in time between the beats, one connection, nothing shown."""

    def strict(talk: Talk) -> None:
        talk.login()
        talk.connack(properties=b"\x13\x00\x02")
        site.take(talk)
        talk.peer.sock.settimeout(3.0)  # one and a half times the keep-alive
        talk.behave()

    site.script = strict
    box = make_box(1.0, site.over_mqtt)
    box.start()
    for _ in range(3):
        site.heard.pings.get(timeout=PATIENCE_S)
    before = kernel_says(box.pid, "status", "voluntary_ctxt_switches")
    for _ in range(2):
        site.heard.pings.get(timeout=PATIENCE_S)

    assert site.server.connections == 1 and box.status()["state"] == "beating"
    assert kernel_says(box.pid, "status", "voluntary_ctxt_switches") - before <= 12


def test_a_broker_that_talks_without_end_is_not_listened_to(site: Site, make_box: MakeBox) -> None:
    """Junk every few milliseconds between two beats: a handful of wake-ups, and the next beat comes all the same."""

    def chatter(talk: Talk) -> None:
        talk.login()
        talk.connack()
        site.take(talk)
        for _ in range(400):
            site.say(talk, b"junk")
            if site.server.stopping.wait(0.005):
                return
        while True:
            site.take(talk)

    site.script = chatter
    box = make_box(20.0, site.over_mqtt)
    box.start()
    site.wait_beats(1)
    before = kernel_says(box.pid, "status", "voluntary_ctxt_switches")
    site.wait_beats(2)

    assert kernel_says(box.pid, "status", "voluntary_ctxt_switches") - before <= 60


def test_what_the_hub_says_between_beats_counts_at_once(site: Site, make_box: MakeBox) -> None:
    """A shorter interval is followed before the long wait is over, a clone is shown, and nothing is sent twice."""
    box = make_box(1.0, site.over_mqtt)
    box.start()
    site.wait_beats(1)
    talk = site.talks.get(timeout=PATIENCE_S)
    site.say(talk, answer(1, clone=True))
    site.wait_beats(3)
    status = box.wait_status(lambda found: found["beats"] >= 3)

    assert status["intervalS"] == 1.0 and status["clone"] is True
    assert len({beat.sequence for beat in site.beats}) == len(site.beats)
    assert "[clone_suspected]" in box.log.read_text()


def test_a_broker_that_restarts_costs_no_beat(site: Site, make_box: MakeBox) -> None:
    """The connection breaks between two beats: shown, nothing kept, and the next beat asks on a new connection."""
    box = make_box(30.0, site.over_mqtt)
    box.start()
    site.wait_beats(1)
    site.talks.get(timeout=PATIENCE_S).disconnect(0x8B)
    cut_off = box.wait_status(lambda found: found["state"] == "cut_off")
    site.wait_beats(2)
    box.wait_status(lambda found: found["state"] == "beating" and found["connections"] == 2)

    assert cut_off["reason"] == "mqtt_unavailable" and cut_off["spooled"] == 0
    assert site.beats[1].asks and site.beats[1].missed == () and site.beats[1].facts is not None


def test_a_broker_that_drops_every_link_is_not_run_over(site: Site, make_box: MakeBox) -> None:
    """Each link ends right after its beat: beats come at their interval, each once, on a connection each."""
    site.script = lambda talk: broken(site, talk)
    box = make_box(120.0, site.over_mqtt)
    box.start()
    site.wait_beats(6)

    moments = [beat.moment.monotonic_s for beat in site.beats]
    gaps = [later - sooner for sooner, later in itertools.pairwise(moments)]
    assert min(gaps) > 0.4, "the interval is half a second here"
    assert len({beat.sequence for beat in site.beats}) == len(site.beats)
    assert all(beat.missed == () for beat in site.beats)


def test_a_silent_hub_keeps_what_is_kept(site: Site, make_box: MakeBox) -> None:
    """Only the broker answers: kept beats go along with each beat, and stay on disk until the hub itself has them."""

    def busy(talk: Talk) -> None:
        talk.login()
        talk.connack(0x88)

    site.script, site.is_answering = busy, False
    box = make_box(600.0, site.over_mqtt)
    box.start()
    assert box.wait_status(lambda found: found["spooled"] >= 2)["reason"] == "mqtt_unavailable"
    site.script = site.serve
    site.wait_beats(1)
    taken = box.wait_status(lambda found: found["state"] == "beating")
    assert taken["spooled"] >= 2 and len(site.beats[0].missed) == taken["spooled"]

    site.is_answering = True
    box.wait_status(lambda found: found["spooled"] == 0)
    numbers = {one.sequence for beat in site.beats for one in beat.missed}
    assert len(numbers) == taken["spooled"], "each of them, whoever was asked how often"


def test_a_broker_without_reasons_is_explained_by_the_hub(
    site: Site, server: PlatformServer, make_box: MakeBox
) -> None:
    """Not authorized: the hub takes the beat over HTTPS and the device stays online; then it names the reason."""
    site.script = lambda talk: refusing(site, talk)
    box = make_box(60.0, site.over_mqtt)
    box.start()
    server.wait_beats(2)
    online = box.wait_status(lambda found: found["brokerRefuses"])
    assert (online["state"], online["brokerRefuses"]) == ("beating", "mqtt_not_authorized")
    assert server.requests[0].authorization == f"Bearer {DEVICE_KEY}" and not server.beats[0].asks

    server.rule = lambda request: refused(401, "credential_revoked")
    parked = box.wait_status(lambda found: found["state"] == "parked")
    assert parked["reason"] == "credential_revoked"
    assert sum("mqtt_not_authorized" in line for line in box.log.read_text().splitlines()) == 1


def test_a_broker_that_is_gone_cuts_nobody_off(site: Site, server: PlatformServer, make_box: MakeBox) -> None:
    """Nobody listens any more: beats and kept ones go over HTTPS with the same credential, and the status says so."""
    box = make_box(60.0, site.over_mqtt)
    box.start()
    site.wait_beats(1)
    talk = site.talks.get(timeout=PATIENCE_S)
    site.server.stop()
    talk.peer.sock.close()
    past = box.wait_status(lambda found: found["brokerOutOfReach"])
    server.wait_beats(2)

    assert (past["state"], past["brokerOutOfReach"], past["spooled"]) == ("beating", "connect_refused", 0)
    assert len(server.beats[0].missed) == 3 and {one.authorization for one in server.requests} == {
        f"Bearer {DEVICE_KEY}"
    }
    log = box.log.read_text()
    assert f"The broker 127.0.0.1:{site.server.port} refused the connection. [connect_refused]" in log
    assert "its beats go over HTTP. [connect_refused]" in log


def test_a_broker_that_comes_back_has_the_beats_again(site: Site, server: PlatformServer, make_box: MakeBox) -> None:
    """Every connection ends without a word, then none does: the device is online from the fourth failure on."""

    def hangs_up(talk: Talk) -> None:
        raise GoneError

    site.script = hangs_up
    box = make_box(600.0, site.over_mqtt)
    box.start()
    box.wait_status(lambda found: found["brokerOutOfReach"] == "reply_cut")
    server.wait_beats(3)
    site.script = site.serve
    site.wait_beats(2)
    back = box.wait_status(lambda found: found["state"] == "beating" and not found["brokerOutOfReach"])

    assert back["spooled"] == 0 and "The broker takes this device's beats again." in box.log.read_text()


def test_a_no_over_mqtt_parks_and_ends_the_connection(site: Site, make_box: MakeBox) -> None:
    """The hub's own refusal comes as an answer; nobody holds a connection for hours for nothing."""

    def refuse(talk: Talk) -> None:
        talk.login()
        talk.connack()
        _, payload, number = talk.next_message()
        talk.puback(number)
        no = encode_problem(Problem("key_invalid", "No."))
        talk.publish(f"{TOPIC}/answer/{decode_beat(payload).sequence}", no)
        talk.behave()

    site.script = refuse
    box = make_box(1.0, site.over_mqtt)
    box.start()
    parked = box.wait_status(lambda found: found["state"] == "parked")

    assert parked["reason"] == "key_invalid" and parked["spooled"] == 1
    assert site.heard.ends.get(timeout=PATIENCE_S) == "disconnect"


class Certified:
    """A device with a certificate, and servers that ask for it."""

    def __init__(self, server: PlatformServer) -> None:
        self.issued = server.authority.issue_cert("dev-1", common_name="dev-1")
        self.pem = "".join(part.bytes().decode() for part in self.issued.cert_chain_pems)
        server.authority.configure_trust(server.context)
        server.context.verify_mode = ssl.CERT_REQUIRED

    def change(self, registration: Registration) -> Registration:
        """The registration with the certificate in the place of the secret."""
        return registration._replace(credential=Credential("certificate", certificate_pem=self.pem))

    def give_key(self, box: Box) -> None:
        """Puts the private key where enrolling would have."""
        Path(box.store.key_file("sha256:" + "ab" * 32)).write_bytes(self.issued.private_key_pem.bytes())


@pytest.fixture
def certified(server: PlatformServer) -> Certified:
    """A device with a certificate."""
    return Certified(server)


def test_a_certificate_over_http_is_shown_and_nothing_else(
    server: PlatformServer, certified: Certified, make_box: MakeBox
) -> None:
    """The server sees the device's name in the handshake; no Authorization is sent."""
    box = make_box(60.0, certified.change)
    certified.give_key(box)
    box.start()
    server.wait_beats(2)

    assert {(one.authorization, one.shown) for one in server.requests} == {("", "dev-1")}
    assert server.connections == 1 and box.status()["credential"] == "certificate"


def test_a_certificate_over_mqtt_is_shown_and_nothing_else(
    server: PlatformServer, certified: Certified, make_box: MakeBox
) -> None:
    """The broker sees the certificate, no user name and no password; a refusal is asked after with it over HTTPS."""
    site = Site(server)
    names: list[str] = []

    def look(talk: Talk) -> None:
        names.append(common_name(talk.peer.sock))
        site.serve(talk)

    site.script = look
    try:
        box = make_box(60.0, lambda registration: site.over_mqtt(certified.change(registration)))
        certified.give_key(box)
        box.start()
        site.wait_beats(2)
        login = site.heard.logins.get(timeout=PATIENCE_S)
        assert names == ["dev-1"] and (login.client_id, login.user_name, login.password) == ("dev-1", None, None)

        site.script = lambda talk: refusing(site, talk)
        site.talks.get(timeout=PATIENCE_S).disconnect(0x98)
        server.wait_beats(1)
        assert (server.requests[0].authorization, server.requests[0].shown) == ("", "dev-1")
    finally:
        box.close()
        site.server.stop()


def test_a_certificate_of_another_ca_is_named(server: PlatformServer, certified: Certified, make_box: MakeBox) -> None:
    """The server does not take it: certificate_refused with its hint, the beat kept, tried again."""
    stranger = trustme.CA().issue_cert("dev-1", common_name="dev-1")
    certified.issued = stranger
    certified.pem = "".join(part.bytes().decode() for part in stranger.cert_chain_pems)
    box = make_box(1.0, certified.change)
    certified.give_key(box)
    box.start()
    status = box.wait_status(lambda found: found["state"] == "cut_off")

    assert status["reason"] == "certificate_refused" and status["hint"] and status["spooled"] == 1


def test_a_hangup_over_mqtt_says_goodbye_first(site: Site, make_box: MakeBox) -> None:
    """Making way ends the session properly; afterwards the device asks again on a new connection."""
    box = make_box(1.0, site.over_mqtt)
    box.goes_back_through(f"import os\nos.unlink({box.store.path + '/wish.json'!r})")
    box.start()
    site.wait_beats(1)
    box.wait_for("STATUS=Online")
    box.store.write_json("wish.json", {"id": "1" * 32})
    os.kill(box.pid, signal.SIGHUP)
    site.wait_beats(2)

    assert site.heard.ends.get(timeout=PATIENCE_S) == "disconnect" and site.beats[1].asks


@pytest.mark.parametrize("kind", ["secret", "certificate"])
def test_a_live_process_has_loaded_only_what_is_allowed(
    server: PlatformServer, certified: Certified, make_box: MakeBox, kind: str
) -> None:
    """After beats, a break, an appeal over HTTPS and a tombstone: every module in memory stands on an allow-list."""
    site = Site(server)
    turns = iter((broken, refusing, removed))
    site.script = lambda talk: next(turns)(site, talk)
    if kind == "secret":
        server.context.verify_mode = ssl.CERT_NONE

    def change(registration: Registration) -> Registration:
        return site.over_mqtt(certified.change(registration) if kind == "certificate" else registration)

    try:
        box = make_box(1000.0, change)
        certified.give_key(box)
        loaded, log = loaded_by(box)
    finally:
        site.server.stop()

    assert {"firstlight.transports.mqtt_session", "firstlight.transports.http_session"} <= set(loaded), log
    assert "[device_removed]" in log and len(server.beats) == 1
    assert not strangers_among(loaded, "allowed_imports.txt", "allowed_imports_mqtt.txt")
