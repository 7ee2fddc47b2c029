"""Beats kept while the platform is out of reach: a bounded journal of JSON lines.

A line is a kept beat, or ``{"dropped": n}``: the oldest n before it are done with. So handing beats over costs one
short append, and a kill at any byte leaves at worst a torn last line, which the next start cuts off. Lines are not
fsynced one by one (an SD card would wear): a power cut may cost the last few. What was handed over twice the platform
recognises by its sequence number.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress

from firstlight.errors import StateError
from firstlight.system import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from firstlight.core.model import MissedBeat

    Encode = Callable[[MissedBeat], dict[str, object]]
    Decode = Callable[[dict[str, object]], MissedBeat]

NAME = "spool.jsonl"
REFUSED = "spool.refused.jsonl"
BESIDE = "spool.1.jsonl"  # used while a later version's journal is there, which is left as it is
MAX_RECORDS = 1_440  # a day at one beat a minute
MAX_BYTES = 524_288
MAX_LINE_BYTES = 2_048
MARK = b'{"dropped": '
HEAD, FORMAT = b'{"format": ', 1  # a later format says so in its first line; this one says nothing


class DiskSpool:
    """Implements ``core.interfaces.Spool``.

    Args:
        directory: the state directory.
        encode, decode: a kept beat to its JSON object and back; ``decode`` raises ValueError for what is none.
        max_records, max_bytes: bounds; beyond them the oldest go.

    Attributes:
        dropped: beats lost since the start of this process: to the bounds, to a full disk or to damage.
    """

    def __init__(
        self,
        directory: str,
        encode: Encode,
        decode: Decode,
        *,
        max_records: int = MAX_RECORDS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._directory = directory
        self._name = BESIDE if _is_newer(directory) else NAME
        self._path = os.path.join(directory, self._name)
        self._encode = encode
        self._decode = decode
        self._max_records = max_records
        self._max_bytes = max_bytes
        self.dropped = 0
        self._count = 0  # kept beats in the file, from _head on
        self._head = 0  # where the oldest kept beat begins
        self._size = 0  # length of the file
        with suppress(OSError):
            self._load()

    def __len__(self) -> int:
        return self._count

    def add(self, missed: MissedBeat) -> None:
        """Keeps one; the oldest go when there are too many. Never raises: what a full disk refuses is counted."""
        line = _line(self._encode(missed))
        try:
            if self._size + len(line) > self._max_bytes:
                self._shrink()
            self._append(line)
            self._count += 1
            # What the bound pushes out needs no mark in the file: the next start applies the same bound.
            if self._count > self._max_records:
                self._forget(self._count - self._max_records)
        except (OSError, StateError):
            self.dropped += 1

    def peek(self, count: int) -> tuple[MissedBeat, ...]:
        """The oldest ``count``, left in place; fewer when the disk fails."""
        found: list[MissedBeat] = []
        try:
            for _, missed in self._records(self._head):
                if len(found) >= min(count, self._count):
                    break
                found.append(missed)
        except OSError:
            return ()
        return tuple(found)

    def drop(self, count: int) -> None:
        """Removes the oldest ``count``. Never raises: what cannot be marked is handed over again after a restart."""
        count = min(count, self._count)
        if count <= 0:
            return
        with suppress(OSError):
            self._advance(count)
            if self._count == 0:
                self._empty()
            else:
                self._append(MARK + b"%d}\n" % count)

    def set_aside(self, count: int) -> None:
        """Moves the oldest ``count``, which the platform cannot read, to a file of their own. Never raises."""
        body = b"".join(_line(self._encode(missed)) for missed in self.peek(count))
        with suppress(StateError):
            files.write(self._directory, REFUSED, body)
        self.drop(count)

    # -- the file ----------------------------------------------------------------------------------------------------
    def _open(self, flags: int) -> int:
        return os.open(self._path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)

    def _append(self, line: bytes) -> None:
        fd = self._open(os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            files.give_to_owner(fd, self._directory)
            before = os.fstat(fd).st_size
            try:
                files.write_all(fd, line)
            except OSError:
                os.ftruncate(fd, before)  # half a line would swallow the next one
                raise
        finally:
            os.close(fd)
        self._size = before + len(line)

    def _empty(self) -> None:
        fd = self._open(os.O_WRONLY)
        try:
            os.ftruncate(fd, 0)
        finally:
            os.close(fd)
        self._size = self._head = 0

    def _forget(self, count: int) -> None:
        self._advance(count)
        self.dropped += count

    def _advance(self, count: int) -> None:
        """Moves the head over ``count`` kept beats."""
        head, left = self._head, count
        for end, _ in self._records(self._head):
            head, left = end, left - 1
            if left == 0:
                break
        self._head = head
        self._count -= count

    def _shrink(self) -> None:
        """Rewrites the file with what is kept, dropping the oldest until a quarter of the room is free again."""
        kept: list[bytes] = []
        room = self._max_bytes * 3 // 4
        for _, missed in self._records(self._head):
            kept.append(_line(self._encode(missed)))
        total = sum(map(len, kept))
        lost = 0
        while total > room:
            total -= len(kept[lost])
            lost += 1
        files.write(self._directory, self._name, b"".join(kept[lost:]))
        self.dropped += lost
        self._head, self._count, self._size = 0, len(kept) - lost, total

    def _records(self, start: int) -> Iterator[tuple[int, MissedBeat]]:
        """Kept beats from an offset on, each with the offset behind it; marks and damage are passed over."""
        for end, line in self._lines(start):
            if not line.startswith(MARK):
                missed = self._decoded(line)
                if missed is not None:
                    yield end, missed

    def _decoded(self, line: bytes) -> MissedBeat | None:
        try:
            found = json.loads(line)
            return self._decode(found) if isinstance(found, dict) else None
        except (ValueError, RecursionError):
            return None

    def _lines(self, start: int) -> Iterator[tuple[int, bytes]]:
        """Whole lines from an offset on, each with the offset behind it; those longer than a beat are passed over."""
        try:
            fd = self._open(os.O_RDONLY)
        except FileNotFoundError:
            return
        with open(fd, "rb", buffering=8192) as file:
            file.seek(start)
            end = start
            too_long = False
            while part := file.readline(MAX_LINE_BYTES):
                end += len(part)
                if part.endswith(b"\n"):
                    if not too_long:
                        yield end, part
                    too_long = False
                else:
                    too_long = True

    def _load(self) -> None:
        """Finds where the file of an earlier process stood. Raises OSError."""
        size = self._cut_torn_end()
        if size > 2 * self._max_bytes:
            # Nothing of ours grows like this; keep it for whoever wants to know, and start anew.
            os.replace(self._path, self._path + ".damaged")
            return
        self._size = size
        ends: list[int] = []
        done = 0
        for end, line in self._lines(0):
            if line.startswith(MARK):
                number = line[len(MARK) : -2]
                done = min(len(ends), done + (int(number) if number.isdigit() and len(number) < 8 else 0))
            elif self._decoded(line) is not None:
                ends.append(end)
                done = max(done, len(ends) - self._max_records)
            else:
                self.dropped += 1
        self._count = len(ends) - done
        self._head = ends[done - 1] if done else 0

    def _cut_torn_end(self) -> int:
        """Cuts what follows the last line end; returns the length of the file. Raises OSError."""
        try:
            fd = self._open(os.O_RDWR)
        except FileNotFoundError:
            return 0
        except OSError:
            fd = self._open(os.O_RDONLY)  # a disk that can only be read can still hand over what it has
        try:
            size = os.fstat(fd).st_size
            tail = os.pread(fd, MAX_LINE_BYTES, max(0, size - MAX_LINE_BYTES))
            whole = size - (len(tail) - (tail.rfind(b"\n") + 1))
            if whole < size:
                with suppress(OSError):
                    os.ftruncate(fd, whole)
            return whole
        finally:
            os.close(fd)


def _is_newer(directory: str) -> bool:
    try:
        fd = os.open(os.path.join(directory, NAME), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            head = os.read(fd, 32)
        finally:
            os.close(fd)
    except OSError:
        return False
    number = head[len(HEAD) :].partition(b"}")[0] if head.startswith(HEAD) else b""
    return number.isdigit() and int(number) > FORMAT


def _line(value: dict[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"
