"""SIGKILL at every durable write of provisioning and of registering: nothing, or a box that is whole; one device."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.detached.labels import Signer, payload
from tests.e2e.conftest import Hub

CHILD = Path(__file__).with_name("kill_child.py")
ROOT = Path(__file__).parents[2]


def rounds(verb: str, folder: Path, labels: list[str]) -> list[dict[str, Any]]:
    """What the child tells of each round; all but the last were killed."""
    done = subprocess.run(
        [sys.executable, str(CHILD), verb, str(folder)],
        input="\n".join(labels),
        capture_output=True,
        text=True,
        timeout=240,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found, done.stderr
    assert not found[-1]["killed"], f"{len(found)} rounds and no end, or: {done.stderr}"
    assert all(one["killed"] for one in found[:-1])
    return found


def test_kill_at_every_step_of_provisioning(tmp_path: Path) -> None:
    """Before ``provisioned.json`` is there the box is as it was; from then on it is provisioned. Again: provisioned."""
    signer = Signer()
    signer.trusted_in(tmp_path)
    found = rounds("provision", tmp_path, [signer.label(payload()) for _ in range(60)])
    steps = [one["step"] for one in found]
    for needed in ("sync device.key", "rename provisioned.json", "rename nonces.json", "rename seen.json"):
        assert needed in steps
    moment = steps.index("rename provisioned.json")
    assert [one["after"]["provisioned"] for one in found] == [n > moment for n in range(len(found))]
    for one in found:
        assert (one["again"], one["refused"]) == (0, ""), one
        assert one["end"]["provisioned"] and not one["end"]["registered"]


def test_kill_at_every_step_of_registering(hub: Hub, tmp_path: Path) -> None:
    """Whatever step the kill hits, the box keeps its provision or its registration, and ends as the one device."""
    signer = Signer()
    signer.trusted_in(tmp_path)
    before = set(hub.devices())
    created = [hub.create(f"killed {number}") for number in range(70)]
    labels = [signer.label(payload(hub.url, hub.pin, one.install_id.reveal())) for one in created]
    found = rounds("register", tmp_path, labels)
    steps = [one["step"] for one in found]
    for needed in ("rename registration.json", "remove provisioned.json", "rename enrolled.json"):
        assert needed in steps
    assert set(hub.devices()) - before == {one.device_id for one in created}
    for number, one in enumerate(found):
        assert one["after"]["provisioned"] or one["after"]["registered"], one
        assert one["again"] == 0 and one["end"]["device"] == created[number].device_id, one
        assert not one["end"]["provisioned"] and one["end"]["nonces"] == 1, one
        assert "attempt.json" not in one["end"]["names"]
