"""What a receipt needs of this box: a number that never comes twice, the beats that wait, and the time last told.

Everything else is left alone: the agent may run meanwhile, so its spool is read and never touched.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from firstlight.core.model import MissedBeat, Moment
from firstlight.errors import StateError
from firstlight.system import files
from firstlight.system.clock import SKEW_S, SystemClock
from firstlight.system.spool import MARK, MAX_RECORDS, NAME
from firstlight.system.store import SEEN, StateDirectory

COUNTER, LOCK = "receipts.json", "receipts.lock"
FORMAT = 1
MAX_COUNTER = 2**52
MAX_SPOOL_BYTES = 1 << 20
SYNCED = "/run/systemd/timesync/synchronized"  # systemd-timesyncd puts it there once it set the clock
Decode = Callable[[dict[str, object]], MissedBeat]


def next_number(store: StateDirectory) -> int:
    """The number of the next receipt: on the disk before it is given, so that no crash gives it again.

    A counter that was damaged goes on from the seconds since 1970, far above what counting reaches.

    Raises:
        StateError: ``state_unwritable``, ``state_unreadable``, ``state_newer``.
    """
    with _alone(store):
        number = _last(store) + 1
        store.write_json(COUNTER, {"format": FORMAT, "last": number})
    return number


def _last(store: StateDirectory) -> int:
    try:
        found = store.read_json(COUNTER)
    except StateError as error:
        if error.code != "state_corrupt":
            raise
        found = {}
    if found is None:
        return 0
    store.refuse_newer(COUNTER, found, FORMAT)
    last = found.get("last")
    if isinstance(last, int) and not isinstance(last, bool) and 0 <= last < MAX_COUNTER:
        return last
    return int(max(time.time(), store.seen_s()))


@contextmanager
def _alone(store: StateDirectory) -> Iterator[None]:
    """Waits until no other process counts: two receipts at once have two numbers. Raises StateError."""
    path = os.path.join(store.path, LOCK)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise files.unwritable(path, error) from None
    try:
        try:
            files.give_to_owner(fd, store.path)
            fcntl.flock(fd, fcntl.LOCK_EX)
        except OSError as error:
            raise files.unwritable(path, error) from None
        yield
    finally:
        os.close(fd)


def waiting_beats(directory: str, decode: Decode) -> tuple[MissedBeat, ...]:
    """The beats in the spool, oldest first; without those that cannot be read. Never raises, never writes.

    Args:
        directory: the state directory.
        decode: as ``DiskSpool`` has it; raises ValueError for what is no beat.
    """
    try:
        found = files.read(directory, NAME, MAX_SPOOL_BYTES)
    except StateError:
        return ()
    whole = (found[0] if found else b"").rpartition(b"\n")[0]  # a torn last line is not one yet
    beats: list[MissedBeat] = []
    done = 0
    for line in whole.splitlines():
        if line.startswith(MARK):
            number = line[len(MARK) : -1]
            done = min(len(beats), done + (int(number) if number.isdigit() and len(number) < 8 else 0))
        elif (beat := _decoded(line, decode)) is not None:
            beats.append(beat)
            done = max(done, len(beats) - MAX_RECORDS)
    return tuple(beats[done:])


def _decoded(line: bytes, decode: Decode) -> MissedBeat | None:
    try:
        found = json.loads(line)
        return decode(found) if isinstance(found, dict) else None
    except (ValueError, RecursionError):
        return None


def last_told(store: StateDirectory, now: Moment) -> tuple[int, int | None]:
    """What a platform said last of the time, seconds since 1970 (0 = nothing), and how long ago; None = who knows."""
    try:
        found = store.read_json(SEEN) or {}
    except StateError:
        return 0, None
    mono_s = found.get("monoS")
    is_of_this_boot = found.get("bootId") == now.boot_id and isinstance(mono_s, (int, float))
    ago_s = now.monotonic_s - float(mono_s) if is_of_this_boot and isinstance(mono_s, (int, float)) else -1.0
    return int(store.seen_s()), int(ago_s) if ago_s >= 0 else None


def trusts_clock(clock: SystemClock, now: Moment, at_s: int, ago_s: int | None, synced: str = SYNCED) -> bool:
    """Whether the wall clock is believed: it was set from the network, or agrees with what a platform said."""
    if os.path.exists(synced):
        return True
    if at_s and ago_s is not None:
        return abs(now.wall_s - (at_s + ago_s)) <= SKEW_S
    return clock.is_trustworthy()
