"""A box without a battery for its clock: 1970 at boot, corrected while it runs."""

from __future__ import annotations

import time

from tests.e2e.conftest import wait_until
from tests.system.box import Box
from tests.system.conftest import Install, MakeBox
from tests.system.history import beats, check_once
from tests.system.hub_site import HubSite

CLOCK = "/etc/fake-clock"
YEAR_S = 365.25 * 86_400


def set_clock(box: Box, spec: str) -> None:
    """Sets the clock that the service sees, as libfaketime understands it."""
    box.path(CLOCK).write_text(f"{spec}\n")


def skew_s(box: Box) -> float:
    """By how much the agent says its clock is wrong."""
    return abs(float(str(box.live().get("skewS") or 0)))


def test_clock_at_1970_at_boot_and_corrected_later(make_box: MakeBox, install: Install, hub: HubSite) -> None:
    """Booted in 1970 without a hub, then with one, then corrected: online all the time, each beat there once."""
    box, device, _, _ = install(make_box())
    library = box.sh("echo /usr/lib/*/faketime/libfaketime.so.1").stdout.strip()
    env = {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": CLOCK, "FAKETIME_NO_CACHE": "1", "TZ": "UTC"}
    env["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"
    box.drop_in("clock", "[Service]\n" + "".join(f'Environment="{name}={value}"\n' for name, value in env.items()))
    set_clock(box, "@1970-01-02 00:00:00")
    with hub.away():
        box.reboot()
        box.wait_state("cut_off")
        wait_until("beats are kept", lambda: int(str(box.live().get("spooled", 0))) >= 2)
    check_once(box, hub, device.device_id)
    assert skew_s(box) > 50 * YEAR_S
    pid = box.agent_pid

    set_clock(box, "+0")
    wait_until("the correction is noticed", lambda: skew_s(box) < 60, 40)
    found = check_once(box, hub, device.device_id)
    assert box.agent_pid == pid
    early = [beat for beat in found if beat.wall_s < YEAR_S]
    assert [beat for beat in early if beat.late] and time.time() - found[-1].wall_s < 60
    # What was made in 1970 can be set right: the same boot's steady clock stands beside it.
    right_s = {round(beat.wall_s - beat.monotonic_s) for beat in found if beat.boot_id == found[-1].boot_id}
    assert len({beat.boot_id for beat in early}) == 1 and early[-1].boot_id == found[-1].boot_id
    assert max(right_s) - min(right_s) > 50 * YEAR_S

    with hub.away():
        box.wait_state("cut_off")
    check_once(box, hub, device.device_id)
    assert len(beats(hub, device.device_id)) > len(found)
