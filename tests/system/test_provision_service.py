"""A box without a terminal: the headless service on a booted system, with sticks, a camera and an LED."""

from __future__ import annotations

import io
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from firstlight.core.provision import Payload
from firstlight.sources.invitation import read_invitation
from tests.detached.labels import Signer, payload
from tests.e2e.conftest import wait_until
from tests.system.any_box import AnyBox
from tests.system.box import AGENT, Box
from tests.system.conftest import CHECKOUT, MakeBox
from tests.system.hub_site import HubSite

UNIT, DAY_S = "firstlight-provision.service", 86_400
STICK = CHECKOUT / "systemd/firstlight-stick.service"
LED, FRAMES, NODES = "/sys/class/leds/board:status", "/srv/frames", "/srv/nodes"
TRIGGERS = "[none] timer heartbeat default-on"
# A folder of LEDs in the place of a board's; all other classes are there as before.
FAKE_LED = f"""
set -e
mkdir -p /run/class {FRAMES} && cp -dR /sys/class/. /run/class/ 2>/dev/null || :
mkdir -p /run/class/leds/board:status
cd /run/class/leds/board:status && echo 0 >brightness && echo 255 >max_brightness && echo '{TRIGGERS}' >trigger
mount --bind /run/class /sys/class
printf '#!/bin/sh\\nwhile :; do cat {FRAMES}/* 2>/dev/null; sleep 0.2; done\\n' >/srv/camera && chmod 755 /srv/camera
printf 'camera_command = "/srv/camera"\\nserial = "SN-7"\\n' >>/etc/firstlight/agent.toml
"""


class Sticks:
    """USB sticks that are files: each a loop device with a file system, which the box sees as one more disk."""

    def __init__(self, box: Box, folder: Path) -> None:
        self.box, self._folder = box, folder
        self._loops: list[str] = []

    def put_in(self, name: str, **files: str) -> float:
        """Puts one in, and does what udev does then. Returns when, in monotonic seconds."""
        content, image = self._folder / name, self._folder / f"{name}.img"
        content.mkdir()
        for file, text in files.items():
            (content / file.replace("_", ".")).write_text(text)
        owner = self.box.sh("stat -c %u:%g /run/firstlight-provision").stdout.strip()
        with image.open("wb") as made:
            made.truncate(4 << 20)
        make = ["mkfs.ext4", "-q", "-F", "-d", str(content), "-E", f"root_owner={owner}", str(image)]
        subprocess.run(make, check=True, capture_output=True)
        show = ["losetup", "--find", "--show", str(image)]
        loop = subprocess.run(show, check=True, capture_output=True, text=True).stdout.strip()
        self._loops.append(loop)
        self.box.sh(f"mkdir -p {NODES} && mknod {NODES}/{name} b 7 {loop.removeprefix('/dev/loop')}")
        began_s = time.monotonic()
        self.box.sh(f"systemctl start --no-block firstlight-stick@{name}")
        return began_s

    def result(self, name: str) -> str:
        """What stands in RESULT.txt, once the stick was given back."""
        unit = f"firstlight-stick@{name}.service"
        try:
            wait_until("it is unmounted", lambda: self.box.unit("ActiveState", unit) == "inactive")
        except AssertionError:
            raise AssertionError(self.box.journal(unit) + self.box.journal(UNIT)) from None
        mounted = self.box.sh("cat /proc/self/mountinfo").stdout
        assert f"/run/firstlight-stick/{name}" not in mounted
        self.box.sh(f"mkdir -p /run/look && mount -o ro {NODES}/{name} /run/look")
        try:
            return self.box.path("/run/look/RESULT.txt").read_bytes().decode()
        finally:
            self.box.sh("umount /run/look")

    def end(self) -> None:
        """Takes them away."""
        for loop in self._loops:
            subprocess.run(["losetup", "--detach", loop], check=False)


@pytest.fixture(scope="module")
def signer() -> Signer:
    """Who signs the labels."""
    return Signer()


@pytest.fixture(scope="module")
def box(make_box: MakeBox, bundles: list[Path], signer: Signer) -> Box:
    """A box with the agent for headless use, not provisioned; the service was started by the installer."""
    one = make_box(binds={bundles[0].parent: "/srv/bundles"})
    there = f"/srv/bundles/{bundles[0].name}"
    one.sh(f"tar -xOf {there} install.sh | sh -s -- --bundle {there} --with-scanning")
    one.sh("mkdir -p /etc/firstlight/trust.d && chmod 755 /etc/firstlight/trust.d")
    one.path(f"/etc/firstlight/trust.d/{signer.id}.pub").write_bytes(signer.pem)
    one.sh(FAKE_LED)
    # A container has no device units: nothing needs the stick's unit, and systemd mounts nothing that is below /dev.
    line = next(each for each in STICK.read_text().splitlines() if each.startswith("ExecStart="))
    changed = line.replace(" /dev/%I ", f" {NODES}/%I ")
    assert changed != line
    one.drop_in(
        "no-device", f"[Unit]\nStopWhenUnneeded=no\n[Service]\nExecStart=\n{changed}\n", "firstlight-stick@.service"
    )
    done = one.run("systemctl", "restart", UNIT, check=False)
    assert done.returncode == 0, one.journal(UNIT)
    return one


