"""Real executables, run by the real program without systemd: as in a container."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.e2e.conftest import wait_until
from tests.hooks.conftest import ABOUT, Site

FORKS = """#!/usr/bin/python3 -I
import os, select, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(2):
    if os.fork():
        {parent}
    os.setsid()
open("{notes}/pid", "w").write(str(os.getpid()))
open("{notes}/ready", "w").close()
while True:
    signal.pause()
"""


@pytest.fixture(autouse=True)
def no_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here is the way without systemd, also on a machine that has it."""
    if os.geteuid() == 0 and Path("/run/systemd/system").exists():
        pytest.skip("as root and with systemd these hooks would be units of it")


def is_gone(site: Site) -> bool:
    """Whether the process that a hook noted has ended."""
    try:
        os.kill(int(site.note("pid")), 0)
    except ProcessLookupError:
        return True
    return False


def test_what_a_hook_is_given(site: Site) -> None:
    """The event on standard input; three variables and nothing of the caller's; no terminal, no open descriptors."""
    site.hook(
        "10-a", "cat >event; env >env; pwd >folder; ls -l /proc/self/fd >fds; ps -o sid= -p $$ >sid; echo $$ >pid"
    )
    site.leave(transport="mqtt", credential="certificate")
    assert site.run("--run")[0] == 0
    event = json.loads(site.note("event"))
    assert {**event, "at": ""} == {
        **{"format": 1, "kind": "enrolled", "at": ""},
        **{**ABOUT, "transport": "mqtt", "credential": "certificate"},
    }
    assert {line.partition("=")[0] for line in site.note("env").splitlines()} - {"PWD", "OLDPWD", "_", "SHLVL"} == {
        *("PATH", "LANG", "FIRSTLIGHT_EVENT")
    }
    assert "FIRSTLIGHT_EVENT=enrolled" in site.note("env") and "leaks" not in site.note("env")
    assert site.note("sid").strip() == site.note("pid").strip(), "a session of its own"
    assert len(site.note("fds").splitlines()) == 1 + 4, "0, 1, 2 and the folder that ls reads"


def test_in_order_and_each_kind_its_own(site: Site) -> None:
    """Hooks of the event's kind run one after the other by name, those of other kinds do not."""
    site.hook("20-b", "echo b >>order")
    site.hook("10-a", "echo a >>order")
    site.hook("10-a", "echo other >>order", kind="retired")
    site.leave()
    site.run("--run")
    assert site.note("order") == "a\nb\n"


def test_nothing_is_done_twice(site: Site) -> None:
    """What is over is over: a second run finds nothing."""
    site.hook("10-a", "echo a >>order")
    site.leave()
    site.run("--run")
    assert site.run("--run") == (0, "", "") and site.note("order") == "a\n"


def test_events_without_hooks(site: Site) -> None:
    """On a box without hooks the events are taken away all the same."""
    site.leave()
    site.leave("network", code="network_joined", message="This box has joined the Wi-Fi 'Yard'.")
    assert site.run("--run") == (0, "", "")
    assert not list(site.state.glob("hook-*"))


def test_closed_input(site: Site) -> None:
    """A hook that closes its input without reading a large event ends as well as any other."""
    site.hook("10-a", "exec <&-; echo well >done", kind="config-changed")
    site.leave("config-changed", desired={"text": "x" * 60_000}, version=3)
    site.run("--run")
    assert site.note("done") == "well\n"


def test_a_hang_is_ended(site: Site) -> None:
    """A hook that takes longer than its time is ended by SIGKILL, whatever it ignores, and the next one is run."""
    site.hook("10-a", "trap '' TERM INT HUP; echo $$ >pid; while :; do read x; sleep 60; done")
    site.hook("20-b", "echo b >done")
    site.leave()
    status, _, errors = site.run("--run", FIRSTLIGHT_HOOK_LIMIT_S="1")
    assert status == 0 and "enrolled/10-a: It took longer than 1 s and was ended. Try 1 of 5. [hook_late]" in errors
    assert is_gone(site) and site.note("done") == "b\n"


