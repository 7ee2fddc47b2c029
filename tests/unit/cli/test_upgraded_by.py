"""Who upgrades a box, told from what is installed."""

from pathlib import Path

import pytest

from firstlight.cli.upgraded_by import STATE_DIRS, UNIT, release_of, who_upgrades


@pytest.mark.parametrize(
    ("folder", "release"),
    [
        ("0.3.0-5eed5eed", "5eed5eed"),
        ("0.3.0~rc1-0a1b2c3d", "0a1b2c3d"),
        ("0.3.0-5eed", ""),
        ("0.3.0-5EED5EED", ""),
        ("lib", ""),
        ("python3.11", ""),
    ],
)
def test_a_release_is_known_by_its_folder(folder: str, release: str) -> None:
    """Version and the first eight digits of the id; anything else is no release of a bundle."""
    assert release_of(Path("/opt/firstlight/lib") / folder / "lib") == release


@pytest.mark.parametrize("managed", [True, False])
@pytest.mark.parametrize("has_unit", [True, False])
@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize("state_dir", [*STATE_DIRS, "/elsewhere"])
@pytest.mark.parametrize("folder", ["0.3.0-5eed5eed", "site-packages"])
def test_only_a_unit_that_would_see_the_wish_counts(
    tmp_path: Path, managed: bool, has_unit: bool, runs: bool, state_dir: str, folder: str
) -> None:
    """A package says so itself; the unit must be there, systemd run, and the wish lie where the unit looks."""
    root, units, systemd = tmp_path / folder / "lib", tmp_path / "units", tmp_path / "systemd"
    for made in (root, units, tmp_path / folder / "share"):
        made.mkdir(parents=True)
    if managed:
        (tmp_path / folder / "share" / "managed").write_text("deb")
    if has_unit:
        (units / UNIT).touch()
    if runs:
        systemd.mkdir()

    wanted = "managed" if managed else "none"
    if not managed and has_unit and runs and state_dir in STATE_DIRS and folder != "site-packages":
        wanted = "unit"
    assert who_upgrades(root, state_dir, [tmp_path / "none", units], systemd) == wanted
