"""doctor and logs on a booted box: the real unit, the real sandbox, the real journal, by library and by program."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import wait_until
from tests.system.box import AGENT, Box
from tests.system.conftest import PYTHONS, Install, MakeBox

LIBRARY = Path("/usr/lib/python3/dist-packages/systemd")
UNIT_DROP_IN = "/etc/systemd/system/firstlight.service.d"
ERROR = "[Service]\nExecStartPre=/bin/sh -c 'echo \"<3>a word for the errors\" >&2'\n"  # <3>: sd-daemon(3)


@pytest.fixture(scope="module")
def box(make_box: MakeBox, install: Install) -> Box:
    """An enrolled box that is online; with the Python of this machine, where that can lend it systemd-python."""
    said = subprocess.run(["/usr/bin/python3", "-V"], capture_output=True, text=True, check=True, timeout=30).stdout
    fitting = [name for name, version in PYTHONS.items() if f"Python {version}." in said and name != "bullseye"]
    binds = {LIBRARY: str(LIBRARY)} if fitting and LIBRARY.is_dir() else {}
    box = make_box(binds=binds, userland=(*fitting, "bookworm")[0])
    install(box)
    box.wait_online()
    return box


def doctor(box: Box, *words: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Exit status and findings."""
    done = box.run(AGENT, "doctor", "--json", *words, check=False)
    return done.returncode, {each["id"]: each for each in json.loads(done.stdout)["checks"]}


def logs(box: Box, *words: str) -> list[dict[str, object]]:
    """The entries."""
    return [json.loads(line) for line in box.run(AGENT, "logs", "--json", *words).stdout.splitlines()]


def followed(box: Box, name: str) -> str:
    """The first line that 'logs -f' shows of what is written after it began."""
    line = f"{AGENT} logs -f -n 0 | head -n 1 >/run/{name}"
    box.run("systemd-run", "--quiet", f"--unit={name}", "sh", "-c", line)
    path = box.path(f"/run/{name}")

    def came() -> bool:
        box.sh(f"echo 'word for {name}' | systemd-cat --identifier=nobody")  # of no unit of ours: not to be shown
        box.run("systemctl", "restart", "firstlight")
        return path.exists() and bool(path.read_text())

    wait_until("a line is followed", came, 60)
    box.run("systemctl", "stop", f"{name}.service", check=False)
    return path.read_text()


def test_box_as_it_should_be(box: Box) -> None:
    """On a box that is online no check fails, and unit, sandbox, rights and heartbeats are seen to be well."""
    _, checks = doctor(box)
    assert not [each for each in checks.values() if each["severity"] == "failure"]
    for name in ("python", "permissions", "state", "credential", "release", "unit", "sandbox", "beats", "refusal"):
        assert checks[name]["severity"] == "pass", checks[name]
    for name in ("route", "dns", "port", "tls", "pin", "portal", "hub"):
        assert checks[name]["severity"] == "pass", checks[name]


def test_service_that_does_not_start(box: Box) -> None:
    """A service that is stopped, and one that a drop-in breaks or weakens, is named by systemd's own words."""
    box.run("systemctl", "stop", "firstlight")
    status, checks = doctor(box, "--only", "unit,beats")
    assert (status, checks["unit"]["severity"], checks["beats"]["severity"]) == (21, "failure", "failure")
    box.drop_in("broken", "[Service]\nExecStart=\nExecStart=/bin/false\n")
    box.run("systemctl", "start", "--no-block", "firstlight")
    wait_until("it is to be started again", lambda: box.unit("SubState") == "auto-restart")
    _, checks = doctor(box, "--only", "unit")
    assert "is started again" in checks["unit"]["message"]
    box.drop_in("broken", "[Service]\nProtectHome=no\n")
    box.run("systemctl", "restart", "firstlight")
    box.wait_online()
    status, checks = doctor(box, "--only", "unit,sandbox")
    assert (status, checks["unit"]["severity"], checks["sandbox"]["severity"]) == (20, "pass", "warning")
    assert "ProtectHome" in checks["sandbox"]["message"]
    box.run("rm", "-r", UNIT_DROP_IN)
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "restart", "firstlight")
    box.wait_online()


def test_network_that_is_gone(box: Box) -> None:
    """With the cable pulled the route is what fails, and all that needs it is left out because of it."""
    box.unplug()
    try:
        status, checks = doctor(box, "--only", "hub")
    finally:
        box.plug_in()
    assert (status, checks["route"]["severity"]) == (21, "failure")
    assert checks["hub"]["message"] == "because route failed"
    box.wait_online()


def is_run_of(part: list[dict[str, object]], whole: list[dict[str, object]]) -> bool:
    """Whether the entries stand in the longer log, in their order and with nothing between them."""
    return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))


def test_log_by_library_and_by_program(box: Box) -> None:
    """Both ways of reading the journal give the same lines, those of systemd about the unit among them."""
    if not box.path(f"{LIBRARY}/journal.py").exists():
        pytest.skip("this machine has no systemd-python for the Python of a box")
    box.drop_in("error", ERROR)
    for _ in range(5):
        box.run("systemctl", "restart", "firstlight")
    box.run("rm", f"{UNIT_DROP_IN}/error.conf")
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "stop", "firstlight")
    by_library = logs(box, "-n", "20")
    errors = logs(box, "--errors", "-n", "5")
    new = followed(box, "by-library")
    box.run("umount", str(LIBRARY))
    box.run("rmdir", str(LIBRARY))
    assert " firstlight: " in new
    assert " firstlight: " in followed(box, "by-program")
    assert len(by_library) == 20
    # Not the newest lines any more: each look at what is followed has started the agent anew.
    assert is_run_of(by_library, logs(box, "-n", "1000"))
    assert is_run_of(errors, logs(box, "--errors", "-n", "1000"))
    assert [each["message"] for each in errors] == ["a word for the errors"] * 5
    assert {each["unit"] for each in by_library} >= {"firstlight.service"}
    said = [str(each["message"]) for each in by_library]
    assert any(text.startswith("Stopped ") for text in said), "systemd's own lines"
    assert "Stopped." in said, "the agent's last word"
    box.wait_online()


def test_log_that_may_not_be_read(box: Box) -> None:
    """Whoever is not in the group is told how to get in; nothing is shown."""
    done = box.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", AGENT, "logs", check=False)
    assert (done.returncode, done.stdout) == (74, "")
    assert "[journal_unreadable]" in done.stderr
    assert "systemd-journal" in done.stderr


def test_archive_from_a_real_box(box: Box, tmp_path: Path) -> None:
    """The archive has the unit and the log, and neither the device's key nor its secret."""
    box.run(AGENT, "doctor", "--bundle", "/var/tmp/report.tar.gz", check=False)
    text = box.sh("tar -xzOf /var/tmp/report.tar.gz").stdout
    assert "ExecStart=/opt/firstlight/bin/firstlight run" in text
    assert "Online: the platform accepts this device's beats" in text
    kept = box.path("/var/lib/private/firstlight/registration.json").read_text()
    secret = json.loads(kept)["registration"]["credential"]["secret"]
    key = box.path("/var/lib/private/firstlight/device.key").read_text().splitlines()[1]
    assert secret and secret not in text
    assert key not in text
