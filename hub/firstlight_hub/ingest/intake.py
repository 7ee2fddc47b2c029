"""Messages from a broker, whichever it is: topic and body -> row, commit, then "keep it no longer" and the answer.

Lives in the hub's event loop. Messages that came together are written together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool

from firstlight.core.model import Beat
from firstlight.errors import FirstlightError, UnreachableError
from firstlight.wire import bounded, topics
from firstlight.wire.bounded import WireError
from firstlight.wire.heartbeat import MAX_SEQUENCE, decode_beat, encode_beat_reply
from firstlight.wire.problem import encode_problem
from firstlight_hub.api.problems import problem_of
from firstlight_hub.ingest.complaints import Complaints
from firstlight_hub.ingest.group_commit import GroupCommit
from firstlight_hub.ingest.pace import BEATS, WINDOW_S, Pace
from firstlight_hub.model import Refusal
from firstlight_hub.service.beats import Beater, Beats

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

    Attributes:
        complaints: about what could not be taken.
        pace: how much of each device is taken.
    """

    def __init__(self, beats: Beats, commits: GroupCommit, publish: Publish) -> None:
        self._beats = beats
        self._commits = commits
        self._publish = publish
        self.complaints = Complaints()
        self.pace = Pace(self._expel)
        self._messages: list[_Message] = []
        self._gone: list[tuple[str, str, Done]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._expelling: set[str] = set()

    def take(self, topic: str, body: bytes, done: Done, is_new: bool = True) -> None:
        """One message, with its MQTT topic or RabbitMQ's routing key.

        Args:
            topic: where it came in.
            body: as it came, not bounded yet.
            done: called once: True when the broker need not keep it (stored, or worth nothing), False when it could not
                be stored now and should be delivered again.
            is_new: it has not been here before; one that could not be stored is not counted twice.
        """
        found = topics.read(topic)
        if found is None:
            self.complaints.say("topic_unknown", "A message to %.80r is for nobody here.", topic)
            self.pace.admits(_sender(topic))
            done(True)
            return
        workspace, device_id, kind = found
        if is_new and not self.pace.admits(device_id):
            words = "%s sends more than %d messages in %d s, the others are dropped."
            self.complaints.say("too_many_beats", words, device_id, BEATS, WINDOW_S)
            done(True)
            return
        is_first = not (self._messages or self._gone)
        if kind == "gone":
            self._gone.append((workspace, device_id, done))
        else:
            try:
                self._messages.append(_Message(workspace, device_id, decode_beat(body), done))
            except WireError as error:
                self._cannot_read(workspace, device_id, body, error)
                done(True)
                return
        if is_first:
            asyncio.get_running_loop().call_soon(self._flush)

    def _cannot_read(self, workspace: str, device_id: str, body: bytes, error: WireError) -> None:
        self.complaints.say(error.code, "A beat of %s cannot be read: %s.", device_id, error)
        sequence = _asked(body)
        if sequence is not None and self.pace.answers(device_id):
            self._publish(topics.answer(workspace, device_id, sequence), encode_problem(problem_of(error)))

    def _flush(self) -> None:
        messages, self._messages = self._messages, []
        gone, self._gone = self._gone, []
        if gone:
            self._start(self._note_gone(gone))
        found: list[tuple[Beater, _Message]] = []
        unknown: list[_Message] = []
        for one in messages:
            beater = self._beats.known(one.workspace, one.device_id)
            if beater is None or self._beats.is_stale(beater, one.beat):
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
            self.complaints.say(failure.code, "%s", failure.message)
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
            is_news = not beater.is_told and self._beats.is_news(beater)
            if is_news or one.beat.asks or one.beat.facts is not None:
                self._reply(beater, one, is_news)
            one.done(True)
        if again:
            self._start(self._look_up(again))

    def _reply(self, beater: Beater, one: _Message, is_news: bool) -> None:
        reply = self._beats.reply(beater, one.beat._replace(asks=one.beat.asks or is_news))
        if one.beat.asks:
            self._answer(one, encode_beat_reply(reply))
        elif is_news:
            self._publish(topics.answer(one.workspace, one.device_id), encode_beat_reply(reply))

    async def _look_up(self, messages: Sequence[_Message]) -> None:
        try:
            beaters = await run_in_threadpool(self._ask_store, messages)
        except FirstlightError as error:
            self.complaints.say(error.code, "%s", error.message)
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
        self.complaints.say(refusal.code, "A beat of %s was refused: %s", one.device_id, refusal.message)
        if one.beat.asks:
            self._answer(one, encode_problem(problem_of(refusal)))
        one.done(True)

    def _answer(self, one: _Message, body: bytes) -> None:
        if self.pace.answers(one.device_id):
            self._publish(topics.answer(one.workspace, one.device_id, one.beat.sequence), body)

    def _expel(self, device_id: str) -> None:
        if device_id not in self._expelling:
            self._expelling.add(device_id)
            self.complaints.say("expelled", "%s floods and is thrown out.", device_id)
            self._start(self._have_expelled(device_id))

    async def _have_expelled(self, device_id: str) -> None:
        try:
            await run_in_threadpool(self._beats.expel, device_id)
        except FirstlightError as error:
            self.complaints.say(error.code, "%s", error.message)
        finally:
            self._expelling.discard(device_id)

    async def _note_gone(self, gone: Sequence[tuple[str, str, Done]]) -> None:
        by_workspace: dict[str, list[str]] = {}
        for workspace, device_id, _ in gone:
            by_workspace.setdefault(workspace, []).append(device_id)
        try:
            for workspace, ids in by_workspace.items():
                await run_in_threadpool(self._beats.record_gone, workspace, *ids)
        except FirstlightError as error:  # a hint is not worth a second delivery
            self.complaints.say(error.code, "%s", error.message)
        for _, _, done in gone:
            done(True)


def _asked(body: bytes) -> int | None:
    """The sequence number of a beat that asks but does not hold otherwise; None where that much cannot be read."""
    try:
        source = bounded.decode_object(body, bounded.MAX_BEAT_BYTES)
        return bounded.integer(source, "seq", 0, MAX_SEQUENCE) if source.get("ask") is True else None
    except WireError:
        return None


def _sender(topic: str) -> str:
    """Who sent to a topic that is none of ours: brokers let a device publish only below its own id."""
    return topic.replace(".", "/").rpartition("/")[0].rpartition("/")[2][:64]


def _put_back(messages: Sequence[_Message]) -> None:
    for one in messages:
        one.done(False)
