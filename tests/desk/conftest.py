"""One hub, and one twin of each platform, for the tests of the desk; an operator who speaks to them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import BIN, Hub
from tests.twins import fleet, huawei, qubitro
from tests.twins.kit.twin import Twin

Done = subprocess.CompletedProcess[str]


class Operator:
    """Somebody at a desk with a settings file and keys in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = folder / "agent.toml"
        self.settings.write_text("")

    def key(self, name: str, text: str) -> str:
        """A private file; its path."""
        path = self.folder / name
        path.touch(0o600)
        path.write_text(text)
        return str(path)

    def knows(self, platform: str, **table: str) -> None:
        """One more table of the settings."""
        lines = "".join(f'{name} = "{value}"\n' for name, value in table.items())
        with self.settings.open("a") as file:
            file.write(f"[desk.{platform}]\n{lines}")

    def knows_twin(self, twin: Twin[Any], **more: str) -> None:
        """The table of a twin, its key in a file."""
        ca_file = self.folder / f"{twin.name}.pem"
        ca_file.write_text(twin.ca_pem)
        key_file = self.key(f"{twin.name}.key", twin.operator_key)
        self.knows(twin.name, base=twin.http_url, ca_file=str(ca_file), api_key_file=key_file, **more)

    def device(self, *words: str, stdin: str = "", env: dict[str, str] | None = None) -> Done:
        """A desk verb."""
        line = [str(BIN / "firstlight"), "device", *words, "--config", str(self.settings)]
        plain = {"PATH": os.environ["PATH"], "HOME": str(self.folder), **(env or {})}
        done = subprocess.run(
            line, input=stdin, capture_output=True, text=True, env=plain, timeout=120, check=False, cwd=self.folder
        )
        assert "Traceback" not in done.stderr and "[internal]" not in done.stderr
        return done

    def table(self, text: str, name: str = "boxes.csv") -> str:
        """A table; its path."""
        (self.folder / name).write_text(text)
        return str(self.folder / name)


def ok(done: Done) -> str:
    """What a command printed that went well."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    """An operator who knows nothing yet."""
    return Operator(tmp_path)


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A real hub, as its own process."""
    one = Hub(tmp_path_factory.mktemp("desk-hub"))
    yield one
    one.stop()


@pytest.fixture
def huawei_twin() -> Iterator[huawei.HuaweiTwin]:
    """A platform whose devices need a secret that the desk makes up."""
    with huawei.serve() as twin:
        yield twin


@pytest.fixture
def qubitro_twin() -> Iterator[qubitro.QubitroTwin]:
    """A platform that gives each device a token."""
    with qubitro.serve() as twin:
        yield twin


@pytest.fixture
def fleet_twin() -> Iterator[fleet.FleetTwin]:
    """A platform that takes batches."""
    with fleet.serve() as twin:
        yield twin