def test_a_daemon_of_a_hang_is_ended_too(site: Site) -> None:
    """What forked twice, has a session of its own and ignores signals ends with the hook that took too long."""
    site.hook("10-a", FORKS.format(parent="signal.pause()", notes=site.notes))
    site.leave()
    site.run("--run", FIRSTLIGHT_HOOK_LIMIT_S="2")
    assert site.note("pid") and is_gone(site)


def test_a_daemon_that_a_hook_leaves_behind(site: Site) -> None:
    """A hook that ended well takes along what it left running: long work belongs to a service."""
    wait = f'while not os.path.exists("{site.notes}/ready"): select.select([], [], [], 0.01)\n        os._exit(0)'
    site.hook("10-a", FORKS.format(parent=wait, notes=site.notes))
    site.leave()
    _, _, errors = site.run("--run")
    assert "enrolled/10-a: It ended well." in errors and is_gone(site)


def test_a_flood_is_bounded(site: Site) -> None:
    """A hook that writes without end is read without end, and 200 lines of it are kept; it is ended in time."""
    site.hook("10-a", "exec yes 'one line of a flood'")
    site.leave()
    status, _, errors = site.run("--run", FIRSTLIGHT_HOOK_LIMIT_S="1")
    assert status == 0 and errors.count("one line of a flood") == 200 and "more bytes were left out" in errors
    assert "[hook_late]" in errors and len(errors) < 30_000


def test_output_is_escaped(site: Site) -> None:
    """Colours, a forged priority, bytes that are no text and a line without end are shown as what they are."""
    site.hook("10-a", r"printf '\033[31mred\n<0>forged\n\377\n'; head -c 5000 /dev/zero | tr '\0' x")
    site.leave()
    _, _, errors = site.run("--run")
    assert r"enrolled/10-a: \x1b[31mred" in errors and "info: enrolled/10-a: <0>forged" in errors
    assert r"\xff" in errors and "x" * 1000 in errors and "x" * 1001 not in errors


def test_a_failure_is_kept_and_tried_again(site: Site) -> None:
    """A failing hook is named with its exit status, its event waits, and the others are not run again for it."""
    site.hook("10-a", "echo a >>order; exit 3")
    site.hook("20-b", "echo b >>order")
    site.leave()
    _, _, errors = site.run("--run")
    assert "enrolled/10-a: It ended with exit status 3. Try 1 of 5. [hook_failed]" in errors
    assert site.note("order") == "a\nb\n"
    (waiting,) = site.queue.glob("0*.json")
    kept = json.loads(waiting.read_text())
    assert kept["tries"] == {"10-a": 1, "20-b": 1} and kept["done"] == ["20-b"]
    assert site.run("--run")[2] == "", "not before its time"
    waiting.write_text(json.dumps({**kept, "bootId": "another boot"}))
    site.run("--run")
    assert site.note("order") == "a\nb\na\n"
    shown = site.run()[1]
    assert "enrolled/10-a: It ended with exit status 3." in shown and "try 2 of 5) [hook_failed]" in shown
    assert "1 waiting: enrolled" in shown


def test_given_up_and_repeated(site: Site) -> None:
    """After its last try a hook is given up and named; once it is mended, --repeat runs the same event again."""
    path = site.hook("10-a", "cat >>events; exit 3")
    site.leave(transport="http")
    site.run("--run")
    (waiting,) = site.queue.glob("0*.json")
    waiting.write_text(json.dumps({**json.loads(waiting.read_text()), "tries": {"10-a": 4}, "dueS": 0}))
    assert "It is given up. [hook_failed]" in site.run("--run")[2]
    assert not list(site.queue.glob("0*.json")) and "given up" in site.run()[1]
    site.hook("10-a", "cat >>events", mode=0o755)
    assert site.run("--repeat", "enrolled")[0] == 0
    assert len(set(site.note("events").splitlines())) == 1 and len(site.note("events").splitlines()) == 3
    assert site.shown()["enrolled/10-a"]["last"]["code"] is None and path.exists()  # type: ignore[index]


