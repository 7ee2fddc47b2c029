"""What keeps the way back open: units replaced last, a lock that is nobody else's, a release that is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from firstlight.cli.upgrade_agent import Service
from firstlight.errors import StateError
from firstlight.system.releases import PROVEN, Releases
from tests.upgrade.conftest import Box

OLD, NEW = "0.2.0-00000000", "0.3.0-11111111"
UNITS = ("firstlight.service", "firstlight-upgrade.path", "firstlight-upgrade.service", "firstlight-firstboot.service")
LAUNCHER = """#!/usr/bin/python3 -I
import sys
sys.path.insert(0, "{prefix}/lib/{release}/lib")
from firstlight.cli.main import main
sys.exit(main(config="{prefix}/etc/agent.toml"))
"""


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    """Two releases; the new one is in use, the old one was proved last."""
    made = Releases(str(tmp_path / "prefix"))
    Path(made.path_of("x")).parent.mkdir(parents=True)
    (tmp_path / "prefix/.firstlight").touch(0o644)
    for release in (OLD, NEW):
        share = Path(made.folder(release), "share")
        share.mkdir(parents=True)
        (share.parent / "lib").mkdir()
        for name in UNITS:
            (share / name).write_text(f"# of {release}\n")
    for name, release in (("firstlight", NEW), (PROVEN, OLD)):
        Path(made.path_of(name)).write_text(LAUNCHER.format(prefix=made.prefix, release=release))
    return made


def test_the_units_that_lead_back_are_replaced_last(releases: Releases, tmp_path: Path) -> None:
    """A release in doubt brings its service, but not the units that would go on after a power cut."""
    units = tmp_path / "units"
    units.mkdir()
    for name in UNITS[:3]:
        (units / name).write_text(f"# of {OLD}\n")
    service = Service(releases, f"{releases.prefix}/etc/agent.toml", units)

    service.put_units(NEW, is_proved=False)
    assert [(units / name).read_text() for name in UNITS[:3]] == [f"# of {NEW}\n", *[f"# of {OLD}\n"] * 2]
    service.put_units(NEW, is_proved=True)
    assert {path.name: path.read_text() for path in units.iterdir()} == dict.fromkeys(UNITS[:3], f"# of {NEW}\n")


def test_nobody_else_can_hold_the_lock(releases: Releases) -> None:
    """Whoever may open a file for reading may lock it against writers: it is its owner's alone."""
    mark = Path(releases.prefix, ".firstlight")
    with releases.locked(waits=False):
        assert mark.stat().st_mode & 0o777 == 0o600


def test_a_launcher_is_not_pointed_at_nothing(releases: Releases) -> None:
    """Where the proved release is gone, the one in use stays in use."""
    Path(releases.folder(OLD)).rename(releases.folder(".gone"))
    with pytest.raises(StateError) as caught:
        releases.point_back()
    launcher = releases.launcher()
    assert caught.value.code == "state_corrupt" and launcher is not None and launcher.release == NEW


def test_a_damaged_journal_without_a_proved_release(fresh: Box) -> None:
    """Nothing is left to go back to: what runs stays, and later upgrades are not blocked for ever."""
    fresh.proven.write_text(fresh.proven.read_text().replace(fresh.old, "0.1.9-99999999"))
    (fresh.prefix / "upgrade.json").write_text("{")
    done = fresh.upgrade("--resume")
    assert done.returncode == 0 and f"{fresh.old} stays" in done.stdout + done.stderr
    assert not (fresh.prefix / "upgrade.json").exists()
    assert fresh.upgrade(fresh.bundle("0.3.0")).returncode == 0
