"""Boxes whose clock is wrong: they enroll, are online, and say by how much."""

from __future__ import annotations

import shlex
import time

import pytest

from tests.system.conftest import MakeBox
from tests.system.hub_site import Desk

YEAR_S = 365.25 * 86_400


@pytest.mark.parametrize("years", [-56.8, 2.0, 10.0], ids=["1970", "in two years", "in ten years"])
def test_wrong_clock_delays_nothing(years: float, make_box: MakeBox, desk: Desk) -> None:
    """The whole command runs with a wrong clock; the device is online, the skew is said, and the beats go on."""
    box = make_box()
    device = desk.create(box.name)
    start = time.strftime("@%Y-%m-%d %H:%M:%S", time.gmtime(max(86_400.0, time.time() + years * YEAR_S)))
    library = box.sh("echo /usr/lib/*/faketime/libfaketime.so.1").stdout.strip()
    env = {"LD_PRELOAD": library, "FAKETIME": start, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "TZ": "UTC"}
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
