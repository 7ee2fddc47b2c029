"""A mosquitto of the operator's, set up as packaging/mosquitto shows: it outlives the hub, and two hubs share it."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from firstlight.core.model import Secret, parse_broker
from firstlight.wire import topics
from firstlight_hub.ingest.group_commit import GroupCommit
from firstlight_hub.ingest.mqtt_ingest import MqttIngest
from firstlight_hub.mqtt.door import Door
from firstlight_hub.service.beats import Beats
from firstlight_hub.store.sqlite import SqliteStore
from tests.hub.served import change
from tests.system.mosquitto_site import WHERE, Link, Site, eventually, free_port, link

pytestmark = pytest.mark.system

EXAMPLE = Path(__file__).parents[2] / "packaging/mosquitto/firstlight.conf"


class Theirs:
    """The operator's mosquitto: the example as it is, with this test's folders and ports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = folder / "files"
        self.files.mkdir(mode=0o750)
        self.pid_file = folder / "mosquitto.pid"
        self.password = "a password of the operator's choice"
        (folder / "password").write_text(self.password + "\n")
        self.port = free_port()
        self.process: subprocess.Popen[str] | None = None

    def settings(self) -> dict[str, str]:
        """What the operator writes into hub.toml."""
        return {
            "mqtt": "external",
            "broker_url": f"mqtt://{WHERE}:{self.port}",
            "broker_password_file": str(self.folder / "password"),
            "broker_files": str(self.files),
            "broker_pid_file": str(self.pid_file),
        }

    def start(self, secret_port: int, certificate_port: int) -> None:
        """Starts it; the files are there, because the hub has begun."""
        text = EXAMPLE.read_text().replace("/var/lib/firstlight-broker", str(self.files))
        for shown, ours in ((1883, self.port), (8883, secret_port), (8884, certificate_port)):
            text = re.sub(rf"(?m)^listener {shown}( .*)?$", f"listener {ours} {WHERE}", text)
        own = f"pid_file {self.pid_file}\npersistence true\npersistence_location {self.folder}/\nuser root\n"
        own += "log_dest stderr\n"
        (self.folder / "mosquitto.conf").write_text(own + text)
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin")
        assert program
        line = [program, "-c", str(self.folder / "mosquitto.conf")]
        self.process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        assert any("running" in said for said in iter(self.process.stderr.readline, ""))
        self.listening = threading.Thread(target=self.process.stderr.read)
        self.listening.start()

    def end(self) -> None:
        """Stops it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.listening.join(20)
            assert self.process.stderr is not None
            self.process.stderr.close()


def hears_of_it(site: Site) -> bool:
    """The operator reads that the broker is back."""
    assert site.hub.process.stdout is not None
    return any(line == "The broker is back.\n" for line in site.hub.process.stdout)


def attends(site: Site) -> bool:
    """The hub answers a beat that comes through the broker."""
    member = site.enroll()
    device = link(site, member)
    return eventually(lambda: device.asks(member, 1, 0.5))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Theirs, Site]]:
    """The broker, and a hub that uses it."""
    broker = Theirs(tmp_path_factory.mktemp("theirs"))
    site = Site(broker.folder / "hub", **broker.settings())  # it waits for the broker
    broker.start(site.secret_port, site.certificate_port)
    assert hears_of_it(site)
    assert attends(site)
    yield broker, site
    site.end()
    broker.end()


@pytest.mark.parametrize("kind", ["secret", "certificate"])
def test_a_device_from_enrolling_to_revoked(theirs: tuple[Theirs, Site], kind: str) -> None:
    """Either credential counts at once, and when it has ended the session ends within seconds and none begins."""
    _, site = theirs
    member = site.enroll(kind)
    device = link(site, member)
    assert device.asks(member, 1)
    assert site.desk("DELETE", f"{member.id}/credential") == 204
    assert device.until(lambda: device.lost, 5)
    assert not Link(site, member.id, member.id if member.key else "", member.key, certificate=member.certificate).is_in
    assert site.stored(member.id) == [1]


@pytest.mark.parametrize("kind", ["secret", "certificate"])
def test_a_hub_killed_before_it_told_the_broker_tells_it_after(theirs: tuple[Theirs, Site], kind: str) -> None:
    """The session of a revoked credential ends with the next start, and is not answered as the box invited after it."""
    _, site = theirs
    member = site.enroll(kind)
    device = link(site, member)
    assert device.asks(member, 1)
    site.revoke_and_die(member.id)
    assert device.beats(member, 2), "the broker goes on"
    site.start()
    assert device.until(lambda: device.lost, 10)
    assert site.invite(member.id, "mqtt", kind) == 201
    key = (member.id, member.key) if member.key else ("", None)
    assert not Link(site, member.id, *key, certificate=member.certificate).is_in
    assert site.stored(member.id) == [1]
    assert attends(site)


def test_a_session_that_could_not_be_ended_is_ended_later(theirs: tuple[Theirs, Site]) -> None:
    """The broker was deaf while the credential ended: the hub tries again by itself."""
    broker, site = theirs
    member = site.enroll("certificate")
    device = link(site, member)
    assert device.asks(member, 1)
    assert broker.process is not None
    os.kill(broker.process.pid, signal.SIGSTOP)
    try:
        assert site.desk("DELETE", f"{member.id}/credential") == 204
    finally:
        os.kill(broker.process.pid, signal.SIGCONT)
    assert device.until(lambda: device.lost, 30)
    assert attends(site)


def test_the_broker_takes_beats_while_the_hub_is_away(theirs: tuple[Theirs, Site]) -> None:
    """The device stays connected, and what it sent meanwhile is on disk when the hub is back."""
    _, site = theirs
    member = site.enroll()
    device = link(site, member)
    assert device.asks(member, 1)
    site.end()
    for sequence in range(2, 200):
        assert device.beats(member, sequence)
    site.start()
    assert eventually(lambda: site.stored(member.id) == list(range(1, 200)))
    assert device.asks(member, 200)


def test_another_interval_is_said_without_being_asked(theirs: tuple[Theirs, Site]) -> None:
    """The hub comes back with another interval; a device that stayed connected hears it with its next beat, once."""
    _, site = theirs
    member = site.enroll()
    device = link(site, member)
    assert device.asks(member, 1)["intervalS"] == 2
    site.end()
    change(site.folder, heartbeat_interval_s=7)
    assert device.beats(member, 2) and device.beats(member, 3)
    site.start()
    try:
        now = topics.answer("demo", member.id)
        assert device.until(lambda: now in dict(device.answers)), "what waited in the broker is answered too"
        assert dict(device.answers)[now]["intervalS"] == 7
        assert device.beats(member, 4) and device.asks(member, 5)["intervalS"] == 7
        assert [topic for topic, _ in device.answers].count(now) == 1
    finally:
        site.end()
        change(site.folder, heartbeat_interval_s=2)
        site.start()


def test_what_was_removed_while_the_broker_was_away_stays_out(theirs: tuple[Theirs, Site]) -> None:
    """A broker that comes back reads the files as they are by then."""
    broker, site = theirs
    members = [site.enroll(kind) for kind in ("secret", "certificate")]
    broker.end()
    for member in members:
        assert site.desk("DELETE", member.id) == 204
    broker.start(site.secret_port, site.certificate_port)
    for member in members:
        key = (member.id, member.key) if member.key else ("", None)
        assert not Link(site, member.id, *key, certificate=member.certificate).is_in
    assert hears_of_it(site)
    assert attends(site)


def test_two_hubs_share_the_beats_and_store_each_once(theirs: tuple[Theirs, Site]) -> None:
    """A second subscriber on the same store takes its part; together they store every beat once."""
    broker, site = theirs
    member = site.enroll()
    device = link(site, member)
    assert device.asks(member, 0)

    async def second() -> int:
        store = SqliteStore(site.folder / "hub.sqlite3")
        beats = Beats(store, lambda: time.time_ns() // 1_000_000, 2, 7)
        commits = GroupCommit(store.write_beats)
        (user,) = re.findall(r"(?m)^user (.*)$", (broker.files / "acl").read_text())
        assert re.fullmatch(r"firstlight-hub\.[0-9a-f]{32}", user)
        door = Door(user, Secret(broker.password), broker=parse_broker(f"mqtt://{WHERE}:{broker.port}"))
        ingest = MqttIngest(beats, commits, door, "firstlight-hub.second", expiry_s=0, share="firstlight-hub")
        running = asyncio.create_task(ingest.run())
        await asyncio.wait_for(ingest.subscribed.wait(), 10)
        for sequence in range(1, 201):
            assert await asyncio.to_thread(device.beats, member, sequence)
        assert await asyncio.to_thread(eventually, lambda: site.stored(member.id) == list(range(201)))
        taken = ingest.counted["settled"]
        await ingest.stop()
        running.cancel()
        await commits.close()
        store.close()
        return taken

    assert 20 < asyncio.run(second()) < 180
    assert device.publishes(topics.heartbeat("demo", member.id), member.box.beat_body(sequence=7))
