"""How much of one device is read, and when it is thrown out."""

from __future__ import annotations

import pytest

from firstlight_hub.ingest.pace import ANSWERS, BEATS, FLOOD, PATIENCE, WINDOW_S, Pace


class Road:
    """A pace with a clock that the test turns."""

    def __init__(self) -> None:
        self.now_s = 5.0
        self.expelled: list[str] = []
        self.pace = Pace(self.expelled.append, lambda: self.now_s)

    def sends(self, count: int, device_id: str = "cam") -> int:
        """That many messages -> how many of them are read."""
        return sum(self.pace.admits(device_id) for _ in range(count))


@pytest.fixture
def road() -> Road:
    """A fresh one."""
    return Road()


def test_each_device_has_its_own_measure(road: Road) -> None:
    """Who sends too many is not read on in this window, and is in the next; others are."""
    assert road.sends(BEATS + 5) == BEATS
    assert road.sends(5, "door") == 5
    road.now_s += WINDOW_S
    assert road.sends(5) == 5
    assert road.expelled == []


@pytest.mark.parametrize(("pause_s", "out"), [(0.0, ["cam"]), (WINDOW_S, [])])
def test_who_keeps_on_is_thrown_out(road: Road, pause_s: float, out: list[str]) -> None:
    """Too many in three windows in a row, and not where a quiet one lies between."""
    for _ in range(PATIENCE - 1):
        road.sends(BEATS + 50)
        road.now_s += WINDOW_S
    assert road.expelled == []
    road.now_s += pause_s
    road.sends(BEATS + 50)
    assert road.expelled == out


def test_a_flood_is_thrown_out_at_once(road: Road) -> None:
    """It need not last three windows; and again if it goes on."""
    road.sends(FLOOD - 1)
    assert road.expelled == []
    road.sends(FLOOD + 1)
    assert road.expelled == ["cam", "cam"]


def test_what_waited_is_not_counted(road: Road) -> None:
    """Beats that waited in the broker come all at once and are all read; what comes after them is counted."""
    road.pace.spare(FLOOD)
    assert road.sends(FLOOD + BEATS + 5) == FLOOD + BEATS
    road.pace.spare(float("inf"))
    assert road.sends(FLOOD) == FLOOD
    road.pace.spare(0)
    assert road.sends(1) == 0
    assert road.expelled == []


def test_answers_have_a_measure_too(road: Road) -> None:
    """One a second, counted over a window."""
    assert [road.pace.answers("cam") for _ in range(ANSWERS + 2)] == [True] * ANSWERS + [False] * 2
    assert road.pace.answers("door")
    road.now_s += WINDOW_S
    assert road.pace.answers("cam")
