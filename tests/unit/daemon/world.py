"""A made-up world for the runner: fakes that implement the seams, and answers from a list."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from firstlight.core.desired import merged
from firstlight.core.exchange import HttpCall, HttpReply, MqttCall, MqttMessage, MqttReply
from firstlight.core.lifecycle import Desired
from firstlight.core.model import (
    Beat,
    Credential,
    Facts,
    Metrics,
    MissedBeat,
    Registration,
    Secret,
    Trust,
    parse_broker,
    parse_endpoint,
)
from firstlight.daemon.parts import Parts
from firstlight.daemon.runner import Runner
from firstlight.errors import StateError, UnreachableError
from firstlight.platforms.hub import device
from firstlight.wire.facts import facts_hash
from firstlight.wire.heartbeat import BeatReply, decode_beat, encode_beat_reply
from firstlight.wire.problem import Problem, encode_problem
from tests.fakes import FakeChanges, FakeClock, FakeUpgrades

FINGERPRINT = "sha256:" + "ab" * 32
REGISTRATION = Registration(
    "hub", parse_endpoint("https://hub.example"), Trust(), "acme", "dev-1", Credential("secret", Secret("planted-key")),
    60, FINGERPRINT, "csr", 1.0,
)  # fmt: skip

OVER_MQTT = REGISTRATION._replace(transport="mqtt", broker=parse_broker("mqtts://hub.example"))

Reply = HttpReply | MqttReply
Answer = Reply | BaseException | Callable[[float], Reply]
TRUE_OFFSET_S = 1_763_723_000.0


def ok(interval_s: int = 60, facts_wanted: bool = False) -> Callable[[float], HttpReply]:
    """The beat is on disk; the platform's own clock is right."""
    return lambda now_s: HttpReply(
        200, {}, encode_beat_reply(BeatReply(TRUE_OFFSET_S + now_s, interval_s, facts_wanted))
    )


def no(status: int, code: str, fingerprint: str = "") -> HttpReply:
    """A named no."""
    return HttpReply(status, {}, encode_problem(Problem(code, "No.", "", fingerprint)))


def taken(reason_code: int = 0) -> MqttReply:
    """The broker has the beat, and the hub says nothing."""
    return MqttReply(reason_code)


def answered(interval_s: int = 60, **more: Any) -> Callable[[float], MqttReply]:
    """The broker has the beat, and the hub answers."""
    return lambda now_s: MqttReply(0, encode_beat_reply(BeatReply(TRUE_OFFSET_S + now_s, interval_s, **more)))


DOWN = UnreachableError("connect_refused", "Nobody is there.")


TOPIC = "firstlight/acme/dev-1/answer/now"


class Link:
    """A session that answers from a list; connects anew after each failure.

    Over MQTT it has something to listen to while it is open: ``words`` are pairs of the seconds into a wait at which
    the fake clock lets them come, and what comes: messages, or the error by which the connection ends.
    """

    def __init__(self, answers: list[Answer], number: int = -1) -> None:
        self.answers = answers
        self.calls: list[HttpCall | MqttCall] = []
        self.deadlines: list[float] = []
        self.connections = 0
        self.is_open = False
        self.closes = 0
        self.number = number
        self.rests_s = math.inf
        self.words: list[tuple[float, tuple[bytes, ...] | UnreachableError]] = []
        self.here: list[tuple[bytes, ...] | UnreachableError] = []
        self.sent: list[MqttCall] = []
        self.send_fails: UnreachableError | None = None
        self.now_s: Callable[[], float] = lambda: 0.0

    def exchange(self, call: Any, deadline_s: float) -> Any:
        """The next answer."""
        self.calls.append(call)
        self.deadlines.append(deadline_s)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            self.is_open = False
            raise answer
        if not self.is_open:
            self.connections += 1
            self.is_open = True
        return answer if isinstance(answer, (HttpReply, MqttReply)) else answer(self.now_s())

    def close(self) -> None:
        """Ends the connection."""
        self.is_open = False
        self.closes += 1

    def fileno(self) -> int:
        """Its number while it is open."""
        return self.number if self.is_open else -1

    def send(self, calls: tuple[MqttCall, ...], deadline_s: float) -> None:
        """Notes them, or fails as the test says."""
        if self.send_fails:
            self.is_open = False
            raise self.send_fails
        self.sent += calls

    def heard(self) -> tuple[MqttMessage, ...]:
        """What has come."""
        here, self.here = self.here, []
        messages: tuple[bytes, ...] = ()
        for one in here:
            if isinstance(one, UnreachableError):
                self.is_open = False
                raise one
            messages += one
        return tuple(MqttMessage(TOPIC, payload) for payload in messages)

    def rest_s(self) -> float:
        """As the test says."""
        return self.rests_s if self.is_open else math.inf

    @property
    def beats(self) -> list[Beat]:
        """The beats among the calls."""
        return [
            decode_beat(call.payload if isinstance(call, MqttCall) else call.body or b"")
            for call in self.calls
            if isinstance(call, MqttCall) or call.url.endswith("/heartbeat")
        ]


