"""Upgrades of a box that is provisioned and that no hub has registered yet: there the new release must keep a beat."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from firstlight.system.releases import Releases
from tests.detached import labels
from tests.e2e.conftest import Hub, wait_until
from tests.upgrade.bundles import release_of
from tests.upgrade.conftest import Box

NOWHERE = "https://127.0.0.1:9"
ENDS = {"cli/run.py": "def verb(words, config):\n    raise SystemExit(70)"}
# It runs, but never gets as far as a beat.
MUTE = {"daemon/detached.py": "def _silent(self):\n    pass\nDetached._beat = _silent"}


def provision(box: Box, url: str = NOWHERE, pin: str = labels.PIN, token: str = labels.TOKEN) -> None:
    """Provisions the box from a label, without a network."""
    signer = labels.Signer()
    signer.trusted_in(box.prefix / "etc")
    label = signer.label(labels.payload(url, pin, token))
    path = box.folder / "label.txt"
    path.write_text(label)
    with path.open() as file:
        line = [str(box.agent), "scan", "--stdin", "--no-start"]
        done = subprocess.run(line, stdin=file, capture_output=True, text=True, env=box.env, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (box.state_dir / "provisioned.json").exists()


@pytest.fixture
def detached(fresh: Box) -> Box:
    """A box that is provisioned for a hub that nothing leads to."""
    provision(fresh)
    return fresh


def spooled(box: Box) -> int:
    """How many beats it keeps."""
    return int(str(box.status().get("spooled") or 0))


def test_a_new_release_must_keep_a_beat(detached: Box) -> None:
    """Nobody ran the agent: the new release runs as a child until it has kept a beat, and the provision stays."""
    before = (detached.state_dir / "provisioned.json").read_bytes()
    bundle = detached.bundle("0.3.0")
    done = detached.upgrade(bundle)
    assert done.returncode == 0, done.stderr
    assert "waiting for it to keep a heartbeat" in done.stdout
    assert detached.is_tidy(release_of(bundle))
    assert (detached.state_dir / "provisioned.json").read_bytes() == before
    found = detached.status()
    assert found["state"] == "provisioned" and found["agentRuns"] is False
    assert list(detached.state_dir.glob("spool*")), "the beat is kept"


def test_an_agent_that_runs_is_started_as_the_new_release(detached: Box) -> None:
    """It says what to restart and waits; the agent of the new release is the proof, and it goes on keeping beats."""
    agent = detached.start("run")
    wait_until("it keeps beats", lambda: spooled(detached) >= 1)
    bundle = detached.bundle("0.3.0")
    process = detached.start("upgrade", bundle, "--patience", "60")
    assert process.stdout is not None
    said = next(line for line in process.stdout if "Restart the agent now" in line)
    assert f"kill {agent.pid}" in said
    agent.terminate()
    agent.communicate(timeout=20)
    detached.start("run")
    assert process.wait(60) == 0
    assert detached.is_tidy(release_of(bundle))
    found = detached.status()
    assert (found["state"], found["agentVersion"], found["agentRuns"]) == ("provisioned", "0.3.0", True)


@pytest.mark.parametrize(
    ("changes", "patience_s", "code"),
    [(ENDS, "40", "upgrade_crashed"), (MUTE, "4", "upgrade_not_proved")],
    ids=["ends", "keeps no beat"],
)
def test_a_broken_release_goes_back(detached: Box, changes: dict[str, str], patience_s: str, code: str) -> None:
    """The release before is in use again, and the provision is as it was."""
    before = (detached.state_dir / "provisioned.json").read_bytes()
    done = detached.upgrade(detached.bundle("0.3.0", changes), "--patience", patience_s)
    assert done.returncode == 70 and code in done.stderr, done.stderr
    assert code != "upgrade_not_proved" or "was kept in" in done.stderr
    assert detached.is_tidy(detached.old) and Releases(str(detached.prefix)).names() == [detached.old]
    assert (detached.state_dir / "provisioned.json").read_bytes() == before


def test_a_network_that_appears_meanwhile(fresh: Box, hub: Hub) -> None:
    """The new release registers the box while it is proved: then the hub's word counts, as for any other box."""
    provision(fresh, hub.url, hub.pin, hub.create("meanwhile").install_id.reveal())
    bundle = fresh.bundle("0.3.0")
    assert fresh.upgrade(bundle).returncode == 0
    assert fresh.is_tidy(release_of(bundle))
    assert (fresh.state_dir / "registration.json").exists() or (fresh.state_dir / "provisioned.json").exists()
    fresh.run()
    assert fresh.status()["agentVersion"] == "0.3.0"


def test_a_damaged_provision_stops_the_upgrade(detached: Box) -> None:
    """Before anything is switched, with what to do about it."""
    path = Path(detached.state_dir, "provisioned.json")
    path.write_text(json.dumps({"format": 1}))
    done = detached.upgrade(detached.bundle("0.3.0"))
    assert done.returncode == 74 and "state_corrupt" in done.stderr and "Scan the code again" in done.stderr
    assert detached.is_tidy(detached.old)
