"""The installed agent with one more platform: a copy of its package, a folder more and a line more in the table."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import firstlight
from tests.e2e.conftest import wait_until
from tests.example.server import Site, serve

FOLDER = Path(__file__).parent / "tally"
LINE = '    "hub": "firstlight.platforms.hub",\n'
START = "import sys; sys.path.insert(0, {!r}); from firstlight.cli.main import main; sys.exit(main(sys.argv[1:]))"


class Agent:
    """The agent that knows the new platform, on one box."""

    def __init__(self, package_root: Path, folder: Path) -> None:
        self.start = START.format(str(package_root))
        self.folder, self.state = folder, folder / "state"
        self.runs: list[subprocess.Popen[bytes]] = []

    def __call__(self, *words: str, given: object = None, want: int = 0) -> str:
        """One verb; what it printed. ``given`` is a device file on its standard input."""
        options = [] if "--state-dir" in words or words[0] in ("--help",) else ["--state-dir", str(self.state)]
        done = subprocess.run(
            [sys.executable, "-c", self.start, *words, *options],
            input=json.dumps(given) if given is not None else "",
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.folder,
        )
        assert "Traceback" not in done.stderr
        assert done.returncode == want, (done.returncode, done.stdout, done.stderr)
        assert "pl4nted" not in done.stdout + done.stderr
        return done.stdout + done.stderr

    def run(self) -> subprocess.Popen[bytes]:
        """``firstlight run``, until the end of the test."""
        words = ["run", "--state-dir", str(self.state)]
        with (self.folder / "log").open("ab") as log:
            self.runs.append(subprocess.Popen([sys.executable, "-c", self.start, *words], stderr=log, stdout=log))
        return self.runs[-1]

    def status(self) -> dict[str, object]:
        """As ``firstlight status --json`` has it."""
        words = ["status", "--json", "--state-dir", str(self.state)]
        found = subprocess.run(
            [sys.executable, "-c", self.start, *words], capture_output=True, text=True, timeout=60, check=False
        )
        read: dict[str, object] = json.loads(found.stdout)
        return read

    def wait_state(self, state: str) -> None:
        """Until the status says so."""
        wait_until(f"the state is {state}", lambda: self.status()["state"] == state, 60)

    def end(self) -> None:
        """Ends what runs, as a service manager would."""
        for one in self.runs:
            if one.poll() is None:
                one.send_signal(signal.SIGTERM)
                one.wait(30)

    @property
    def log(self) -> str:
        """What it has logged."""
        return (self.folder / "log").read_text()


@pytest.fixture(scope="session")
def package_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder and one line more than what is installed, and nothing else."""
    installed = Path(firstlight.__file__).parent
    root = tmp_path_factory.mktemp("site")
    for beside in installed.parent.iterdir():
        if beside.name != "firstlight" and not beside.name.endswith(".pth"):
            (root / beside.name).symlink_to(beside)
    shutil.copytree(installed, root / "firstlight", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(FOLDER, root / "firstlight" / "platforms" / "tally")
    table = root / "firstlight" / "platforms" / "__init__.py"
    text = table.read_text()
    assert text.count(LINE) == 1
    table.write_text(text.replace(LINE, LINE + LINE.replace("hub", "tally")))
    return root


@pytest.fixture
def agent(package_root: Path, tmp_path: Path) -> Iterator[Agent]:
    """A box with that agent."""
    one = Agent(package_root, tmp_path)
    yield one
    one.end()


@pytest.fixture
def site() -> Iterator[Site]:
    """The new platform."""
    with serve() as one:
        yield one
