"""Power cuts of a machine and reboots in a row, as many as there is time for: make soak CUTS=200 REBOOTS=200.

    soak.py FOLDER CUTS REBOOTS [MINUTES]

Every round becomes a line of FOLDER/rounds.jsonl; a run goes on where the one before it stopped, on new machines. The
seed of a round is its number. Cuts, and every tenth reboot, are those of a virtual machine whose disk loses what was
not flushed; the other reboots (with CUTS=0: all) are a container's, which
take a second.
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

from tests.system.box import Box
from tests.system.hub_site import HubSite
from tests.system.namespaces import Network, remove_stale_cgroups
from tests.system.upgrade_bundles import derived
from tests.vm import trials
from tests.vm.machine import Machine, image
from tests.vm.trials import Machines

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
        """``ok``, ``lost``, ``doubled`` or ``not back``."""
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
        self._machines = Machines(
            self._folder, lambda name, folder, parent: Machine(name, made_of, folder, self._network, parent)
        )
        ends.callback(self._machines.end)
        self._ends = ends
        self._machine: tuple[Machine, str] | None = None
        self._box: tuple[Box, str] | None = None
        self._ready: Machine | None = None

    def cut(self, kind: str) -> None:
        """One round with power cuts."""
        if kind in ("enrolling", "installing"):
            parent = self._unenrolled() if kind == "enrolling" else None
            fresh = self._machines(parent)
            self._play("vm", kind, fresh, partial(self._enroll, fresh))
            fresh.end()
        elif kind == "upgrading":
            machine, device_id = self._enrolled()
            self._play("vm", kind, machine, partial(self._upgrade, machine, device_id))
        else:
            machine, device_id = self._enrolled()
            trial = trials.cut_while_beating if kind == "beating" else trials.cut_while_keeping
            self._play("vm", kind, machine, lambda chance: trial(machine, self._hub, device_id, chance))

    def reboot(self, where: str) -> None:
        """One reboot."""
        box, device_id = self._enrolled() if where == "vm" else self._container()

        def once(chance: random.Random) -> None:
            trials.reboot(box, self._hub, device_id, chance, with_hub=chance.random() < 0.7)

        self._play(where, "reboot", box, once)

    def _play(self, where: str, kind: str, box: Machine | Box, trial: Callable[[random.Random], None]) -> None:
        seed, started_s = len(self._book.rounds) + 1, time.monotonic()
        before, failed = box.cuts if isinstance(box, Machine) else 0, ""
        try:
            trial(random.Random(seed))
        except Exception:  # whatever it is, the next round is played
            failed = traceback.format_exc()[-3000:]
        cuts = box.cuts - before if isinstance(box, Machine) else 0
        if failed:
            self._forget(box)
        self._book.add(Round(where, kind, seed, cuts, round(time.monotonic() - started_s, 1), failed))

    def _forget(self, box: Machine | Box) -> None:
        if isinstance(box, Box):
            self._box = None
        elif self._machine is not None and self._machine[0] is box:
            self._machine[0].end()
            self._machine = None

    def _enroll(self, machine: Machine, chance: random.Random) -> None:
        span_s = 12.0 if machine.is_born else 40.0
        device_id = trials.cut_while_enrolling(machine, self._hub, chance, span_s)
        self._hub.desk.call("DELETE", f"/{device_id}")

    def _upgrade(self, machine: Machine, device_id: str, chance: random.Random) -> None:
        base = next(path for path in self._bundles if path.name.endswith(f"-{platform.machine()}.tar"))
        newer = derived(base, self._folder / "releases", f"0.{len(self._book.rounds) + 3}.0")
        self._hub.put_on_shelf(newer)
        try:
            moment = chance.choice(sorted(trials.MOMENTS))
            trials.cut_while_upgrading(machine, self._hub, device_id, newer, chance, moment)
        finally:
            self._hub.take_off_shelf(newer.name)

    def _enrolled(self) -> tuple[Machine, str]:
        if self._machine is None:
            machine = self._machines()
            machine.boot()
            self._machine = machine, trials.install(machine, self._hub).device_id
        return self._machine

    def _unenrolled(self) -> Machine:
        if self._ready is None:
            machine = self._machines()
            machine.boot()
            trials.install(machine, self._hub)
            trials.forget(machine)
            self._ready = machine
        return self._ready

    def _container(self) -> tuple[Box, str]:
        if self._box is None:
            folder = self._folder / f"box{self._book.reboots()}"
            folder.mkdir()
            [tree] = (path for path in (CACHE / "system").glob("bookworm-*") if path.is_dir() and path.suffix != ".new")
            box = Box(folder.name, tree, folder, self._network)
            self._ends.callback(box.end)
            box.boot()
            device = self._hub.desk.create(box.name)
            box.sh(device.install_command)
            self._box = box, device.device_id
        return self._box


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
                soak.reboot("container" if book.reboots() % 10 or not cuts else "vm")
            else:
                soak.cut(KINDS[(number // 2) % len(KINDS)])
    print("\n".join(book.table()))
    return int(any(one.failed for one in book.rounds))


if __name__ == "__main__":
    words = sys.argv[1:]
    sys.exit(main(Path(words[0]), int(words[1]), int(words[2]), float(words[3]) if len(words) > 3 else 1e6))
