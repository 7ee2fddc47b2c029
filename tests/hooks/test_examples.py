"""The examples of docs/hooks.md, run as hooks with stand-ins for the products on the PATH."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from firstlight.cli.hook_running import MAX_TRIES, WAITS_S
from firstlight.system.hook_files import MAX_HOOKS
from firstlight.system.hook_runs import MAX_LINES, MAX_OUTPUT_BYTES
from firstlight.system.hooks import COMMON, FIELDS, MAX_WAITING
from tests.hooks.conftest import ABOUT

PAGE = (Path(__file__).parents[2] / "docs/hooks.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"<!-- example: (\S+) -->\n```sh\n(.*?)```\n", PAGE, re.DOTALL))
# Enough of jq for the examples: a field of the object, or of the object in its field "desired".
JQ = """#!{python}
import json, re, sys
found = json.load(sys.stdin)
for name in re.findall(r"[.](\\w+)", sys.argv[-1].partition(" // ")[0]):
    found = found.get(name) if isinstance(found, dict) else None
if found is not None and not ("strings" in sys.argv[-1] and not isinstance(found, str)):
    print(found if isinstance(found, str) else json.dumps(found, indent=2))
"""


class Bench:
    """A folder of stand-ins that note how they are called."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tools = folder / "app", folder / "bin"
        self.folder.mkdir()
        self.tools.mkdir()
        self._put("jq", JQ.replace("{python}", f"{sys.executable} -I"))
        for name in ("docker", "systemctl", "kubectl"):
            self._put(name, f'#!/bin/sh\necho "{name} $*" >>{folder}/asked\n[ ! -e {folder}/fails ]\n')
        self._asked = folder / "asked"

    def _put(self, name: str, text: str) -> None:
        (self.tools / name).write_text(text)
        (self.tools / name).chmod(0o755)

    def run(self, example: str, kind: str, **more: object) -> subprocess.CompletedProcess[str]:
        """Runs an example with an event."""
        script = self.folder.parent / example
        script.write_text(EXAMPLES[example])
        script.chmod(0o755)
        event = {"format": 1, "kind": kind, "at": "2026-11-22T09:30:00Z", **ABOUT, **more}
        env = {"PATH": f"{self.tools}:/usr/bin:/bin", "LANG": "C.UTF-8", "FIRSTLIGHT_EVENT": kind}
        env |= {"APP_FOLDER": str(self.folder), "MODEL_FILE": str(self.folder / "etc/model.env")}
        return subprocess.run(
            [script], input=json.dumps(event), env=env, capture_output=True, text=True, timeout=30, check=False
        )

    def asked(self) -> list[str]:
        """How the stand-ins were called since the last look."""
        found = self._asked.read_text().splitlines() if self._asked.exists() else []
        self._asked.unlink(missing_ok=True)
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Stand-ins."""
    return Bench(tmp_path)


@pytest.mark.parametrize("name", EXAMPLES)
def test_shellcheck_has_nothing_to_say(name: str) -> None:
    """Each example is clean for the checker of shell scripts."""
    checker = shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or shutil.which("shellcheck")
    assert checker, "shellcheck is one of the tools of this checkout"
    done = subprocess.run([checker, "-"], input=EXAMPLES[name], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_container(bench: Bench) -> None:
    """Enrolled it starts with who the box is; a new configuration restarts it once; retired it stops."""
    assert bench.run("50-app", "enrolled").returncode == 0
    assert bench.asked() == ["docker compose up --detach --quiet-pull"]
    assert (bench.folder / "app.env").read_text() == "DEVICE_ID=gate-3\nWORKSPACE=demo\n"
    for _ in range(2):
        assert bench.run("50-app", "config-changed", desired={"rate": 5}, version=7).returncode == 0
    assert bench.asked() == ["docker compose restart"], "at least once, so the second changes nothing"
    assert json.loads((bench.folder / "config/desired.json").read_text()) == {"rate": 5}
    assert bench.run("50-app", "retired").returncode == 0
    assert bench.asked() == ["docker compose down"]


def test_container_engine_that_fails(bench: Bench) -> None:
    """When the engine fails the hook fails: it is tried again."""
    (bench.folder.parent / "fails").touch()
    assert bench.run("50-app", "enrolled").returncode != 0


def test_inference_server(bench: Bench) -> None:
    """Another model restarts the server, the same one does not."""
    for model in ("yard/3", "yard/3", "yard/4"):
        assert bench.run("50-model", "config-changed", desired={"model": model}).returncode == 0
    assert bench.asked() == ["systemctl try-restart inference.service"] * 2
    assert (bench.folder / "etc/model.env").read_text() == "MODEL_ID=yard/4\n"


@pytest.mark.parametrize(
    "model", ["../../etc/shadow", "a b", "/abs", "x;reboot", "$(id)", "a\nMODEL_ID=b", 7, None, ["x"]]
)
def test_odd_models(model: object, bench: Bench) -> None:
    """What a platform wants is outside data: an odd name, or none, changes nothing."""
    assert bench.run("50-model", "config-changed", desired={"model": model}).returncode == 0
    assert bench.asked() == [] and not (bench.folder / "etc/model.env").exists()


def test_k3s(bench: Bench) -> None:
    """Enrolled the node gets its label, retired it is drained; a k3s that is not up yet is a failure."""
    assert bench.run("50-k3s", "enrolled").returncode == 0
    label, uncordon = bench.asked()
    assert "--overwrite firstlight.example.org/device=gate-3" in label and "uncordon" in uncordon
    assert bench.run("50-k3s", "retired").returncode == 0
    assert "drain" in bench.asked()[0]
    (bench.folder.parent / "fails").touch()
    assert bench.run("50-k3s", "enrolled").returncode != 0


def test_page_is_true() -> None:
    """docs/hooks.md names every kind with its fields, every common field, and the bounds as they are."""
    for kind, fields in FIELDS.items():
        (row,) = re.findall(rf"^\| `{kind}` \| .*$", PAGE, re.MULTILINE)
        assert all(f"`{name}`" in row for name in fields), kind
    example = json.loads(re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0])
    assert list(example) == ["format", "kind", "at", *COMMON, *FIELDS["enrolled"]]
    assert f"first {MAX_LINES} lines and {MAX_OUTPUT_BYTES // 1024} KiB" in PAGE and f"At most {MAX_HOOKS} " in PAGE
    waits = ["10 s", "1 min", "5 min", "20 min"]
    assert [f"{wait:g} s" if wait < 60 else f"{wait / 60:g} min" for wait in WAITS_S] == waits
    assert f"after {', '.join(waits[:-1])} and {waits[-1]}" in PAGE and len(waits) + 1 == MAX_TRIES
    assert f"({MAX_WAITING} at most" in PAGE
