"""A hub, a box and a label: what the tests of this folder begin with."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from firstlight.cli.provisioning import provision
from firstlight.core.admission import TimeBounds
from firstlight.core.provision import Provision
from firstlight.platforms.hub import management
from firstlight.system.store import StateDirectory
from tests.detached.labels import Signer, payload, settings_of
from tests.e2e.conftest import Box, Hub, hub, own_hub, wait_until

__all__ = ["Road", "hub", "make_road", "own_hub"]

HASTE = 30.0
BEATS = """SELECT sequence, late, reason FROM beat JOIN device ON device.number = beat.device
    WHERE device.id = ? ORDER BY beat.number"""


class Written(NamedTuple):
    """One line of the hub's history."""

    sequence: int
    late: bool
    reason: str


class Road:
    """A box that is to be provisioned for a hub, whether that is served or not."""

    def __init__(self, folder: Path, hub: Hub, haste: float) -> None:
        folder.mkdir()
        self.hub, self.signer, self.folder = hub, Signer(), folder
        self.box = Box(folder, hub)
        self.settings = settings_of(folder, self.signer, state_dir=str(self.box.state_dir))
        self.told: list[str] = []
        self.store = StateDirectory(str(self.box.state_dir))
        self._haste = haste

    def label(self, created: management.Created, **changes: object) -> str:
        """The label of a device."""
        token = created.install_id.reveal()
        return self.signer.label(
            payload(self.hub.url, self.hub.pin, token, **{"device_id": created.device_id, **changes})
        )

    def provision(self, text: str, bounds: TimeBounds | None = None) -> Provision:
        """Takes a text in; the agent's waits are short from then on."""
        done = provision(self.settings, text, "picture", self.told.append, bounds=bounds, start=lambda state_dir: "")
        if not self.store.has("run.json"):
            self.store.write_json("run.json", {"stateDir": self.store.path, "haste": self._haste})
        return done

    def until(self, what: str, is_it: Callable[[dict[str, Any]], object], patience_s: float = 40.0) -> dict[str, Any]:
        """The status, once it is as wanted."""
        found: dict[str, Any] = {}

        def ask() -> object:
            found.clear()
            found.update(self.box.status())
            return is_it(found)

        try:
            wait_until(what, ask, patience_s)
        except AssertionError:
            raise AssertionError(f"waited in vain until {what}; status {found}; log: {self.log()}") from None
        return found

    def online(self) -> dict[str, Any]:
        """The status, once it is online with nothing kept."""
        return self.until("it is online", lambda found: found["state"] == "online" and found["spooled"] == 0)

    def log(self) -> str:
        """What the agents wrote; ends them."""
        said = []
        for process in self.box.processes:
            if process.poll() is None:
                process.terminate()
            said.append(process.communicate(timeout=20)[0])
        return "".join(said)

    def written(self, device_id: str) -> list[Written]:
        """The history of a device on the hub's disk."""
        database = self.hub.folder / "hub.sqlite3"
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return [Written(*row) for row in connection.execute(BEATS, (device_id,))]

    def everything(self) -> str:
        """All that is on the box's disk but its keys, as one text."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and not path.name.endswith(".key")]
        return "\n".join(path.read_bytes().decode("utf-8", "replace") for path in files)


@pytest.fixture
def make_road(tmp_path: Path) -> Iterator[Callable[..., Road]]:
    """Makes them; ends their agents afterwards."""
    roads: list[Road] = []

    def make(hub: Hub, haste: float = HASTE) -> Road:
        roads.append(Road(tmp_path / f"road{len(roads)}", hub, haste))
        return roads[-1]

    yield make
    for road in roads:
        for process in road.box.processes:
            if process.poll() is None:
                process.terminate()
            process.communicate(timeout=20)


def long_ago(days: int) -> tuple[dict[str, object], TimeBounds]:
    """A payload of that many days ago, good for 30 days, and what the box knew of the time then."""
    then_s = int(time.time()) - days * 86_400
    return {"issued_at_s": then_s, "expires_at_s": then_s + 30 * 86_400}, TimeBounds(then_s + 60.0, True, then_s - 60.0)


def run_file(road: Road) -> dict[str, Any]:
    """What the door handed over last."""
    return dict(json.loads((road.box.state_dir / "run.json").read_text()))
