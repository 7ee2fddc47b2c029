"""A hub as the service of a box of its own, set up as the unit's first lines say."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.hub.served import change
from tests.system.box import Box
from tests.system.conftest import BOX_PYTHON, CHECKOUT, MakeBox
from tests.system.hub_site import Desk
from tests.system.namespaces import Network

UNIT = "firstlight-hub.service"
HOME, STATE = "/opt/firstlight-hub", "/var/lib/firstlight-hub"
PROGRAM = f"{HOME}/bin/firstlight-hub"
DATABASE = "/var/lib/private/firstlight-hub/hub.sqlite3"


def hub_libraries() -> Path:
    """What a virtual environment with the hub holds on the box's Python."""
    own = Path(sysconfig.get_path("purelib"))
    if f"{sys.version_info[0]}.{sys.version_info[1]}" == BOX_PYTHON:
        return own
    folder = CHECKOUT / ".cache/system/hub"
    if not folder.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
        fitting = ["--only-binary=:all:", "--python-version", BOX_PYTHON, "--implementation", "cp"]
        locked = ["--target", str(folder), "-r", str(CHECKOUT / "packaging/requirements-hub.txt")]
        subprocess.run([*pip, *fitting, *locked], check=True, timeout=300)
    for name in ("firstlight", "firstlight_hub", *(each.name for each in own.glob("firstlight*.dist-info"))):
        shutil.copytree(own / name, folder / name, dirs_exist_ok=True)
    return folder


def make_hub_box(make_box: MakeBox, **settings: object) -> Box:
    """A box with a hub that serves; devices beat every second.

    Args:
        make_box: makes it.
        settings: of hub.toml.
    """
    box = make_box(binds={hub_libraries(): f"{HOME}/lib/python{BOX_PYTHON}/site-packages"})
    box.run("python3", "-m", "venv", "--without-pip", HOME)
    box.path(PROGRAM).write_text(
        f"#!{HOME}/bin/python3\nimport sys\nfrom firstlight_hub.cli import main\nsys.exit(main())\n"
    )
    box.path(PROGRAM).chmod(0o755)
    box.run(PROGRAM, "init", "--dir", STATE, "--host", box.address, "--key-file", "/srv/operator.key")
    change(box.path(STATE), **{"heartbeat_interval_s": 1, "online_window_s": 5, **settings})
    box.path(f"/etc/systemd/system/{UNIT}").write_bytes((CHECKOUT / "systemd" / UNIT).read_bytes())
    box.run("systemctl", "enable", "--now", UNIT)
    return box


def desk_of(hub_box: Box, network: Network) -> Desk:
    """The operator of that hub."""
    said = json.loads(hub_box.path("/var/lib/private/firstlight-hub/hub.json").read_text())
    return Desk(network, said["url"], said["pin"], hub_box.path("/srv/operator.key").read_text())
