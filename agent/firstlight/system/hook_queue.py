"""The events that wait for an integrator's hooks, and how the hooks ended: root's own, beside the state directory.

``hooks.leave`` puts an event where the agent may write. Here it is judged, taken away from there, and kept in a folder
that is root's alone until each hook of its kind is done with it or given up::

    STATE-hooks/queue/NUMBER-KIND.json    an event and how often each hook was tried, in the order of arrival
    STATE-hooks/queue/last-KIND.json      the newest event of each kind that is over, to be done once more
    STATE-hooks/results.json              how each hook ended last; readable by all, no event in it
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from typing import NamedTuple

from firstlight.errors import StateError
from firstlight.system import files, hooks
from firstlight.system.store import StateDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager

QUEUE, RESULTS, LAST = "queue", "results.json", "last-"
ASIDE = "no-hook-event-"  # folders that were put in an event's place
MAX_RESULTS = 100
MAX_DEPTH = 16  # of what an event says: what is read must be writable again, from any place in the program
MAX_TEXT = 4096
FORMAT = 1
NUMBERED = re.compile(r"[0-9]{6,15}-")


def place_of(state_dir: str) -> str:
    """Root's directory beside a state directory."""
    return f"{state_dir.rstrip('/')}-hooks"


class Waiting(NamedTuple):
    """An event that is not over.

    Args:
        number: its place in the order of arrival.
        event: as ``hooks.event`` made it.
        tries: hook's name -> how often it was begun.
        done: names of the hooks that ended well.
        due_s: when the others are tried again, in seconds since boot.
        boot_id: of that boot; after another one they are due.
    """

    number: int
    event: dict[str, object]
    tries: dict[str, int]
    done: tuple[str, ...] = ()
    due_s: float = 0.0
    boot_id: str = ""

    @property
    def kind(self) -> str:
        """One of ``hooks.KINDS``."""
        return str(self.event["kind"])

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.number:06d}-{self.kind}.json"


class Result(NamedTuple):
    """How a hook ended last.

    Args:
        at: when, ISO 8601 in UTC.
        code: "" = well; ``hook_failed``, ``hook_late``, ``hook_unstartable``.
        message: one sentence.
        tries: how often it was begun for that event.
        is_given_up: it is not begun again for that event.
    """

    at: str
    code: str
    message: str
    tries: int
    is_given_up: bool


