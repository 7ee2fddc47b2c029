"""A made-up world for the runner: fakes that implement the seams, and answers from a list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.model import (
    Beat,
    Credential,
    Facts,
    Metrics,
    MissedBeat,
    Registration,
    Secret,
    Trust,
    parse_endpoint,
)
from firstlight.daemon.runner import Parts, Runner
from firstlight.errors import StateError, UnreachableError
from firstlight.platforms.hub import device
from firstlight.wire.facts import facts_hash
from firstlight.wire.heartbeat import BeatReply, decode_beat, encode_beat_reply
from firstlight.wire.problem import Problem, encode_problem
from tests.fakes import FakeClock

FINGERPRINT = "sha256:" + "ab" * 32
REGISTRATION = Registration(
    "hub", parse_endpoint("https://hub.example"), Trust(), "acme", "dev-1", Credential("secret", Secret("planted-key")),
    60, FINGERPRINT, "csr", 1.0,
)  # fmt: skip

Answer = HttpReply | BaseException | Callable[[float], HttpReply]
TRUE_OFFSET_S = 1_763_723_000.0


def ok(interval_s: int = 60, facts_wanted: bool = False) -> Callable[[float], HttpReply]:
    """The beat is on disk; the platform's own clock is right."""
    return lambda now_s: HttpReply(
        200, {}, encode_beat_reply(BeatReply(TRUE_OFFSET_S + now_s, interval_s, facts_wanted))
    )


def no(status: int, code: str, fingerprint: str = "") -> HttpReply:
    """A named no."""
    return HttpReply(status, {}, encode_problem(Problem(code, "No.", "", fingerprint)))


DOWN = UnreachableError("connect_refused", "Nobody is there.")


class Link:
    """A session that answers from a list; connects anew after each failure."""

    def __init__(self, answers: list[Answer]) -> None:
        self.answers = answers
        self.calls: list[HttpCall] = []
        self.deadlines: list[float] = []
        self.connections = 0
        self.is_open = False
        self.now_s: Callable[[], float] = lambda: 0.0

    def exchange(self, call: Any, deadline_s: float) -> HttpReply:
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
        return answer if isinstance(answer, HttpReply) else answer(self.now_s())

    def close(self) -> None:
        """Ends the connection."""
        self.is_open = False

    @property
    def beats(self) -> list[Beat]:
        """The beats among the calls."""
        return [decode_beat(call.body or b"") for call in self.calls if call.url.endswith("/heartbeat")]


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

    def __init__(self, answers: list[Answer], watchdog_s: float | None = None) -> None:
        self.link = Link(answers)
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
        self.on_disk: Registration | None = REGISTRATION
        self.times: list[float] = []

    def run(self, platform: Any = device) -> int:
        """The whole life of a runner in this world."""
        return Runner(
            Parts(
                registration=REGISTRATION,
                platform=platform,
                session=self.link,
                store=self,  # type: ignore[arg-type]
                spool=self.spool,
                sensor=self,
                clock=self.clock,
                notifier=self,
                stop=Unbroken(),
                facts_hash=facts_hash,
                chance=lambda: 0.5,
                log=lambda priority, text: self.logged.append(f"{priority} {text}"),
                publish=self.statuses.append,
                saw_time=self.times.append,
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

    def retire(self, reason: str) -> None:
        """Notes it, or fails as a full disk does."""
        self.retired.append(reason)
        if self.retire_fails:
            raise StateError("state_unwritable", "The disk is full.")


class StoppingClock(FakeClock):
    """Says stop at the first wait after the last answer."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self.link = link

    def wait(self, seconds: float) -> bool:
        """Lets the time pass."""
        super().wait(seconds)
        return not self.link.answers


class Unbroken:
    """A stop context in which no stop comes."""

    def __enter__(self) -> None:
        """Nothing."""

    def __exit__(self, *error: object) -> None:
        """Nothing."""
