"""The limits of the unit where they are real: a container has no controllers that would enforce them."""

from __future__ import annotations

from tests.e2e.conftest import wait_until
from tests.vm.conftest import Enrolled, Record

GROUP = "/sys/fs/cgroup/system.slice/firstlight.service"
HALF = 0.5
# In the unit's cgroup: more memory, or more processes, than the unit may have.
HOG = f"echo $$ >{GROUP}/cgroup.procs && exec python3 -c 'bytearray(200 << 20)'"
FORKS = f"echo $$ >{GROUP}/cgroup.procs; for n in $(seq 40); do sleep 5 >/dev/null 2>&1 & done"


def test_the_agent_lives_far_within_its_memory(enrolled: Enrolled, record_property: Record) -> None:
    """Its peak since the start, as the kernel counts it, is at most half of MemoryMax, and nothing was ever refused."""
    machine = enrolled.machine
    machine.wait_online(60)
    current, peak, limit = (int(machine.read(f"{GROUP}/memory.{name}")) for name in ("current", "peak", "max"))
    for name, value in (("current", current), ("peak", peak), ("max", limit)):
        record_property(f"memory.{name}", f"{value / 1e6:.1f} MB")
    assert limit == 64 << 20
    assert current <= peak <= limit * HALF
    events = dict(line.split() for line in machine.read(f"{GROUP}/memory.events").splitlines())
    assert events["max"] == events["oom_kill"] == "0"


def test_memory_beyond_the_limit_is_refused_and_the_service_comes_back(enrolled: Enrolled) -> None:
    """What takes more than MemoryMax within the unit is killed; systemd starts the service again, and it is online."""
    machine = enrolled.machine
    before = machine.agent_pid
    done = machine.sh(HOG, check=False)
    assert done.returncode in (-9, 137)
    wait_until("systemd has started it again", lambda: machine.agent_pid not in (0, before), 60)
    machine.wait_online(60)
    assert "oom-kill" in machine.journal()


def test_processes_beyond_the_limit_are_refused(enrolled: Enrolled) -> None:
    """TasksMax holds: within the unit not more than 16 processes start, and the agent does not mind."""
    machine = enrolled.machine
    before = machine.agent_pid
    assert machine.read(f"{GROUP}/pids.max").strip() == machine.unit("TasksMax") == "16"
    assert int(machine.read(f"{GROUP}/pids.current")) <= 2
    done = machine.sh(FORKS, check=False)
    assert "Cannot fork" in done.stderr
    machine.wait_online(60)
    assert machine.agent_pid == before
