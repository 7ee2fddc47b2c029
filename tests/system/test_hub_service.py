"""The hub as a service on a box of its own: it serves from its sandbox, survives, and is backed up while it serves."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.e2e.conftest import wait_until
from tests.system.box import Box
from tests.system.conftest import BOX_PYTHON, CHECKOUT, MakeBox
from tests.system.hub_site import Desk
from tests.system.namespaces import Network

UNIT = "firstlight-hub.service"
HOME, STATE = "/opt/firstlight-hub", "/var/lib/firstlight-hub"
PROGRAM = f"{HOME}/bin/firstlight-hub"


@pytest.fixture(scope="module")
def libraries() -> Path:
    """What a virtual environment with the hub holds on the box's Python."""
    own = Path(sysconfig.get_path("purelib"))
    if f"{sys.version_info[0]}.{sys.version_info[1]}" == BOX_PYTHON:
        return own
    folder = CHECKOUT / ".cache/system/hub"
    if not folder.exists():
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--require-hashes",
            "--target",
            str(folder),
        ]
        fitting = ["--only-binary=:all:", "--python-version", BOX_PYTHON, "--implementation", "cp"]
        locked = ["-r", str(CHECKOUT / "packaging/requirements-hub.txt")]
        subprocess.run([*pip, *fitting, *locked], check=True, timeout=300)
    for name in ("firstlight", "firstlight_hub", *(each.name for each in own.glob("firstlight*.dist-info"))):
        shutil.copytree(own / name, folder / name, dirs_exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def hub_box(make_box: MakeBox, libraries: Path) -> Box:
    """A box with a hub, set up as the unit's own first lines say."""
    box = make_box(binds={libraries: f"{HOME}/lib/python{BOX_PYTHON}/site-packages"})
    box.run("python3", "-m", "venv", "--without-pip", HOME)
    box.path(PROGRAM).write_text(
        f"#!{HOME}/bin/python3\nimport sys\nfrom firstlight_hub.cli import main\nsys.exit(main())\n"
    )
    box.path(PROGRAM).chmod(0o755)
    box.run(PROGRAM, "init", "--dir", STATE, "--host", box.address, "--key-file", "/srv/operator.key")
    box.path(f"/etc/systemd/system/{UNIT}").write_bytes((CHECKOUT / "systemd" / UNIT).read_bytes())
    box.run("systemctl", "enable", "--now", UNIT)
    return box


@pytest.fixture(scope="module")
def own_desk(hub_box: Box, network: Network) -> Desk:
    """The operator of that hub."""
    said = json.loads(hub_box.path("/var/lib/private/firstlight-hub/hub.json").read_text())
    return Desk(network, said["url"], said["pin"], hub_box.path("/srv/operator.key").read_text())


def test_hub_serves_as_a_service(hub_box: Box, own_desk: Desk) -> None:
    """Active once it listens, unprivileged; a box gets its agent from it and comes online."""
    assert (hub_box.unit("ActiveState", UNIT), hub_box.unit("NRestarts", UNIT)) == ("active", "0")
    assert hub_box.unit("StatusText", UNIT) == f"Listening on https://{hub_box.address}:8443"
    status = hub_box.path(f"/proc/{hub_box.unit('MainPID', UNIT)}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert int(fields["Uid"].split()[0]) >= 61184
    assert (fields["CapEff"], fields["NoNewPrivs"], fields["Seccomp"]) == ("0" * 16, "1", "2")

    device = own_desk.create("neighbour")
    hub_box.sh(device.install_command)  # agent and hub on one machine: a laptop that is both
    assert own_desk.status(device.device_id) == "online"


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


def test_hub_killed_and_back(hub_box: Box, own_desk: Desk) -> None:
    """SIGKILL: systemd starts the hub again; nothing is lost, and its device is online again."""
    before = own_desk.call("GET", "?limit=100")["data"]
    known = str(before[0]["id"])
    pid = hub_box.unit("MainPID", UNIT)
    hub_box.sh(f"kill -KILL {pid}")
    wait_until("it listens again", lambda: hub_box.unit("MainPID", UNIT) not in ("0", pid) and own_desk.device(known))
    after = own_desk.call("GET", "?limit=100")["data"]
    assert [(each["id"], each["name"], each["created_at"]) for each in after] == [
        (each["id"], each["name"], each["created_at"]) for each in before
    ]
    hub_box.wait_online()


def test_hub_that_was_never_set_up(hub_box: Box) -> None:
    """Without a hub in its folder the unit ends with a sentence and 78, and is not started over and over."""
    hub_box.run("systemctl", "stop", UNIT)
    hub_box.sh(f"mv {STATE}/hub.toml /srv")
    hub_box.run("systemctl", "start", UNIT, check=False)
    wait_until("the unit gives up", lambda: hub_box.unit("ActiveState", UNIT) == "failed")
    assert hub_box.unit("ExecMainStatus", UNIT) == "78"
    assert "[hub_missing]" in hub_box.journal(UNIT)
