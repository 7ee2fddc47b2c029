"""Work in a child: what it says, and what becomes of one that fails, crashes, hangs or says too much."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from firstlight.system.side_job import FAILED, LATE, MAX_LINE_BYTES, SideJob
from tests.e2e.conftest import wait_until

if TYPE_CHECKING:
    from firstlight.system.side_job import Say


def to_its_end(work: Callable[[Say], None], quiet_s: float = 20.0) -> tuple[list[dict[str, object]], str]:
    """All that it said, and its problem."""
    job, said = SideJob(work, time.monotonic(), quiet_s), list[dict[str, object]]()
    while not job.is_over:
        select.select([job.fd], [], [], job.wait_s(time.monotonic()))
        said += job.collect(time.monotonic())
    wait_until("the child is gone", lambda: job.is_gone(time.monotonic()))
    return said, job.problem


def test_what_it_says_arrives() -> None:
    """Each message, in order, and no problem."""

    def work(say: Say) -> None:
        for number in range(100):
            say({"number": number})

    assert to_its_end(work) == ([{"number": number} for number in range(100)], "")


def crash(say: Say) -> None:
    """Ends at once, as a decoder with a bad pointer does."""
    say({"begun": True})
    os.kill(os.getpid(), signal.SIGKILL)


def fail(say: Say) -> None:
    """Ends by an exception."""
    say({"begun": True})
    raise ValueError


@pytest.mark.parametrize("work", [crash, fail])
def test_a_crash_is_a_problem_and_nothing_else(work: Callable[[Say], None]) -> None:
    """What was said before counts, the end is told."""
    assert to_its_end(work) == ([{"begun": True}], FAILED)


def test_one_that_hangs_is_ended() -> None:
    """Also when it does not listen to being asked."""

    def work(say: Say) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pause()

    assert to_its_end(work, quiet_s=0.2) == ([], LATE)


def test_a_message_without_end_is_cut_off() -> None:
    """Memory is bounded."""
    said, problem = to_its_end(lambda say: say({"much": "x" * (2 * MAX_LINE_BYTES)}))
    assert (said, problem) == ([], FAILED)


def test_what_it_opened_is_closed_when_it_is_stopped() -> None:
    """Its with blocks end: a camera's command is not left behind."""
    reader, writer = os.pipe()

    class Camera:
        def __enter__(self) -> None:
            os.write(writer, b"open ")

        def __exit__(self, *error: object) -> None:
            os.write(writer, b"closed")

    def work(say: Say) -> None:
        with Camera():
            say({"begun": True})
            signal.pause()

    job = SideJob(work, time.monotonic(), 20.0)
    wait_until("it has begun", lambda: job.collect(time.monotonic()))
    job.stop(time.monotonic())
    wait_until("it is gone", lambda: job.is_gone(time.monotonic()))
    os.close(writer)
    with os.fdopen(reader) as file:
        assert file.read() == "open closed"
