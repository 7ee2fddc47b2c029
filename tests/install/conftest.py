"""A bundle of this very agent, a server that hands it out, and a real hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from firstlight_hub.bundle import ensure_bundles
from firstlight_hub.release_keys import ReleaseKeys, key_id, make_key, public_pem
from firstlight_hub.shelf import Offered
from tests.e2e.conftest import Hub
from tests.install.scene import BundleServer

KEY = make_key()
KEYS = ReleaseKeys({key_id(KEY): KEY}, {key_id(KEY): public_pem(KEY)})


class Bundles(NamedTuple):
    """A directory of bundles, and what a hub would offer of it."""

    folder: Path
    known: list[Offered]

    @property
    def own(self) -> Path:
        """The bundle of the running Python."""
        return self.folder / self.known[0].name


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """The bundle of the running Python, made once; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("bundles")
    return Bundles(folder, ensure_bundles(folder, KEYS).offered())


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
