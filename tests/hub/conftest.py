"""A fresh hub for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.hub_world import Box, World, world


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[World]:
    """A hub in this process."""
    with world(tmp_path) as found:
        yield found


@pytest.fixture
def box() -> Box:
    """A device's key pair."""
    return Box()
