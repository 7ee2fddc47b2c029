"""Makes the devices of a table, each exactly once, whatever breaks on the way.

Before a device is asked for, the journal says so; where an answer was not heard, the platform is asked whether the
device is there before it is asked for again. A platform that is busy is waited for; a refusal ends the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from firstlight.cli import desk as desks
from firstlight.cli.desk import Desk
from firstlight.cli.device_journal import Done, Journal
from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.management import Listed, Made
from firstlight.errors import RefusedError, UnreachableError, UsageError

CHUNK = 50
TRIES = 4
MOST_WAIT_S = 60.0
PATIENCE_S = 3600.0
BUSY = ("platform_busy", "hub_busy")
MADE, FOUND, EARLIER, EXISTS = "made", "found", "made earlier", "exists"
Tell = Callable[["Item", str, str], None]


class Item(NamedTuple):
    """A device of the table.

    Args:
        number: of its line in the file.
        key: tells it from the others.
        name: as people call it.
        serial: of its box, "" where it is not known.
        values: by the platform's fields.
        secrets: those of the values that the desk made up; an earlier run may have made up others.
    """

    number: int
    key: str
    name: str
    serial: str
    values: Mapping[str, object]
    secrets: Mapping[str, str] = MappingProxyType({})

    def __repr__(self) -> str:
        """Shows no value: there are secrets among them."""
        return f"Item(line {self.number}, {self.key})"


class Seams(NamedTuple):
    """What a run needs of the world: what is told of each device and of each wait, and a way to wait."""

    tell: Tell
    waits: Callable[[str, float], None]
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


class Run:
    """One run over a table.

    Args:
        desk: where.
        journal: what was done before.
        seams: see there.

    Attributes:
        outcomes: what became of each item, by key; what is not in it was not made.
        exists: id of those that were there already, by key.
        at: the item at which it ended, None where it came to its end.
    """

    def __init__(self, desk: Desk, journal: Journal, seams: Seams) -> None:
        self._desk, self._journal, self._seams = desk, journal, seams
        self._dialect: Any = desk.dialect
        self._known: dict[str, Listed] = {}
        self._new: dict[str, Any] = {}
        self._doubtful: set[str] = set()
        self._waited_s = 0.0
        self._tries = 0
        self._shows = True
        self.outcomes: dict[str, str] = {}
        self.exists: dict[str, str] = {}
        self.at: Item | None = None

    def perform(self, items: Sequence[Item]) -> None:
        """Makes those that are not made yet. Raises FirstlightError; ``outcomes`` has what was done before it."""
        todo = []
        for item in items:
            if item.key in self._journal.made:
                self._note(item, EARLIER, self._journal.made[item.key].made.device_id)
            else:
                todo.append(item)
        if not todo:
            return
        self._doubtful = {item.key for item in todo if item.key in self._journal.intended}
        for item in todo:  # all are looked at before the first is made
            values = {**item.values, **self._journal.intended.get(item.key, {})}
            self._new[item.key] = self._dialect.new_device(self._desk.place, values)
        self._look_around(todo)
        size = self._dialect.batch_size(self._desk.place) if hasattr(self._dialect, "create_many") else CHUNK
        for start in range(0, len(todo), size):
            self._chunk(todo[start : start + size])

    def _look_around(self, todo: list[Item]) -> None:
        """What the platform has already. Raises UsageError: it has some of the table, made by nobody that we know."""
        self._known = self._listed(todo)
        if hasattr(self._dialect, "find"):
            return
        there = [item for item in todo if item.key in self._known and item.key not in self._doubtful]
        if there:
            more = f" and {len(there) - 1} more" if len(there) > 1 else ""
            raise UsageError(
                "usage",
                f"The {self._dialect.WORKSPACE} has a device named {there[0].name!r} (line {there[0].number}){more} "
                "already; nothing was made.",
                "Remove those lines from the table, or give other names.",
            )

    def _listed(self, items: Sequence[Item]) -> dict[str, Listed]:
        """Those that the platform's list has, by key."""
        wanted = {item.key for item in items}
        found: dict[str, Listed] = {}
        for one in self._patiently(lambda: list(self._all())):
            for key in keys_of(one) & wanted:
                found.setdefault(key, one)
        return found

    def _all(self) -> list[Listed]:
        return list(desks.listed(self._desk._replace(exchange=self._call)))

    def _chunk(self, items: list[Item]) -> None:
        """Some devices of which the journal says beforehand that they are asked for."""
        self.at = items[0]
        left = [item for item in items if not self._is_there(item)]
        fresh = {item.key: dict(item.secrets) for item in left if item.key not in self._journal.intended}
        if fresh:
            self._journal.will(fresh)
        if hasattr(self._dialect, "create_many") and len(left) > 1:
            left = self._many(left)
        for item in left:
            self.at = item
            self._one(item)
        self.at = None

    def _is_there(self, item: Item) -> bool:
        """Whether it is there already: adopted where it was asked for before, else left as it is."""
        listed = self._known.get(item.key)
        if listed is None:
            return False
        self.at = item
        if item.key in self._doubtful:
            self._adopt(item, listed)
        else:
            self.exists[item.key] = listed.device_id
            self._note(item, EXISTS, listed.device_id)
        return True

    def _one(self, item: Item) -> None:
        new = self._new[item.key]

        def ask() -> None:
            if item.key in self._doubtful and (listed := self._found(item)):
                self._adopt(item, listed)
                return
            try:
                reply = self._call(self._dialect.create(self._desk.place, new))
                self._made({item.key: Done(self._dialect.read_created(self._desk.place, new, reply))}, {item.key: item})
            except UnreachableError:
                self._doubtful.add(item.key)
                raise

        self._patiently(ask)

    def _many(self, items: list[Item]) -> list[Item]:
        """A batch; those that are still to be made, or looked for, one by one."""
        batch = [item for item in items if item.key not in self._doubtful]
        rest = [item for item in items if item.key in self._doubtful]
        if not batch:
            return rest
        new = [self._new[item.key] for item in batch]
        try:
            reply = self._call(self._dialect.create_many(self._desk.place, new))
            answers: list[Made] = self._dialect.read_created_many(self._desk.place, new, reply)
        except UnreachableError as error:
            self._wait_after(error)
            self._doubtful |= {item.key for item in batch}
            return items
        except RefusedError as error:
            if error.code in ("unauthorized", "forbidden"):
                raise
            # One of them is the reason: each is asked for alone, so that it can be named.
            self._doubtful |= {item.key for item in batch}
            return items
        pairs = [(item, made) for item, made in zip(batch, answers, strict=True) if made.device_id]
        self._made({item.key: Done(made) for item, made in pairs}, {item.key: item for item, _ in pairs})
        missing = {item.key for item, made in zip(batch, answers, strict=True) if not made.device_id}
        self._doubtful |= missing
        return [item for item in items if item.key in self._doubtful]

    def _found(self, item: Item) -> Listed | None:
        """The device of an earlier asking, if the platform has it."""
        if not hasattr(self._dialect, "find"):
            return self._listed([item]).get(item.key)
        new = self._new[item.key]
        reply = self._call(self._dialect.find(self._desk.place, new))
        found: Listed | None = self._dialect.read_found(self._desk.place, new, reply)
        return found

    def _adopt(self, item: Item, listed: Listed) -> None:
        """Takes a device for ours that an earlier asking made: nobody heard the answer, so what it said is got anew."""
        made = self._patiently(lambda: self._reclaimed(item, listed))
        self._made({item.key: Done(made, was_found=True)}, {item.key: item}, FOUND)

    def _reclaimed(self, item: Item, listed: Listed) -> Made:
        new, place = self._new[item.key], self._desk.place
        if hasattr(self._dialect, "reclaim"):
            reply = self._call(self._dialect.reclaim(place, new, listed))
            made: Made = self._dialect.read_reclaimed(place, new, listed, reply)
            return made
        bare = Made(listed.device_id, listed.name or item.name, None, listed.record)
        if not self._shows:
            return bare
        reply = self._call(self._dialect.show(place, listed.device_id))
        try:
            # Where a device can be shown with what its box needs, that reads as the answer to its create.
            made = self._dialect.read_created(place, new, reply)
        except UnreachableError as error:
            if error.code in BUSY:
                raise
            self._shows = False
            return bare
        return made if made.device_id == listed.device_id else bare

    def _made(self, done: dict[str, Done], items: Mapping[str, Item], outcome: str = MADE) -> None:
        if done:
            self._journal.did(done)
        for key, one in done.items():
            self._doubtful.discard(key)
            self._note(items[key], outcome, one.made.device_id)
        self._tries, self._waited_s = 0, 0.0

    def _note(self, item: Item, outcome: str, device_id: str) -> None:
        self.outcomes[item.key] = outcome
        self._seams.tell(item, outcome, device_id)

    def _call(self, call: HttpCall) -> HttpReply:
        """One call; where the platform says that the next would be one too many, that one waits."""
        reply = self._desk.exchange(call)
        pause = getattr(self._dialect, "pause_s", None)
        if pause is not None and (wait_s := pause(reply)) > 0:
            self._wait("the platform allows no more calls for now", min(wait_s, PATIENCE_S))
        return reply

    def _patiently(self, act: Callable[[], Any]) -> Any:
        """The act, again and again while the platform is busy, and some times where it cannot be reached."""
        while True:
            try:
                return act()
            except UnreachableError as error:
                self._wait_after(error)

    def _wait_after(self, error: UnreachableError) -> None:
        """Waits before another try. Raises the error: there were tries enough."""
        self._tries += 1
        wait_s = max(error.retry_after_s or 0.0, min(2.0 ** (self._tries - 1), MOST_WAIT_S))
        is_busy = error.retry_after_s is not None or error.code in BUSY
        if self._waited_s + wait_s > PATIENCE_S or (not is_busy and self._tries >= TRIES):
            raise error
        self._wait(f"{error.message} [{error.code}]", wait_s)

    def _wait(self, why: str, wait_s: float) -> None:
        self._waited_s += wait_s
        self._seams.waits(why, wait_s)
        self._seams.sleep(wait_s)


def keys_of(listed: Listed) -> set[str]:
    """Under which keys a table may have that device."""
    texts = {"name": listed.name, "device_name": listed.name, "device_id": listed.device_id}
    for name in ("node_id", "serial_number", "serial"):
        value = listed.record.get(name)
        if isinstance(value, str):
            texts[name] = value
    return {key_of(name, value) for name, value in texts.items() if value}


def key_of(field: str, value: str) -> str:
    """How a row is told from others: the field and its value; letters of serial numbers count in any case."""
    return f"{field}={value.casefold() if 'serial' in field else value}"
