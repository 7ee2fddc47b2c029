"""A state directory and a folder of hooks, and the real program that runs them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from firstlight.system import hooks
from tests.e2e.conftest import BIN

ABOUT: dict[str, object] = {
    "deviceId": "gate-3",
    "platform": "hub",
    "workspace": "demo",
    "endpoint": "https://hub.example:8443",
}


class Site:
    """A box with hooks.

    Args:
        folder: of the test.
    """

    def __init__(self, folder: Path) -> None:
        self.state, self.hooks, self.notes = folder / "state", folder / "etc/hooks", folder / "notes"
        for each in (self.state, self.hooks.parent, self.hooks, self.notes):
            each.mkdir(mode=0o700)
        self.queue = folder / "state-hooks/queue"

    def hook(self, name: str, script: str, kind: str = "enrolled", mode: int = 0o755) -> Path:
        """Puts an executable there: a shell script without its first line, or a whole file."""
        place = self.hooks / f"{kind}.d"
        if not place.exists():
            place.mkdir()
            place.chmod(0o755)
        path = place / name
        path.write_text(script if script.startswith("#!") else f"#!/bin/sh\ncd {self.notes} || exit\n{script}\n")
        path.chmod(mode)
        return path

    def leave(self, kind: str = "enrolled", **more: object) -> None:
        """Leaves an event as the agent does."""
        assert hooks.leave(str(self.state), kind, {**ABOUT, **more})

    def start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        """``firstlight hooks`` with these words."""
        line = [
            str(BIN / "firstlight"),
            "hooks",
            "--state-dir",
            str(self.state),
            "--hooks-dir",
            str(self.hooks),
            *words,
        ]
        made = {"PATH": "/usr/bin:/bin", "HOME": str(self.notes), "SECRET_OF_MINE": "leaks", **env}
        return subprocess.Popen(line, env=made, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *words: str, **env: str) -> tuple[int, str, str]:
        """As ``start``, to its end: exit status, output, errors."""
        with self.start(*words, **env) as child:
            output, errors = child.communicate(timeout=60)
        return child.returncode, output, errors

    def shown(self) -> dict[str, dict[str, object]]:
        """What ``firstlight hooks --json`` says of each hook, by KIND/NAME."""
        status, output, errors = self.run("--json")
        assert status == 0, errors
        return {f"{each['kind']}/{each['name']}": each for each in json.loads(output)["hooks"]}

    def note(self, name: str) -> str:
        """What a hook noted."""
        path = self.notes / name
        return path.read_text() if path.exists() else ""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A box with no hooks yet."""
    return Site(tmp_path)
