"""A stick instead of a network: the file installs itself on a booted box; the hub's newer one comes as an upgrade."""

from __future__ import annotations

import platform
import re
import shutil
from pathlib import Path

import pytest

from firstlight import __version__
from firstlight_hub.bundle_file import read_bundle
from tests.e2e.conftest import wait_until
from tests.system.conftest import MakeBox, on_each_userland
from tests.system.hub_site import HubSite
from tests.system.upgrade_bundles import derived

pytestmark = pytest.mark.timeout(300)

OLDER = "0.1.9"
COMMAND = "tar -xOf {0} install.sh | sudo sh -s -- --bundle {0}"


@on_each_userland
def test_from_a_stick_to_an_upgrade_by_the_pasted_command(
    userland: str, make_box: MakeBox, hub: HubSite, bundles: list[Path], tmp_path: Path
) -> None:
    """Installed and enrolled without the hub's script; then the pasted command upgrades, with a way back.

    At the end nothing of all that is left on the disk.
    """
    base = next(path for path in bundles if path.name.endswith(f"-{platform.machine()}.tar"))
    older = derived(base, tmp_path, OLDER)
    box = make_box(userland=userland)
    box.run("sudo", "true")
    before = box.files().keys()
    stick = f"/srv/{older.name}"
    shutil.copy(older, box.path(stick))

    box.unplug()
    done = box.sh(COMMAND.format(stick))
    assert done.stderr == ""
    release = f"{OLDER}-{read_bundle(older).id[:8]}"
    assert done.stdout.splitlines()[0] == f"firstlight: the agent {release} is installed in /opt/firstlight"
    assert "firstlight.txt" in done.stdout
    assert box.unit("UnitFileState") == "enabled"
    assert box.unit("ActiveState") == "inactive"
    box.plug_in()

    device = hub.desk.create(box.name)
    pin, url = re.findall(r"'(sha256//[^']*)' '(https://[^/]*)/", device.install_command)[0]
    box.sh(f"sudo firstlight enroll {device.install_id.reveal()} --hub {url} --pin '{pin}'")
    box.wait_online()

    done = box.sh(device.install_command)
    assert box.unit("ActiveState") == "active"
    own = next(iter(box.path("/opt/firstlight/lib").glob(f"{__version__}-*"))).name
    launchers = [box.read(f"/opt/firstlight/bin/{name}") for name in ("firstlight", "firstlight-proven")]
    assert all(f"/lib/{own}/lib" in text for text in launchers), done.stdout
    assert {path.name for path in box.path("/opt/firstlight/lib").iterdir()} >= {own, release}, "the way back"
    wait_until("it is online", lambda: hub.desk.status(device.device_id) == "online")
    assert list(box.path("/etc/firstlight/trust.d").glob("*.pub")), "the script brings the hub's release key"

    done = box.sh(device.install_command)
    assert "nothing to do" in done.stdout
    box.sh(f"rm {stick}; {device.install_command} -s -- --uninstall --purge")
    assert box.files().keys() == before
