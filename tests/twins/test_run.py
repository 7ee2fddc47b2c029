"""``python -m tests.twins NAME``: a twin for integrators."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.twins.__main__ import HEARS, names
from tests.twins.client import PATIENCE_S

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def running(name: str, *how: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A twin as an integrator starts it, and what it said; ended where a test has not done so."""
    line = [sys.executable, "-m", "tests.twins", name, *how]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            said = ""
            while not said.endswith(HEARS + "\n"):
                more = process.stdout.readline()
                assert more, said
                said += more
            yield process, said
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(PATIENCE_S)
                finally:
                    process.kill()


def key_file_in(said: str) -> Path:
    """Where the operator's key is."""
    found = re.search(r"operator key +(\S+)", said)
    assert found
    return Path(found[1])


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("how", [(), ("--plain",)], ids=["tls", "plain"])
def test_it_runs_until_ctrl_c(name: str, how: tuple[str, ...]) -> None:
    """It tells its addresses and files, keeps the key for its owner alone, and leaves nothing behind."""
    with running(name, *how) as (process, said):
        file = key_file_in(said)
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.read_text().strip() not in said
        assert "://127.0.0.1:" in said
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        rest = process.stdout.read()
        assert process.wait(PATIENCE_S) == 0, rest
    assert "Traceback" not in said + rest
    assert not file.parent.exists()


@pytest.mark.parametrize("how", [(), ("--plain",)], ids=["tls", "plain"])
def test_the_commands_it_prints(how: tuple[str, ...], tmp_path: Path) -> None:
    """Copied as they are, the commands of the Huawei twin make a device, enroll its box and list it."""
    with running("huawei", *how) as (_, said):
        lines = [line.strip() for line in said.partition("Try:")[2].splitlines() if "firstlight " in line]
        create, enroll, _, show = lines
        env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
        said = ""
        for line in (create, enroll, show):
            done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=env, timeout=60)
            assert done.returncode == 0, line + done.stdout + done.stderr
            said = done.stdout
    assert "twinproduct_box-1" in said
