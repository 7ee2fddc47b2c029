"""A real hub for the end-to-end tests, as its own process, on loopback, over TLS."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firstlight.core.management import Place
from firstlight.core.model import Endpoint, Secret, Trust, parse_endpoint
from firstlight.errors import FirstlightError
from firstlight.platforms.hub import management
from firstlight.transports.http_calls import HttpCalls

BIN = Path(sys.executable).parent


def wait_until(what: str, ask: Callable[[], object], patience_s: float = 20.0) -> None:
    """Asks again and again until the answer is truthy: for things that only the clock or another process brings."""
    deadline_s = time.monotonic() + patience_s
    while not ask():
        assert time.monotonic() < deadline_s, f"waited in vain until {what}"
        select.select([], [], [], 0.05)


class Hub:
    """A hub in a folder: init, serve, kill, serve again; and the operator's view of it.

    Args:
        folder: where it is made.
        is_served: False leaves it to a later ``serve``.
        settings: changes to ``hub.toml``.
    """

    def __init__(self, folder: Path, *, is_served: bool = True, **settings: int | str) -> None:
        self.folder = folder / "hub"
        self.key_file = folder / "operator.key"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        words = (
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--workspace",
            "demo",
            "--key-file",
            str(self.key_file),
        )
        self.cli("init", *words)
        self.configure(**settings)
        self.process: subprocess.Popen[bytes] | None = None
        self.key = Secret(self.key_file.read_text().strip())
        if is_served:
            self.serve()

    def configure(self, **settings: int | str) -> None:
        """Changes ``hub.toml``; counts from the next ``serve``."""
        file = self.folder / "hub.toml"
        text = file.read_text()
        for name, value in settings.items():
            text, found = re.subn(rf"(?m)^{name} = .*$", f"{name} = {json.dumps(value)}", text)
            assert found == 1, name
        file.write_text(text)

    def cli(self, verb: str, *words: str) -> str:
        """Runs a verb of the hub's command line on this hub."""
        line = [str(BIN / "firstlight-hub"), verb, "--dir", str(self.folder), *words]
        return subprocess.run(line, check=True, capture_output=True, text=True, timeout=30).stdout

    def serve(self) -> None:
        """Starts it and waits until it listens."""
        where = self.folder / "hub.json"
        where.unlink(missing_ok=True)
        with (self.folder.parent / "hub.log").open("ab") as log:
            line = [str(BIN / "firstlight-hub"), "serve", "--dir", str(self.folder)]
            process = subprocess.Popen(line, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.process = process

        def listens() -> bool:
            assert process.poll() is None, (self.folder.parent / "hub.log").read_text()
            return where.exists()

        try:
            wait_until("the hub listens", listens, 60)
        except BaseException:
            process.kill()
            process.wait(20)
            raise
        said = json.loads(where.read_text())
        self.url, self.pin = str(said["url"]), str(said["pin"])
        self.endpoint: Endpoint = parse_endpoint(self.url)

    def stop(self, how: int = signal.SIGTERM) -> None:
        """Ends it: SIGTERM, or SIGKILL for a crash."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(20)

    @property
    def place(self) -> Place:
        """Where its operator manages devices."""
        return Place(self.endpoint, "demo", self.key)

    def create(self, name: str = "box") -> management.Created:
        """Creates a device through the public API."""
        with HttpCalls(Trust(pins=(self.pin,))) as calls:
            call = management.create(self.place, management.NewDevice(name))
            return management.read_invited(calls.exchange(call, 10))

    def devices(self) -> dict[str, dict[str, object]]:
        """Every device of the workspace by id, as the public API lists it; empty while the hub is down."""
        found: dict[str, dict[str, object]] = {}
        cursor = ""
        with HttpCalls(Trust(pins=(self.pin,))) as calls:
            while True:
                try:
                    reply = calls.exchange(management.list_page(self.place, cursor), 10)
                except FirstlightError:
                    return {}
                page, cursor = management.read_page(self.place, reply, 0.0, cursor)
                found.update({listed.device_id: listed.record for listed in page})
                if not cursor:
                    return found

    def status(self, device_id: str) -> object:
        """A device's status in the list."""
        return self.devices().get(device_id, {}).get("status")


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """One hub for all tests that leave it as it was; it beats every second and its window is three."""
    one = Hub(tmp_path_factory.mktemp("hub"), heartbeat_interval_s=1, online_window_s=3)
    yield one
    one.stop()


@pytest.fixture
def own_hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub for one test alone, to be killed and restored."""
    one = Hub(tmp_path, heartbeat_interval_s=1, online_window_s=3, take_back=True)
    yield one
    one.stop()


class Box:
    """A box: a state directory and the real command line."""

    def __init__(self, folder: Path, hub: Hub) -> None:
        self.state_dir, self.hub = folder / "state", hub
        self.processes: list[subprocess.Popen[str]] = []
        self.env = {"PATH": os.environ["PATH"], "HOME": str(folder)}

    def cli(self, *words: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs ``firstlight`` on this box."""
        line = [str(BIN / "firstlight"), *words]
        if words[0] in ("enroll", "status", "reset", "run"):
            line += ["--state-dir", str(self.state_dir)]
        done = subprocess.run(line, input=stdin, capture_output=True, text=True, env=self.env, timeout=60)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def enroll(self, install_id: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """``firstlight enroll`` with the installId on standard input."""
        line = ("enroll", "-", "--hub", self.hub.url, "--pin", self.hub.pin, *words)
        return self.cli(*line, stdin=install_id, check=check)

    def run(self) -> subprocess.Popen[str]:
        """Starts the agent."""
        line = [str(BIN / "firstlight"), "run", "--state-dir", str(self.state_dir)]
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.env)
        self.processes.append(process)
        return process

    def status(self) -> dict[str, object]:
        """``firstlight status --json``."""
        found = json.loads(self.cli("status", "--json", check=False).stdout)
        assert isinstance(found, dict)
        return found


@pytest.fixture
def make_box(tmp_path: Path) -> Iterator[Callable[[Hub], Box]]:
    """Makes boxes; ends their agents afterwards."""
    boxes: list[Box] = []

    def make(hub: Hub) -> Box:
        folder = tmp_path / f"box{len(boxes)}"
        folder.mkdir()
        boxes.append(Box(folder, hub))
        return boxes[-1]

    yield make
    for box in boxes:
        for process in box.processes:
            if process.poll() is None:
                process.terminate()
            process.communicate(timeout=20)
