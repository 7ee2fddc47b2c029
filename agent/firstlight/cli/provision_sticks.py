"""USB sticks, for the headless service: each that is mounted is looked at once, answered, and given back.

Reading and writing are done by children: a stick that hangs holds one of them and nothing else.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from firstlight.cli.provision_taking import Heard, Reception, Taken, refused
from firstlight.cli.settings import Settings
from firstlight.core import answers
from firstlight.core.answers import WEIGHT, Answer
from firstlight.errors import HINTS, FirstlightError, InvitationError
from firstlight.sources import kinds, stick
from firstlight.sources.stick import Stick
from firstlight.system.serial import serial_number
from firstlight.system.side_job import SideJob

if TYPE_CHECKING:
    from firstlight.system.side_job import Say

LOOK_S, WRITE_S = 30.0, 15.0
AWAY = ".away"
MAX_SAME = 3
UNREAD = {
    "blurred": "There is a code in the picture, but it is blurred: take it again, held still and in good light.",
    "far": "There is a code in the picture, but it is too small: take it again from nearer.",
}
UNREAD_NONE = "There is no code in the picture that could be read."
Give = Callable[[Answer], None]


class Mounts(Protocol):
    """The sticks that are mounted, and a descriptor that tells when one comes or goes.

    Attributes:
        fd: to be polled, -1 = it tells nothing.
        event: for what, as in ``select.poll``.
    """

    fd: int
    event: int

    def sticks(self) -> list[Stick]:
        """Those that are there."""


class MountTable:
    """The kernel's table of mounts; implements ``Mounts``.

    Args:
        path: of the table.
        folders: below which mounts count as sticks.
    """

    event = select.POLLPRI

    def __init__(self, path: str = stick.MOUNTS, folders: Sequence[str] = stick.FOLDERS) -> None:
        self._path, self._folders = path, folders
        self.fd = -1
        with suppress(OSError):
            self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def sticks(self) -> list[Stick]:
        """Those that are there."""
        try:
            text = Path(self._path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        return [each._replace(key=f"{each.key} {_visit_of(each)}") for each in stick.sticks(text, self._folders)]


def _visit_of(place: Stick) -> int:
    """Which visit of a stick it is, where our unit has mounted it: each time it makes another pipe.

    The kernel gives the next stick the number of the mount that has just gone, and often the same name.
    """
    try:
        return Path(f"{place.folder.rstrip('/')}{AWAY}").stat().st_ino
    except OSError:
        return 0


class StickEar:
    """Every stick that is mounted.

    Args:
        settings: ``serial`` says which of several files is this box's.
        reception: takes texts in.
        give: shows an answer.
        tell: takes a line for the journal.
        mounts: the sticks that are mounted.
    """

    def __init__(
        self,
        settings: Settings,
        reception: Reception,
        give: Give,
        tell: Callable[[str], None],
        mounts: Mounts,
    ) -> None:
        self._settings, self._reception, self._give, self._tell = settings, reception, give, tell
        self._mounts = mounts
        self._seen: dict[str, Visit | None] = {}
        self._gone: set[str] = set()  # unmounted while they still wait for their answer
        self._hung: list[SideJob] = []

    def look(self, now_s: float) -> None:
        """Begins with what was mounted, and forgets what is gone."""
        there = {each.key: each for each in self._mounts.sticks()}
        self._gone |= self._seen.keys() - there.keys()
        for key in [key for key in self._gone if self._seen[key] is None]:
            self._forget(key)
        for key, each in there.items():
            if key not in self._seen:
                self._reception.forget_parts("stick")
                self._seen[key] = Visit(each, self._settings, self._reception, self._give, self._tell, now_s)

    def _forget(self, key: str) -> None:
        del self._seen[key]
        self._gone.discard(key)

    def _visits(self) -> list[Visit]:
        return [visit for visit in self._seen.values() if visit]

    @property
    def is_busy(self) -> bool:
        """Whether a stick still waits for its answer."""
        return bool(self._visits())

    def fds(self) -> list[int]:
        """What to listen to."""
        return [fd for visit in self._visits() for fd in visit.fds()]

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until one is late."""
        waits = [wait for wait in (visit.wait_s(now_s) for visit in self._visits()) if wait is not None]
        return min(waits) if waits else None

    def turn(self, now_s: float) -> None:
        """Goes on with each."""
        self._hung = [job for job in self._hung if not job.is_gone(now_s)]
        for key, visit in self._seen.items():
            if visit and visit.turn(now_s):
                self._hung += visit.jobs
                self._seen[key] = None
        if any(self._seen[key] is None for key in self._gone):
            self.look(now_s)  # the next one may have come under the same name meanwhile

    def end(self, now_s: float) -> None:
        """Ends what is under way."""
        for visit in self._visits():
            visit.end(now_s)