@pytest.fixture
def sticks(box: Box, tmp_path: Path) -> Iterator[Sticks]:
    """What is put into it."""
    one = Sticks(box, tmp_path)
    yield one
    one.end()


def light(box: Box, name: str = "brightness") -> str:
    """The LED."""
    return box.read(f"{LED}/{name}").strip()


def label_of(hub: HubSite, box: AnyBox, signer: Signer, **changes: object) -> tuple[str, str]:
    """A label for a new device, and that one's id."""
    created = hub.desk.create(box.name)
    invitation = read_invitation(created.install_command)
    claims: Payload = payload(
        invitation.endpoint.url,
        invitation.trust.pins[0],
        invitation.proof.reveal(),
        device_id=created.device_id,
        **changes,
    )
    return signer.label(claims), created.device_id


def test_the_day_of_a_technician(box: Box, hub: HubSite, signer: Signer, sticks: Sticks) -> None:
    """Expired code, wrong code before the camera, then the right stick: answered each, provisioned, agent online."""
    box.path(f"{FRAMES}/0.jpg").write_bytes(picture_of(""))
    wait_until("it runs", lambda: box.unit("ActiveState", UNIT) == "active", 30)
    wait_until("the LED shows that it waits", lambda: light(box, "trigger") == "heartbeat")
    # The sandbox may not ask the kernel whether the clock is right; what systemd-timesyncd leaves has to do.
    box.path("/run/systemd/timesync").mkdir(parents=True, exist_ok=True)
    box.path("/run/systemd/timesync/synchronized").touch()
    now_s = int(time.time())
    old, _ = label_of(hub, box, signer, issued_at_s=now_s - 40 * DAY_S, expires_at_s=now_s - DAY_S)
    sticks.put_in("sdx1", device_json=json.dumps({"format": 1, "payload": old}))
    word = sticks.result("sdx1")
    assert "[payload_expired]" in word and "Ask the operator for a new code" in word
    assert "[payload_expired]" in box.unit("StatusText", UNIT)
    assert not box.path("/var/lib/firstlight/provisioned.json").exists()

    frame = box.path(f"{FRAMES}/0.jpg")
    frame.write_bytes(picture_of("https://example.org/menu"))
    wait_until("the camera's code is answered", lambda: "[code_not_ours]" in box.journal(UNIT), 30)
    frame.write_bytes(picture_of(""))

    good, device_id = label_of(hub, box, signer)
    began_s = sticks.put_in("sdy1", device_json=json.dumps({"format": 1, "payload": good}))
    mounted = box.path("/run/firstlight-stick/sdy1/RESULT.txt")
    wait_until("RESULT.txt is there", lambda: mounted.exists() and mounted.stat().st_size > 0)
    took_s = time.monotonic() - began_s
    print(f"stick in to RESULT.txt on a booted box: {took_s:.2f} s")  # noqa: T201 - the figure; its goal is in make bench
    word = sticks.result("sdy1")
    assert f"This box is provisioned as {device_id}." in word and "HTTPS://" in word
    wait_until("the light stays on", lambda: light(box) == "255" and light(box, "trigger") == "none")
    wait_until("it ends by itself", lambda: box.unit("ActiveState", UNIT) == "inactive", 60)
    assert (box.unit("Result", UNIT), box.unit("NRestarts", UNIT)) == ("success", "0")
    wait_until("the agent runs", lambda: box.unit("ActiveState") == "active", 30)
    box.wait_online()
    assert box.status()["deviceId"] == device_id
    assert f"This box is provisioned as {device_id}." in box.console()
    box.run("systemctl", "start", UNIT)
    assert box.unit("ConditionResult", UNIT) == "no"

    box.run("systemctl", "stop", "firstlight")
    assert "waits for a code again" in box.run(AGENT, "reset", "--yes").stdout
    wait_until("it waits again", lambda: box.unit("ActiveState", UNIT) == "active", 30)
    box.run("systemctl", "stop", UNIT)


def picture_of(text: str) -> bytes:
    """A code as a camera shows it; of no text, a wall."""
    import qrcode
    from PIL import Image

    made = io.BytesIO()
    if not text:
        Image.new("L", (640, 480), 180).save(made, "JPEG")
        return made.getvalue()
    code = io.BytesIO()
    qrcode.make(text).save(code)
    with Image.open(code) as opened:
        opened.convert("L").save(made, "JPEG")
    return made.getvalue()