def test_repeat_without_an_event(site: Site) -> None:
    """There is nothing to repeat where nothing has happened."""
    status, _, errors = site.run("--repeat", "retired")
    assert status == 2 and "[hook_no_event]" in errors


def test_a_file_that_is_no_program(site: Site) -> None:
    """A hook with a first line that leads nowhere is named as one that cannot be started."""
    site.hook("10-a", "#!/no/such/shell\n")
    site.leave()
    assert "It cannot be started: No such file or directory. Try 1 of 5. [hook_unstartable]" in site.run("--run")[2]


def test_a_stop_ends_the_hook(site: Site) -> None:
    """SIGTERM to the program ends the hook under way; its event waits for the next start."""
    site.hook("10-a", "echo $$ >pid; exec sleep 600")
    site.leave()
    with site.start("--run") as child:
        wait_until("the hook runs", lambda: site.note("pid").strip())
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 128 + signal.SIGTERM
        child.communicate()
    wait_until("the hook is gone", lambda: is_gone(site))
    assert list(site.queue.glob("0*.json"))


def test_killed_at_once_and_run_again(site: Site) -> None:
    """Kill -9 while a hook runs loses nothing: the next run has the event, and the try counts."""
    site.hook("10-a", "echo $$ >>pids; [ -e again ] && exit; : >again; exec sleep 600")
    site.leave()
    with site.start("--run", FIRSTLIGHT_HOOK_LIMIT_S="3") as child:
        wait_until("the hook runs", lambda: site.note("pids").strip())
        child.kill()
        child.wait(20)
    _, _, errors = site.run("--run")
    assert "enrolled/10-a: It ended well." in errors and len(site.note("pids").split()) == 2
    first = int(site.note("pids").split()[0])
    wait_until("the first one is ended in its own time", lambda: not Path(f"/proc/{first}").exists())


def test_waiting_takes_what_comes(site: Site) -> None:
    """With --wait an event that comes while another kind waits for its next try is done at once."""
    site.hook("10-a", "exit 1")
    site.hook("10-a", "echo n >network", kind="network")
    site.leave()
    with site.start("--run", "--wait") as child:
        wait_until("the first one failed", lambda: list(site.queue.glob("0*.json")) and site.shown())
        site.leave("network", code="network_joined", message="Joined.")
        wait_until("the second one was done", lambda: site.note("network"))
        child.terminate()
        child.communicate()


def test_two_at_once(site: Site) -> None:
    """A second run while one is at work is refused by name."""
    site.hook("10-a", ": >runs; exec sleep 600")
    site.leave()
    with site.start("--run") as child:
        wait_until("the hook runs", lambda: (site.notes / "runs").exists())
        status, _, errors = site.run("--run")
        child.terminate()
        child.communicate()
    assert status == 74 and "[state_locked]" in errors


@pytest.mark.parametrize("limit", ["0", "-1", "x", "nan", "3601"])
def test_a_limit_that_is_none(limit: str, site: Site) -> None:
    """A time that cannot be a hook's is refused by the name of the setting."""
    status, _, errors = site.run(FIRSTLIGHT_HOOK_LIMIT_S=limit)
    assert status == 2 and "hook_limit_s" in errors


def test_shown_to_everybody(site: Site) -> None:
    """The results are for all to read, what waits is not; skipped files are shown with why."""
    site.hook("10-a", "true")
    site.hook("notes.txt", "true")
    site.leave()
    site.run("--run")
    results = site.queue.parent / "results.json"
    assert results.stat().st_mode & 0o777 == 0o644 and site.queue.stat().st_mode & 0o777 == 0o700
    found = site.shown()
    assert found["enrolled/10-a"]["problem"] is None and "Its name" in str(found["enrolled/notes.txt"]["problem"])
    assert "There are no hooks in" in site.run("--hooks-dir", str(site.notes))[1]
