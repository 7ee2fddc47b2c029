"""What our units have written to the system's journal: through systemd-python where it is there, else ``journalctl``.

systemd-python is a library with a compiled part that few boxes have; ``journalctl`` is where journald is. Both give the
same entries, oldest first. Neither polls: following waits on the journal's own descriptor, or on the program's pipe.
"""

from __future__ import annotations

import glob
import json
import os
import select
import shutil
import subprocess
import time

from firstlight.errors import StateError
from firstlight.system.journal import escaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType, TracebackType
    from typing import Any, NamedTuple, Protocol

    class Log(Protocol):
        """A journal that is open; a context manager."""

        def last(self, count: int, since_s: float | None = None, priority: int = 7) -> list[Entry]:
            """The newest ``count`` entries, oldest first, from ``since_s`` on, as urgent as ``priority`` or more."""
            ...

        def follow(self, priority: int = 7) -> Iterator[Entry]:
            """What comes after ``last``, as it comes; never ends."""
            ...

        def __enter__(self) -> Log: ...

        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None: ...
else:
    from firstlight.core.record import NamedTuple

UNITS = tuple(
    f"{name}.service"
    for name in ("firstlight", "firstlight-provision", "firstlight-firstboot", "firstlight-upgrade", "firstlight-hooks")
)
FOLDERS = ("/var/log/journal", "/run/log/journal")
NAMES = {0: "emergency", 1: "alert", 2: "critical", 3: "error", 4: "warning", 5: "notice", 6: "info", 7: "debug"}
MAX_LINE_BYTES = 65_536
MAY_TAKE_S = 20.0
GROUP_HINT = "Run it with sudo, or: sudo usermod -aG systemd-journal USER (counts from the next login)."


class Entry(NamedTuple):
    """One line of the journal.

    Args:
        at_s: seconds since 1970, by this box's clock.
        priority: 0 to 7, as syslog has them; 3 is an error.
        unit: which wrote it, or (from systemd) which it is about.
        message: with everything that is not printable as an escape.
    """

    at_s: float
    priority: int
    unit: str
    message: str

    def as_line(self) -> str:
        """For people."""
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.at_s))
        unit = self.unit.removesuffix(".service")
        return f"{when} {NAMES.get(self.priority, str(self.priority)):<8} {unit}: {self.message}"

    def as_object(self) -> dict[str, object]:
        """For programs."""
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.at_s))
        return {"at": when, "priority": self.priority, "unit": self.unit, "message": self.message}


def open_journal(folder: str = "", program: str | None = None, library: Callable[[], ModuleType] | None = None) -> Log:
    """The journal of this box.

    Args:
        folder: with journal files, instead of the system's.
        program: path of ``journalctl``, "" = there is none; found by itself by default.
        library: imports ``systemd.journal`` or raises ImportError.

    Raises:
        StateError: ``journal_missing``, ``journal_unreadable``.
    """
    _check_readable([folder] if folder else list(FOLDERS))
    try:
        module = (library or _library)()
    except ImportError:
        found = shutil.which("journalctl") if program is None else program
        if not found:
            raise StateError(
                "journal_missing", "Neither the program journalctl nor the library systemd-python is on this box."
            ) from None
        return Program(found, folder)
    return Library(module, folder)


def _library() -> ModuleType:
    from systemd import journal

    found: ModuleType = journal
    return found


def _check_readable(folders: list[str]) -> None:
    there = [folder for folder in folders if os.path.isdir(folder)]
    if not there:
        raise StateError("journal_missing", "This box keeps no journal: systemd-journald has written none.")
    names = [name for folder in there for name in glob.glob(f"{glob.escape(folder)}/**/*.journal", recursive=True)]
    # Somebody outside the group sees the journal of his own programs at most.
    system = [name for name in names if not os.path.basename(name).startswith("user-")]
    if any(os.access(name, os.R_OK) for name in system):
        return
    if not names and all(os.access(folder, os.R_OK | os.X_OK) and not os.listdir(folder) for folder in there):
        raise StateError("journal_missing", "This box keeps no journal: systemd-journald has written none.")
    raise StateError("journal_unreadable", "You may not read this box's journal.", GROUP_HINT)


