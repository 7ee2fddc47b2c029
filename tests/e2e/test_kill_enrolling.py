"""SIGKILL at every durable write, every request and every reply of enrolling: one device, online."""

import json
import subprocess
import sys
from pathlib import Path

from firstlight.system.store import StateDirectory
from tests.e2e.conftest import Hub

CHILD = Path(__file__).with_name("kill_child.py")
MOST_STEPS = 120


def test_kill_at_every_step_of_enrolling(hub: Hub, tmp_path: Path) -> None:
    """Whatever step the kill hits, running the command again ends with the one device that was created, online."""
    before = set(hub.devices())
    created = [hub.create(f"killed {number}") for number in range(MOST_STEPS)]
    ids = "\n".join(one.install_id.reveal() for one in created)

    done = subprocess.run(
        [sys.executable, str(CHILD), str(tmp_path), hub.url, hub.pin],
        input=ids,
        capture_output=True,
        text=True,
        timeout=100,
    )
    rounds = [json.loads(line) for line in done.stdout.splitlines()]

    assert not rounds[-1]["killed"], f"{len(rounds)} rounds and no end, or: {done.stderr}"
    assert all(one["killed"] for one in rounds[:-1])
    assert [0] * len(rounds) == [one["resumed"] for one in rounds], rounds
    steps = [one["step"] for one in rounds[:-1]]
    for needed in ("send redeem", "reply to redeem", "send heartbeat", "reply to heartbeat"):
        assert needed in steps
    assert len(steps) > 20
    listed = hub.devices()
    assert set(listed) - before == {one.device_id for one in created}, "an enrolling made a device of its own"
    for number in range(len(rounds)):
        registration = StateDirectory(str(tmp_path / str(number))).load_registration()
        assert registration is not None
        assert registration.device_id == created[number].device_id
        assert listed[registration.device_id]["last_heartbeat"] is not None, steps[number]
