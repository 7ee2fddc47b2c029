"""SIGKILL at every durable step of enrolling with a device file: the same command again ends as if there was none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from firstlight.system.store import StateDirectory
from tests.example.server import DEVICE, OWN_SECRET, SECRET, Site
from tests.example.test_a_new_platform import key_of

CHILD = Path(__file__).with_name("kill_child.py")
TOP = Path(__file__).parents[2]


@pytest.mark.parametrize("road", ["finished", "certificate", "bootstrap"])
def test_kill_at_every_step(site: Site, tmp_path: Path, road: str) -> None:
    """Whatever step the kill hits, the same file again ends enrolled, with the right credential and no attempt left."""
    file = site.at_greeter() if road == "bootstrap" else site.file()
    if road == "certificate":
        mine = site.ca.issue(title=DEVICE)
        file = site.file(secret=None, certificate=mine.pem, key=key_of(mine))
    path = tmp_path / "device.json"
    path.write_text(json.dumps(file))
    path.chmod(0o600)

    done = subprocess.run(
        [sys.executable, str(CHILD), str(tmp_path), str(path)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(TOP)},
    )
    rounds = [json.loads(line) for line in done.stdout.splitlines()]

    assert rounds, done.stderr
    assert not rounds[-1]["killed"], done.stderr
    assert [0] * len(rounds) == [one["resumed"] for one in rounds], (rounds, done.stderr)
    steps = [one["step"] for one in rounds[:-1]]
    assert len(steps) > 20
    assert any("attempt.json" in step for step in steps)
    assert any("registration.json" in step for step in steps)
    assert any("device" in step and ".key" in step for step in steps)
    for number in range(len(rounds)):
        store = StateDirectory(str(tmp_path / str(number)))
        kept = store.load_registration()
        assert kept is not None
        assert kept.device_id == DEVICE
        secret = kept.credential.secret.reveal() if kept.credential.secret else None
        assert secret == {"finished": SECRET, "certificate": None, "bootstrap": OWN_SECRET}[road]
        assert store.read_json("attempt.json") is None
        assert Path(store.key_file(kept.key_fingerprint)).exists()
    assert len(site.counter.counts) >= len(rounds)
