"""What systemd itself thinks of the units' sandboxes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.system.box import Box
from tests.system.conftest import MakeBox

UNITS = Path(__file__).parents[2] / "systemd"


@pytest.fixture(scope="module")
def box(make_box: MakeBox) -> Box:
    """A box with both units."""
    one = make_box()
    for unit in UNITS.glob("*.service"):
        one.path(f"/etc/systemd/system/{unit.name}").write_bytes(unit.read_bytes())
    return one


@pytest.mark.parametrize("unit", ["firstlight.service", "firstlight-hub.service"])
def test_exposure_stays_low(unit: str, box: Box) -> None:
    """Systemd's own measure of a unit's exposure is at most 1.2 of 10; what remains is the network that it needs."""
    file = f"/etc/systemd/system/{unit}"
    done = box.run("systemd-analyze", "security", "--offline=true", "--threshold=12", "--json=short", file, check=False)
    open_points = {point["name"]: point["exposure"] for point in json.loads(done.stdout) if point["exposure"]}
    assert done.returncode == 0, open_points
