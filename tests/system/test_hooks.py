"""Hooks on booted boxes: events become units of systemd's, which end with all they have started."""

from __future__ import annotations

import json
import shlex

import pytest

from tests.e2e.conftest import wait_until
from tests.system.box import AGENT, Box
from tests.system.conftest import Install, Installed, MakeBox, on_each_userland
from tests.system.hub_site import Desk

FOLDER, NOTES = "/etc/firstlight/hooks", "/srv/notes"
PATH_UNIT, UNIT = "firstlight-hooks.path", "firstlight-hooks.service"
# Leaves an event as the agent does, with the agent's own code.
LEAVE = (
    "import glob, json, sys; sys.path.insert(0, glob.glob('/opt/firstlight/lib/*/lib')[0]); "
    "from firstlight.system.hooks import leave; "
    "assert leave('/var/lib/firstlight', sys.argv[1], json.loads(sys.argv[2]))"
)
DAEMON = "setsid sh -c 'trap \"\" TERM HUP; echo $$ >{notes}/daemon; while :; do sleep 1000; done' &"


def hook(box: Box, kind: str, script: str, name: str = "10-note") -> None:
    """Installs one, as docs/hooks.md says."""
    place = f"{FOLDER}/{kind}.d/{name}"
    box.sh(f"mkdir -p {FOLDER}/{kind}.d {NOTES}")
    box.path(place).write_text(f"#!/bin/sh\n{script.replace('{notes}', NOTES)}\n")
    box.path(place).chmod(0o755)


def note(box: Box, name: str) -> str:
    """What a hook noted."""
    path = box.path(f"{NOTES}/{name}")
    return path.read_text() if path.exists() else ""


def leave(box: Box, kind: str, **about: object) -> None:
    """Leaves an event."""
    box.run("python3", "-c", LEAVE, kind, json.dumps(about))


def is_quiet(box: Box) -> bool:
    """Whether root's half has ended."""
    return box.unit("ActiveState", UNIT) == "inactive"


@pytest.fixture(scope="module")
def site(make_box: MakeBox, install: Install) -> Installed:
    """A box whose integrator has put hooks there before it was enrolled."""
    box = make_box()
    for kind in ("enrolled", "config-changed", "refused", "retired"):
        hook(
            box, kind, "cat >>{notes}/$FIRSTLIGHT_EVENT.new; mv {notes}/$FIRSTLIGHT_EVENT.new {notes}/$FIRSTLIGHT_EVENT"
        )
    hook(
        box,
        "enrolled",
        "env | sort >{notes}/env; cat /proc/self/cgroup >{notes}/cgroup; touch /usr/written",
        "20-where",
    )
    return install(box)


def test_enrolled(site: Installed) -> None:
    """Enrolling runs its hooks: as root, in a unit outside of any sandbox, with who the box is and no secret."""
    box = site.box
    wait_until("the hooks have run", lambda: note(box, "cgroup"), 40)
    found = json.loads(note(box, "enrolled"))
    assert (found["kind"], found["deviceId"], found["platform"]) == ("enrolled", site.device.device_id, "hub")
    names = {line.partition("=")[0] for line in note(box, "env").splitlines()}
    assert names - {"PWD", "_", "SHLVL", "OLDPWD"} == {"PATH", "LANG", "FIRSTLIGHT_EVENT"}
    assert "/firstlight-hook-enrolled-" in note(box, "cgroup") and box.path("/usr/written").exists()
    wait_until("root's half is over", lambda: is_quiet(box))
    assert box.unit("Result", UNIT) == "success" and box.unit("ActiveState", PATH_UNIT) == "active"
    shown = json.loads(box.run(AGENT, "hooks", "--json").stdout)
    assert [(each["name"], each["last"]["code"]) for each in shown["hooks"][:2]] == [
        ("10-note", None),
        ("20-where", None),
    ]
    assert shown["waiting"] == []
    assert "firstlight-hook-" not in box.run("systemctl", "list-units", "--all", "--plain", "firstlight-hook-*").stdout


def test_a_change_of_configuration(site: Installed) -> None:
    """What the platform wants reaches its hook while the agent beats on; the agent's user may leave it."""
    box = site.box
    leave(box, "config-changed", desired={"rate": 5}, version=7, token="not for a hook")
    wait_until("the hook has run", lambda: note(box, "config-changed"))
    found = json.loads(note(box, "config-changed"))
    assert (found["desired"], found["version"]) == ({"rate": 5}, 7) and "token" not in found


