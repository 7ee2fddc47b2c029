"""Upgrades again and again, killed one durable step later each time; then goes on as the unit does after a power cut.

Not a test: tests/upgrade/test_kill.py runs it in a folder with a PREFIX that has two releases, where nothing is a real
agent: whoever runs it is played by ``Player``, which beats if the release that the launcher names is a good one.
Prints a JSON line a round: what the kill left, and what came of it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from firstlight.cli import upgrading
from firstlight.cli.upgrading import Parts, Upgrading
from firstlight.core.model import Offer
from firstlight.core.upgrade import SWITCH, Evidence, Journal
from firstlight.system.releases import ACTIVE, PROVEN, Releases
from firstlight.system.store import UPGRADE_WISH, StateDirectory
from firstlight.wire.upgrade import offer_object
from tests.e2e.kill_child import Fuse, in_child

OLD, NEW, LAST = "0.2.0-00000000", "0.3.0-11111111", "0.1.0-22222222"
OFFER = Offer("0.3.0", "1" * 64, "/bundles/firstlight-0.3.0-x86_64.tar", 2)
LAUNCHER = """#!/usr/bin/python3 -I
import sys
sys.path.insert(0, "{prefix}/lib/{release}/lib")
from firstlight.cli.main import main
sys.exit(main(config="{prefix}/etc/agent.toml"))
"""


class Player:
    """Plays whoever runs the agent, and the agent. A release that cannot read the state, or is bad, does not beat."""

    proves = True

    def __init__(self, releases: Releases, store: StateDirectory) -> None:
        self.releases, self.store = releases, store
        self.runs = ""

    def was_running(self) -> bool:
        """As ``Agent``."""
        return True

    def put_units(self, release: str, *, is_proved: bool) -> None:
        """As ``Agent``; what goes on after a cut is of a proved release."""
        assert Path(self.releases.folder(release)).is_dir()
        proven = self.releases.launcher(PROVEN)
        assert not is_proved or (proven is not None and proven.release == release)

    def begin(self) -> None:
        """Starts what the launcher names; a new release writes its own format at once."""
        launcher = self.releases.launcher()
        assert launcher is not None
        self.runs = launcher.release
        if self.runs == NEW:
            self.store.write_text("registration.json", "by the new release")

    def seen(self) -> Evidence:
        """As ``Agent``."""
        return Evidence(exit_status=70 if self.is_bad else None)

    @property
    def is_bad(self) -> bool:
        """Whether what runs is a release that ends at once."""
        return Path(self.releases.folder(self.runs), "bad").exists()

    def end(self, is_to_run: bool) -> None:
        """As ``Agent``."""

    def begin_again(self, is_to_run: bool) -> None:
        """As ``Agent``."""
        self.begin()

    def look(self) -> Evidence:
        """Its beat is accepted, if it lives to send one."""
        return Evidence(release=self.runs, is_accepted=not self.is_bad)


def parts(folder: Path, fuse: Fuse | None) -> Parts:
    """What an upgrade is made of in a round's folder."""
    step = fuse.step if fuse else None
    releases, store = Releases(str(folder / "prefix"), step), StateDirectory(str(folder / "state"), step)
    launcher = releases.launcher()
    assert launcher is not None
    player = Player(releases, store)
    return Parts(
        releases=releases,
        launcher=launcher,
        store=store,
        agent=player,
        look=player.look,
        reads_state=lambda release: release != OLD or store.read_text("registration.json") == "by the old release",
        add_keys=lambda release: releases.add_key(str(folder / "trust.d"), "key.pub", b"key"),
        now_s=lambda: 0.0,
        wait=lambda seconds: None,
        tell=lambda sentence: None,
    )


def lay_out(folder: Path, *, is_bad: bool) -> None:
    """A box with a release in use, one before it, and a new one beside them; the hub wishes for that."""
    prefix = folder / "prefix"
    for release in (LAST, OLD, NEW):
        (prefix / "lib" / release / "lib").mkdir(parents=True)
    if is_bad:
        (prefix / "lib" / NEW / "bad").touch()
    (prefix / "bin").mkdir()
    (prefix / "bin" / ACTIVE).write_text(LAUNCHER.format(prefix=prefix, release=OLD))
    (prefix / "bin" / ACTIVE).chmod(0o755)
    store = StateDirectory(str(folder / "state"))
    store.prepare()
    store.write_text("registration.json", "by the old release")
    store.write_json(UPGRADE_WISH, offer_object(OFFER))


def begin(folder: Path, fuse: Fuse | None) -> int:
    """From the journal on; nothing where the wish was answered already."""
    made = parts(folder, fuse)
    if upgrading.wish_of(made.store) is None:
        return 0
    started = Journal(SWITCH, OLD, NEW, OFFER.version, OFFER.id, OFFER.attempt, "a" * 16)
    Upgrading(made).start(started)
    return 0


def go_on(folder: Path) -> int:
    """What the unit does next: ends what the journal tells of, then what the hub wishes for."""
    made = parts(folder, None)
    journal = made.releases.journal()
    if journal is not None:
        Upgrading(made).resume(journal)
    launcher = made.releases.launcher()
    if launcher is not None and launcher.release == OLD and (folder / "prefix/lib" / NEW).exists():
        return begin(folder, None)
    return 0


def named(releases: Releases, name: str) -> str:
    """The release that a launcher names, if it is there whole."""
    found = releases.launcher(name)
    return found.release if found and Path(releases.folder(found.release), "lib").is_dir() else ""


def shown(folder: Path) -> dict[str, object]:
    """What is to be seen in a round's folder."""
    releases, store = Releases(str(folder / "prefix")), StateDirectory(str(folder / "state"))
    result = upgrading.result_of(store)
    return {
        "active": named(releases, ACTIVE),
        "proven": named(releases, PROVEN),
        "releases": sorted(releases.names()),
        "journal": releases.journal() is not None,
        "state": store.read_text("registration.json"),
        "wish": upgrading.wish_of(store) is not None,
        "result": None if result is None else [result.attempt, result.code],
        "key": (folder / "trust.d/key.pub").exists(),
    }


def rounds(top: Path, *, is_bad: bool) -> None:
    """One round for each step, until a round was not killed."""
    number = 0
    while True:
        folder = top / str(number)
        lay_out(folder, is_bad=is_bad)
        reading, writing = os.pipe()
        status = in_child(begin, folder, Fuse(number, writing))
        os.close(writing)
        step = os.read(reading, 200).decode()
        os.close(reading)
        left = shown(folder)
        resumed = os.waitstatus_to_exitcode(in_child(go_on, folder))
        told = {"step": step, "killed": os.WIFSIGNALED(status), "left": left, "resumed": resumed, "end": shown(folder)}
        sys.stdout.write(json.dumps(told) + "\n")
        shutil.rmtree(folder)
        if not told["killed"]:
            return
        number += 1


if __name__ == "__main__":
    rounds(Path(sys.argv[1]), is_bad=sys.argv[2] == "bad")
