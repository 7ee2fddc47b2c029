"""Power cuts of a machine and reboots in a row, as many as there is time for: make soak CUTS=200 REBOOTS=200.

    soak.py FOLDER CUTS REBOOTS [MINUTES]

Every round becomes a line of FOLDER/rounds.jsonl; a run goes on where the one before it stopped, on new boxes. The
seed of a round is its number. Every twentieth cut and reboot is that of a virtual machine; the others are a
container's, which take seconds. The disk of both loses what was not flushed when the power is cut.
"""

from __future__ import annotations

import json
import platform
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.system.hub_site import HubSite
from tests.system.namespaces import Network, remove_stale_cgroups
from tests.system.upgrade_bundles import derived
from tests.vm import trials
from tests.vm.card import CardBox, formatted
from tests.vm.machine import Machine, image
from tests.vm.trials import Cuttable, Machines

CACHE = Path(__file__).parents[2] / ".cache"
KINDS = ("beating", "keeping", "enrolling", "keeping", "upgrading", "beating", "installing")
# What the words of a failed check, or its line, mean.
VERDICTS = {
    "never delivered": "lost",
    "missing after": "lost",
    "later.monotonic_s > earlier": "doubled",
    "": "not back",
}


class Round(NamedTuple):
    """One line of the table's source; ``failed`` is empty when all was well."""

    where: str
    kind: str
    seed: int
    cuts: int
    took_s: float
    failed: str

    @property
    def verdict(self) -> str:
        """``ok``, ``lost``, ``doubled``, ``not back``, or ``not begun`` where no machine came up before the cut."""
        if self.failed and not self.cuts and self.kind != "reboot":
            return "not begun"
        return next(verdict for words, verdict in VERDICTS.items() if words in self.failed) if self.failed else "ok"


class Book:
    """The rounds so far."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "rounds.jsonl"
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        self.rounds = [Round(**json.loads(line)) for line in lines]

    def add(self, one: Round) -> None:
        """Writes a round down, and shows it."""
        self.rounds.append(one)
        with self._file.open("a") as file:
            file.write(json.dumps(one._asdict()) + "\n")
        print(f"{len(self.rounds):4} {one.where:9} {one.kind:10} {one.took_s:6.1f} s  {one.verdict}", flush=True)

    def cuts(self) -> int:
        """Power cuts done."""
        return sum(one.cuts for one in self.rounds)

    def reboots(self, where: str = "") -> int:
        """Reboots done."""
        return sum(one.kind == "reboot" and one.where.startswith(where) for one in self.rounds)

    def table(self) -> Iterator[str]:
        """What came of it, a line for each kind."""
        yield f"{'where':10}{'kind':12}{'rounds':>7}{'cuts':>6}{'lost':>6}{'doubled':>9}{'not back':>10}{'mean s':>8}"
        for where, kind in sorted({(one.where, one.kind) for one in self.rounds}):
            found = [one for one in self.rounds if (one.where, one.kind) == (where, kind)]
            bad = [sum(one.verdict == verdict for one in found) for verdict in ("lost", "doubled", "not back")]
            mean_s = sum(one.took_s for one in found) / len(found)
            cuts = sum(one.cuts for one in found)
            yield f"{where:10}{kind:12}{len(found):7}{cuts:6}{bad[0]:6}{bad[1]:9}{bad[2]:10}{mean_s:8.1f}"


class Kind:
    """One kind of box with a disk that forgets: how one is made, and the one that is at work.

    Args:
        make: makes one that is switched off, its disk empty or that of another.
        hub: which serves.
    """

    def __init__(self, make: Callable[[Cuttable | None], Cuttable], hub: HubSite) -> None:
        self.make = make
        self._hub = hub
        self._at_work: tuple[Cuttable, str] | None = None
        self._ready: Cuttable | None = None

    def enrolled(self) -> tuple[Cuttable, str]:
        """The one at work, and its device's id."""
        if self._at_work is None:
            box = self.make(None)
            box.boot()
            self._at_work = box, trials.install(box, self._hub).device_id
        return self._at_work

    def unenrolled(self) -> Cuttable:
        """One that is switched off, with the agent's files and without a registration."""
        if self._ready is None:
            box = self.make(None)
            box.boot()
            trials.install(box, self._hub)
            trials.forget(box)
            self._ready = box
        return self._ready

    def forget(self, box: Cuttable) -> None:
        """After a failed round: the next one gets a new box."""
        if self._at_work is not None and self._at_work[0] is box:
            box.end()
            self._at_work = None


