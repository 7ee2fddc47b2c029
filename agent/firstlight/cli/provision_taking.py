"""From a scanned text to an answer, for the headless service: one text after the other, each taken in by a child.

Parts of a code are collected here, for each source apart. What is whole goes to a child process: taking it in loads
libraries that the service does not need for the rest of its life, and a text of a stranger breaks at most the child.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from firstlight.cli.settings import Settings
from firstlight.core import answers
from firstlight.core.answers import Answer
from firstlight.errors import FirstlightError, InvitationError
from firstlight.sources import kinds
from firstlight.system.side_job import LATE, SideJob
from firstlight.wire.parts import Parts

if TYPE_CHECKING:
    from firstlight.system.side_job import Say

# Joining a network may take a minute, and says nothing meanwhile.
TAKING_S = 100.0
MAX_WAITING = 16
NETWORK = "network_"


class Taken(NamedTuple):
    """What a text led to: the ``answer``, and lines for who reads ``RESULT.txt``."""

    answer: Answer
    lines: tuple[str, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether the box is provisioned now."""
        return self.answer.state == answers.DONE


class Heard(NamedTuple):
    """A whole text that waits to be taken in; ``then`` is called with what it led to. The text is a secret."""

    text: str
    source: str
    then: Callable[[Taken], None]

    def __repr__(self) -> str:
        return f"Heard({self.source!r})"


def question(text: str) -> str:
    """By which a text is known again."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def refused(error: FirstlightError) -> Answer:
    """What an error is answered with."""
    if error.code == kinds.NOT_OURS or error.code.startswith("wifi_"):
        return Answer(answers.WRONG_KIND, error.message, error.code)
    state = answers.EXPIRED if error.code == "payload_expired" else answers.REFUSED
    return Answer(state, error.message, error.code, error.hint)


class Reception:
    """Takes texts in, one at a time, until the box is provisioned: the next box's label is not for this one.

    Args:
        settings: of this box.
        tell: takes a line for the journal.
        work: what the child does with a text; a seam for tests.
    """

    def __init__(
        self,
        settings: Settings,
        tell: Callable[[str], None],
        work: Callable[[Settings, str, str, Say], None] | None = None,
    ) -> None:
        self._settings, self._tell, self._work = settings, tell, work or take_in
        self._parts: dict[str, Parts] = {}
        self._waiting: deque[Heard] = deque()
        self._job: SideJob | None = None
        self._now: Heard | None = None
        self._taken: Taken | None = None
        self._done: Taken | None = None

    def hear(self, heard: Heard) -> None:
        """Answers at once what is no code of ours or a part; the rest waits for its turn."""
        if self._done:
            heard.then(self._done)
            return
        try:
            is_part = kinds.require(heard.text).name == kinds.PART
            whole = self._add_part(heard) if is_part else heard.text
        except InvitationError as error:
            heard.then(Taken(refused(error)))
            return
        if whole is None:
            return
        heard = heard._replace(text=whole)
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(heard)
        else:
            heard.then(Taken(Answer(answers.REFUSED, "Too many codes came at once.", "internal", "Show it again.")))

    def _add_part(self, heard: Heard) -> str | None:
        """The whole, None while parts are missing. Raises InvitationError."""
        parts = self._parts.setdefault(heard.source, Parts())
        whole = parts.add_or_begin_anew(heard.text)
        if whole is None:
            sentence = f"{parts.progress[:1].upper()}{parts.progress[1:]}."
            heard.then(Taken(Answer(answers.PART, sentence, "payload_part_missing")))
            return None
        parts.clear()
        return whole

    def forget_parts(self, source: str) -> None:
        """A new stick begins anew."""
        self._parts.pop(source, None)

    @property
    def is_busy(self) -> bool:
        """Whether a text is being taken in, or waits to be."""
        return self._job is not None or bool(self._waiting)

    # -- its place in the loop ---------------------------------------------------------------------------------------
    def fds(self) -> list[int]:
        """What to listen to."""
        return [self._job.fd] if self._job else []

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until something is due, None = nothing is."""
        if self._job:
            return self._job.wait_s(now_s)
        return 0.0 if self._waiting else None

    def turn(self, now_s: float) -> None:
        """Goes on where something has come, or is late."""
        if self._job:
            self._collect(now_s)
        while self._done and self._waiting:
            self._waiting.popleft().then(self._done)
        if not self._job and self._waiting:
            self._now = heard = self._waiting.popleft()
            self._taken = None
            self._job = SideJob(lambda say: self._work(self._settings, heard.text, heard.source, say), now_s, TAKING_S)

    def _collect(self, now_s: float) -> None:
        assert self._job is not None and self._now is not None  # noqa: S101 - turn sets both
        for told in self._job.collect(now_s):
            if isinstance(told.get("tell"), str):
                self._tell(str(told["tell"]))
            elif isinstance(told.get("state"), str):
                self._taken = _taken(told)
        if not self._job.is_over:
            return
        problem, heard = self._job.problem, self._now
        self._job = self._now = None
        if self._taken is None or (problem and not self._taken.is_done):
            why = "It took too long" if problem == LATE else "It could not be taken in"
            self._taken = Taken(Answer(answers.REFUSED, f"{why}; nothing was changed.", "internal", "Show it again."))
        self._done = Taken(self._taken.answer) if self._taken.is_done else None
        heard.then(self._taken)

    def end(self, now_s: float) -> None:
        """Ends what is under way."""
        if self._job:
            self._job.stop(now_s)


def _taken(told: dict[str, object]) -> Taken:
    words = [str(told.get(name) or "") for name in ("state", "sentence", "code", "hint")]
    lines = told.get("lines")
    return Taken(Answer(*words), tuple(map(str, lines)) if isinstance(lines, list) else ())


# -- in the child ------------------------------------------------------------------------------------------------------
def take_in(settings: Settings, text: str, source: str, say: Say) -> None:
    """Takes a whole text in; says lines of progress, then the answer. Starting the agent is left to systemd."""
    from firstlight.cli.taking import Taking

    try:
        outcome = Taking(settings, lambda line: say({"tell": line}), start=lambda _: "").take(text, source)
    except FirstlightError as error:
        say(refused(error)._asdict())
        return
    if outcome is None:
        return
    if outcome.provision is None:
        is_joined = outcome.network == f"{NETWORK}joined"
        sentence = "The network was joined." if is_joined else "The network was not joined yet."
        answer = Answer(answers.PART, f"{sentence} Now show this box its own code.", outcome.network)
        say(answer._asdict())
        return
    made = outcome.provision
    known = f" as {made.device_id}" if made.device_id else ""
    sentence = f"This box is provisioned{known}."
    hint = f"It registers by itself as soon as it can reach {made.invitation.endpoint.url}."
    lines = [f"Device: {made.device_id or 'named when it registers'}"]
    lines += [f"Name: {made.name}"] if made.name else []
    lines += [f"Key: {made.key_fingerprint}"]
    say({**Answer(answers.DONE, sentence, "", hint)._asdict(), "lines": lines + _receipt(settings)})


def _receipt(settings: Settings) -> list[str]:
    """The lines about the receipt; none where this box can give none."""
    from firstlight.cli import receipt

    with suppress(FirstlightError):
        link = receipt.make(settings).link
        return ["", "Where no network will come, open this link on a phone that reaches the hub:", link]
    return []
