"""Machines with a kernel of their own, in the network and with the hub of the system tests."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from firstlight.platforms.hub.management import Created
from tests.system.conftest import CHECKOUT, bundles, desk, hub, network
from tests.system.hub_site import HubSite
from tests.system.namespaces import Network
from tests.vm import trials
from tests.vm.machine import Machine, image
from tests.vm.trials import Machines

__all__ = ["bundles", "desk", "hub", "network"]


Record = Callable[[str, object], None]  # pytest's record_property


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Shows the figures that tests have measured."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties if report.when == "call" else ():
            terminalreporter.write_line(f"measured: {name}: {value}")


class Enrolled(NamedTuple):
    """A machine on which the pasted command has run, and how long that took."""

    machine: Machine
    device: Created
    install_s: float


@pytest.fixture(scope="session")
def make_machine(network: Network) -> Iterator[Machines]:
    """Makes machines."""
    if os.geteuid() != 0:
        pytest.fail("The machines need a network of their own: run these tests as root.", pytrace=False)
    made_of = image(CHECKOUT / ".cache/vm")
    with tempfile.TemporaryDirectory(prefix="fl-vm-") as folder:
        build = partial(_build, network, made_of)
        machines = Machines(Path(folder), build)
        yield machines
        machines.end()


def _build(network: Network, made_of: Path, name: str, folder: Path, born_of: Machine | None) -> Machine:
    return Machine(name, made_of, folder, network, born_of)


@pytest.fixture(scope="session")
def enrolled(make_machine: Machines, hub: HubSite) -> Enrolled:
    """A machine that is online; tests leave it so."""
    machine = make_machine()
    machine.boot()
    started_s = time.monotonic()
    device = trials.install(machine, hub)
    return Enrolled(machine, device, time.monotonic() - started_s)


@pytest.fixture(scope="session")
def imaged(make_machine: Machines, hub: HubSite, bundles: list[Path]) -> Machine:
    """A machine made from an image: the agent is on it and was never enrolled; off. Others are born of it."""
    machine = make_machine()
    machine.boot()
    trials.install_offline(machine, hub, next(path for path in bundles if platform.machine() in path.name))
    return machine