class Library:
    """The journal through systemd-python.

    Args:
        module: ``systemd.journal``.
        folder: with journal files, "" = the system's.
    """

    def __init__(self, module: ModuleType, folder: str = "") -> None:
        self._module = module
        try:
            self._reader: Any = module.Reader(path=folder) if folder else module.Reader()
        except OSError as error:
            raise StateError("journal_unreadable", f"The journal cannot be opened: {error.strerror}.") from None
        self._first = self._reader.fileno()  # from now on the journal is watched: nothing is missed in between

    def __enter__(self) -> Library:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()

    def last(self, count: int, since_s: float | None = None, priority: int = 7) -> list[Entry]:
        """As ``Log.last``."""
        self._match(priority)
        self._reader.seek_tail()
        found: list[Entry] = []
        newest = ""
        while len(found) < max(count, 1) and (fields := self._reader.get_previous()):
            entry = _from_library(fields)
            newest = newest or str(fields.get("__CURSOR") or "")
            if since_s is not None and entry.at_s < since_s:
                break
            found.append(entry)
        if newest:  # back to the newest, so that what follows is new
            self._reader.seek_cursor(newest)
            self._reader.get_next()
        return found[:count][::-1]

    def follow(self, priority: int = 7) -> Iterator[Entry]:
        """As ``Log.follow``."""
        waiting = select.poll()
        waiting.register(self._reader.fileno(), self._reader.get_events())
        while True:
            while fields := self._reader.get_next():
                yield _from_library(fields)
            waiting.poll(self._reader.get_timeout_ms())
            self._reader.process()

    def _match(self, priority: int) -> None:
        """What a unit wrote, or systemd about it; each as urgent as asked."""
        self._reader.flush_matches()
        levels = [f"PRIORITY={level}" for level in range(priority + 1)] if priority < 7 else []
        for unit in UNITS:
            for words in ((f"_SYSTEMD_UNIT={unit}",), (f"UNIT={unit}", "_PID=1")):
                for word in (*words, *levels):
                    self._reader.add_match(word)
                self._reader.add_disjunction()


def _from_library(fields: dict[str, Any]) -> Entry:
    at = fields.get("__REALTIME_TIMESTAMP")
    at_s = float(at.timestamp()) if at is not None else 0.0
    return _entry(
        at_s, fields.get("PRIORITY"), fields.get("UNIT") or fields.get("_SYSTEMD_UNIT"), fields.get("MESSAGE")
    )


def _entry(at_s: float, priority: object, unit: object, message: object) -> Entry:
    number = int(str(priority)) if str(priority).isdigit() else 6
    if isinstance(message, list):  # journalctl gives bytes that are no text as a list of numbers
        message = bytes(number for number in message if isinstance(number, int) and 0 <= number < 256)
    if isinstance(message, bytes):
        message = message.decode("utf-8", "replace")
    return Entry(at_s, number, escaped(str(unit or "")), escaped(str(message or "")))


class Program:
    """The journal through ``journalctl``.

    Args:
        program: its path.
        folder: with journal files, "" = the system's.
    """

    def __init__(self, program: str, folder: str = "") -> None:
        self._line = [program, "--output=json", "--no-pager", "--quiet"]
        self._line += [f"--directory={folder}"] if folder else []
        self._line += [f"--unit={unit}" for unit in UNITS]
        self._cursor = ""
        self._running: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running is not None:
            self._running.terminate()
            self._running.wait()
            if self._running.stdout:
                self._running.stdout.close()

    def last(self, count: int, since_s: float | None = None, priority: int = 7) -> list[Entry]:
        """As ``Log.last``."""
        line = [*self._line, f"--lines={count}", f"--priority={priority}"]
        line += [f"--since=@{since_s:.6f}"] if since_s is not None else []
        try:
            done = subprocess.run(  # noqa: S603 - our own words
                line, stdin=subprocess.DEVNULL, capture_output=True, timeout=MAY_TAKE_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise self._failed(type(error).__name__) from None
        if done.returncode:
            raise self._failed((done.stderr.decode("utf-8", "replace").splitlines() or ["it gave no reason"])[-1][:200])
        return [entry for line in done.stdout.splitlines() if (entry := self._read(line))]

    def follow(self, priority: int = 7) -> Iterator[Entry]:
        """As ``Log.follow``."""
        start = [f"--after-cursor={self._cursor}"] if self._cursor else ["--lines=0"]
        line = [*self._line, "--follow", "--no-tail" if self._cursor else "--lines=0", *start, f"--priority={priority}"]
        try:
            self._running = subprocess.Popen(  # noqa: S603 - our own words
                line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise self._failed(type(error).__name__) from None
        output = self._running.stdout
        while output and (text := output.readline(MAX_LINE_BYTES)):
            if entry := self._read(text):
                yield entry

    def _read(self, line: bytes) -> Entry | None:
        try:
            fields = json.loads(line)
            at_s = int(fields["__REALTIME_TIMESTAMP"]) / 1e6
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        self._cursor = str(fields.get("__CURSOR") or self._cursor)
        unit = fields.get("UNIT") or fields.get("_SYSTEMD_UNIT")
        return _entry(at_s, fields.get("PRIORITY"), unit, fields.get("MESSAGE"))

    def _failed(self, why: str) -> StateError:
        return StateError("journal_unreadable", f"journalctl failed: {escaped(why)}.")
