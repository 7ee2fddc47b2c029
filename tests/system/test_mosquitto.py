"""mosquitto as the hub's child: beats, answers, revocation, restarts, and that nothing that was taken is lost."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from firstlight.wire import topics
from tests.hub.served import change, environment, make
from tests.system.mosquitto_site import WHERE, Link, Site, eventually, free_port, lines, link

pytestmark = pytest.mark.system

KINDS = ("secret", "certificate")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A hub with mosquitto, for all tests here; one that stops it starts it again."""
    made = Site(tmp_path_factory.mktemp("mosquitto") / "hub")
    yield made
    made.end()


@pytest.mark.parametrize("kind", KINDS)
def test_beats_are_stored_and_answered_where_asked(site: Site, kind: str) -> None:
    """A device beats with either credential; told once unasked, then answered where it asks; it is online."""
    member = site.enroll(kind)
    device = link(site, member)
    assert device.beats(member, 1)
    assert device.until(lambda: device.answers), "this hub has not spoken to it before"
    assert device.beats(member, 2)
    answer, answered = device.asks(member, 3), topics.answer("demo", member.id, 3)
    assert answer["intervalS"] == 2
    assert [topic for topic, _ in device.answers] == [topics.answer("demo", member.id), answered]
    assert site.stored(member.id) == [1, 2, 3]
    assert site.device(member.id)["status"] == "online"


def test_beats_over_a_websocket(site: Site) -> None:
    """The listener for WebSockets takes a secret as the plain one does."""
    member = site.enroll()
    device = link(site, member, port=site.websocket_port, transport="websockets")
    assert device.asks(member, 1)["intervalS"] == 2


def test_what_came_before_counts_once(site: Site) -> None:
    """A beat that is published twice is acknowledged and answered twice, and stored once."""
    member = site.enroll()
    device = link(site, member)
    assert device.asks(member, 5)
    device.answers.clear()
    assert device.asks(member, 5)
    assert site.stored(member.id) == [5]


@pytest.mark.parametrize("body", [b"", b"\xff\x00", b"[]", b'{"seq": 1}', b"x" * 20_000])
def test_unreadable_beats_are_dropped_and_the_next_one_counts(site: Site, body: bytes) -> None:
    """What is no beat is acknowledged, never delivered again, and stops nobody."""
    member = site.enroll()
    device = link(site, member)
    assert device.publishes(topics.heartbeat("demo", member.id), body)
    assert device.asks(member, 1)
    assert site.stored(member.id) == [1]


def test_another_workspace_is_named_as_unknown(site: Site) -> None:
    """A beat under a workspace that is not the device's is answered with the reason, and not stored."""
    member = site.enroll()
    device = link(site, member)
    device.hears(f"firstlight/plain/{member.id}/answer/+")
    body = member.box.beat_body(sequence=1, asks=True)
    assert device.publishes(topics.heartbeat("plain", member.id), body)
    assert device.until(lambda: device.answers)
    assert device.answers[0][1]["error"]["type"] == "device_unknown"  # type: ignore[index]
    assert site.stored(member.id) == []


def test_rotate_now_reaches_a_connected_device(site: Site) -> None:
    """The operator's word is said at once, without a beat."""
    member = site.enroll()
    device = link(site, member)
    assert site.desk("POST", f"{member.id}/rotate") == 202
    assert device.until(lambda: device.answers)
    assert device.answers[0][0] == topics.answer("demo", member.id)
    assert device.answers[0][1]["rotate"] is True


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["revoked", "removed"])
def test_an_ended_credential_is_thrown_out_and_cannot_come_back(site: Site, kind: str, how: str) -> None:
    """Within seconds the live session ends, no new one begins, and nothing of it is stored; others stay connected."""
    member, other = site.enroll(kind), site.enroll(kind)
    device, bystander = link(site, member), link(site, other)
    assert device.asks(member, 1)
    path = f"{member.id}/credential" if how == "revoked" else member.id
    assert site.desk("DELETE", path) == 204
    assert device.until(lambda: device.lost, 5)
    again = Link(site, member.id, member.id if member.key else "", member.key, certificate=member.certificate)
    assert not again.is_in
    if how == "revoked":
        assert site.stored(member.id) == [1]
    assert bystander.asks(other, 2)


def test_two_revocations_in_one_second_both_hold(site: Site) -> None:
    """Two lists of revoked certificates made within a second: the broker goes by the later one."""
    members = [site.enroll("certificate") for _ in range(3)]
    for member in members:
        assert site.desk("DELETE", f"{member.id}/credential") == 204
    for member in members:
        assert not Link(site, member.id, certificate=member.certificate).is_in