class Soak:
    """The boxes that the rounds are played on; a failed round gets new ones.

    Args:
        book: where rounds are written down.
        ends: takes everything away.
    """

    def __init__(self, book: Book, ends: ExitStack) -> None:
        self._book = book
        self._folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="fl-sk-")))
        self._network = Network()
        ends.callback(self._network.end)
        (self._folder / "hub").mkdir()
        self._bundles = sorted((CACHE / "system/bundles").glob("firstlight-*"))
        self._hub = HubSite(self._network, self._folder / "hub", self._bundles)
        ends.callback(self._hub.stop)
        made_of = image(CACHE / "vm")
        machines = Machines(
            self._folder, lambda name, folder, parent: Machine(name, made_of, folder, self._network, parent)
        )
        ends.callback(machines.end)
        self._empty = formatted(self._folder)
        self._cards = 0
        self._ends = ends
        self._kinds = {
            "vm": Kind(lambda parent: machines(parent if isinstance(parent, Machine) else None), self._hub),
            "container": Kind(self._card_box, self._hub),
        }

    def _card_box(self, parent: Cuttable | None) -> CardBox:
        self._cards += 1
        folder = self._folder / f"c{self._cards}"
        folder.mkdir()
        [tree] = (path for path in (CACHE / "system").glob("bookworm-*") if path.is_dir() and path.suffix != ".new")
        born_of = parent if isinstance(parent, CardBox) else None
        box = CardBox(f"box{self._cards}", tree, self._empty, folder, self._network, born_of)
        self._ends.callback(box.end)
        return box

    def cut(self, where: str, kind: str) -> None:
        """One round with power cuts."""
        boxes = self._kinds[where]
        if kind in ("enrolling", "installing"):
            fresh = boxes.make(boxes.unenrolled() if kind == "enrolling" else None)
            self._play(where, kind, fresh, partial(self._enroll, fresh))
            fresh.end()
        elif kind == "upgrading":
            box, device_id = boxes.enrolled()
            self._play(where, kind, box, partial(self._upgrade, box, device_id))
        else:
            box, device_id = boxes.enrolled()
            trial = trials.cut_while_beating if kind == "beating" else trials.cut_while_keeping
            self._play(where, kind, box, lambda chance: trial(box, self._hub, device_id, chance))

    def reboot(self, where: str) -> None:
        """One reboot."""
        box, device_id = self._kinds[where].enrolled()

        def once(chance: random.Random) -> None:
            trials.reboot(box, self._hub, device_id, chance, with_hub=chance.random() < 0.7)

        self._play(where, "reboot", box, once)

    def _play(self, where: str, kind: str, box: Cuttable, trial: Callable[[random.Random], None]) -> None:
        seed, started_s = len(self._book.rounds) + 1, time.monotonic()
        before, failed = box.cuts, ""
        try:
            trial(random.Random(seed))
        except Exception:  # whatever it is, the next round is played
            failed = traceback.format_exc()[-3000:]
        cuts = box.cuts - before
        if failed:
            self._kinds[where].forget(box)
        self._book.add(Round(where, kind, seed, cuts, round(time.monotonic() - started_s, 1), failed))

    def _enroll(self, box: Cuttable, chance: random.Random) -> None:
        seconds = {"vm": (12.0, 40.0), "container": (2.0, 8.0)}["vm" if isinstance(box, Machine) else "container"]
        device_id = trials.cut_while_enrolling(box, self._hub, chance, seconds[0] if box.is_born else seconds[1])
        self._hub.desk.call("DELETE", f"/{device_id}")

    def _upgrade(self, box: Cuttable, device_id: str, chance: random.Random) -> None:
        base = next(path for path in self._bundles if path.name.endswith(f"-{platform.machine()}.tar"))
        newer = derived(base, self._folder / "releases", f"0.{len(self._book.rounds) + 3}.0")
        self._hub.put_on_shelf(newer)
        try:
            moment = chance.choice(sorted(trials.MOMENTS))
            trials.cut_while_upgrading(box, self._hub, device_id, newer, chance, moment)
        finally:
            self._hub.take_off_shelf(newer.name)


def main(folder: Path, cuts: int, reboots: int, minutes: float) -> int:
    """Plays until both counts are reached or the time is over; 1 if any round ever failed."""
    deadline_s = time.monotonic() + minutes * 60
    book = Book(folder)
    remove_stale_cgroups()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # takes everything away first
    with ExitStack() as ends:
        soak = Soak(book, ends)
        while time.monotonic() < deadline_s and (book.cuts() < cuts or book.reboots() < reboots):
            number = len(book.rounds)
            if book.reboots() < reboots and (number % 2 or book.cuts() >= cuts):
                soak.reboot("container" if book.reboots() % 20 else "vm")
            else:
                soak.cut("container" if (number // 2) % 20 else "vm", KINDS[(number // 2) % len(KINDS)])
    print("\n".join(book.table()))
    return int(any(one.verdict not in ("ok", "not begun") for one in book.rounds))


if __name__ == "__main__":
    words = sys.argv[1:]
    sys.exit(main(Path(words[0]), int(words[1]), int(words[2]), float(words[3]) if len(words) > 3 else 1e6))
