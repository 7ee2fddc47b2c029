"""One hub and one network for all system tests, and as many boxes as they ask for."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

from firstlight.platforms.hub.management import Created
from tests.system.box import Box
from tests.system.hub_site import Desk, HubSite
from tests.system.mosquitto_site import close_links
from tests.system.namespaces import Network, remove_stale_cgroups

CHECKOUT = Path(__file__).parents[2]
# The Python of each userland: Debian 11, 12 and 13. The agent runs on the last two.
PYTHONS = {"bullseye": "3.9", "bookworm": "3.11", "trixie": "3.13"}
BOX_PYTHON = PYTHONS["bookworm"]  # of a box that nobody asked more of
# For a test that holds on every system the agent runs on: it asks for make_box(userland=userland).
on_each_userland = pytest.mark.parametrize("userland", ["bookworm", "trixie"])


class MakeBox(Protocol):
    """Makes a box and boots it."""

    def __call__(
        self,
        *,
        boot: bool = True,
        disk_size: str = "2g",
        binds: dict[Path, str] | None = None,
        userland: str = "bookworm",
    ) -> Box:
        """The box, with an address of its own."""
        ...


class Install(Protocol):
    """Runs the pasted command, exactly as printed."""

    def __call__(self, box: Box | None = None, userland: str = "bookworm") -> Installed:
        """On a fresh box of that userland, or on the one given."""
        ...


class Installed(NamedTuple):
    """A box on which the pasted command has run, and how long that took."""

    box: Box
    device: Created
    done: subprocess.CompletedProcess[str]
    took_s: float


@pytest.fixture(scope="module", autouse=True)
def links() -> Iterator[None]:
    """No connection to a broker outlives the tests of its file."""
    yield
    close_links()


@pytest.fixture(scope="session")
def tree() -> Callable[[str], Path]:
    """The root file system of a userland, by its name; all boxes share it."""
    if os.geteuid() != 0:
        pytest.fail("The system tests boot containers: run them as root.", pytrace=False)
    remove_stale_cgroups()

    @cache
    def of(userland: str) -> Path:
        line = [str(CHECKOUT / "tests/system/root.sh"), str(CHECKOUT / ".cache/system"), userland]
        return Path(subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True, timeout=600).stdout.strip())

    return of


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    """The network between hub and boxes."""
    one = Network()
    yield one
    one.end()


@pytest.fixture(scope="session")
def bundles() -> list[Path]:
    """The agent for the Pythons of all userlands."""
    line = [str(CHECKOUT / "tests/system/bundles.sh"), sys.executable, str(CHECKOUT / ".cache/system/bundles")]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    return [Path(name) for name in done.stdout.splitlines()]


@pytest.fixture(scope="session")
def debs() -> Path:
    """The folder with the packages, made from these sources."""
    folder = CHECKOUT / ".cache/system/debs"
    subprocess.run([CHECKOUT / "tests/system/debs.sh", sys.executable, folder], check=True, timeout=900)
    return folder


@pytest.fixture(scope="session")
def hub(network: Network, bundles: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubSite]:
    """The hub. A test that stops it starts it again."""
    one = HubSite(network, tmp_path_factory.mktemp("hub"), bundles)
    yield one
    one.stop()


@pytest.fixture
def desk(hub: HubSite) -> Desk:
    """The operator."""
    return hub.desk


@pytest.fixture(scope="module")
def make_box(tree: Callable[[str], Path], network: Network) -> Iterator[MakeBox]:
    """Makes boxes, which stay for the tests of one file."""
    boxes: list[Box] = []
    # A short name: a socket's has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="fl-") as scratch, ExitStack() as ends:

        def make(
            *,
            boot: bool = True,
            disk_size: str = "2g",
            binds: dict[Path, str] | None = None,
            userland: str = "bookworm",
        ) -> Box:
            name = f"box{len(boxes) + 1}"
            folder = Path(scratch, name)
            folder.mkdir()
            boxes.append(Box(name, tree(userland), folder, network, disk_size, binds))
            ends.callback(boxes[-1].end)
            if boot:
                boxes[-1].boot()
            return boxes[-1]

        yield make


@pytest.fixture(scope="module")
def install(make_box: MakeBox, hub: HubSite) -> Install:
    """Runs the pasted command, exactly as printed, on a box (by default a fresh one)."""

    def perform(box: Box | None = None, userland: str = "bookworm") -> Installed:
        box = box or make_box(userland=userland)
        device = hub.desk.create(box.name)
        started_s = time.monotonic()
        done = box.sh(device.install_command)
        return Installed(box, device, done, time.monotonic() - started_s)

    return perform


@pytest.fixture(scope="module")
def installed(install: Install) -> Installed:
    """A box on which the pasted command has run; tests leave it online."""
    return install()
