"""A power cut in the middle of an upgrade, on a disk that loses what was not flushed: one agent works afterwards."""

from __future__ import annotations

import platform
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.hub_site import HubSite
from tests.system.upgrade_bundles import derived
from tests.vm import trials
from tests.vm.conftest import Enrolled

VERSION = "0.3.0"


@pytest.fixture
def release(hub: HubSite, bundles: list[Path], tmp_path: Path) -> Iterator[Path]:
    """A newer release on the hub's shelf, for the time of the test."""
    base = next(path for path in bundles if path.name.endswith(f"-{platform.machine()}.tar"))
    made = derived(base, tmp_path, VERSION)
    hub.put_on_shelf(made)
    yield made
    hub.take_off_shelf(made.name)


def test_power_cut_while_upgrading(enrolled: Enrolled, hub: HubSite, release: Path) -> None:
    """By nobody's hand it ends, on either release; what is on record agrees with what runs; nothing is lost.

    Cut when the journal is there: ``make soak`` cuts at other moments, too.
    """
    machine, device, _ = enrolled
    trials.cut_while_upgrading(machine, hub, device.device_id, release, random.Random(12), "switching")