def test_a_hang_is_ended_with_its_children(site: Installed) -> None:
    """A hook over its time ends with everything it started, sessions of their own too; heartbeats go on meanwhile."""
    box = site.box
    settings = box.read("/etc/firstlight/agent.toml")
    box.path("/etc/firstlight/agent.toml").write_text(f'{settings}hook_limit_s = "2"\n')
    box.run("systemctl", "stop", UNIT)  # it may still be there, with the settings it began with
    hook(box, "network", f"{DAEMON}\necho $$ >{{notes}}/hang; while :; do sleep 1000; done", "10-hang")
    before = box.agent_pid
    leave(box, "network", code="network_joined", message="Joined.")
    wait_until("it hangs", lambda: note(box, "hang") and note(box, "daemon"))
    wait_until("it was ended", lambda: "[hook_late]" in box.journal(UNIT), 40)
    pids = [note(box, name).strip() for name in ("hang", "daemon")]
    wait_until(
        "both are gone",
        lambda: box.sh(f"kill -0 {pids[0]}; kill -0 {pids[1]}", check=False).stderr.count("No such process") == 2,
    )
    assert box.agent_pid == before and box.status()["state"] == "online"
    assert "network/10-hang: It took longer than 2 s" in box.run(AGENT, "hooks").stdout
    assert "network/10-hang" in box.run(AGENT, "status").stdout
    box.sh(f"rm -r {FOLDER}/network.d")
    box.path("/etc/firstlight/agent.toml").write_text(settings)
    box.run("systemctl", "stop", UNIT)
    wait_until("what is not there any more is not tried again", lambda: is_quiet(box))


def test_a_flood_and_a_failure(site: Installed) -> None:
    """A flood leaves 200 lines in the journal, a failure is named, and both wait for their next try."""
    box = site.box
    hook(box, "network", "yes 'a line of a flood' | head -n 200000; exit 3", "20-flood")
    leave(box, "network", code="network_joined", message="Joined.")
    wait_until("it failed", lambda: "exit status 3" in box.journal(UNIT), 40)
    lines = box.run("journalctl", "-q", "-o", "cat", "-t", "firstlight-hook").stdout
    assert lines.count("a line of a flood") <= 200 and "more bytes were left out" in lines
    assert box.unit("ActiveState", UNIT) == "active", "it waits for the next try"
    box.sh(f"rm -r {FOLDER}/network.d")
    box.run("systemctl", "stop", UNIT)


def test_after_a_reboot(site: Installed) -> None:
    """What waited when the box went down is done after the next start."""
    box = site.box
    box.run("systemctl", "stop", PATH_UNIT)
    leave(box, "network", code="network_joined", message="Joined.")
    hook(box, "network", "cat >{notes}/network")
    box.reboot()
    wait_until("the hook has run", lambda: note(box, "network"), 40)


def test_retired(site: Installed, desk: Desk) -> None:
    """Removed on the hub: the hook hears of it from an agent that has ended."""
    box = site.box
    desk.call("DELETE", f"/{site.device.device_id}")
    wait_until("the hook has run", lambda: note(box, "retired"), 60)
    assert json.loads(note(box, "retired"))["deviceId"] == site.device.device_id


@on_each_userland
def test_foreign_and_linked_files(make_box: MakeBox, install: Install, userland: str) -> None:
    """Hooks of another owner, of others' writing and links are named and not run, on each system."""
    box = make_box(userland=userland)
    hook(box, "enrolled", "touch {notes}/foreign", "10-foreign")
    hook(box, "enrolled", "touch {notes}/shared", "20-shared")
    hook(box, "enrolled", "touch {notes}/good", "40-good")
    place = shlex.quote(f"{FOLDER}/enrolled.d")
    box.sh(f"chown 65534 {place}/10-foreign; chmod 775 {place}/20-shared; ln -s 40-good {place}/30-link")
    install(box)
    wait_until("the good one has run", lambda: box.path(f"{NOTES}/good").exists(), 40)
    assert not note(box, "foreign") and sorted(path.name for path in box.path(NOTES).iterdir()) == ["good"]
    shown = box.run(AGENT, "hooks").stdout
    assert "belongs to user 65534" in shown and "can be written by others" in shown and "symbolic link" in shown
