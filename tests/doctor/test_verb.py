"""``firstlight doctor`` as a technician types it: before enrolling, enrolled, stopped; its words, JSON and exit."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from firstlight.core.diagnosis import CHECKS, EXIT_STATUS, ORDER, worst
from tests.doctor.test_way_checks import free_port
from tests.e2e.conftest import Box, Hub, wait_until
from tests.rules.test_docs import DOCS, rows

HERE = Path(__file__).parent
OTHER_PIN = "sha256//" + "A" * 43 + "="
# What this machine is like is not what is tested here.
OF_THE_MACHINE = {"clock", "disk", "memory", "load", "camera", "led", "scan", "unit", "permissions", "route"}


def doctor(box: Box, *words: str, stdin: str = "") -> tuple[int, dict[str, dict[str, str]]]:
    """Exit status and findings."""
    done = box.cli("doctor", "--json", "--state-dir", str(box.state_dir), *words, check=False, stdin=stdin)
    found = json.loads(done.stdout)
    checks = {each["id"]: each for each in found["checks"]}
    severities = [each["severity"] for each in found["checks"]]
    assert found["worst"] == max(severities, key=ORDER.index)
    assert done.returncode == EXIT_STATUS[found["worst"]]
    return done.returncode, checks


def wrong(checks: dict[str, dict[str, str]]) -> list[str]:
    """What fails beside the machine's own."""
    return [name for name, each in checks.items() if each["severity"] == "failure" and name not in OF_THE_MACHINE]


def test_before_enrolling(box: Box, hub: Hub) -> None:
    """On a box that is not enrolled, address and pin are enough to see that the way is free."""
    _, checks = doctor(box, "--hub", hub.url, "--pin", hub.pin)
    assert list(checks) == list(CHECKS), "the order is that of the table"
    assert wrong(checks) == []
    for name in ("dns", "proxy", "port", "tls", "pin", "portal", "hub", "skew"):
        assert checks[name]["severity"] == "pass", checks[name]
    assert not box.state_dir.exists(), "doctor changes nothing"


def test_before_enrolling_by_an_invitation(box: Box, hub: Hub) -> None:
    """An invitation, in a file or piped, says which hub; the installId in it is neither shown nor spent."""
    created = hub.create()
    text = f"hub = {hub.url}\npin = {hub.pin}\ninstall_id = {created.install_id.reveal()}\n"
    for words, piped in ((("--invitation", "-"), text), (("--invitation", str(box.state_dir.parent / "i.txt")), "")):
        (box.state_dir.parent / "i.txt").write_text(text)
        status, checks = doctor(box, *words, "--only", "hub,pin", stdin=piped)
        assert (status, checks["hub"]["severity"], checks["pin"]["severity"]) == (0, "pass", "pass")
        assert created.install_id.reveal() not in json.dumps(checks)
    box.enroll(created.install_id.reveal())


def test_wrong_pin_wrong_port_wrong_name(box: Box, hub: Hub) -> None:
    """Each wrong word fails at one check, and what needs it is left out; the exit status says so."""
    status, checks = doctor(box, "--hub", hub.url, "--pin", OTHER_PIN)
    assert (status, wrong(checks)) == (21, ["pin"])
    assert hub.pin in checks["pin"]["message"]
    assert checks["hub"]["message"] == "because pin failed"
    status, checks = doctor(box, "--hub", f"https://127.0.0.1:{free_port()}", "--pin", hub.pin)
    assert (status, wrong(checks)) == (21, ["port"])
    status, checks = doctor(box, "--hub", "https://no-such-hub.invalid", "--pin", hub.pin, "--only", "hub")
    assert (status, wrong(checks), checks["hub"]["message"]) == (21, ["dns"], "because dns failed")


def test_enrolled_box(box: Box, hub: Hub) -> None:
    """Enrolled and beating, all is well; stopped, the heartbeats are what fails."""
    box.enroll(hub.create().install_id.reveal())
    process = box.run()
    wait_until("the box is online", lambda: box.status()["state"] == "online")
    _, checks = doctor(box)
    assert wrong(checks) == []
    for name in ("state", "trust", "credential", "beats", "refusal", "hub", "pin", "tls"):
        assert checks[name]["severity"] == "pass", checks[name]
    process.terminate()
    process.wait(20)
    status, checks = doctor(box)
    assert (status, wrong(checks)) == (21, ["beats"])


