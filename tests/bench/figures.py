"""What a bench says: figures, each with its goal and whether it is reached, and the same figure of others beside it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

NAME_WIDTH, VALUE_WIDTH, GOAL_WIDTH, BESIDE_WIDTH = 58, 14, 22, 20


class Figure(NamedTuple):
    """One measured figure.

    Args:
        what: what was measured.
        value: the figure, in ``unit``.
        unit: as it is printed.
        at_most, at_least: the goal; None where the figure is only told.
        beside: the same figure of the programs it is compared with, in the order of the report's columns.
    """

    what: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None
    beside: tuple[float | None, ...] = ()

    @property
    def is_missed(self) -> bool:
        """Whether there is a goal, and the figure is on its wrong side."""
        above = self.at_most is not None and self.value > self.at_most
        return above or (self.at_least is not None and self.value < self.at_least)

    @property
    def goal(self) -> str:
        """The goal and the verdict in words, "" without a goal."""
        if self.at_most is None and self.at_least is None:
            return ""
        bound = f"<= {self.at_most:g}" if self.at_most is not None else f">= {self.at_least:g}"
        return f"{bound} {'MISSED' if self.is_missed else 'reached'}"


class Report:
    """Prints figures as they come, and remembers which goals were missed."""

    def __init__(self) -> None:
        self.missed: list[str] = []

    def head(self, title: str, method: str, beside: Sequence[str] = ()) -> None:
        """The head of a bench: its name, how it measures, and the columns beside the figure and its goal."""
        print(f"\n{title}: {method}", flush=True)
        columns = "".join(f"{name:>{BESIDE_WIDTH}}" for name in beside)
        print(f"  {'':<{NAME_WIDTH}}{'here':>{VALUE_WIDTH}}  {'goal':<{GOAL_WIDTH}}{columns}".rstrip(), flush=True)

    def add(self, figure: Figure) -> None:
        """One line."""
        if figure.is_missed:
            self.missed.append(figure.what)
        value = f"{spoken(figure.value)} {figure.unit}".rstrip()
        beside = "".join(f"{'-' if one is None else spoken(one):>{BESIDE_WIDTH}}" for one in figure.beside)
        line = f"  {figure.what:<{NAME_WIDTH}}{value:>{VALUE_WIDTH}}  {figure.goal:<{GOAL_WIDTH}}{beside}"
        print(line.rstrip(), flush=True)

    def failed(self, name: str, why: str) -> None:
        """A bench that could not be carried out counts as missed."""
        self.missed.append(name)
        print(f"  {name} could not be measured: {why}", flush=True)

    def note(self, text: str) -> None:
        """A remark under the figures."""
        print(f"  {text}", flush=True)


def spoken(value: float) -> str:
    """Three digits that count, whole numbers whole."""
    if value == int(value) or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}"


def median(values: Iterable[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def spread(values: Sequence[float]) -> str:
    """How far single values were apart, for people who doubt the median."""
    return f"{spoken(min(values))} to {spoken(max(values))}, n={len(values)}"
