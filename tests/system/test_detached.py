"""A box with no network at all, provisioned from its boot partition: online once somebody plugs a cable in."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.detached.labels import Signer, payload
from tests.e2e.conftest import wait_until
from tests.system.box import AGENT, Box
from tests.system.conftest import MakeBox
from tests.system.history import beats
from tests.system.hub_site import Desk, HubSite
from tests.system.image import imaged
from tests.system.test_upgrade import checked
from tests.system.upgrade_bundles import derived

FILE = "/boot/firmware/firstlight.txt"
NEW_UNIT = "[Path]\nPathExists=/nowhere\nUnit=firstlight.service\n[Install]\nWantedBy=paths.target\n"


@pytest.fixture
def box(make_box: MakeBox, bundles: list[Path]) -> Iterator[Box]:
    """A box from an image, still switched off, its cable pulled."""
    one = imaged(make_box, bundles)
    one.unplug()
    yield one
    one.cut_power()


def label(box: Box, desk: Desk, signer: Signer) -> tuple[str, str]:
    """A device's id and its label, whose key that box trusts."""
    device = desk.create(box.name)
    box.path("/etc/firstlight/trust.d").mkdir(parents=True, exist_ok=True)
    box.path(f"/etc/firstlight/trust.d/{signer.id}.pub").write_bytes(signer.pem)
    pin = re.findall(r"sha256//[A-Za-z0-9+/]{43}=", device.install_command)[0]
    claims = payload(desk.url, pin, device.install_id.reveal(), device_id=device.device_id)
    return device.device_id, signer.label(claims)


def journalled(box: Box, words: str) -> bool:
    """Whether the agent has written that."""
    return words in box.journal()


def upgrade(box: Box, bundles: list[Path], folder: Path) -> None:
    """Another release from a stick counts when it has kept a heartbeat as the service; its new unit is switched on."""
    base = next(path for path in bundles if path.name.endswith(f"-{platform.machine()}.tar"))
    newer = derived(base, folder, "0.99.0", {"share/firstlight-new.path": NEW_UNIT})
    box.path("/srv/newer.tar").write_bytes(newer.read_bytes())
    said = box.run(AGENT, "upgrade", "/srv/newer.tar", "--id", checked(newer).id).stdout
    assert "waiting for it to keep a heartbeat" in said
    assert box.run(AGENT, "--version").stdout == "firstlight 0.99.0\n"
    assert box.live()["agentVersion"] == "0.99.0"
    assert (box.unit("UnitFileState", "firstlight-new.path"), box.unit("ActiveState", "firstlight-new.path")) == (
        "enabled",
        "active",
    )


@pytest.mark.parametrize("start", ["", "@1970-01-02 00:00:00"], ids=["clock right", "clock at 1970"])
def test_a_network_appears(box: Box, desk: Desk, hub: HubSite, bundles: list[Path], tmp_path: Path, start: str) -> None:
    """First boot provisions, it waits and keeps beats, after a reboot and an upgrade too; a cable, and it is online."""
    device_id, text = label(box, desk, Signer())
    box.path(FILE).parent.mkdir(parents=True, exist_ok=True)
    box.path(FILE).write_text(f"{text}\n")
    if start:
        library = box.sh_without_systemd("echo /usr/lib/*/faketime/libfaketime.so.1").stdout.strip()
        env = {"LD_PRELOAD": library, "FAKETIME": start, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "TZ": "UTC"}
        lines = "".join(f'Environment="{name}={value}"\n' for name, value in env.items())
        for unit in ("firstlight", "firstlight-firstboot"):
            folder = box.path(f"/etc/systemd/system/{unit}.service.d")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "wrong-clock.conf").write_text(f"[Service]\n{lines}")
    box.boot()
    wait_until("it lives without a network", lambda: box.unit("ActiveState") == "active", 60)
    found = box.wait_state("provisioned", 60)
    assert (found["deviceId"], found["reason"]) == (device_id, "network_unreachable")
    assert not box.path(FILE).exists()
    assert box.unit("StatusText").startswith("Provisioned, not yet registered: There is no way to ")
    assert box.sh("stat -c %a /var/lib/firstlight/provisioned.json").stdout == "600\n"
    box.reboot()
    wait_until("it lives after a reboot", lambda: box.unit("ActiveState") == "active", 60)
    wait_until("it has waited a while", lambda: journalled(box, "not yet registered"), 60)
    assert desk.status(device_id) == "unknown"
    if not start:
        upgrade(box, bundles, tmp_path)

    began_s = time.monotonic()
    box.plug_in()
    wait_until("the list says online", lambda: desk.status(device_id) == "online", 60)
    assert time.monotonic() - began_s < 30, "nobody waits at a ladder for the next try"
    box.wait_online()
    wait_until("what was kept is on the hub", lambda: any(beat.late for beat in beats(hub, device_id)), 60)
    written = beats(hub, device_id)
    assert len({(beat.boot_id, beat.sequence) for beat in written}) == len(written)
    assert box.run("test", "-e", "/var/lib/firstlight/provisioned.json", check=False).returncode == 1
    assert box.unit("NRestarts") == "0"
