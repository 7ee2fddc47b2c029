"""A fresh hub for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from firstlight_hub.store import Store
from tests.hub.hub_world import Box, World, world
from tests.hub.stores import STORES


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[World]:
    """A hub in this process."""
    with world(tmp_path) as found:
        yield found


@pytest.fixture
def box() -> Box:
    """A device's key pair."""
    return Box()


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A fresh store of each kind."""
    found = STORES[request.param](tmp_path)
    yield found
    found.close()