def test_words_for_people(box: Box, hub: Hub) -> None:
    """Without --json each finding is a line with its fix below; what was left out is told once for each reason."""
    words = ("doctor", "--state-dir", str(box.state_dir), "--hub", hub.url, "--pin", OTHER_PIN)
    done = box.cli(*words, "--only", "pin,hub,skew", check=False)
    assert done.returncode == 21
    assert "FAILURE  pin " in done.stdout
    assert "\n                      -> Copy address and pin anew" in done.stdout
    assert "skipped  hub, skew: because pin failed" in done.stdout
    assert "1 failure. Begin with 'pin'" in done.stdout


def test_broken_settings_are_a_finding(box: Box, hub: Hub, tmp_path: Path) -> None:
    """A settings file that cannot be used ends no diagnosis: what was typed still counts."""
    config = tmp_path / "agent.toml"
    config.write_text("hup = 1\n")
    _, checks = doctor(box, "--config", str(config), "--hub", hub.url, "--pin", hub.pin, "--only", "settings,hub")
    assert (wrong(checks), checks["hub"]["severity"]) == (["settings"], "pass")
    assert "'hup'" in checks["settings"]["message"]


@pytest.mark.parametrize("words", [("--only", "dsn"), ("--only", ","), ("--hub", "hub"), ("--invitation", "/nowhere")])
def test_words_that_cannot_be_used(box: Box, words: tuple[str, ...]) -> None:
    """A wrong word is an error of its own, with its usual exit status."""
    done = box.cli("doctor", *words, check=False)
    assert done.returncode in (2, 65)
    assert not done.stdout


# -- the rules of the checks -----------------------------------------------------------------------------------------
def shown() -> Counter[tuple[str, str]]:
    """Which checks the tests here show in which severity."""
    constants = {"PASS": "pass", "NOTE": "note", "WARNING": "warning", "FAILURE": "failure", "SKIPPED": "skipped"}
    found: Counter[tuple[str, str]] = Counter()
    for path in HERE.glob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        for name, severity in re.findall(r'"(\w+)",\s*(PASS|NOTE|WARNING|FAILURE|SKIPPED)\b', text):
            found[name, constants[severity]] += 1
        parametrized = re.findall(r'check\([^\n]*"(\w+)", severity\b', text)
        for name in parametrized:
            found.update((name, one) for one in set(constants.values()))
    return found


@pytest.mark.parametrize("name", CHECKS)
def test_check_is_shown_well_and_at_its_worst(name: str) -> None:
    """Every check has a test in which it passes, and one in which it is as bad as it can be."""
    found = shown()
    assert found[name, "pass"]
    assert found[name, CHECKS[name].severity]


def test_table_of_checks() -> None:
    """docs/doctor.md lists every check with what it looks at, its worst severity and its fix, and nothing else."""
    documented = [row for row in rows(DOCS / "doctor.md") if row[0].startswith("`")]
    assert documented == [[f"`{name}`", one.what, one.severity, one.fix] for name, one in CHECKS.items()]


def test_each_check_comes_after_those_it_needs() -> None:
    """The order of the table is one in which the checks can be made, and the slowest of days ends within the total."""
    names = list(CHECKS)
    for name, one in CHECKS.items():
        assert all(names.index(before) < names.index(name) for before in one.after), name
    assert worst([]) == "pass"


def test_help_loads_nothing_heavy(box: Box) -> None:
    """What --help and a wrong word cost is little: no library is loaded for them."""
    program = (
        "import sys; from firstlight.cli import doctor\n"
        "try:\n doctor.verb(['--only', 'x'], None)\nexcept Exception: pass\n"
        "print([name for name in ('cryptography', 'httpx', 'cbor2', 'PIL', 'paho') if name in sys.modules])"
    )
    import sys

    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