class Queue:
    """What waits for root's half.

    Args:
        state_dir: the agent's state directory.
    """

    def __init__(self, state_dir: str) -> None:
        self._state_dir = state_dir
        self.place = place_of(state_dir)
        self._store = StateDirectory(os.path.join(self.place, QUEUE))

    @property
    def folder(self) -> str:
        """Root's private folder."""
        return self._store.path

    def prepare(self) -> None:
        """Makes the folders. Raises StateError (``state_unwritable``)."""
        with suppress(OSError):
            os.mkdir(self.place, 0o755)
        self._store.prepare()

    def lock(self) -> AbstractContextManager[None]:
        """A context manager: one at a time. Raises StateError (``state_locked``)."""
        return self._store.lock()

    # -- taking in ---------------------------------------------------------------------------------------------------
    def take_in(self) -> list[str]:
        """Moves what the agent left to the end of the queue.

        Returns:
            a sentence for each that was no event; it is gone too.

        Raises:
            StateError: one cannot be taken away or kept: it would be seen again and again.
        """
        refused = []
        for name in self._strays():
            refused.append(f"{name!r} is no event and was removed.")
            self._remove_left(name)
        for name in self.left():
            event = self._taken(name)
            if event is None:
                refused.append(f"{name} is no event and was removed.")
            else:
                self.add(event)
            self._remove_left(_taken_name(name))
        return refused

    def left(self) -> list[str]:
        """What the agent left and nobody has taken in; nothing where that cannot be seen."""
        try:
            return hooks.waiting(self._state_dir)
        except OSError:
            return []

    def _strays(self) -> list[str]:
        """What firstlight-hooks.path alone takes for an event: it would start root's half again and again."""
        try:
            return [name for name in os.listdir(self._state_dir) if hooks.is_stray(name)]
        except OSError:
            return []

    def _taken(self, name: str) -> dict[str, object] | None:
        try:
            # The newest takes the place of the one before: under its own name it could be replaced while it is read.
            os.rename(os.path.join(self._state_dir, name), os.path.join(self._state_dir, _taken_name(name)))
            found = files.read(self._state_dir, _taken_name(name), hooks.MAX_BYTES)
            return judged(found[0], hooks.kind_of(name)) if found else None
        except (OSError, StateError):
            return None

    def _remove_left(self, name: str) -> None:
        path = os.path.join(self._state_dir, name)
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            with suppress(OSError):
                return os.rmdir(path)
            with suppress(OSError):  # a folder with something in it: under a name that nobody looks for
                return os.rename(path, os.path.join(self._state_dir, f"{ASIDE}{os.urandom(8).hex()}"))
            raise files.unwritable(path, error) from None

    def add(self, event: dict[str, object]) -> None:
        """To the end of the queue; of its kind the oldest go, of ``config-changed`` all before. Raises StateError."""
        there = self.entries()
        kind = str(event["kind"])
        same = [each for each in there if each.kind == kind]
        most = 1 if kind == hooks.CONFIG_CHANGED else hooks.MAX_WAITING
        self.save(Waiting(there[-1].number + 1 if there else 1, event, {}))
        for each in same[: max(0, len(same) + 1 - most)]:
            self._store.remove(each.name)

    def repeat(self, kind: str) -> bool:
        """Has the newest event of a kind done once more; False where there was none. Raises StateError."""
        found = self._store.read_json(f"{LAST}{kind}.json")
        event = judged(json.dumps(found).encode(), kind) if found else None
        if event is not None:
            self.add(event)
        return event is not None

    # -- the queue ---------------------------------------------------------------------------------------------------
    def entries(self) -> list[Waiting]:
        """All that wait, the oldest first; damaged ones are removed. Raises StateError."""
        try:
            names = sorted((name for name in os.listdir(self._store.path) if NUMBERED.match(name)), key=_number)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise files.unreadable(self._store.path, error) from None
        found = []
        for name in names:
            each = self._entry(name)
            if each is None:
                self._store.remove(name)
            else:
                found.append(each)
        return found

    def _entry(self, name: str) -> Waiting | None:
        kind = name.partition("-")[2].removesuffix(".json")
        try:
            kept = self._store.read_json(name) or {}
        except StateError as error:
            if error.code != "state_corrupt":
                raise
            return None
        event, tries, done = kept.get("event"), kept.get("tries"), kept.get("done")
        if kind not in hooks.KINDS or not isinstance(event, dict) or event.get("kind") != kind:
            return None
        due_s, counts = kept.get("dueS"), tries if isinstance(tries, dict) else {}
        return Waiting(
            _number(name),
            event,
            {str(hook): count for hook, count in counts.items() if isinstance(count, int)},
            tuple(map(str, done)) if isinstance(done, list) else (),
            float(due_s) if isinstance(due_s, (int, float)) else 0.0,
            str(kept.get("bootId") or ""),
        )

    def save(self, waiting: Waiting) -> None:
        """On disk when it returns. Raises StateError (``state_unwritable``)."""
        kept = {"format": FORMAT, "event": waiting.event, "tries": waiting.tries, "done": list(waiting.done)}
        self._store.write_json(waiting.name, {**kept, "dueS": waiting.due_s, "bootId": waiting.boot_id})

    def finish(self, waiting: Waiting) -> None:
        """It is over. Raises StateError."""
        self._store.write_json(f"{LAST}{waiting.kind}.json", waiting.event, durable=False)
        self._store.remove(waiting.name)

    # -- how they ended ----------------------------------------------------------------------------------------------
    def results(self) -> dict[str, Result]:
        """``KIND/NAME`` -> how that hook ended last; empty where that cannot be read."""
        return results(self._state_dir)

    def record(self, hook: str, result: Result, installed: set[str]) -> None:
        """Keeps how a hook ended; those that are not there any more are forgotten. Raises StateError.

        Args:
            hook: ``KIND/NAME``.
            result: how.
            installed: all that are there.
        """
        found = {name: each for name, each in self.results().items() if name in installed}
        found.pop(hook, None)  # to the end
        kept = {**found, hook: result}
        newest = list(kept)[-MAX_RESULTS:]
        said: dict[str, object] = {name: kept[name]._asdict() for name in newest}
        body = json.dumps({"format": FORMAT, "hooks": said}).encode() + b"\n"
        files.write(self.place, RESULTS, body, durable=False, mode=0o644)


def results(state_dir: str) -> dict[str, Result]:
    """As ``Queue.results``, for who only looks."""
    try:
        body = files.read(place_of(state_dir), RESULTS)
        kept = json.loads(body[0])["hooks"] if body else {}
        return {name: Result(**each) for name, each in kept.items()}
    except (StateError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def judged(body: bytes, kind: str) -> dict[str, object] | None:
    """An event with exactly the names that its kind has, from what the agent left; None for what is none."""
    try:
        found = json.loads(body, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("format") != hooks.FORMAT or found.get("kind") != kind:
        return None
    at = found.get("at")
    if kind not in hooks.FIELDS or not isinstance(at, str) or len(at) > 40:
        return None
    said = {name: found.get(name) for name in (*hooks.COMMON, *hooks.FIELDS[kind])}
    if not all(_is_usable(name, value) for name, value in said.items()):
        return None
    return {"format": hooks.FORMAT, "kind": kind, "at": at, **said}


def _is_usable(name: str, value: object) -> bool:
    """Whether a value is of the type that ``hooks.leave`` gives it; null always is."""
    if name == "desired":
        return value is None or (isinstance(value, dict) and _is_shallow(value, MAX_DEPTH))
    if name == "version":
        return value is None or (isinstance(value, int) and not isinstance(value, bool))
    return value is None or (isinstance(value, str) and len(value) <= MAX_TEXT)


def _is_shallow(value: object, levels: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    return not isinstance(value, list) or (levels > 0 and all(_is_shallow(one, levels - 1) for one in value))


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    """A number that can be written as JSON again: 1e999 cannot."""
    found = float(text)
    return found if abs(found) != float("inf") else _no_constant(text)


def _number(name: str) -> int:
    return int(name.partition("-")[0])


def _taken_name(name: str) -> str:
    alone = f"{hooks.START}{hooks.CONFIG_CHANGED}{hooks.END}"
    return f"{hooks.START}{hooks.CONFIG_CHANGED}-1{hooks.END}" if name == alone else name
