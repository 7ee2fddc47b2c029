"""Which executables are run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from firstlight.system import hook_files
from firstlight.system.hook_files import Hook, problem_above, problem_of
from tests.hooks.conftest import Site


def problems(site: Site) -> dict[str, str]:
    """Name -> why it is not run."""
    return {hook.name: hook.problem for hook in hook_files.installed(str(site.hooks), "enrolled")}


def test_in_the_order_of_names(site: Site) -> None:
    """Executables of root's, or of whoever runs this, are run in the order of their names."""
    for name in ("20-b", "10-a", "A_first"):
        site.hook(name, "true")
    assert list(problems(site).items()) == [("10-a", ""), ("20-b", ""), ("A_first", "")]


@pytest.mark.parametrize("name", ["10-a.sh", "10-a~", "10-a.dpkg-old", ".hidden", "with space", "ä"])
def test_names_as_run_parts_has_them(name: str, site: Site) -> None:
    """What an editor or dpkg leaves beside a hook is named and not run."""
    site.hook(name, "true")
    assert "Its name" in problems(site)[name]


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_writable_by_others(mode: int, site: Site) -> None:
    """A file that group or everybody can write is not run."""
    site.hook("10-a", "true", mode=mode)
    assert "can be written by others" in problems(site)["10-a"]


def test_not_executable(site: Site) -> None:
    """A file that is no executable is named, with what makes it one."""
    site.hook("10-a", "true", mode=0o644)
    assert problems(site)["10-a"] == "It is not executable: chmod 755"


def test_link_and_folder(site: Site, tmp_path: Path) -> None:
    """A symbolic link, a folder and a pipe are no hooks."""
    target = site.hook("10-a", "true")
    (target.with_name("20-link")).symlink_to(target)
    target.with_name("30-folder").mkdir()
    os.mkfifo(target.with_name("40-pipe"), 0o700)
    found = problems(site)
    assert "symbolic link" in found["20-link"]
    assert found["30-folder"] == found["40-pipe"] == "It is no plain file."


def test_of_another_owner(site: Site) -> None:
    """A hook that belongs to somebody else than root or whoever runs it is not run, nor is one in such a folder."""
    path = site.hook("10-a", "true")
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
        assert "belongs to user 65534" in problems(site)["10-a"]
    else:
        hook = Hook("enrolled", "10-a", str(path), "")
        assert "belongs to user" in problem_of(hook, os.geteuid() + 1)
        assert "belongs to user" in problem_above(str(path.parent), os.geteuid() + 1)


@pytest.mark.parametrize("place", ["enrolled.d", "", ".."])
def test_folder_that_others_can_write(place: str, site: Site) -> None:
    """Where others could put a hook, or a whole folder of them, nothing is run."""
    site.hook("10-a", "true")
    (site.hooks / place).chmod(0o777)
    assert "can be written by others" in problems(site)["10-a"]


def test_folder_that_is_a_link(site: Site) -> None:
    """A folder of a kind that is a link somewhere else is not followed."""
    place = site.hook("10-a", "true").parent
    place.rename(place.with_name("other"))
    place.symlink_to("other")
    assert "symbolic link" in problems(site)["10-a"]


def test_no_folder(site: Site) -> None:
    """Without a folder there are no hooks, and that is fine."""
    assert problems(site) == {} and hook_files.all_installed("/nonexistent") == []


def test_too_many(site: Site) -> None:
    """More hooks than anybody needs are named instead of run."""
    for number in range(hook_files.MAX_HOOKS + 2):
        site.hook(f"{number:03d}", "true")
    found = [name for name, problem in problems(site).items() if problem]
    assert found == ["050", "051"]
