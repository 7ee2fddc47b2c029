"""Messages from a broker, whichever it is: topic and body -> row, commit, then "keep it no longer" and the answer.

Lives in the hub's event loop. Messages that came together are written together.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool

from firstlight.core.model import Beat
from firstlight.errors import FirstlightError, UnreachableError
from firstlight.wire import topics
from firstlight.wire.bounded import WireError
from firstlight.wire.heartbeat import decode_beat, encode_beat_reply
from firstlight.wire.problem import Problem, encode_problem
from firstlight_hub.ingest.group_commit import GroupCommit
from firstlight_hub.model import Refusal
from firstlight_hub.service.beats import Beater, Beats

LOG = logging.getLogger(__name__)

Done = Callable[[bool], None]
Publish = Callable[[str, bytes], None]


class _Message(NamedTuple):
    workspace: str
    device_id: str
    beat: Beat
    done: Done
    is_second_try: bool = False


class Intake:
    """Takes messages and says when each is settled.

    Args:
        beats: the use case.
        commits: writes rows in groups.
        publish: sends an answer to a topic, or drops it where there is no way to the broker; called in the loop.
    """

    def __init__(self, beats: Beats, commits: GroupCommit, publish: Publish) -> None:
        self._beats = beats
        self._commits = commits
        self._publish = publish
        self._messages: list[_Message] = []
        self._gone: list[tuple[str, str, Done]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, topic: str, body: bytes, done: Done) -> None:
        """One message, with its MQTT topic or RabbitMQ's routing key.

        Args:
            topic: where it came in.
            body: as it came, not bounded yet.
            done: called once: True when the broker need not keep it (stored, or worth nothing), False when it could not
                be stored now and should be delivered again.
        """
        found = topics.read(topic)
        if found is None:
            done(True)
            return
        workspace, device_id, kind = found
        is_first = not (self._messages or self._gone)
        if kind == "gone":
            self._gone.append((workspace, device_id, done))
        else:
            try:
                self._messages.append(_Message(workspace, device_id, decode_beat(body), done))
            except WireError as error:
                LOG.info("A beat of %s cannot be read: %s", device_id, error)
                done(True)
                return
        if is_first:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        messages, self._messages = self._messages, []
        gone, self._gone = self._gone, []
        if gone:
            self._start(self._note_gone(gone))
        found: list[tuple[Beater, _Message]] = []
        unknown: list[_Message] = []
        for one in messages:
            beater = self._beats.known(one.workspace, one.device_id)
            if beater is None:
                unknown.append(one)
            else:
                found.append((beater, one))
        self._submit(found)
        if unknown:
            self._start(self._look_up(unknown))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _submit(self, found: Sequence[tuple[Beater, _Message]]) -> None:
        if not found:
            return
        rows = [self._beats.row(beater, one.beat) for beater, one in found]
        try:
            self._commits.submit(rows, partial(self._settle, found))
        except UnreachableError:
            _put_back([one for _, one in found])

    def _settle(
        self, found: Sequence[tuple[Beater, _Message]], refused: frozenset[int], failure: UnreachableError | None
    ) -> None:
        if failure is not None:
            LOG.warning("%s", failure.message)
            _put_back([one for _, one in found])
            return
        again = []
        for position, (beater, one) in enumerate(found):
            if position in refused:  # its credential is another one by now, or none; look again, once
                self._beats.forget(one.device_id)
                if one.is_second_try:
                    one.done(False)
                else:
                    again.append(one._replace(is_second_try=True))
                continue
            if one.beat.asks or one.beat.facts is not None:
                reply = self._beats.reply(beater, one.beat)
                if one.beat.asks:
                    self._answer(one, encode_beat_reply(reply))
            one.done(True)
        if again:
            self._start(self._look_up(again))

    async def _look_up(self, messages: Sequence[_Message]) -> None:
        try:
            beaters = await run_in_threadpool(self._ask_store, messages)
        except FirstlightError as error:
            LOG.warning("%s", error.message)
            _put_back(messages)
            return
        found = []
        for one, beater in zip(messages, beaters, strict=True):
            if isinstance(beater, Refusal):
                self._refuse(one, beater)
            else:
                found.append((beater, one))
        self._submit(found)

    def _ask_store(self, messages: Sequence[_Message]) -> list[Beater | Refusal]:
        answers: list[Beater | Refusal] = []
        for one in messages:
            try:
                answers.append(self._beats.for_broker(one.workspace, one.device_id))
            except Refusal as refusal:
                answers.append(refusal)
        return answers

    def _refuse(self, one: _Message, refusal: Refusal) -> None:
        if one.beat.asks:
            told = Problem(refusal.code, refusal.message, refusal.hint, refusal.key_fingerprint)
            self._answer(one, encode_problem(told))
        one.done(True)

    def _answer(self, one: _Message, body: bytes) -> None:
        self._publish(topics.answer(one.workspace, one.device_id, one.beat.sequence), body)

    async def _note_gone(self, gone: Sequence[tuple[str, str, Done]]) -> None:
        by_workspace: dict[str, list[str]] = {}
        for workspace, device_id, _ in gone:
            by_workspace.setdefault(workspace, []).append(device_id)
        try:
            for workspace, ids in by_workspace.items():
                await run_in_threadpool(self._beats.record_gone, workspace, *ids)
        except FirstlightError as error:  # a hint is not worth a second delivery
            LOG.warning("%s", error.message)
        for _, _, done in gone:
            done(True)


def _put_back(messages: Sequence[_Message]) -> None:
    for one in messages:
        one.done(False)
