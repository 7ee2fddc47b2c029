"""A box with no network at all, provisioned from its boot partition: online once somebody plugs a cable in."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.detached.labels import Signer, payload
from tests.e2e.conftest import wait_until
from tests.system.box import Box
from tests.system.conftest import MakeBox
from tests.system.history import beats
from tests.system.hub_site import Desk, HubSite
from tests.system.image import imaged

FILE = "/boot/firmware/firstlight.txt"


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


@pytest.mark.parametrize("start", ["", "@1970-01-02 00:00:00"], ids=["clock right", "clock at 1970"])
def test_a_network_appears(box: Box, desk: Desk, hub: HubSite, start: str) -> None:
    """First boot provisions, the service waits and keeps beats, also after a reboot; a cable, and it is online."""
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
