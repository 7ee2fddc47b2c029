"""A shutdown in the middle of an upgrade: it is not held up, and the upgrade is gone on with at the next boot."""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import wait_until
from tests.system.box import Box
from tests.system.conftest import Install, on_each_userland
from tests.system.hub_site import HubSite
from tests.system.test_upgrade import CRASHES, SLOW, STATE, UNIT, checked, journal, result, running, wish
from tests.system.upgrade_bundles import derived

pytestmark = pytest.mark.timeout(300)

STOPS_WITHIN_S = 25.0  # TimeoutStopSec of the unit, and a little for a busy machine


def told(box: Box) -> dict[str, object]:
    """The last result that was left for the agent."""
    found = json.loads(box.path(f"{STATE}/upgraded.json").read_text())
    assert isinstance(found, dict)
    return found


@on_each_userland
def test_a_reboot_while_a_release_is_proved(
    userland: str, install: Install, hub: HubSite, bundles: list[Path], tmp_path: Path
) -> None:
    """The unit stops well before it would be killed, its journal says where it was, and a boot later it is done.

    The same right after a broken release was gone back from.
    """
    box = install(userland=userland).box
    base = next(path for path in bundles if path.name.endswith(f"-{platform.machine()}.tar"))
    slow, broken = derived(base, tmp_path, "0.3.0", SLOW), derived(base, tmp_path, "0.4.0", CRASHES)
    for path in (slow, broken):
        hub.put_on_shelf(path)
    try:
        attempt = wish(box, checked(slow))
        wait_until("it is being proved", lambda: journal(box).get("stage") == "prove", 90)
        asked_s = time.monotonic()
        box.run("systemctl", "stop", "firstlight-upgrade.path", UNIT)
        assert time.monotonic() - asked_s < STOPS_WITHIN_S
        assert journal(box)["stage"] == "prove"
        box.reboot()
        assert result(box, attempt)["code"] == ""
        assert running(box) == checked(slow).release

        attempt = wish(box, checked(broken))
        wait_until("it goes back", lambda: told(box).get("attempt") == attempt, 150)
        asked_s = time.monotonic()
        box.reboot()
        assert time.monotonic() - asked_s - box.boot_s < STOPS_WITHIN_S
        assert result(box, attempt)["code"] == "upgrade_crashed"
        box.wait_online(60)
        assert running(box) == checked(slow).release
    finally:
        for path in (slow, broken):
            hub.take_off_shelf(path.name)
