"""A real hub, and boxes whose agent was installed into a PREFIX of their own and can upgrade itself."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from firstlight.system.releases import Releases
from firstlight.system.store import StateDirectory
from firstlight_hub import release_keys
from tests.e2e.conftest import Hub, wait_until
from tests.upgrade.bundles import Signer, install, make_bundle

PATIENCE_S = "40"


class HubSigner(Signer):
    """The hub's own release key."""

    def __init__(self, hub: Hub) -> None:
        self.keys = release_keys.load(hub.folder)
        self.id, self.pem = next(iter(self.keys.public.items()))

    def sign(self, manifest: bytes) -> dict[str, bytes]:
        """As ``write_bundle`` wants it."""
        return self.keys.sign(manifest)


class Box:
    """A box that is enrolled, its agent below ``prefix``."""

    def __init__(self, folder: Path, hub: Hub, signer: Signer) -> None:
        self.folder, self.hub, self.signer = folder, hub, signer
        self.prefix = folder / "prefix"
        self.agent, self.proven = self.prefix / "bin/firstlight", self.prefix / "bin/firstlight-proven"
        self.state_dir = self.prefix / "var"
        self.store = StateDirectory(str(self.state_dir))
        self.env = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        self.running: list[subprocess.Popen[str]] = []
        self.old = install(self.prefix, self.bundle("0.2.0"), signer)
        self.device_id = ""

    def bundle(self, version: str, changes: Mapping[str, str] | None = None) -> Path:
        """A bundle of this agent as another version."""
        return make_bundle(self.folder / "stick", version, self.signer, changes)

    def enroll(self) -> None:
        """Enrolls it at the hub."""
        created = self.hub.create("upgraded")
        self.device_id = created.device_id
        line = [str(self.agent), "enroll", "-", "--hub", self.hub.url, "--pin", self.hub.pin]
        done = subprocess.run(
            line, input=created.install_id.reveal(), capture_output=True, text=True, env=self.env, timeout=60
        )
        assert done.returncode == 0, done.stderr

    def start(self, *words: object, by: Path | None = None) -> subprocess.Popen[str]:
        """Starts a verb; what still runs is ended after the test."""
        line = [str(by or self.agent), *map(str, words)]
        pipe = subprocess.PIPE
        self.running.append(subprocess.Popen(line, stdout=pipe, stderr=pipe, text=True, env=self.env))
        return self.running[-1]

    def cli(self, *words: object, by: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a verb."""
        process = self.start(*words, by=by)
        output, errors = process.communicate(timeout=100)
        assert "Traceback" not in errors, errors
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def upgrade(self, *words: object) -> subprocess.CompletedProcess[str]:
        """``firstlight upgrade``, patient enough for a busy machine unless told otherwise."""
        patience = () if "--patience" in words else ("--patience", PATIENCE_S)
        return self.cli("upgrade", *words, *patience)

    def run(self) -> subprocess.Popen[str]:
        """Starts the agent; returns when it is online."""
        process = self.start("run")
        self.wait_online()
        return process

    def wait_online(self) -> None:
        """Until the hub has accepted a beat of the agent that runs."""
        done = self.cli("status", "--wait-online", "60")
        assert done.returncode == 0, done.stdout + done.stderr

    def status(self) -> dict[str, object]:
        """``firstlight status --json``."""
        found = json.loads(self.cli("status", "--json").stdout)
        assert isinstance(found, dict)
        return found

    def is_tidy(self, active: str) -> bool:
        """Whether nothing is left of an upgrade but its outcome."""
        releases = Releases(str(self.prefix))
        named = [
            launcher.release for name in ("firstlight", "firstlight-proven") if (launcher := releases.launcher(name))
        ]
        hidden = [path.name for path in (self.prefix / "lib").iterdir() if path.name.startswith(".")]
        return named == [active, active] and releases.journal() is None and not hidden

    def wish(self, version: str, release_id: str, attempt: int = 1, path: str = "") -> None:
        """What the agent writes when the hub offers a release."""
        path = path or f"/bundles/firstlight-{version}-x86_64.tar"
        self.store.write_json(
            "upgrade-wish.json", {"version": version, "id": release_id, "path": path, "attempt": attempt}
        )

    def end(self) -> None:
        """Ends what still runs."""
        for process in self.running:
            if process.poll() is None:
                process.terminate()
            process.communicate(timeout=20)


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A real hub; it wants a beat every second."""
    one = Hub(tmp_path_factory.mktemp("hub"), heartbeat_interval_s=1, online_window_s=3)
    yield one
    one.stop()


@pytest.fixture(scope="session")
def signer(hub: Hub) -> HubSigner:
    """The key that the hub's boxes trust."""
    return HubSigner(hub)


@pytest.fixture
def shelf(hub: Hub, signer: HubSigner) -> Iterator[Callable[..., Path]]:
    """Puts a release on the hub's shelf, until the test is over."""
    put: list[Path] = []

    def add(version: str, changes: Mapping[str, str] | None = None) -> Path:
        put.append(make_bundle(hub.folder / "bundles", version, signer, changes))
        return put[-1]

    yield add
    for path in put:
        path.unlink(missing_ok=True)


@pytest.fixture
def fresh(tmp_path: Path, hub: Hub, signer: HubSigner) -> Iterator[Box]:
    """A box that is not enrolled."""
    one = Box(tmp_path, hub, signer)
    yield one
    one.end()


@pytest.fixture
def box(fresh: Box) -> Box:
    """A box that is enrolled; its agent does not run."""
    fresh.enroll()
    return fresh


def journal_stage(box: Box) -> str:
    """The stage of the upgrade under way, "" without one."""
    found = Releases(str(box.prefix)).journal()
    return found.stage if found else ""


def wait_stage(box: Box, stage: str) -> None:
    """Until an upgrade has got there."""
    wait_until(f"the upgrade is at {stage}", lambda: journal_stage(box) == stage, 60)
