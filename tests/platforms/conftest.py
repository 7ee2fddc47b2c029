"""What the walks show becomes the table of README.md: compared with it, or written into it (make compatibility)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.platforms import table
from tests.platforms.table import Line

WRITES = os.environ.get("FIRSTLIGHT_WRITES_TABLE") == "yes"
IntoTable = Callable[[Line], None]


@pytest.fixture(scope="session")
def _written(request: pytest.FixtureRequest) -> Iterator[list[Line]]:
    found: list[Line] = []
    yield found
    if WRITES and not request.session.testsfailed:
        from tests.platforms.test_walks import WALKS, WITH_MOSQUITTO

        assert len(found) == len(WALKS) + len(WITH_MOSQUITTO), (
            "the table was left as it was: it is written from all the walks or none"
        )
        table.write(found)


@pytest.fixture
def into_table(_written: list[Line]) -> IntoTable:
    """Takes what a walk has shown."""

    def take(line: Line) -> None:
        _written.append(line)
        if not WRITES:
            assert line.text in table.lines(), f"README.md says otherwise; make compatibility writes:\n{line.text}"

    return take
