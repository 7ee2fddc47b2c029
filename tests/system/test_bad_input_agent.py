"""What can be wrong on the way to the broker, seen from the real agent and a real mosquitto: named in its status."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from firstlight.core.model import Credential, Registration, Secret, Trust, parse_broker
from firstlight.system.store import StateDirectory
from tests.contract.http_transports.certificates import EXPIRED, NOT_YET_VALID, VALID, Identity, authority
from tests.e2e.conftest import Box, Hub, wait_until
from tests.e2e.test_rotation import as_ended
from tests.system.brokers import hub_with
from tests.system.mosquitto_site import eventually, free_port

pytestmark = pytest.mark.system

WRONG_PIN = "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
BROKERS = ("mosquitto", "rabbitmq")


@pytest.fixture(scope="module", params=BROKERS)
def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with one kind of broker."""
    with hub_with(request.param, tmp_path_factory.mktemp(request.param), 1, 3) as one:
        yield one


@pytest.fixture
def make(tmp_path: Path, hub: Hub) -> Iterator[Callable[[str], Box]]:
    """Makes boxes by name, and ends their agents."""
    boxes: list[Box] = []

    def made(name: str) -> Box:
        (tmp_path / name).mkdir()
        boxes.append(Box(tmp_path / name, hub))
        return boxes[-1]

    yield made
    for box in boxes:
        for process in box.processes:
            process.terminate()
            process.communicate(timeout=20)


def registration(box: Box) -> Registration:
    """The one on the box's disk."""
    found = StateDirectory(str(box.state_dir)).load_registration()
    assert found is not None
    return found


def save(box: Box, changed: Registration) -> None:
    """Puts another registration in its place."""
    StateDirectory(str(box.state_dir)).save_registration(changed)


def enrolled(hub: Hub, make: Callable[[str], Box], credential: str, name: str = "box") -> Box:
    """A box whose beats travel over the hub's broker."""
    box = make(name)
    box.enroll(hub.create(name).install_id.reveal(), "--transport", "mqtt", "--credential", credential)
    return box


def over_broker(box: Box) -> bool:
    """Whether the broker itself took the last beat."""
    found = box.status()
    return found["state"] == "online" and not found.get("brokerRefuses") and not found.get("brokerOutOfReach")


class Impostor:
    """A mosquitto that lets everybody in, with a server certificate that was given to it."""

    def __init__(self, folder: Path, shown: Identity) -> None:
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (folder / "server.pem").write_text(shown.pem)
        (folder / "server.key").write_bytes(shown.key.private_bytes(*form))
        self.port, self.log = free_port(), folder / "log"
        lines = ["user root", f"listener {self.port} 127.0.0.1", "allow_anonymous true", f"log_dest file {self.log}"]
        lines += ["log_type all", f"certfile {folder}/server.pem", f"keyfile {folder}/server.key"]
        (folder / "conf").write_text("\n".join([*lines, ""]))
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin")
        assert program
        self.process = subprocess.Popen([program, "-c", str(folder / "conf")])
        wait_until("it runs", lambda: self.log.exists() and "running" in self.log.read_text())

    def end(self) -> None:
        """Stops it."""
        self.process.terminate()
        self.process.wait(20)


CASES = {
    "another CA": ("tls_untrusted", "127.0.0.1", VALID, False, ()),
    "expired": ("tls_expired", "127.0.0.1", EXPIRED, True, ()),
    "not yet valid": ("tls_expired", "127.0.0.1", NOT_YET_VALID, True, ()),
    "another name": ("tls_wrong_name", "elsewhere.example", VALID, True, ()),
    "another pin": ("tls_pin_mismatch", "127.0.0.1", VALID, True, (WRONG_PIN,)),
}


@pytest.mark.parametrize("hub", ["mosquitto"], indirect=True, scope="module")
@pytest.mark.parametrize("case", CASES)
def test_a_broker_that_is_not_believed(hub: Hub, make: Callable[[str], Box], tmp_path: Path, case: str) -> None:
    """Named in the status with what to do, nothing of a login is sent to it, and the beats are kept."""
    code, name, dates, is_ours, pins = CASES[case]
    box = enrolled(hub, make, "secret")
    before, ours, theirs = registration(box), authority("the hub's CA"), authority("another CA")
    impostor = Impostor(tmp_path, (ours if is_ours else theirs).issue(name, dates=dates))
    try:
        broker = parse_broker(f"mqtts://127.0.0.1:{impostor.port}")
        save(box, before._replace(broker=broker, trust=Trust(ours.pem, pins)))
        box.run()
        wait_until("it says so", lambda: box.status()["state"] == "cut_off")
        found = box.status()
        assert found["reason"] == code and found["hint"] and found["spooled"] == 1
        assert f"127.0.0.1:{impostor.port}" in str(found["message"])
        shown = box.cli("status", check=False).stdout
        assert f"[{code}]" in shown and "next step" in shown
        assert before.device_id not in impostor.log.read_text()
    finally:
        impostor.end()


