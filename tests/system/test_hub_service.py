"""The hub as a service on a box of its own, with mosquitto in its sandbox: it serves, survives, and is backed up."""

from __future__ import annotations

import ast
import re
from functools import partial

import pytest

from tests.e2e.conftest import wait_until
from tests.system.box import AGENT, Box
from tests.system.conftest import MakeBox
from tests.system.hub_on_box import DATABASE, PROGRAM, STATE, UNIT, desk_of, make_hub_box
from tests.system.hub_site import Desk
from tests.system.namespaces import Network


@pytest.fixture(scope="module")
def hub_box(make_box: MakeBox) -> Box:
    """A box with a hub and its own mosquitto."""
    return make_hub_box(make_box, mqtt="mosquitto")


@pytest.fixture(scope="module")
def own_desk(hub_box: Box, network: Network) -> Desk:
    """The operator of that hub."""
    return desk_of(hub_box, network)


def process(box: Box, pid: str) -> dict[str, str]:
    """What the kernel says of a process."""
    status = box.path(f"/proc/{pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in status.splitlines())


def broker_pid(box: Box) -> str:
    """The hub's mosquitto; "" without one."""
    main = box.unit("MainPID", UNIT)
    children = [pid for file in box.path(f"/proc/{main}/task").glob("*/children") for pid in file.read_text().split()]
    return next((pid for pid in children if process(box, pid)["Name"] == "mosquitto"), "")


def check_over_the_broker(box: Box) -> None:
    """Its agent is online, and the broker itself takes its beats."""
    box.wait_online()

    def is_taken() -> bool:
        found = box.status()
        return found["state"] == "online" and not found["brokerRefuses"] and not found["brokerOutOfReach"]

    wait_until("the broker takes it", is_taken)


def lost_beats(box: Box) -> set[int]:
    """Sequence numbers between the first and the last beat of each boot and device that are not on the hub's disk."""
    question = "SELECT device || boot_id, sequence FROM beat"
    database = f'sqlite3.connect("file:{DATABASE}?mode=ro", uri=True)'
    asked = f'import sqlite3; print(*{database}.execute("{question}"), sep="\\n")'
    found: dict[str, set[int]] = {}
    for line in box.run("python3", "-c", asked).stdout.splitlines():
        boot, sequence = ast.literal_eval(line)
        found.setdefault(boot, set()).add(sequence)
    assert found
    return {one for had in found.values() for one in range(min(had), max(had)) if one not in had}


def test_hub_serves_as_a_service(hub_box: Box, own_desk: Desk) -> None:
    """Active once it listens, unprivileged, and so is mosquitto; a box gets its agent from it and beats over MQTT."""
    assert (hub_box.unit("ActiveState", UNIT), hub_box.unit("NRestarts", UNIT)) == ("active", "0")
    assert hub_box.unit("StatusText", UNIT) == f"Listening on https://{hub_box.address}:8443"
    hub, broker = (process(hub_box, pid) for pid in (hub_box.unit("MainPID", UNIT), broker_pid(hub_box)))
    assert int(hub["Uid"].split()[0]) >= 61184
    assert (hub["CapEff"], hub["NoNewPrivs"], hub["Seccomp"]) == ("0" * 16, "1", "2")
    assert [hub[name] == broker[name] for name in ("Uid", "CapEff", "NoNewPrivs", "Seccomp")] == [True] * 4
    limits = hub_box.path(f"/proc/{broker_pid(hub_box)}/limits").read_text()
    (soft, hard), *_ = re.findall(r"Max open files +(\d+) +(\d+)", limits)
    assert soft == hard and int(soft) >= 10_000  # 65,536 where the machine lets a container have them

    # Agent and hub on one machine: a laptop that is both.
    device = own_desk.create("neighbour", "mqtt", "certificate")
    hub_box.sh(device.install_command)
    check_over_the_broker(hub_box)
    assert own_desk.status(device.device_id) == "online"


def test_mosquitto_reads_its_files_again(hub_box: Box, own_desk: Desk) -> None:
    """A removed device is out, and one that was made since comes in with its secret."""
    first = str(hub_box.status()["deviceId"])
    own_desk.call("DELETE", f"/{first}")
    wait_until("the agent ends", lambda: hub_box.unit("ActiveState") == "failed")
    pid = broker_pid(hub_box)
    hub_box.run(AGENT, "reset", "--yes")
    second = own_desk.create("second", "mqtt", "secret")
    hub_box.sh(second.install_command)
    check_over_the_broker(hub_box)
    assert hub_box.status()["deviceId"] == second.device_id
    assert broker_pid(hub_box) == pid


def test_backup_while_serving(hub_box: Box, own_desk: Desk) -> None:
    """Root backs up a serving hub; the copy knows the device, and the hub goes on."""
    known = {each["id"] for each in own_desk.call("GET", "?limit=100")["data"]}
    assert known
    hub_box.run(PROGRAM, "backup", "--dir", STATE, "/srv/backup")
    asked = 'import sqlite3; print(*[row[0] for row in sqlite3.connect("/srv/backup/hub.sqlite3").execute("{}")])'
    copied = hub_box.run("python3", "-c", asked.format("SELECT id FROM device")).stdout.split()
    assert set(copied) == known
    assert own_desk.create("after the backup").device_id
    owners = {path.stat().st_uid for path in hub_box.path("/var/lib/private/firstlight-hub").rglob("*")}
    assert len(owners) == 1 and owners.pop() >= 61184


def test_hub_stops_in_order(hub_box: Box) -> None:
    """The hub ends its mosquitto itself, at once and without a complaint; started again, nothing is missing."""
    broker = broker_pid(hub_box)
    before = len(hub_box.journal_lines(UNIT))
    hub_box.run("systemctl", "stop", UNIT)
    assert (hub_box.unit("Result", UNIT), hub_box.unit("ExecMainStatus", UNIT)) == ("success", "0")
    times = [int(hub_box.unit(f"{name}TimestampMonotonic", UNIT)) for name in ("ActiveExit", "InactiveEnter")]
    assert times[1] - times[0] < 10_000_000
    assert not hub_box.path(f"/proc/{broker}").exists()
    said = [line["MESSAGE"] for line in hub_box.journal_lines(UNIT)[before:]]
    assert not [line for line in said if "mosquitto" in line or line.startswith(("WARNING", "ERROR"))], said
    hub_box.run("systemctl", "start", UNIT)
    check_over_the_broker(hub_box)
    wait_until("nothing is missing", lambda: not lost_beats(hub_box))


def is_later(box: Box, heard: object) -> bool:
    """Whether another beat was accepted since."""
    return box.live().get("lastAcceptedAt", heard) != heard


def test_hub_killed_and_back(hub_box: Box, own_desk: Desk) -> None:
    """SIGKILL: mosquitto goes too and systemd starts both again; beats that only the broker had are not lost."""
    before = own_desk.call("GET", "?limit=100")["data"]
    known = str(hub_box.status()["deviceId"])
    pid, broker = hub_box.unit("MainPID", UNIT), broker_pid(hub_box)
    hub_box.sh(f"kill -STOP {pid}")  # the hub takes nothing from now on, the broker does
    for _ in range(3):
        wait_until("the broker takes a beat", partial(is_later, hub_box, hub_box.live()["lastAcceptedAt"]))
    hub_box.sh(f"kill -KILL {pid}")
    wait_until("mosquitto is gone", lambda: not hub_box.path(f"/proc/{broker}").exists())
    wait_until("it listens again", lambda: hub_box.unit("MainPID", UNIT) not in ("0", pid) and own_desk.device(known))
    after = own_desk.call("GET", "?limit=100")["data"]
    assert [(each["id"], each["name"], each["created_at"]) for each in after] == [
        (each["id"], each["name"], each["created_at"]) for each in before
    ]
    check_over_the_broker(hub_box)
    wait_until("nothing is missing", lambda: not lost_beats(hub_box))


def test_hub_that_was_never_set_up(hub_box: Box) -> None:
    """Without a hub in its folder the unit ends with a sentence and 78, and is not started over and over."""
    hub_box.run("systemctl", "stop", UNIT)
    hub_box.sh(f"mv {STATE}/hub.toml /srv")
    hub_box.run("systemctl", "start", UNIT, check=False)
    wait_until("the unit gives up", lambda: hub_box.unit("ActiveState", UNIT) == "failed")
    assert hub_box.unit("ExecMainStatus", UNIT) == "78"
    assert "[hub_missing]" in hub_box.journal(UNIT)
