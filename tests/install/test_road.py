"""The whole road against a real hub: the script installs, enrolls, is run again, resumes, is removed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from firstlight import __version__
from firstlight.core.exchange import HttpCall
from firstlight.core.model import Trust
from firstlight.transports.http_calls import HttpCalls
from tests.e2e.conftest import Hub, wait_until
from tests.install.scene import run, tree

CURL = shutil.which("curl")


def fetched(hub: Hub, install_id: str) -> tuple[int, str]:
    """Status and text of the script for an installId, as the hub serves it now."""
    with HttpCalls(Trust(pins=(hub.pin,))) as calls:
        reply = calls.exchange(HttpCall("GET", f"{hub.url}/devices/v2/{install_id}/install.sh", (), None), 10)
    return reply.status, reply.body.decode()


class Box:
    """A scratch prefix of its own, and the programs that run there."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.agent = prefix / "bin" / "firstlight"
        self.running: list[subprocess.Popen[bytes]] = []

    def install(self, script: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Runs the script here."""
        return run(script, "--prefix", str(self.prefix), "--no-service", *options)

    def status(self) -> dict[str, object]:
        """``firstlight status --json`` of the installed agent."""
        done = subprocess.run([self.agent, "status", "--json"], capture_output=True, text=True, timeout=20, check=False)
        found = json.loads(done.stdout)
        assert isinstance(found, dict)
        return found

    def start(self) -> subprocess.Popen[bytes]:
        """The installed agent, beating."""
        self.running.append(subprocess.Popen([self.agent, "run"], stderr=subprocess.DEVNULL, env={"PATH": "/nowhere"}))
        return self.running[-1]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A fresh box; what it runs is ended afterwards."""
    one = Box(tmp_path / "box")
    yield one
    for process in one.running:
        if process.poll() is None:
            process.terminate()
        process.wait(20)


def test_command_brings_a_device_online(hub: Hub, box: Box) -> None:
    """The script installs, enrolls, ends with the next command; that command makes the list say online."""
    created = hub.create("road")
    status, script = fetched(hub, created.install_id.reveal())
    done = box.install(script)

    assert (status, done.returncode) == (200, 0), done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == f"  {box.agent} run"
    assert created.install_id.reveal() not in done.stdout
    assert hub.status(created.device_id) == "online"  # the beat that proves the registration
    box.start()
    wait_until("status says online", lambda: box.status()["state"] == "online")


def test_second_run_changes_nothing(hub: Hub, box: Box) -> None:
    """The same script again, and the one the hub now serves for the spent id, say "nothing to do" and touch nothing."""
    created = hub.create("twice")
    _, script = fetched(hub, created.install_id.reveal())
    assert box.install(script).returncode == 0
    before = tree(box.prefix)
    status, spent = fetched(hub, created.install_id.reveal())

    assert status == 410
    for each in (script, spent):
        done = box.install(each)
        assert (done.returncode, done.stderr) == (0, "")
        said = f"nothing to do: this box is enrolled; it beats while this runs: {box.agent} run"
        assert done.stdout == f"firstlight: {said}\n"
        assert tree(box.prefix) == before


def test_second_run_beside_the_running_agent_says_online(hub: Hub, box: Box) -> None:
    """While the agent runs, there is no command left to type, and none is named."""
    _, script = fetched(hub, hub.create("runs").install_id.reveal())
    assert box.install(script).returncode == 0
    box.start()
    wait_until("status says online", lambda: box.status()["state"] == "online")
    done = box.install(script)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "firstlight: nothing to do: this box is enrolled and online\n"


def test_second_box_is_refused(hub: Hub, box: Box, tmp_path: Path) -> None:
    """A spent installId on another box: the script says why, fails, and leaves nothing."""
    created = hub.create("first")
    box.install(fetched(hub, created.install_id.reveal())[1])
    other = Box(tmp_path / "other")
    done = other.install(fetched(hub, created.install_id.reveal())[1])

    assert done.returncode == 1
    assert "installId" in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert not other.prefix.exists()


def test_unknown_install_id_is_refused(hub: Hub, box: Box) -> None:
    """An installId that nobody issued: 404, the reason, a non-zero end."""
    status, script = fetched(hub, "n0b0dy1ssuedth1s0nehere00x")
    done = box.install(script)
    assert (status, done.returncode) == (404, 1)
    assert done.stderr.startswith("firstlight: ")
    assert not box.prefix.exists()


def test_revoked_install_id_is_refused_at_any_time(hub: Hub, box: Box) -> None:
    """A script fetched before the device was removed installs, then ends with the hub's reason and enroll's status."""
    script = fetched(hub, hub.create("gone").install_id.reveal())[1].replace("install_id=", "install_id=x", 1)
    done = box.install(script)
    assert done.returncode == 78
    assert "install_id_unknown" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("step", ["after the files", "after the key"])
def test_interrupted_install_goes_on(step: str, hub: Hub, box: Box) -> None:
    """Killed half-way, the same command again ends with one device, online."""
    created = hub.create("resumes")
    script = fetched(hub, created.install_id.reveal())[1]
    state = box.prefix / "var"
    line = ["sh", "-c", script, "sh", "--prefix", str(box.prefix), "--no-service"]
    process = subprocess.Popen(
        line,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={"PATH": os.environ["PATH"]},
    )
    sign = box.agent if step == "after the files" else state / "device.key"
    wait_until(step, sign.exists)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)

    done = box.install(fetched(hub, created.install_id.reveal())[1])
    assert done.returncode == 0, done.stderr
    assert box.status()["deviceId"] == created.device_id
    box.start()
    wait_until("the list says online", lambda: hub.status(created.device_id) == "online")