class ListSpool:
    """Kept beats in memory."""

    def __init__(self) -> None:
        self.kept: list[MissedBeat] = []
        self.refused: list[MissedBeat] = []
        self.dropped = 0

    def add(self, missed: MissedBeat) -> None:
        """Keeps one."""
        self.kept.append(missed)

    def peek(self, count: int) -> tuple[MissedBeat, ...]:
        """The oldest."""
        return tuple(self.kept[:count])

    def drop(self, count: int) -> None:
        """Removes the oldest."""
        del self.kept[:count]

    def set_aside(self, count: int) -> None:
        """Moves the oldest."""
        self.refused += self.kept[:count]
        del self.kept[:count]

    def __len__(self) -> int:
        return len(self.kept)


class World:
    """Everything else, noting what happens; the clock asks for a stop once the answers are used up."""

    watchdog_s: float | None = None

    def __init__(
        self, answers: list[Answer], watchdog_s: float | None = None, registration: Registration = REGISTRATION
    ) -> None:
        self.registration = registration
        self.link = Link(answers, 7 if registration.transport == "mqtt" else -1)
        self.appeals = Link([])
        self.changes = FakeChanges()
        self.upgrades = FakeUpgrades()
        self.gives_way = False
        self.stop = Unbroken()
        self.clock = StoppingClock(self.link)
        self.link.now_s = self.clock.monotonic_s
        self.spool = ListSpool()
        self.watchdog_s = watchdog_s
        self.told: list[str] = []
        self.logged: list[str] = []
        self.statuses: list[dict[str, object]] = []
        self.now_facts = Facts(hostname="box")
        self.retired: list[str] = []
        self.retire_fails = False
        self.on_disk: Registration | None = registration
        self.times: list[float] = []
        self.knows_time = False
        self.desired: dict[str, object] = {}
        self.desired_fails = False
        self.hooked: list[tuple[str, dict[str, object]]] = []

    def run(self, platform: Any = device) -> int:
        """The whole life of a runner in this world."""
        return Runner(
            Parts(
                registration=self.registration,
                platform=platform,
                session=self.link,
                open_appeal=lambda: self.appeals,
                store=self,  # type: ignore[arg-type]
                spool=self.spool,
                sensor=self,
                clock=self.clock,
                notifier=self,
                changes=self.changes,
                upgrades=self.upgrades,
                hooks=self,
                gives_way=self.gives_way,
                stop=self.stop,
                facts_hash=facts_hash,
                chance=lambda: 0.5,
                log=lambda priority, text: self.logged.append(f"{priority} {text}"),
                publish=self.statuses.append,
                saw_time=self.times.append,
                knows_time=lambda: self.knows_time,
                agent_version="0.1.0",
            )
        ).run()

    def metrics(self) -> Metrics:
        """How the made-up machine is."""
        return Metrics(load1=0.5)

    def facts(self) -> Facts:
        """What the made-up machine is."""
        return self.now_facts

    def ready(self, status: str) -> None:
        """Notes it."""
        self.told.append("ready")

    def status(self, status: str) -> None:
        """Notes it."""
        self.told.append(status)

    def alive(self) -> None:
        """Notes it."""
        self.told.append("alive")

    def stopping(self) -> None:
        """Notes it."""
        self.told.append("stopping")

    def load_registration(self) -> Registration | None:
        """What is on disk by now: by default what the agent was started with."""
        return self.on_disk

    def leave(self, kind: str, about: dict[str, object]) -> None:
        """Notes it."""
        self.hooked.append((kind, about))

    def merge_desired(self, desired: Desired) -> dict[str, object] | None:
        """In memory, or fails as a full disk does."""
        if self.desired_fails:
            raise StateError("state_unwritable", "The disk is full.")
        before, self.desired = self.desired, merged(self.desired, desired)
        return None if before == self.desired else self.desired

    def retire(self, reason: str) -> None:
        """Notes it, or fails as a full disk does."""
        self.retired.append(reason)
        if self.retire_fails:
            raise StateError("state_unwritable", "The disk is full.")


class StoppingClock(FakeClock):
    """Says stop at the first wait after the last answer; lets words come where somebody listens."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self.link = link
        self.hangs_up_after: int | None = None  # a SIGHUP ends the wait of that number

    def wait(self, seconds: float, ear: int = -1) -> bool:
        """Lets the time pass."""
        if ear >= 0 and self.link.words and self.link.words[0][0] < seconds:
            early_s, what = self.link.words.pop(0)
            self.link.here.append(what)
            super().wait(early_s)
            return False
        super().wait(seconds)
        return not self.link.answers or len(self.waits) == self.hangs_up_after


class Unbroken:
    """A stop context in which no stop comes."""

    is_hangup = False
    hangups = 99  # so many signals are no stop, where ``is_hangup``

    def takes_hangup(self) -> bool:
        """Whether it was no stop."""
        self.hangups -= 1
        return self.is_hangup and self.hangups >= 0

    def __enter__(self) -> None:
        """Nothing."""

    def __exit__(self, *error: object) -> None:
        """Nothing."""
