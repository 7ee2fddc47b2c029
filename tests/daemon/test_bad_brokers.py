"""The beating process and brokers in trouble: silent, short of breath, away for an hour. No busy loop, no lost beat."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.contract.http_transports.servers import Server
from tests.contract.mqtt.broker import GoneError, Talk, playing
from tests.daemon.box import Box
from tests.daemon.mqtt_site import Site
from tests.daemon.platform_server import PlatformServer, refused
from tests.daemon.test_beating import kernel_says

MakeBox = Callable[..., Box]


@pytest.fixture
def site(server: PlatformServer) -> Iterator[Site]:
    """A broker that behaves, until a test says otherwise."""
    made = Site(server)
    yield made
    made.server.stop()


def silent(talk: Talk) -> None:
    """Takes the connection and the CONNECT, and says nothing."""
    talk.login()
    talk.peer.wait_for_end()


def test_a_broker_that_accepts_and_says_nothing(site: Site, make_box: MakeBox) -> None:
    """Named in the status with its hint; each try waits out its deadline, one after the other; then beats come in."""
    site.script = silent
    box = make_box(100.0, site.over_mqtt)
    box.start(watchdog_s=2.0)  # a call is given half of it
    began_s = time.monotonic()
    status = box.wait_status(lambda found: found["state"] == "cut_off" and found["failures"] >= 3)
    took_s = time.monotonic() - began_s
    assert status["reason"] == "mqtt_silent" and status["hint"] and status["spooled"] >= 3
    assert took_s > 2.5 and site.server.connections <= took_s + 1
    assert kernel_says(box.pid, "status", "voluntary_ctxt_switches") < 300

    site.script = site.serve
    box.wait_status(lambda found: found["state"] == "beating" and found["spooled"] == 0)
    numbers = [one.sequence for beat in site.beats for one in beat.missed] + [beat.sequence for beat in site.beats]
    assert len(numbers) == len(set(numbers)) >= 4
    said = [line for line in box.log.read_text().splitlines() if "mqtt_silent" in line]
    assert len(said) == 1, "once, however often it is tried"


def test_a_broker_that_drops_every_link_after_a_second(site: Site, make_box: MakeBox) -> None:
    """Each link carries one beat and is cut a second later: as many links as the interval asks for, each beat once."""
    haste = 60.0  # an interval is a second here, and a second of theirs a sixtieth

    def short(talk: Talk) -> None:
        talk.login()
        talk.connack()
        site.take(talk)
        site.server.stopping.wait(1.0 / haste)
        raise GoneError

    site.script = short
    box = make_box(haste, site.over_mqtt)
    box.start()
    site.wait_beats(1)
    began_s, had = time.monotonic(), len(site.beats)
    site.wait_beats(6)
    took_s = time.monotonic() - began_s
    assert len(site.beats) - had <= took_s / 0.9 + 1
    assert site.server.connections <= len(site.beats) + 1
    assert len({beat.sequence for beat in site.beats}) == len(site.beats)
    assert all(beat.missed == () for beat in site.beats)


def test_a_broker_that_comes_back_after_an_hour(site: Site, server: PlatformServer, make_box: MakeBox) -> None:
    """The hub is away too: tried less and less often, every five minutes in the end; back within that, no beat lost."""
    haste = 600.0  # an hour in six seconds
    box = make_box(haste, site.over_mqtt)
    box.start()
    site.wait_beats(2)
    port = site.server.port
    server.rule = lambda request: refused(503, "hub_busy")
    site.server.stop()
    box.wait_status(lambda found: found["state"] == "cut_off")
    began_s, began = time.monotonic(), box.status()["failures"]
    switched = kernel_says(box.pid, "status", "voluntary_ctxt_switches")
    away = box.wait_status(lambda found: time.monotonic() - began_s >= 3600 / haste)
    assert away["reason"] == "connect_refused"
    assert 8 <= away["failures"] - began <= 40, "5 s doubled up to 300 s, each half to all of it"
    assert kernel_says(box.pid, "status", "voluntary_ctxt_switches") - switched <= 20 * away["failures"]

    kept = box.status()["spooled"]
    site.server = Server(playing(lambda talk: site.script(talk), site.heard), server.context, port)
    back_s = time.monotonic()
    box.wait_status(lambda found: found["state"] == "beating")
    assert time.monotonic() - back_s < 330 / haste + 3, "the longest wait, and what a slow machine takes"
    box.wait_status(lambda found: found["spooled"] == 0)
    told = {one.sequence for beat in site.beats for one in beat.missed}
    assert len(told) >= kept > 0
