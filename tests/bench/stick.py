"""From a stick that is mounted to its RESULT.txt: how long a person without a screen stands there with it.

The real service, in mounts of its own, and a FAT (where this kernel has none, an ext4) on a loop device: root's work,
so elsewhere nothing is measured, and that is said. What systemd adds on a booted box is printed by the system test
test_provision_service.py.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.figures import Figure, Report, median, spread
from tests.bench.stage import BIN, Stage
from tests.e2e.conftest import wait_until
from tests.scan.label import Desk

ROUNDS = 7
AT_MOST_S = 5.0
TOOLS = ("unshare", "nsenter", "setpriv", "mkfs.vfat", "mcopy", "mkfs.ext4", "losetup", "mount")
# The service sees its own /run alone: no stick of this machine is looked at, and none of these by this machine.
ROOM = """
mount -t tmpfs tmpfs /run
mkdir -p /run/firstlight-stick/sdx1
mkfifo /run/firstlight-stick/sdx1.away
exec "$@"
"""


def measure(stage: Stage, report: Report) -> None:
    """A fresh box and a fresh stick in each round."""
    kind = "vfat" if has_fat() else "ext4"
    report.head("stick", f"mount of {kind} on a loop device to RESULT.txt, the box provisioned; {ROUNDS} rounds")
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if os.geteuid() != 0 or missing:
        report.note(f"not measured here: needs root{' and ' + ', '.join(missing) if missing else ''}")
        return
    desk, times_s = Desk.make(), []
    for number in range(ROUNDS):
        folder = stage.room(f"stick{number}")
        desk.trust(folder / "trust.d")
        with loop_device(folder, desk.text(), kind) as device:
            times_s.append(one_round(folder, device, stage.env))
    report.add(Figure("stick in to RESULT.txt", median(times_s), "s", AT_MOST_S))
    report.note(f"single ones: {spread(times_s)} s")


def has_fat() -> bool:
    """Whether this kernel knows the file system of most sticks."""
    subprocess.run(["modprobe", "--quiet", "vfat"], check=False, timeout=30) if shutil.which("modprobe") else None
    return "\tvfat\n" in Path("/proc/filesystems").read_text()


@contextmanager
def loop_device(folder: Path, text: str, kind: str) -> Iterator[str]:
    """A stick with the file of a device on it."""
    image, content = folder / "stick.img", folder / "content"
    content.mkdir()
    with image.open("wb") as made:
        made.truncate(8 << 20)
    file = content / "device.json"
    file.write_text(json.dumps({"format": 1, "payload": text}))
    fat = (["mkfs.vfat", str(image)], ["mcopy", "-i", str(image), str(file), "::"])
    ext = (["mkfs.ext4", "-q", "-F", "-d", str(content), str(image)],)
    for line in fat if kind == "vfat" else ext:
        subprocess.run(line, check=True, capture_output=True, timeout=30)
    show = ["losetup", "--find", "--show", str(image)]
    device = subprocess.run(show, check=True, capture_output=True, text=True, timeout=30).stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True, timeout=30)


def one_round(folder: Path, device: str, env: dict[str, str]) -> float:
    """Seconds from the mount to the answer."""
    config = folder / "agent.toml"
    off = "".join(f'{name} = "none"\n' for name in ("led", "beeper", "camera_command", "scanner_device"))
    config.write_text(f"state_dir = {json.dumps(str(folder / 'state'))}\n{off}")
    line = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", ROOM, "sh"]
    line += [str(BIN / "firstlight"), "provision", "--config", str(config)]
    with (folder / "log").open("wb") as log:
        service = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *line], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env
        )
    try:
        wait_until("it waits for its code", lambda: b"waits for its code" in (folder / "log").read_bytes())
        top = Path("/proc", str(service.pid), "root", "run/firstlight-stick/sdx1")
        inside = ["nsenter", f"--target={service.pid}", "--mount", "mount", device, "/run/firstlight-stick/sdx1"]
        began_s = time.monotonic()
        subprocess.run(inside, check=True, timeout=30)
        wait_until("RESULT.txt is there", lambda: "provisioned as" in result_of(top))
        took_s = time.monotonic() - began_s
        subprocess.run([*inside[:3], "umount", str(Path("/run/firstlight-stick/sdx1"))], check=True, timeout=30)
    finally:
        service.kill()
        service.wait()
    return took_s


def result_of(top: Path) -> str:
    """What stands in it by now."""
    try:
        return (top / "RESULT.txt").read_text(errors="replace")
    except OSError:
        return ""