def test_a_wrong_secret(hub: Hub, make: Callable[[str], Box]) -> None:
    """The broker gives no reason, the hub does: parked by name; the right box, whose name it used, beats on."""
    victim = enrolled(hub, make, "secret", "victim")
    victim.run()
    wait_until("the victim is online", lambda: over_broker(victim), 30)
    accepted = victim.status()["beats"]
    thief = make("thief")
    shutil.copytree(victim.state_dir, thief.state_dir, ignore=shutil.ignore_patterns("running", "status.json"))
    mine = registration(thief)
    save(thief, mine._replace(credential=Credential("secret", Secret("1." + "A" * 43))))
    thief.run()
    wait_until("the thief is parked", lambda: thief.status().get("reason") == "key_invalid")
    assert thief.status()["state"] == "parked"
    wait_until("the victim beats on", lambda: int(str(victim.status()["beats"])) > int(str(accepted)) + 2)
    assert victim.status()["connections"] == 1, "nobody took its session over"
    assert "clone" not in hub.devices()[mine.device_id]


@pytest.mark.parametrize("case", ["another device", "another CA"])
def test_a_certificate_that_does_not_count(hub: Hub, make: Callable[[str], Box], tmp_path: Path, case: str) -> None:
    """With another device's certificate, or another CA's for its own name, no beat counts for that device."""
    victim = enrolled(hub, make, "certificate", "victim")
    thief = enrolled(hub, make, "certificate", "thief")
    mine, theirs = registration(thief), registration(victim)
    if case == "another device":
        save(thief, mine._replace(device_id=theirs.device_id))
        reasons = {"key_invalid"}
    else:
        made = authority("another CA").issue(title=theirs.device_id).as_client(tmp_path)
        store = StateDirectory(str(thief.state_dir))
        Path(store.key_file(mine.key_fingerprint)).write_bytes(Path(made.key_file).read_bytes())
        credential = Credential("certificate", certificate_pem=made.certificate_pem)
        save(thief, mine._replace(device_id=theirs.device_id, credential=credential))
        reasons = {"certificate_refused"}
    seen = hub.devices()[theirs.device_id]["last_heartbeat"]
    thief.run()
    wait_until("it is named", lambda: thief.status().get("reason") in reasons)
    assert thief.status()["hint"]
    assert hub.devices()[theirs.device_id]["last_heartbeat"] == seen
    victim.run()
    wait_until("the right box is let in", lambda: over_broker(victim), 30)


def test_a_certificate_that_ended_a_year_ago(hub: Hub, make: Callable[[str], Box]) -> None:
    """Off for a year: no broker takes the certificate; the device key alone brings the next, which it takes."""
    box = enrolled(hub, make, "certificate")
    before = registration(box)
    ended = as_ended(before, hub)
    save(box, ended)
    box.run()
    wait_until("it has another certificate", lambda: registration(box).credential != ended.credential, 60)
    after = registration(box)
    assert after.device_id == before.device_id and after.key_fingerprint != before.key_fingerprint
    wait_until("the broker takes it", lambda: over_broker(box), 60)
    wait_until("the hub sees it", lambda: hub.status(before.device_id) == "online")


@pytest.mark.parametrize("hub", ["mosquitto", "external", "rabbitmq"], indirect=True, scope="module")
def test_a_hub_that_is_down_while_beats_arrive(hub: Hub, make: Callable[[str], Box]) -> None:
    """Whatever the broker took meanwhile, and whatever the box kept, is on disk afterwards, each beat once."""
    box = enrolled(hub, make, "secret")
    box.run()
    wait_until("it is online", lambda: over_broker(box), 30)
    device_id = registration(box).device_id
    hub.stop(signal.SIGKILL)
    beats = int(str(box.status()["beats"]))
    # RabbitMQ takes more beats; a mosquitto that is the hub's child is gone with it, and the box keeps them.
    wait_until("beats were due meanwhile", lambda: _due_since(box, beats))
    hub.serve()
    wait_until("it is online", lambda: over_broker(box), 90)
    last = _newest(hub, device_id)
    wait_until("beats come again", lambda: _newest(hub, device_id) > last, 60)

    def is_whole() -> bool:
        numbers = _stored(hub, device_id)[1:]  # the first one is the beat of enrolling
        return numbers == list(range(numbers[0], numbers[-1] + 1))

    assert eventually(is_whole, 60), _stored(hub, device_id)


def _due_since(box: Box, beats: int) -> bool:
    found = box.status()
    return int(str(found["beats"])) >= beats + 3 or int(str(found["spooled"])) >= 2


def _stored(hub: Hub, device_id: str) -> list[int]:
    question = "SELECT sequence FROM beat JOIN device ON device.number = device WHERE id = ? ORDER BY sequence"
    with closing(sqlite3.connect(hub.folder / "hub.sqlite3")) as database:
        return [row[0] for row in database.execute(question, (device_id,))]


def _newest(hub: Hub, device_id: str) -> int:
    return _stored(hub, device_id)[-1]
