"""A bundle of this very agent, a server that hands it out, and a real hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from firstlight_hub.bundle import ensure_bundles
from tests.e2e.conftest import Hub
from tests.install.scene import BundleServer


class Bundles(NamedTuple):
    """A directory of bundles, and their hashes by name."""

    folder: Path
    known: dict[str, str]

    @property
    def own(self) -> Path:
        """The bundle of the running Python."""
        return self.folder / next(iter(self.known))


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """The bundle of the running Python, made once; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("bundles")
    return Bundles(folder, ensure_bundles(folder).offered())


@pytest.fixture
def server(bundles: Bundles) -> Iterator[BundleServer]:
    """Hands out the bundles."""
    with BundleServer(bundles.folder).serving() as one:
        yield one


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A real hub; it wants a beat every second."""
    one = Hub(tmp_path_factory.mktemp("hub"), heartbeat_interval_s=1, online_window_s=3)
    yield one
    one.stop()
