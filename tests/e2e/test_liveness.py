"""Whether the agent is alive is seen from outside: dead, frozen, cut off from its disk, or one too many."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import BIN, Box, Hub, wait_until

MakeBox = Callable[[Hub], Box]
Agent = subprocess.Popen[str]


def online(hub: Hub, box: Box, name: str) -> Agent:
    """An enrolled box whose agent beats."""
    box.enroll(hub.create(name).install_id.reveal())
    agent = box.run()
    wait_until("it is online", lambda: box.status()["state"] == "online")
    return agent


def rewrite(box: Box, **fields: object) -> None:
    """Changes the status file as time, or another process with that pid, would have."""
    path = box.state_dir / "status.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_killed_agent_is_not_online(hub: Hub, make_box: MakeBox) -> None:
    """After SIGKILL, not yet reaped, and after its pid went to another process: stopped, exit status 3."""
    box = make_box(hub)
    agent = online(hub, box, "killed")
    agent.kill()
    os.waitid(os.P_PID, agent.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
    done = box.cli("status", check=False)
    assert (done.returncode, done.stdout.split()[:2]) == (3, ["state", "stopped"])

    rewrite(box, pid=os.getpid())
    assert box.status()["state"] == "stopped"
    (box.state_dir / "running").unlink()
    rewrite(box, pid=agent.pid)
    assert box.status()["state"] == "stopped", "without the lock's file a zombie does not count either"
    rewrite(box, pid=os.getpid(), bootId="0" * 32)
    assert box.status()["state"] == "stopped", "nor does a process of another boot"


def test_an_agent_whose_lock_cannot_be_asked_is_found_by_its_pid(hub: Hub, make_box: MakeBox) -> None:
    """An agent that started on a disk too full for its lock is online all the same."""
    box = make_box(hub)
    online(hub, box, "without a lock")
    (box.state_dir / "running").unlink()

    assert box.status()["state"] == "online"


def test_an_agent_that_could_not_take_its_lock_is_no_stopped_one(hub: Hub, make_box: MakeBox) -> None:
    """On a disk that is read-only for it alone nobody holds the lock: it says so, and is online until it ends."""
    box = make_box(hub)
    box.enroll(hub.create("unlocked").install_id.reveal())
    (box.state_dir / "running").unlink(missing_ok=True)
    (box.state_dir / "running").mkdir()  # cannot be opened to write, by root neither; nobody holds a lock on it
    agent = box.run()
    wait_until("it is online", lambda: box.status()["state"] == "online")
    agent.kill()
    agent.wait(20)
    assert box.status()["state"] == "stopped"


def test_a_frozen_agent_is_not_responding(hub: Hub, make_box: MakeBox) -> None:
    """Alive, but its next beat was due long ago: not_responding with a reason and a next step, exit status 3."""
    box = make_box(hub)
    agent = online(hub, box, "frozen")
    agent.send_signal(signal.SIGSTOP)
    try:
        due_s = box.status()["nextBeatMonoS"]
        assert isinstance(due_s, float)
        rewrite(box, nextBeatMonoS=due_s - 60)
        assert box.status()["state"] == "online", "a slow turn is no silence"
        rewrite(box, nextBeatMonoS=due_s - 300)
        done = box.cli("status", check=False)
        found = box.status()
    finally:
        agent.send_signal(signal.SIGCONT)

    assert (done.returncode, found["state"], found["reason"]) == (3, "not_responding", "status_overdue")
    assert f"(pid {agent.pid})" in str(found["message"]) and "5 min ago" in str(found["message"])
    assert "next step" in done.stdout
    wait_until("it is online again", lambda: box.status()["state"] == "online")


def test_a_disk_that_fills_up_is_logged_once(hub: Hub, make_box: MakeBox) -> None:
    """An agent that cannot write its status says so once, and goes on beating; its old status is not renewed."""
    box = make_box(hub)
    agent = online(hub, box, "full")
    resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, (0, 0))
    device_id = str(box.status()["deviceId"])
    for _ in range(3):
        seen = hub.devices()[device_id]["last_heartbeat"]
        wait_until("it beats", lambda seen=seen: hub.devices()[device_id]["last_heartbeat"] != seen)  # type: ignore[misc]
    stale = box.status()["nextBeatMonoS"]
    agent.terminate()
    log = agent.communicate(timeout=10)[0]

    assert log.count("status.json cannot be written") == 1, log
    assert json.loads((box.state_dir / "status.json").read_text())["nextBeatMonoS"] == stale


@pytest.mark.parametrize("has_runtime_dir", [False, True])
def test_a_first_start_on_a_full_disk(hub: Hub, make_box: MakeBox, tmp_path: Path, has_runtime_dir: bool) -> None:
    """With not a byte to write, and nothing left of an earlier start, a registered box beats."""
    box = make_box(hub)
    created = hub.create("full from the start")
    box.enroll(created.install_id.reveal())
    (box.state_dir / "facts.json").unlink()
    words = ["--runtime-dir", str(tmp_path)] if has_runtime_dir else []
    wait_until("it is offline", lambda: hub.status(created.device_id) == "offline")
    line = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", str(BIN / "firstlight"), "run", "--state-dir"]
    agent = subprocess.Popen(
        [*line, str(box.state_dir), *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=box.env
    )
    box.processes.append(agent)

    wait_until("it beats", lambda: hub.status(created.device_id) == "online")
    found = box.status()
    assert (found["state"], found.get("pid")) == ("starting", agent.pid), "it could write no status yet"


def test_reset_does_not_leave_a_ghost(hub: Hub, make_box: MakeBox) -> None:
    """While the agent runs reset refuses, naming it and how to stop it; a second agent is refused too."""
    box = make_box(hub)
    agent = online(hub, box, "ghost")
    registration = (box.state_dir / "registration.json").read_bytes()
    for words in (("reset", "--yes"), ("reset",)):
        refused = box.cli(*words, check=False)
        assert (refused.returncode, f"(pid {agent.pid}). [agent_running]" in refused.stderr) == (74, True)
        assert f"kill {agent.pid}" in refused.stderr or "systemctl stop firstlight" in refused.stderr
    second = box.cli("run", check=False)
    assert (second.returncode, "firstlight status" in second.stderr) == (74, True)
    assert f"The agent runs already (pid {agent.pid}). [agent_running]" in second.stderr
    assert (box.state_dir / "registration.json").read_bytes() == registration
    assert box.status()["state"] == "online"

    agent.terminate()
    agent.wait(10)
    assert "systemctl" not in box.cli("reset", "--yes").stdout
    assert box.status()["state"] == "not_enrolled"


def test_people_read_words_and_programs_raw_values(hub: Hub, make_box: MakeBox) -> None:
    """One clock for people (in 1 s), none for a skew that does not matter; JSON has the numbers."""
    box = make_box(hub)
    agent = online(hub, box, "words")
    agent.send_signal(signal.SIGSTOP)
    try:
        due_s = box.status()["nextBeatMonoS"]
        assert isinstance(due_s, float)
        rewrite(box, nextBeatMonoS=due_s + 3000, skewS=10_800.0)
        shown = box.cli("status").stdout
        rewrite(box, skewS=-1.0)
        near = box.cli("status").stdout
        found = box.status()
    finally:
        agent.send_signal(signal.SIGCONT)

    assert "clock              3 h behind the hub's" in shown and "next beat          in 50 min" in shown
    assert "clock" not in near
    assert found["skewS"] == -1.0 and found["nextBeatAt"]
