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

Write = Callable[[Sequence[BeatRow]], frozenset[int]]
Group = list[tuple[BeatRow, "asyncio.Future[bool]"]]


class GroupCommit:
    """Gathers rows and writes them in groups. Lives in one event loop.

    Args:
        write: writes a group in one transaction, returns the positions that were refused; called in the writer thread.
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._thread = ThreadPoolExecutor(1, "beat-writer")
        self._waiting: Group = []
        self._writing = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def commit(self, row: BeatRow) -> bool:
        """Returns when the row is on disk: True, or False if it was refused.

        Raises:
            UnreachableError: ``hub_busy``: the queue is full, or the write failed; nothing of the row is on disk.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise UnreachableError("hub_busy", "The hub has more beats waiting than it can write.", retry_after_s=30)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()
        self._waiting.append((row, done))
        if not self._writing and len(self._waiting) == 1:
            self._idle.clear()
            loop.call_later(GATHER_S, self._flush)
        return await done

    def _flush(self) -> None:
        if self._writing or not self._waiting:
            return
        group, self._waiting = self._waiting, []
        self._writing = True
        rows = [row for row, _ in group]
        written = asyncio.get_running_loop().run_in_executor(self._thread, self._write, rows)
        written.add_done_callback(partial(self._answer, group))

    def _answer(self, group: Group, written: asyncio.Future[frozenset[int]]) -> None:
        self._writing = False
        failure = written.exception()
        refused = frozenset() if failure else written.result()
        for position, (_, done) in enumerate(group):
            if done.done():  # whoever waited is gone
                continue
            if failure:
                why = failure.message if isinstance(failure, FirstlightError) else f"{type(failure).__name__}."
                done.set_exception(UnreachableError("hub_busy", f"The beat could not be stored. {why}"))
            else:
                done.set_result(position not in refused)
        if self._waiting:
            self._flush()
        else:
            self._idle.set()

    async def close(self) -> None:
        """Returns when everything that was handed in is on disk, and ends the thread."""
        await self._idle.wait()
        self._thread.shutdown()
