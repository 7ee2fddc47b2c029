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


def test_units_that_a_release_is_the_first_to_have(releases: Releases, tmp_path: Path) -> None:
    """They are put and switched on once it is proved; what somebody took away, masked or never could have stays so."""
    units, rules = tmp_path / "units", tmp_path / "rules"
    units.mkdir()
    rules.mkdir()
    old, new = (Path(releases.folder(each), "share") for each in (OLD, NEW))
    for name in ("firstlight-new.path", "firstlight-new.service", "firstlight-provision.service"):
        (new / name).write_text("ExecStart=/opt/firstlight/bin/firstlight\n")
    for name in ("firstlight-stick.service", "70-firstlight-stick.rules"):
        (old / name).write_text("# old\n")
        (new / name).write_text("# new\n")
    (new.parent / "scan").mkdir()
    (units / "firstlight.service").write_text("# old\n")
    (units / "firstlight-stick@.service").write_text("# old\n")
    (units / "firstlight-new.service").symlink_to("/dev/null")
    (rules / "70-firstlight-stick.rules").write_text("# old\n")
    said: list[tuple[str, ...]] = []
    service = Service(releases, f"{releases.prefix}/etc/agent.toml", units, rules, lambda *words: said.append(words))

    service.put_units(NEW, is_proved=False)
    assert not (units / "firstlight-new.path").exists()
    service.put_units(NEW, is_proved=True)
    assert (units / "firstlight-new.path").read_text() == f"ExecStart={releases.prefix}/bin/firstlight\n"
    assert (units / "firstlight-new.service").is_symlink()
    assert (units / "firstlight-stick@.service").read_text() == "# new\n"
    assert (rules / "70-firstlight-stick.rules").read_text() == "# new\n"
    assert not (units / "firstlight-upgrade.path").exists(), "the release before had it: it was taken away"
    assert said == [
        ("daemon-reload",),
        ("daemon-reload",),
        ("enable", "--now", "firstlight-new.path"),
        ("enable", "firstlight-provision.service"),
    ]


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
