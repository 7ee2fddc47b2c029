"""Fakes that implement the seams: real behaviour, kept in memory, without a clock or a network of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from firstlight.core.exchange import HttpCall, HttpReply, MqttCall, MqttMessage
from firstlight.core.lifecycle import Accepted, Told
from firstlight.core.model import Moment, Offer, Registration, Upgraded


class FakeClock:
    """Time that passes only when somebody waits."""

    def __init__(self, wall_s: float = 1_763_724_000.0) -> None:
        self.now_s = 1000.0
        self.wall_offset_s = wall_s - self.now_s
        self.waits: list[float] = []
        self.stop_after: int | None = None

    def moment(self) -> Moment:
        """All three clocks."""
        return Moment("0123456789abcdef" * 2, self.now_s, self.now_s + self.wall_offset_s)

    def monotonic_s(self) -> float:
        """Seconds of the fake day."""
        return self.now_s

    def wait(self, seconds: float, ear: int = -1) -> bool:
        """Lets time pass at once; True when the script says that a stop was asked for."""
        self.waits.append(seconds)
        self.now_s += seconds
        return self.stop_after is not None and len(self.waits) >= self.stop_after


class FakeStore:
    """A state directory in memory."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, object]] = {}
        self.registration: Registration | None = None
        self.log: list[str] = []

    def read_json(self, name: str) -> dict[str, object] | None:
        """A file by name."""
        return self.files.get(name)

    def write_json(self, name: str, value: dict[str, object]) -> None:
        """Keeps a file."""
        self.log.append(f"write {name}")
        self.files[name] = value

    def remove(self, name: str) -> None:
        """Forgets a file."""
        self.log.append(f"remove {name}")
        self.files.pop(name, None)

    def load_registration(self) -> Registration | None:
        """The registration kept last."""
        return self.registration

    def save_registration(self, registration: Registration) -> None:
        """Keeps the registration."""
        self.log.append("save registration")
        self.registration = registration


class FakeKey(NamedTuple):
    """A device key seen from outside."""

    csr_pem: str = "CSR"
    key_fingerprint: str = "sha256:" + "ab" * 32
    public_der: bytes = b"DER"

    def sign(self, statement: bytes) -> bytes:
        """A signature that shows what was signed."""
        return b"signed " + statement


class ScriptedCaller:
    """Answers each call from a function; as a caller and as a session."""

    def __init__(self, answer: Callable[[HttpCall], HttpReply]) -> None:
        self.answer = answer
        self.calls: list[HttpCall] = []
        self.closed = False

    def exchange(self, call: HttpCall, deadline_s: float) -> HttpReply:
        """Notes the call and answers it."""
        self.calls.append(call)
        return self.answer(call)

    def close(self) -> None:
        """Notes the end."""
        self.closed = True

    @property
    def connections(self) -> int:
        """One connection, once something was called."""
        return 1 if self.calls else 0

    def fileno(self) -> int:
        """Nothing to listen to."""
        return -1

    def send(self, calls: tuple[MqttCall, ...], deadline_s: float) -> None:
        """Nothing goes beside the calls."""

    def heard(self) -> tuple[MqttMessage, ...]:
        """Nothing unasked."""
        return ()

    def rest_s(self) -> float:
        """Nothing to tend."""
        return math.inf


class FakeChanges:
    """Changes that are due when a test says so."""

    def __init__(self) -> None:
        self.noted: list[Accepted | Told] = []
        self.asked: list[str] = []
        self.due_after: int | None = None

    def note(self, event: Accepted | Told) -> None:
        """Keeps it."""
        self.noted.append(event)

    def is_due(self, trouble: str, *, is_asked: bool = False) -> bool:
        """True from the asking on that the test names."""
        self.asked.append(trouble)
        return self.due_after is not None and len(self.asked) >= self.due_after


class FakeUpgrades:
    """A last result that is told once, and again with the first beat of each connection."""

    def __init__(self, last: Upgraded | None = None) -> None:
        self.last = last
        self.is_untold = True
        self.offers: list[Offer] = []

    def note(self, event: Accepted | Told) -> None:
        """Keeps an offer."""
        if event.upgrade is not None:
            self.offers.append(event.upgrade)

    def result(self, *, is_first: bool) -> Upgraded | None:
        """What there is to say."""
        return self.last if is_first or self.is_untold else None

    def told(self) -> None:
        """It was."""
        self.is_untold = False
