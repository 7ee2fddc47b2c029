"""SIGKILL at every durable step of an upgrade, of going back, and of tidying up: always a whole release in use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("kill_child.py")
ROOT = Path(__file__).resolve().parents[2]
OLD, NEW, LAST = "0.2.0-00000000", "0.3.0-11111111", "0.1.0-22222222"


def killed_again_and_again(folder: Path, kind: str) -> list[dict[str, object]]:
    """What the child told, round by round; the last one was not killed."""
    done = subprocess.run(
        [sys.executable, str(CHILD), str(folder), kind],
        capture_output=True,
        text=True,
        timeout=115,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    assert rounds and not rounds[-1]["killed"], done.stderr
    assert all(one["killed"] for one in rounds[:-1])
    assert all(one["resumed"] == 0 for one in rounds), done.stderr
    for one in rounds:
        assert one["left"]["active"] in (OLD, NEW), f"no agent after a kill at {one['step']}"
        # What is not proved yet is never what the upgrade unit runs.
        assert one["left"]["proven"] in ("", OLD) or one["left"]["active"] == NEW, one
    return rounds


def test_kill_at_every_step_of_an_upgrade(tmp_path: Path) -> None:
    """Whatever step the kill hits, the next start ends with the new release, its result and nothing half done."""
    rounds = killed_again_and_again(tmp_path, "good")

    for one in rounds:
        assert one["end"] == {
            "active": NEW,
            "proven": NEW,
            "releases": [OLD, NEW],
            "journal": False,
            "state": "by the new release",
            "wish": False,
            "result": [2, ""],
            "key": True,
        }, one["step"]
    steps = {str(one["step"]) for one in rounds}
    assert {"rename firstlight", "rename firstlight-proven", "rename upgrade.json", "remove journal"} <= steps
    assert f"remove release {LAST}" in steps and len(rounds) > 40


def test_kill_at_every_step_of_going_back(tmp_path: Path) -> None:
    """Whatever step the kill hits, the next start ends with the old release and the state that it can read."""
    rounds = killed_again_and_again(tmp_path, "bad")

    for one in rounds:
        assert one["end"] == {
            "active": OLD,
            "proven": OLD,
            "releases": [LAST, OLD],
            "journal": False,
            "state": "by the old release",
            "wish": False,
            "result": [2, "upgrade_crashed"],
            "key": False,
        }, one["step"]
    steps = {str(one["step"]) for one in rounds}
    assert {"link launcher", "rename launcher back", f"remove release {NEW}", "remove journal"} <= steps
    assert {"rename registration.json", "rename upgraded.json"} <= steps and len(rounds) > 40


@pytest.mark.parametrize("kind", ["good", "bad"])
def test_the_rounds_can_fail(tmp_path: Path, kind: str) -> None:
    """A box whose launcher names what is not there would be noticed."""
    from tests.upgrade import kill_child

    kill_child.lay_out(tmp_path, is_bad=kind == "bad")
    launcher = tmp_path / "prefix/bin/firstlight"
    launcher.write_text(launcher.read_text().replace(OLD, "0.9.0-99999999"))
    assert kill_child.shown(tmp_path)["active"] == ""
