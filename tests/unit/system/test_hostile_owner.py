"""The state directory belongs to an unprivileged user who is hostile, and root runs a verb on it.

What that user put into it (symbolic links, hard links, folders) must not let root change anything outside.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from firstlight.core.change import Notes
from firstlight.errors import StateError
from firstlight.system import changes, files
from firstlight.system.keys import KeyFile
from firstlight.system.releases import Releases
from firstlight.system.store import BACKUP, CANDIDATE, CHANGE, KEY, LOCK, REGISTRATION, RUNNING, WISH, StateDirectory
from tests.unit.system.test_store import registration

NOBODY = 65_534
Do = Callable[[StateDirectory], object]


def lock(name: str) -> Do:
    """Takes a lock, and gives it back."""

    def take(store: StateDirectory) -> None:
        with store.lock(name):
            pass

    return take


ACTS: dict[str, tuple[str, Do]] = {
    "registration": (REGISTRATION, lambda store: store.save_registration(registration("second"))),
    "load": (REGISTRATION, lambda store: store.load_registration()),
    "candidate": (CANDIDATE, lambda store: store.save_candidate(registration("second"))),
    "load candidate": (CANDIDATE, lambda store: store.load_candidate()),
    "notes": (CHANGE, lambda store: changes.save(store, Notes(rotate=True))),
    "load notes": (CHANGE, lambda store: changes.load(store)),
    "wish": (WISH, lambda store: store.write_json(WISH, {"id": "1"})),
    "wish of": (WISH, lambda store: changes.wish_of(store)),
    "key": (KEY, lambda store: KeyFile().make_or_load(store)),
    "lock": (LOCK, lock(LOCK)),
    "running": (RUNNING, lock(RUNNING)),
    "status": ("status.json", lambda store: store.write_status({"pid": 1})),
    "probe": (".probe", lambda store: store.prepare()),
    "temporary": (f".{CHANGE}.{os.getpid()}.tmp", lambda store: changes.save(store, Notes())),
    "remove": (CANDIDATE, lambda store: store.remove(CANDIDATE)),
    "keys": ("device-0123456789abcdef.key", lambda store: store.remove_keys_but("sha256:" + "ab" * 32)),
    "retire": (CANDIDATE, lambda store: store.retire("reset")),
}


@pytest.fixture
def store(tmp_path: Path) -> StateDirectory:
    """One with a registration; where root runs the tests it belongs to another user."""
    one = StateDirectory(str(tmp_path / "state"))
    one.prepare()
    one.save_registration(registration())
    if os.geteuid() == 0:
        os.chown(one.path, NOBODY, NOBODY)
    return one


def seen(path: Path) -> tuple[object, ...]:
    """Everything about a file or folder that a verb could change."""
    found = path.stat()
    content = path.read_bytes() if path.is_file() else sorted(path.iterdir())
    return found.st_ino, found.st_mode, found.st_uid, found.st_gid, content


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("kind", ["symbolic", "hard", "to a folder", "to nowhere"])
def test_nothing_outside_is_changed_through_a_link(store: StateDirectory, tmp_path: Path, kind: str, act: str) -> None:
    """In the place of any file of ours: what the link leads to keeps content, rights and owner, and gains no file."""
    name, do = ACTS[act]
    outside, folder, nowhere = tmp_path / "shadow", tmp_path / "etc", tmp_path / "new"
    outside.write_text('{"rotate": true}')
    outside.chmod(0o644)
    folder.mkdir()
    place = Path(store.path, name)
    place.unlink(missing_ok=True)
    if kind == "hard":
        os.link(outside, place)
    else:
        place.symlink_to({"symbolic": outside, "to a folder": folder, "to nowhere": nowhere}[kind])
    before = seen(outside)[:-1], seen(outside)[-1], seen(folder)
    try:
        do(store)
    except StateError as error:
        assert error.code in ("state_corrupt", "state_unwritable", "state_unreadable", "state_locked")

    assert (seen(outside)[:-1], seen(outside)[-1], seen(folder)) == before
    assert not nowhere.exists()


@pytest.mark.parametrize("swapped", ["from the start", "when it is made"])
def test_a_reset_sets_nothing_aside_outside(store: StateDirectory, tmp_path: Path, swapped: str) -> None:
    """``retired``, or the folder in it, is a link to a folder of root's: nothing is made there, nothing is lost."""
    etc = tmp_path / "etc"
    etc.mkdir(mode=0o755)
    retired = Path(store.path, "retired")
    if swapped == "from the start":
        retired.symlink_to(etc)
        with pytest.raises(StateError) as caught:
            store.retire("reset")
        assert caught.value.code == "state_unwritable" and store.load_registration() is not None
    else:

        def swap(step: str) -> None:
            """The owner is quick: between two steps the new folder becomes a link."""
            for made in list(retired.glob("2*")) if step == "create reason.txt" else ():
                made.rename(tmp_path / "moved away")
                made.symlink_to(etc)

        StateDirectory(store.path, on_step=swap).retire("reset")
        there = {path.name for path in (tmp_path / "moved away").iterdir()}
        assert {REGISTRATION, BACKUP, "reason.txt"} == there
    assert list(etc.iterdir()) == [] and stat.S_IMODE(etc.stat().st_mode) == 0o755


def test_a_file_swapped_for_a_link_is_not_made_private(store: StateDirectory, tmp_path: Path) -> None:
    """Rights are taken from what is open, not from what has the name by now."""
    outside = tmp_path / "passwd"
    outside.write_text("root")
    outside.chmod(0o644)
    Path(store.path, WISH).symlink_to(outside)
    for make in (os.symlink, os.link):
        Path(store.path, WISH).unlink()
        make(outside, Path(store.path, WISH))
        with pytest.raises(OSError):
            files.make_private(store.path, WISH)

    assert stat.S_IMODE(outside.stat().st_mode) == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_root_gives_away_only_what_it_made(store: StateDirectory, tmp_path: Path) -> None:
    """A lock that root made belongs to the directory's owner; a hard link to a file of root's stays root's."""
    with store.lock(RUNNING):
        pass
    shadow = tmp_path / "shadow"
    shadow.write_text("root")
    os.link(shadow, Path(store.path, LOCK))
    with store.lock():
        pass

    assert Path(store.path, RUNNING).stat().st_uid == NOBODY
    assert shadow.stat().st_uid == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can read the file of somebody else")
def test_root_copies_no_file_of_its_own_for_the_way_back(store: StateDirectory, tmp_path: Path) -> None:
    """A hard link in the registration's place would end as a copy that is given to the directory's owner."""
    shadow = tmp_path / "shadow"
    shadow.write_text("root's secret")
    shadow.chmod(0o600)
    Path(store.path, REGISTRATION).unlink()
    os.link(shadow, Path(store.path, REGISTRATION))
    releases = Releases(str(tmp_path / "prefix"))
    Path(releases.folder("0.2.0-00000000")).mkdir(parents=True)
    with pytest.raises(StateError) as caught:
        releases.keep_state("0.2.0-00000000", store.path)
    assert caught.value.code == "state_corrupt" and releases.kept_state("0.2.0-00000000") == {}
