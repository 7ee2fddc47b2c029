"""Group commit: beats that arrive within about two milliseconds share one transaction and one sync of the disk.

One writer thread. While it writes, the next group gathers by itself. An answer goes out only after the commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from firstlight.errors import FirstlightError, UnreachableError
from firstlight_hub.model import BeatRow

GATHER_S = 0.002
MAX_WAITING = 20_000
NONE: frozenset[int] = frozenset()

Write = Callable[[Sequence[BeatRow]], frozenset[int]]
Done = Callable[[frozenset[int], UnreachableError | None], None]


class GroupCommit:
    """Gathers rows and writes them in groups. Lives in one event loop.

    Args:
        write: writes a group in one transaction, returns the positions that were refused; called in the writer thread.
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._thread = ThreadPoolExecutor(1, "beat-writer")
        self._waiting: list[BeatRow] = []
        self._asking: list[tuple[int, Done]] = []  # how many of the rows, in order, belong to whom
        self._writing = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def commit(self, row: BeatRow) -> bool:
        """Returns when the row is on disk: True, or False if it was refused.

        Raises:
            UnreachableError: ``hub_busy``: the queue is full, or the write failed; nothing of the row is on disk.
        """
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.submit((row,), partial(_tell, done))
        return await done

    def submit(self, rows: Sequence[BeatRow], done: Done) -> None:
        """Hands in rows that came together; they are written together.

        Args:
            rows: any number.
            done: called in the loop when they are on disk, with the positions that were refused and None; or, where the
                write failed and nothing is on disk, with the error.

        Raises:
            UnreachableError: ``hub_busy``: the queue is full.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise UnreachableError("hub_busy", "The hub has more beats waiting than it can write.", retry_after_s=30)
        self._waiting.extend(rows)
        self._asking.append((len(rows), done))
        if not self._writing and len(self._asking) == 1:
            self._idle.clear()
            asyncio.get_running_loop().call_later(GATHER_S, self._flush)

    def _flush(self) -> None:
        if self._writing or not self._asking:
            return
        rows, self._waiting = self._waiting, []
        asking, self._asking = self._asking, []
        self._writing = True
        written = asyncio.get_running_loop().run_in_executor(self._thread, self._write, rows)
        written.add_done_callback(partial(self._answer, asking))

    def _answer(self, asking: list[tuple[int, Done]], written: asyncio.Future[frozenset[int]]) -> None:
        self._writing = False
        if self._asking:
            self._flush()  # the writer works on while this group is answered
        failure = _busy(written.exception())
        refused = NONE if failure else written.result()
        begin = 0
        for count, done in asking:
            mine = frozenset(at - begin for at in refused if begin <= at < begin + count) if refused else NONE
            done(mine, failure)
            begin += count
        if not self._asking and not self._writing:
            self._idle.set()

    async def close(self) -> None:
        """Returns when everything that was handed in is on disk, and ends the thread."""
        await self._idle.wait()
        self._thread.shutdown()


def _busy(error: BaseException | None) -> UnreachableError | None:
    if error is None:
        return None
    why = error.message if isinstance(error, FirstlightError) else f"{type(error).__name__}."
    return UnreachableError("hub_busy", f"The beat could not be stored. {why}")


def _tell(done: asyncio.Future[bool], refused: frozenset[int], failure: UnreachableError | None) -> None:
    if done.done():  # whoever waited is gone
        return
    if failure:
        done.set_exception(failure)
    else:
        done.set_result(not refused)