def test_killed_download_leaves_the_next_run_a_clean_place(hub: Hub, box: Box) -> None:
    """Killed while it fetches or unpacks, the next run clears the leftovers away and works."""
    script = fetched(hub, hub.create("killed").install_id.reveal())[1]
    line = ["sh", "-c", script, "sh", "--prefix", str(box.prefix), "--no-service"]
    process = subprocess.Popen(
        line,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={"PATH": os.environ["PATH"]},
    )
    wait_until("it unpacks", lambda: list(box.prefix.glob(".new.*/new/lib/*")))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)

    assert box.install(script).returncode == 0
    assert not list(box.prefix.glob(".new.*"))
    assert len(list((box.prefix / "lib").iterdir())) == 1


def test_other_command_on_an_enrolled_box_changes_its_identity_not(hub: Hub, box: Box) -> None:
    """Another device's command on a box that is enrolled is refused by name; the box stays who it is."""
    first, second = hub.create("mine"), hub.create("theirs")
    box.install(fetched(hub, first.install_id.reveal())[1])
    before = tree(box.prefix)
    done = box.install(fetched(hub, second.install_id.reveal())[1])

    assert done.returncode == 2
    assert f"enrolled already, as {first.device_id}" in done.stderr
    assert tree(box.prefix) == before
    assert hub.status(second.device_id) == "unknown"


def test_new_bundle_replaces_the_old_one(hub: Hub, box: Box) -> None:
    """A hub with another bundle of the agent: the same command brings it, the registration stays."""
    created = hub.create("upgrade")
    script = fetched(hub, created.install_id.reveal())[1]
    assert box.install(script).returncode == 0
    (old,) = (box.prefix / "lib").iterdir()
    registration = (box.prefix / "var" / "registration.json").read_bytes()
    # As if it had been of an earlier hub.
    old.rename(old.with_name(f"{__version__}-00000000"))
    done = box.install(script)

    assert done.returncode == 0, done.stderr
    assert "fetching the agent" in done.stdout
    assert "enrolling" not in done.stdout
    assert old.name in box.agent.read_text()
    assert (box.prefix / "var" / "registration.json").read_bytes() == registration


def test_uninstall_keeps_the_registration(hub: Hub, box: Box) -> None:
    """--uninstall removes all but the registration and says so; installing again makes the same device of it."""
    created = hub.create("returns")
    script = fetched(hub, created.install_id.reveal())[1]
    box.install(script)
    before = tree(box.prefix)
    rehearsed = box.install(script, "--uninstall", "--dry-run")
    assert (rehearsed.returncode, tree(box.prefix)) == (0, before)
    assert "would remove" in rehearsed.stdout

    done = box.install(script, "--uninstall")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"the registration stays in {box.prefix}/var" in done.stdout
    assert sorted(path.name for path in box.prefix.iterdir()) == [".firstlight", "var"]

    again = box.install(fetched(hub, created.install_id.reveal())[1])
    assert again.returncode == 0, again.stderr
    assert box.status()["deviceId"] == created.device_id


