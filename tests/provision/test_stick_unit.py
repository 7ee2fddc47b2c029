"""The line of firstlight-stick@.service that mounts, run with programs that only say how they were called."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "systemd/firstlight-stick.service"
ASKED = "#!/bin/sh\nprintf '%s\\n' \"$@\" >{0}\necho given-back >{1}/sdx1.away &\n"


@pytest.mark.parametrize("kind", ["vfat", "exfat", "ext4", ""])
def test_a_fat_belongs_to_the_services_user(tmp_path: Path, kind: str) -> None:
    """Where a file system knows no owners, its files are given to the service's user; no stick may run anything."""
    programs, sticks, asked = tmp_path / "bin", tmp_path / "sticks", tmp_path / "asked"
    programs.mkdir()
    sticks.mkdir()
    os.mkfifo(sticks / "sdx1.away")
    (sticks / "sdx1.owner").write_text("uid=4711,gid=4712\n")
    (programs / "systemd-mount").write_text(ASKED.format(asked, sticks))
    (programs / "udevadm").write_text(f"#!/bin/sh\necho ID_BUS=usb\necho ID_FS_TYPE={kind}\n")
    for each in programs.iterdir():
        each.chmod(0o755)
    (line,) = [each for each in UNIT.read_text().splitlines() if each.startswith("ExecStart=")]
    line = line.removeprefix("ExecStart=").replace("$$", "$").replace("%I", "sdx1").replace("%%", "%")
    line = line.replace("/run/firstlight-provision", str(tmp_path)).replace("/run/firstlight-stick", str(sticks))
    path = f"{programs}:{os.environ['PATH']}"
    done = subprocess.run(
        shlex.split(line), capture_output=True, text=True, timeout=20, env={"PATH": path}, check=False
    )
    assert done.returncode == 0, done.stderr
    words = asked.read_text().split()
    options = next(each for each in words if each.startswith("--options=")).removeprefix("--options=").split(",")
    assert {"nosuid", "nodev", "noexec"} <= set(options)
    assert words[-2:] == ["/dev/sdx1", str(sticks / "sdx1")]
    assert ({"uid=4711", "gid=4712"} <= set(options)) is (kind in ("vfat", "exfat"))


def test_nobody_else_says_that_a_stick_is_done_with(tmp_path: Path) -> None:
    """The pipe is written by the service's user, read by root's group, and nobody else's; one that was left goes."""
    (line,) = [each for each in UNIT.read_text().splitlines() if each.startswith("ExecStartPre=")]
    line = line.removeprefix("ExecStartPre=+").replace("$$", "$").replace("%I", "sdx1").replace("%%", "%")
    line = line.replace("/run/firstlight-provision", str(tmp_path)).replace("/run/firstlight-stick", str(tmp_path))
    assert "/run/" not in line
    pipe, given = tmp_path / "sdx1.away", tmp_path / "given"
    pipe.write_text("left by somebody")
    chown = tmp_path / "bin/chown"
    chown.parent.mkdir()
    chown.write_text(f'#!/bin/sh\necho "$@" >{given}\n')
    chown.chmod(0o755)
    path = f"{chown.parent}:{os.environ['PATH']}"
    subprocess.run(shlex.split(line), check=True, timeout=20, env={"PATH": path})
    assert stat.S_ISFIFO(pipe.stat().st_mode) and stat.S_IMODE(pipe.stat().st_mode) == 0o240
    assert given.read_text().split() == [f"{os.getuid()}:0", pipe.name]
    assert (tmp_path / "sdx1.owner").read_text() == f"uid={os.getuid()},gid={os.getgid()}\n"


def test_what_is_mounted_already_is_left_alone() -> None:
    """A box may run from a USB disk: its own partitions are no sticks; a disk that nobody has mounted is one."""
    (line,) = [each for each in UNIT.read_text().splitlines() if each.startswith("ExecCondition=")]
    line = line.removeprefix("ExecCondition=").replace("$$", "$")
    numbers = {each.split(" ")[2] for each in Path("/proc/self/mountinfo").read_text().splitlines()}
    disks = {each.name: (each / "dev").read_text().strip() for each in Path("/sys/class/block").iterdir()}
    if not disks:
        pytest.skip("this machine shows no disks")
    for name, number in disks.items():
        done = subprocess.run(shlex.split(line.replace("%I", name)), check=False, timeout=20)
        assert (done.returncode == 0) is (number not in numbers), name
