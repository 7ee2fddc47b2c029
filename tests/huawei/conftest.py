"""A twin of Huawei IoTDA, a desk and boxes with the real command line, all on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import wait_until
from tests.twins.huawei import HuaweiTwin, serve
from tests.twins.kit.clock import TwinClock

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def twin() -> Iterator[HuaweiTwin]:
    """One for the tests of a file that look at devices of their own."""
    with serve() as one:
        yield one


@pytest.fixture
def own_twin() -> Iterator[HuaweiTwin]:
    """One for a test that turns its time or makes it ill."""
    with serve(clock=TwinClock()) as one:
        yield one


class Desk:
    """An operator's command line that speaks to a twin."""

    def __init__(self, folder: Path, twin: HuaweiTwin) -> None:
        self.folder, self.twin = folder, twin
        self.key_file, self.ca_file = folder / "token", folder / "ca.pem"
        self.key_file.write_text(twin.operator_key)
        self.key_file.chmod(0o600)
        self.ca_file.write_text(twin.ca_pem)

    def run(self, verb: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """``firstlight device VERB``."""
        twin = self.twin
        place = ("--platform", "huawei", "--base", twin.http_url, "--workspace", twin.project_id)
        trust = ("--api-key-file", str(self.key_file), "--ca-file", str(self.ca_file))
        line = [str(BIN / "firstlight"), "device", verb, *words, *place, *trust]
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        done = subprocess.run(line, capture_output=True, text=True, env=env, stdin=subprocess.DEVNULL, timeout=60)
        assert "Traceback" not in done.stderr
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def create(self, node_id: str, *words: str, reports: str = "1440") -> dict[str, object]:
        """A device; its boot file."""
        ways = (f"device_broker={self.twin.mqtt_url}", f"device_endpoint={self.twin.http_url}")
        extras = [*ways, f"device_ca=@{self.ca_file}", f"reports_per_day={reports}"]
        given = [word for extra in extras for word in ("--extra", extra)]
        fields = ("--field", f"node_id={node_id}", "--field", f"product_id={self.twin.product_id}")
        made = json.loads(self.run("create", "--json", *fields, *words, *given).stdout)
        boot_file = made["bootFile"]
        assert isinstance(boot_file, dict)
        return boot_file


class Box:
    """A box: a state directory and the real command line."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.state_dir = folder, folder / "state"
        self.processes: list[subprocess.Popen[str]] = []
        self.env = {"PATH": os.environ["PATH"], "HOME": str(folder)}

    def enroll(self, boot_file: dict[str, object], *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """``firstlight enroll --file`` with the file on standard input."""
        return self.cli("enroll", "--file", "-", "--patience", "10", stdin=json.dumps(boot_file), check=check)

    def cli(self, *words: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs ``firstlight`` on this box."""
        line = [str(BIN / "firstlight"), *words, "--state-dir", str(self.state_dir)]
        done = subprocess.run(line, input=stdin, capture_output=True, text=True, env=self.env, timeout=60)
        assert "Traceback" not in done.stderr
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def run(self) -> None:
        """Starts the agent."""
        line = [str(BIN / "firstlight"), "run", "--state-dir", str(self.state_dir)]
        with (self.folder / "agent.log").open("ab") as log:
            process = subprocess.Popen(line, stdout=log, stderr=log, stdin=subprocess.DEVNULL, text=True, env=self.env)
        self.processes.append(process)

    def stop(self) -> None:
        """Ends the agents."""
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
            process.wait(20)

    def status(self) -> dict[str, object]:
        """``firstlight status --json``."""
        found = json.loads(self.cli("status", "--json", check=False).stdout)
        assert isinstance(found, dict)
        return found

    @property
    def log(self) -> str:
        """What the agent said."""
        return (self.folder / "agent.log").read_text()

    def until_log(self, text: str) -> None:
        """Waits until the agent has said it."""
        wait_until(f"the agent says {text!r}", lambda: text in self.log)


@pytest.fixture
def make_box(tmp_path: Path) -> Iterator[Callable[[], Box]]:
    """Makes boxes; ends their agents afterwards."""
    boxes: list[Box] = []

    def make() -> Box:
        boxes.append(Box(tmp_path / f"box{len(boxes)}"))
        return boxes[-1]

    yield make
    for box in boxes:
        box.stop()


@pytest.fixture
def desk(tmp_path: Path, twin: HuaweiTwin) -> Desk:
    """A desk at the shared twin."""
    return Desk(tmp_path, twin)


@pytest.fixture
def own_desk(tmp_path: Path, own_twin: HuaweiTwin) -> Desk:
    """A desk at a twin of one's own."""
    return Desk(tmp_path, own_twin)
