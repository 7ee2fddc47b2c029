"""What a box without a screen answers, and for how long: pure, told the time by its caller.

Several sources speak at once: a camera that sees a blur ten times a second, a stick with an expired code. An answer
stays for a while; a weightier one takes its place at once, a lighter one waits for its end and is dropped. After it the
box is back at ``looking``; ``done`` stays.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from firstlight.core.record import NamedTuple

LOOKING, BLURRED, FAR, WRONG_KIND = "looking", "blurred", "far", "wrong_kind"
PART, EXPIRED, REFUSED, DONE = "part", "expired", "refused", "done"
STATES = (LOOKING, BLURRED, FAR, WRONG_KIND, PART, EXPIRED, REFUSED, DONE)
# How much an answer weighs, and how many seconds it stays. What a person must read or count stays longer.
WEIGHT = {LOOKING: 0, BLURRED: 1, FAR: 1, WRONG_KIND: 2, PART: 3, EXPIRED: 3, REFUSED: 3, DONE: 4}
HOLD_S = {BLURRED: 3.0, FAR: 3.0, WRONG_KIND: 10.0, PART: 10.0, EXPIRED: 15.0, REFUSED: 15.0}
# A camera reads the same code again and again: for so long that is one question, with one answer.
SAME_S = 20.0
MAX_ASKED = 64


class Answer(NamedTuple):
    """One answer.

    Args:
        state: one of ``STATES``.
        sentence: for the person.
        code: of the error, "" without one.
        hint: the next step, "" = none.
    """

    state: str
    sentence: str
    code: str = ""
    hint: str = ""

    @property
    def line(self) -> str:
        """All of it in one line."""
        code = f" [{self.code}]" if self.code else ""
        return f"{self.sentence}{code}" + (f" {self.hint}" if self.hint else "")


class Answers:
    """The one answer that is shown, out of those that several sources give.

    Args:
        looking: what is shown while there is nothing to answer.
    """

    def __init__(self, looking: Answer) -> None:
        self._looking = looking
        self.shown = looking
        self._until_s: float | None = None
        self._asked: dict[str, tuple[float, Answer]] = {}

    def give(self, now_s: float, answer: Answer) -> bool:
        """Whether this answer is to be shown now; the one that stands is not shown twice.

        Args:
            now_s: monotonic seconds.
            answer: what a source led to.
        """
        if WEIGHT[answer.state] < WEIGHT[self.shown.state]:
            return False
        hold_s = HOLD_S.get(answer.state)
        is_new = answer != self.shown
        self.shown = answer
        self._until_s = None if hold_s is None else now_s + hold_s
        return is_new

    def is_over(self, now_s: float) -> bool:
        """Whether the answer has stood long enough; then ``looking`` is shown, and this is True once."""
        if self._until_s is None or now_s < self._until_s:
            return False
        self.shown, self._until_s = self._looking, None
        return True

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until ``is_over`` may be True, None = never by itself."""
        return None if self._until_s is None else max(0.0, self._until_s - now_s)

    def known(self, now_s: float, question: str) -> Answer | None:
        """What this very question was answered with within ``SAME_S``, None = it is to be answered (anew).

        Args:
            now_s: monotonic seconds.
            question: what names it: a hash of the scanned text, never the text.
        """
        found = self._asked.get(question)
        return found[1] if found and now_s - found[0] < SAME_S else None

    def remember(self, now_s: float, question: str, answer: Answer) -> None:
        """Keeps what a question was answered with; the oldest beyond ``MAX_ASKED`` are forgotten."""
        self._asked.pop(question, None)
        self._asked[question] = (now_s, answer)
        while len(self._asked) > MAX_ASKED:
            del self._asked[next(iter(self._asked))]
