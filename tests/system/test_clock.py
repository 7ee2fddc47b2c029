"""Boxes whose clock is wrong: they enroll, are online, and say by how much."""

from __future__ import annotations

import platform
import shlex
import time
from pathlib import Path

import pytest

from tests.system.box import Box
from tests.system.conftest import Install, MakeBox
from tests.system.hub_site import Desk, HubSite
from tests.system.upgrade_bundles import derived

YEAR_S = 365.25 * 86_400
# What `firstlight upgrade` does first with a file.
JUDGE = """
import sys, time
sys.path.insert(0, sys.argv[1])
from firstlight.cli.upgrade_bundle import checked
from firstlight.errors import UpgradeError
from firstlight.system.bundle_file import BundleFile
from firstlight.wire import bundle
with BundleFile("/srv/newer.tar", bundle.LIMITS) as opened:
    try:
        print(time.gmtime().tm_year, checked(opened, "/etc/firstlight/trust.d", "", is_vouched=False).signer)
    except UpgradeError as error:
        print(error.code)
"""


def clock(box: Box, start: str) -> dict[str, str]:
    """The environment in which a process of that box sees another time, as libfaketime understands it."""
    library = box.sh("echo /usr/lib/*/faketime/libfaketime.so.1").stdout.strip()
    return {"LD_PRELOAD": library, "FAKETIME": start, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "TZ": "UTC"}


def test_no_test_sets_this_machines_clock(make_box: MakeBox) -> None:
    """A box shares its clock with the machine that runs the tests: what a test runs in it may not set it."""
    cap_sys_time = 1 << 25  # capabilities(7)
    status = make_box().run("cat", "/proc/self/status").stdout
    rights = [
        int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("CapBnd", "CapEff", "CapPrm"))
    ]
    assert len(rights) == 3 and not any(each & cap_sys_time for each in rights)


@pytest.mark.parametrize("years", [-56.8, 2.0, 10.0], ids=["1970", "in two years", "in ten years"])
def test_wrong_clock_delays_nothing(years: float, make_box: MakeBox, desk: Desk) -> None:
    """The whole command runs with a wrong clock; the device is online, the skew is said, and the beats go on."""
    box = make_box()
    device = desk.create(box.name)
    start = time.strftime("@%Y-%m-%d %H:%M:%S", time.gmtime(max(86_400.0, time.time() + years * YEAR_S)))
    env = clock(box, start)
    box.drop_in(
        "wrong-clock", "[Service]\n" + "".join(f'Environment="{name}={value}"\n' for name, value in env.items())
    )

    # sudo would clean the wrong clock out of the environment; the box's root needs none.
    exports = " ".join(f"{name}={shlex.quote(value)}" for name, value in env.items())
    done = box.sh(f"export {exports}; date +%Y; {device.install_command.replace('sudo sh', 'sh')}")
    year, *progress = done.stdout.splitlines()
    assert year == start[1:5]
    assert any("this box's clock is" in line and "the hub's; going on" in line for line in progress)
    found = box.live()
    assert abs(abs(float(str(found["skewS"]))) - abs(years) * YEAR_S) < YEAR_S
    assert (found["state"], desk.status(device.device_id)) == ("beating", "online")
    assert "This box's clock is" in box.journal()


def test_a_release_key_does_not_die_of_age(install: Install, hub: HubSite, bundles: list[Path], tmp_path: Path) -> None:
    """A box that was off for 25 years believes a release by the key that it was given at first, and by no other."""
    box = install().box
    base = next(path for path in bundles if path.name.endswith(f"-{platform.machine()}.tar"))
    newer = derived(base, tmp_path, "0.3.0")
    hub.put_on_shelf(newer)
    try:
        box.sh(f"curl -fsSk -o /srv/newer.tar {hub.desk.url}/bundles/{newer.name}")
    finally:
        hub.take_off_shelf(newer.name)
    start = time.strftime("@%Y-%m-%d %H:%M:%S", time.gmtime(time.time() + 25 * YEAR_S))
    exports = " ".join(f"{name}={shlex.quote(value)}" for name, value in clock(box, start).items())
    # Not the whole verb: what it starts, such as systemctl, does not stand libfaketime.
    judge = f"export {exports}; /usr/bin/python3 -I -c {shlex.quote(JUDGE)} /opt/firstlight/lib/*/lib"

    year, signer = box.sh(judge).stdout.split()
    assert year == start[1:5]
    assert box.path(f"/etc/firstlight/trust.d/{signer}.pub").exists()
    box.sh("rm /etc/firstlight/trust.d/*.pub")
    assert "upgrade_untrusted" in box.sh(judge, check=False).stdout