class Visit:
    """One stick, from being looked at to being given back.

    Attributes:
        jobs: the children it used.
    """

    def __init__(
        self,
        place: Stick,
        settings: Settings,
        reception: Reception,
        give: Give,
        tell: Callable[[str], None],
        now_s: float,
    ) -> None:
        self._stick, self._reception, self._give, self._tell = place, reception, give, tell
        serial = settings.serial or serial_number()
        self._serial = serial
        self._lines: list[str] = []
        self._last: Answer | None = None
        self._to_take: list[tuple[str, str]] = []
        self._is_taking = self._is_known = False
        self._job: SideJob | None = SideJob(lambda say: _look(place.folder, serial, say), now_s, LOOK_S)
        self._is_writing = False
        self.jobs = [self._job]
        self._tell(f"a stick was put in: {place.folder}")

    def fds(self) -> list[int]:
        """What to listen to."""
        return [self._job.fd] if self._job else []

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until it is late."""
        return self._job.wait_s(now_s) if self._job else None

    def turn(self, now_s: float) -> bool:
        """Goes on; True when it is over."""
        if self._job and self._collect(now_s):
            return True
        if self._to_take and not self._is_taking:
            self._take(*self._to_take.pop(0))
        if self._job or self._is_taking or self._to_take:
            return False
        return self._conclude(now_s)

    def _collect(self, now_s: float) -> bool:
        """Hears the child; True when the writing is over."""
        assert self._job is not None  # noqa: S101 - turn asked
        for told in self._job.collect(now_s):
            self._hear(told)
        if not self._job.is_over:
            return False
        problem, self._job = self._job.problem, None
        if self._is_writing:
            self._written(problem)
        elif problem:
            self._note("", refused(InvitationError("stick_unreadable", "The stick does not answer.")))
        return self._is_writing

    def _hear(self, told: dict[str, object]) -> None:
        """What a child says: a file's text, a problem with one or with all, or how the writing went."""
        # A stranger named the file: with line ends, with what steers a terminal, in no encoding at all.
        name = "".join(c if c.isprintable() else "?" for c in str(told.get("name") or ""))
        code = str(told.get("code") or "")
        if isinstance(told.get("text"), str):
            self._to_take.append((name, str(told["text"])))
        elif isinstance(told.get("problem"), str) and told["problem"]:
            if self._is_writing:
                self._note("", refused(InvitationError(code, str(told["problem"]))))
                return
            state = answers.WRONG_KIND if code == "stick_empty" else answers.REFUSED
            self._note(name, Answer(state, str(told["problem"]), code, HINTS.get(code, "")))

    def _take(self, name: str, text: str) -> None:
        if self._last and self._last.state == answers.DONE:
            self._lines.append(f"{name}: not needed any more.")
            return
        self._is_taking = True
        self._reception.hear(Heard(text, "stick", lambda taken: self._taken(name, taken)))

    def _taken(self, name: str, taken: Taken) -> None:
        self._is_taking = False
        self._note(name, taken.answer)
        self._lines += taken.lines

    def _note(self, name: str, answer: Answer) -> None:
        where = f"{name}: " if name and answer.state != answers.DONE else ""
        if len([line for line in self._lines if answer.sentence in line]) < MAX_SAME:
            code = f" [{answer.code}]" if answer.code else ""
            self._lines += [f"{where}{answer.sentence}{code}", *([answer.hint] if answer.hint else [])]
        self._is_known = self._is_known or answer.code != "stick_empty"
        if self._last is None or WEIGHT[answer.state] >= WEIGHT[self._last.state]:
            self._last = answer
        if self._is_writing or answer.state != answers.DONE:
            self._give(answer._replace(sentence=f"{where}{answer.sentence}"))

    def _conclude(self, now_s: float) -> bool:
        """All is taken: says it on the stick, unless it is somebody's disk that has nothing for a box."""
        if not (self._stick.is_ours or self._is_known):
            return True
        text, folder = self._text(), self._stick.folder
        self._is_writing = True
        self._job = SideJob(lambda say: _write(folder, text, say), now_s, WRITE_S)
        self.jobs.append(self._job)
        return False

    def _text(self) -> str:
        now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        serial = f", serial {self._serial}" if self._serial else ""
        end = "The stick can be taken out." if self._last and self._last.state == answers.DONE else ""
        return "\n".join([*self._lines, "", end, f"{now} by this box's own clock{serial}."])

    def _written(self, problem: str) -> None:
        if problem:
            self._tell("the stick does not answer, or was pulled out: RESULT.txt could not be written")
        if self._stick.is_ours:
            release(self._stick.folder)
        if self._last and self._last.state == answers.DONE:
            self._give(self._last)

    def end(self, now_s: float) -> None:
        """Ends what is under way."""
        if self._job:
            self._job.stop(now_s)


def release(folder: str) -> None:
    """Asks the unit that mounted it to unmount it: it listens to a pipe beside the folder."""
    with suppress(OSError):
        fd = os.open(f"{folder.rstrip('/')}{AWAY}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(fd, b"\n")
        finally:
            os.close(fd)


# -- in the children ---------------------------------------------------------------------------------------------------
def _look(folder: str, serial: str, say: Say) -> None:
    for each in stick.look(folder, serial, _texts):
        told = {"problem": each.problem, "code": each.code} if each.problem else {"text": each.text}
        say({"name": each.name, **told})


def _texts(body: bytes, name: str) -> Sequence[str]:
    """The texts in a picture. Raises FirstlightError."""
    from firstlight.sources import picture

    try:
        reading = picture.read(picture.load(body))
    except MemoryError:
        raise InvitationError("picture_too_large", "The picture is too large for this box.") from None
    if not reading.texts:
        raise InvitationError("code_not_found", UNREAD.get(reading.seen, UNREAD_NONE))
    return kinds.chosen(reading.texts)


def _write(folder: str, text: str, say: Say) -> None:
    try:
        problem = stick.leave_word(folder, text)
    except FirstlightError as error:
        problem = error.message
    say({"problem": problem, "code": "stick_unwritable"})
