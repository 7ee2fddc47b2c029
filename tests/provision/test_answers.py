"""What is shown when several sources speak at once, and for how long."""

from __future__ import annotations

import pytest

from firstlight.core import answers
from firstlight.core.answers import Answer, Answers

LOOKING = Answer(answers.LOOKING, "waiting")


def test_a_weightier_answer_takes_the_place_and_a_lighter_one_does_not() -> None:
    """A blur does not hide that a code has expired; done hides everything."""
    shown = Answers(LOOKING)
    assert shown.give(0.0, Answer(answers.BLURRED, "hold it still"))
    assert shown.give(1.0, Answer(answers.EXPIRED, "too old"))
    assert not shown.give(2.0, Answer(answers.FAR, "come nearer"))
    assert shown.give(3.0, Answer(answers.DONE, "provisioned"))
    assert not shown.give(4.0, Answer(answers.REFUSED, "no"))
    assert shown.shown.state == answers.DONE
    assert shown.wait_s(5.0) is None


@pytest.mark.parametrize("state", sorted(answers.HOLD_S))
def test_an_answer_stays_for_its_time(state: str) -> None:
    """After its time the box looks again, once; the same answer meanwhile is shown once and stays longer."""
    shown, hold_s = Answers(LOOKING), answers.HOLD_S[state]
    answer = Answer(state, "so it is")
    assert shown.give(10.0, answer)
    assert not shown.give(11.0, answer)
    assert not shown.is_over(10.0 + hold_s)
    assert shown.wait_s(11.0) == hold_s
    assert shown.is_over(11.0 + hold_s)
    assert not shown.is_over(12.0 + hold_s)
    assert shown.shown == LOOKING


def test_a_question_is_answered_once_for_a_while() -> None:
    """A code that stays before the camera keeps its answer; later, and beyond the limit, it is asked anew."""
    shown, answer = Answers(LOOKING), Answer(answers.REFUSED, "no")
    assert shown.known(0.0, "a") is None
    shown.remember(0.0, "a", answer)
    assert shown.known(answers.SAME_S - 1, "a") == answer
    assert shown.known(answers.SAME_S, "a") is None
    for number in range(answers.MAX_ASKED):
        shown.remember(1.0, str(number), answer)
    assert shown.known(1.0, "a") is None
    assert shown.known(1.0, "0") == answer


def test_every_state_has_a_weight() -> None:
    """No state is without its weight; each answer but the first and the last has its time."""
    assert set(answers.WEIGHT) == set(answers.STATES)
    assert set(answers.HOLD_S) == set(answers.STATES) - {answers.LOOKING, answers.DONE}