def test_uninstall_stops_an_agent_that_no_systemd_runs(hub: Hub, box: Box) -> None:
    """An agent started by hand is stopped, and that is said; in a dry run it is only said and goes on."""
    created = hub.create("by hand")
    script = fetched(hub, created.install_id.reveal())[1]
    box.install(script)
    agent = box.start()
    wait_until("it is online", lambda: box.status()["state"] == "online")
    rehearsed = box.install(script, "--uninstall", "--dry-run")
    assert f"would stop the agent (pid {agent.pid})" in rehearsed.stdout
    assert agent.poll() is None

    done = box.install(script, "--uninstall")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"the agent (pid {agent.pid}) was stopped" in done.stdout
    assert agent.wait(10) == 0


def test_purge_takes_only_what_the_agent_made(hub: Hub, box: Box) -> None:
    """A state directory that holds other people's things loses the agent's files, and nothing else."""
    script = fetched(hub, hub.create("shared folder").install_id.reveal())[1]
    box.install(script)
    state = box.prefix / "var"
    (state / "precious.txt").write_text("mine")

    done = box.install(script, "--uninstall", "--purge")

    assert done.returncode == 0, done.stderr
    assert [path.name for path in state.iterdir()] == ["precious.txt"]
    assert "holds other things" in done.stdout


def test_uninstall_purge_leaves_nothing(hub: Hub, box: Box) -> None:
    """--uninstall --purge leaves no file behind; a second time there is nothing to remove, and that is said."""
    script = fetched(hub, hub.create("purged").install_id.reveal())[1]
    box.install(script)
    done = box.install(script, "--uninstall", "--purge")
    assert (done.returncode, done.stderr) == (0, "")
    assert not box.prefix.exists()
    done = box.install(script, "--uninstall", "--purge")
    assert done.returncode == 1
    assert "There is no firstlight" in done.stderr


def test_uninstall_needs_no_hub(hub: Hub, box: Box) -> None:
    """The script in the bundle removes the agent by itself."""
    box.install(fetched(hub, hub.create("alone").install_id.reveal())[1])
    (uninstall,) = box.prefix.glob("lib/*/share/uninstall.sh")
    subprocess.run(["sh", str(uninstall), "yes"], cwd="/", check=True, timeout=20, capture_output=True)
    assert not box.prefix.exists()


@pytest.mark.skipif(CURL is None, reason="no curl here")
def test_printed_command_works_and_a_wrong_pin_runs_nothing(hub: Hub, box: Box) -> None:
    """The line that the hub prints, without its sudo; with another key's pin curl ends with 90 and nothing runs."""
    install_id = hub.create("pasted").install_id.reveal()
    url = f"{hub.url}/devices/v2/{install_id}/install.sh"
    for pin, wanted in ((f"sha256//{'A' * 43}=", 90), (hub.pin, 0)):
        line = f"s=$(curl -sSk --pinnedpubkey '{pin}' '{url}') && printf '%s\\n' \"$s\" | sh -s --"
        line += f" --no-service --prefix {box.prefix}"
        done = subprocess.run(
            ["sh", "-c", line],
            capture_output=True,
            text=True,
            timeout=60,
            env={"PATH": os.environ["PATH"]},
            check=False,
        )
        assert done.returncode == wanted, done.stderr
        assert box.prefix.exists() == (wanted == 0)


@pytest.mark.skipif(CURL is None, reason="no curl here")
def test_piped_into_a_shell_works_with_options(hub: Hub, box: Box) -> None:
    """``curl … | sh -s -- OPTION`` is the other way to give options."""
    url = f"{hub.url}/devices/v2/{hub.create('piped').install_id.reveal()}/install.sh"
    line = f"curl -sSk --pinnedpubkey '{hub.pin}' '{url}' | sh -s -- --no-service --prefix {box.prefix}"
    done = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, timeout=60, env={"PATH": os.environ["PATH"]}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert box.status()["state"] == "stopped"