def test_many_enroll_at_once(site: Site) -> None:
    """Each credential counts with the broker when its device is told of it, also when many come at once."""
    began_s = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        members = list(threads.map(lambda _: site.enroll(), range(16)))
    assert time.monotonic() - began_s < 6  # a reload that was lost would take longer
    for member in members:
        link(site, member).close()


def test_the_last_will_is_a_hint(site: Site) -> None:
    """A link that is cut makes the broker report it; the status stays what the last beat made it."""
    member = site.enroll()
    device = link(site, member, will=topics.gone("demo", member.id))
    assert device.asks(member, 1)
    device.close()
    assert eventually(lambda: _gone(site, member.id))
    assert site.device(member.id)["status"] == "online"


def _gone(site: Site, device_id: str) -> bool:
    with closing(sqlite3.connect(site.folder / "hub.sqlite3")) as database:
        (at_ms,) = database.execute("SELECT gone_at_ms FROM device WHERE id = ?", (device_id,)).fetchone()
    return at_ms is not None


def test_files_are_private_and_hold_no_secret_in_clear(site: Site) -> None:
    """Folder 0700, files 0600, and no device key in any of them."""
    member = site.enroll()
    folder = site.folder / "mosquitto"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        if path.is_socket():
            continue
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert member.key.encode() not in path.read_bytes()


def test_a_killed_mosquitto_comes_back(site: Site) -> None:
    """After kill -9 the hub starts it again, devices connect again, and beats come in."""
    member = site.enroll()
    device = link(site, member)
    assert device.asks(member, 1)
    pid = site.broker_pid()
    os.kill(pid, signal.SIGKILL)
    assert device.until(lambda: device.lost)

    def back() -> bool:
        return Link(site, member.id, member.id, member.key).is_in

    assert eventually(back)
    assert link(site, member).asks(member, 2)
    assert site.broker_pid() != pid
    assert link(site, member, port=site.websocket_port, transport="websockets").asks(member, 3)


def test_a_killed_hub_takes_mosquitto_along_and_loses_nothing(site: Site) -> None:
    """Beats that the broker acknowledged are on disk after the hub was killed with some under way and started again."""
    member = site.enroll()
    device = link(site, member)
    assert device.asks(member, 1)
    pid = site.broker_pid()
    os.kill(site.hub.process.pid, signal.SIGSTOP)  # the hub takes nothing from now on, the broker does
    for sequence in range(2, 30):
        assert device.beats(member, sequence)
    site.hub.process.kill()
    site.hub.process.communicate(timeout=20)
    assert eventually(lambda: not Path(f"/proc/{pid}").exists())
    site.start()
    assert eventually(lambda: site.stored(member.id) == list(range(1, 30)))


def test_an_orderly_stop_loses_nothing(site: Site) -> None:
    """SIGTERM while beats come: all that were acknowledged are on disk after the next start, and it ends with 0."""
    member = site.enroll()
    device = link(site, member)
    told = [
        device.client.publish(topics.heartbeat("demo", member.id), member.box.beat_body(sequence=sequence), 1).mid
        for sequence in range(300)
    ]
    device.until(lambda: len(device.acknowledged) > 50)
    site.hub.process.send_signal(signal.SIGTERM)
    device.until(lambda: device.lost)
    taken = [sequence for sequence, mid in enumerate(told) if mid in device.acknowledged]
    output, _ = site.hub.process.communicate(timeout=30)
    assert site.hub.process.returncode == 0, output
    assert not lines(output, "Traceback|ERROR")
    site.start()
    assert len(taken) > 50
    assert eventually(lambda: set(site.stored(member.id)) >= set(taken))


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """The hub ends and names the setting when a port of its mosquitto is taken."""
    folder = tmp_path / "hub"
    make(folder)
    with socket.socket() as taken:
        taken.bind((WHERE, 0))
        taken.listen()
        port = taken.getsockname()[1]
        change(folder, mqtt="mosquitto", mqtt_port=port, mqtt_certificate_port=free_port())
        done = _serve(folder)
    assert done.returncode == 74
    assert "broker_failed" in done.stderr
    assert f"mqtt_port {port} is in use." in done.stderr


def test_certificates_on_a_websocket_are_not_offered(tmp_path: Path) -> None:
    """Certificates on a WebSocket are refused, because mosquitto would let revoked ones back in there."""
    folder = tmp_path / "hub"
    make(folder)
    change(folder, mqtt="mosquitto", mqtt_websocket_certificate_port=free_port())
    done = _serve(folder)
    assert done.returncode == 2
    assert "WebSocket" in done.stderr


def _serve(folder: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "firstlight_hub", "serve", "--dir", str(folder), "--host", WHERE]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, env=environment(), check=False)
