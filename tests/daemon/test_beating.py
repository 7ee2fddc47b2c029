"""The beating process, started as ``firstlight run`` starts it, with a real HTTPS server and a real notify socket."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import firstlight
from firstlight.system.store import KEY, StateDirectory
from tests.daemon.box import DEVICE_KEY, FINGERPRINT, START, Box
from tests.daemon.platform_server import Answer, PlatformServer, Request, accepted, refused

MakeBox = Callable[..., Box]
PROMPT_S = 3.0  # what a person calls at once, on a busy machine


def kernel_says(pid: int, file: str, name: str) -> int:
    """A number of /proc/PID/status or smaps_rollup."""
    for line in Path("/proc", str(pid), file).read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise AssertionError(f"the kernel does not say {name}")


def run_to_its_end(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs the agent's Python where it ends by itself."""
    command = [sys.executable, "-I", "-S", "-c", script, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={}, check=False)


def loaded_by(box: Box) -> tuple[list[str], str]:
    """Lets a box's agent live to its own end; the modules it has loaded by then, and its log."""
    script = START.replace("sys.exit(main(sys.argv[1]))", "main(sys.argv[1])").replace(
        "import sys;", "import sys; bare = set(sys.modules);", 1
    )
    done = run_to_its_end(f"{script}; print(*sorted(set(sys.modules) - bare))", f"{box.store.path}/run.json")
    return done.stdout.split(), done.stderr


def strangers_among(loaded: list[str], *lists: str) -> list[str]:
    """The modules that stand on none of the allow-lists."""
    folder = Path(firstlight.__file__).with_name("daemon")
    lines = [line for name in lists for line in (folder / name).read_text().splitlines()]
    allowed = {name for line in lines if (name := line.partition("#")[0].strip())}
    return [
        name
        for name in loaded
        if not any(name == one or name.startswith(f"{one}.") or one.startswith(f"{name}.") for one in allowed)
    ]


def test_it_is_ready_beats_and_stops_at_once(server: PlatformServer, make_box: MakeBox) -> None:
    """READY and STATUS, a first beat with facts and key, a status file, and a prompt clean end on SIGTERM."""
    box = make_box(1.0)
    box.start(watchdog_s=180)
    assert f"MAINPID={box.pid}" in box.wait_for("READY=1")
    server.wait_beats(1)
    box.wait_for("STATUS=Online")
    status = box.wait_status(lambda found: found["beats"] == 1 and found["nextBeatInS"])

    assert server.requests[0].authorization == f"Bearer {DEVICE_KEY}"
    assert server.beats[0].facts is not None and server.beats[0].facts.type == "jetson"
    assert (status["state"], status["reason"], status["lastAcceptedAt"]) == ("beating", "", "2026-11-21T22:26:40Z")
    started_s = time.monotonic()
    assert box.kill(signal.SIGTERM) == 0
    assert time.monotonic() - started_s < PROMPT_S
    box.wait_for("STOPPING=1")
    assert box.status()["state"] == "stopped"
    assert len(box.log.read_text().splitlines()) <= 4, "a line per change of state, none per beat"


def test_without_a_network_it_is_ready_all_the_same(server: PlatformServer, make_box: MakeBox) -> None:
    """A platform that is away does not keep the service from coming up; the reason and next step are shown."""
    server.stop()
    box = make_box(1.0)
    box.start()
    box.wait_for("READY=1")
    status = box.wait_status(lambda found: found["state"] == "cut_off")

    assert status["reason"] == "connect_refused" and status["hint"] and status["failures"] == 1
    assert status["spooled"] == 1


def test_a_stop_in_the_middle_of_a_call_is_prompt(server: PlatformServer, make_box: MakeBox) -> None:
    """SIGTERM while the platform takes its time: the call is broken off, the end is clean."""
    hangs, free = threading.Event(), threading.Event()

    def hang(request: Request) -> Answer:
        hangs.set()
        free.wait(30)
        return accepted()

    server.rule = hang
    box = make_box(1.0)
    box.start()
    assert hangs.wait(20)
    started_s = time.monotonic()
    assert box.kill(signal.SIGTERM) == 0
    assert time.monotonic() - started_s < PROMPT_S
    free.set()
    assert box.status()["state"] == "stopped"


def test_the_watchdog_is_fed_while_waiting(server: PlatformServer, make_box: MakeBox) -> None:
    """A wait longer than the watchdog is slept in pieces, and each piece feeds it."""
    box = make_box(10.0)
    box.start(watchdog_s=4)
    server.wait_beats(1)
    box.wait_for("STATUS=Online")
    for _ in range(6):
        box.wait_for("WATCHDOG=1", deadline_s=4)
    assert len(server.beats) == 1, "it was fed by the wait, not by beats"


def test_what_happened_while_cut_off_arrives_once_and_in_order(server: PlatformServer, make_box: MakeBox) -> None:
    """Platform away, agent killed meanwhile, platform back: every kept beat arrives, in order, none twice."""
    box = make_box(60.0)
    box.start()
    server.wait_beats(1)
    server.stop()
    before = box.wait_status(lambda found: found["spooled"] >= 4)["spooled"]
    box.kill(signal.SIGKILL)
    box.start()
    box.wait_status(lambda found: found["pid"] == box.pid and found["spooled"] >= before + 3)
    server.start()
    box.wait_status(lambda found: found["state"] == "beating" and found["spooled"] == 0 and found["beats"] >= 2)
    assert box.kill(signal.SIGTERM) == 0

    late = [one for beat in server.beats for one in beat.missed]
    numbers = [one.sequence for one in late]
    assert len(numbers) >= before + 3 and numbers == sorted(set(numbers))
    assert {one.reason for one in late} <= {"connect_refused", "reply_cut"}
    sent = [beat.sequence for beat in server.beats]
    assert len(sent) == len(set(sent)) and not set(sent) & set(numbers)


def test_a_tombstone_with_our_key_retires_for_good(server: PlatformServer, make_box: MakeBox) -> None:
    """410 device_removed naming this key: exit 78, everything set aside, and the next start says not_enrolled."""
    server.rule = lambda request: refused(410, "device_removed", FINGERPRINT)
    box = make_box(1.0)
    box.start()
    assert box.ends() == 78

    assert box.store.load_registration() is None and box.store.read_text(KEY) is None
    (aside,) = Path(box.store.path, "retired").iterdir()
    assert (aside / KEY).read_text() == "a private key" and (aside / "registration.json").exists()
    assert box.status()["state"] == "retired"
    box.start()
    assert box.ends() == 78 and "[not_enrolled]" in box.log.read_text().splitlines()[-1]


PORTAL = Answer(200, b"<html>Please log in</html>", {"Content-Type": "text/html"})


@pytest.mark.parametrize(
    ("answer", "state", "reason"),
    [
        (refused(410, "device_removed", "sha256:" + "cd" * 32), "parked", "device_unknown"),
        (refused(401, "key_invalid"), "parked", "key_invalid"),
        (Answer(401, b""), "cut_off", "not_the_hub"),
        (Answer(404, b"<html>"), "cut_off", "not_the_hub"),
        (Answer(410, b"{}"), "cut_off", "not_the_hub"),
        (PORTAL, "cut_off", "reply_malformed"),
        (Answer(302, b"", {"Location": "https://elsewhere.example/"}), "cut_off", "redirected"),
        (Answer(429, b"", {"Retry-After": "7"}), "cut_off", "hub_busy"),
        (Answer(500, b"oops"), "cut_off", "hub_error"),
        (Answer(200, b""), "cut_off", "reply_malformed"),
        (Answer(200, b"[" * 60_000), "cut_off", "reply_malformed"),
    ],
)
def test_nothing_else_costs_the_registration(
    server: PlatformServer, make_box: MakeBox, answer: Answer, state: str, reason: str
) -> None:
    """Foreign tombstone, refusals, portals, overload, junk: named in status and log, kept, and over when accepted."""
    server.rule = lambda request: answer
    box = make_box(1000.0)
    box.start()
    box.wait_status(lambda found: found["state"] == state and found["reason"] == reason)
    server.rule = lambda request: accepted()
    box.wait_status(
        lambda found: found["state"] == "beating" and found["spooled"] == 0 and bool(found["lastAcceptedAt"])
    )
    assert box.kill(signal.SIGTERM) == 0

    assert box.store.load_registration() is not None and not Path(box.store.path, "retired").exists()
    assert f"[{reason}]" in box.log.read_text() and "Traceback" not in box.log.read_text()


def test_a_full_disk_does_not_end_the_beats(server: PlatformServer, make_box: MakeBox) -> None:
    """With not one more byte to be written, platform away and back: beats go on, losses are only counted."""
    box = make_box(60.0)
    box.start()
    server.wait_beats(1)
    resource.prlimit(box.pid, resource.RLIMIT_FSIZE, (0, 0))
    server.stop()
    count = len(server.beats)
    server.start()
    server.wait_beats(count + 3)
    assert box.kill(signal.SIGTERM) == 0


def test_months_in_seconds_cost_one_thread_one_connection_and_no_memory(
    server: PlatformServer, make_box: MakeBox
) -> None:
    """Thousands of beats: one thread, one connection, at most four waits a beat, memory where it was.

    Within its first 2,500 beats the memory of a process settles, in one or two steps of 256 kB.
    """
    box = make_box(100_000.0)
    box.start(watchdog_s=180)
    server.wait_beats(2500)
    first_kb = kernel_says(box.pid, "smaps_rollup", "Private_Dirty")
    switches = kernel_says(box.pid, "status", "voluntary_ctxt_switches")
    count = len(server.requests)
    server.wait_beats(5000)
    beats = len(server.requests) - count
    switches = kernel_says(box.pid, "status", "voluntary_ctxt_switches") - switches

    assert kernel_says(box.pid, "status", "Threads") == 1
    assert server.connections == 1
    assert switches <= 4 * beats + 50
    assert kernel_says(box.pid, "smaps_rollup", "Private_Dirty") - first_kb <= 64
    steady = server.requests[-1]
    assert steady.size_bytes < 300 and steady.beat is not None and steady.beat.facts is None


def test_a_live_process_has_loaded_only_what_is_allowed(server: PlatformServer, make_box: MakeBox) -> None:
    """After beats, a refusal, taking back and an end: every module in memory stands on the allow-list."""
    answers = [accepted(), refused(404, "device_unknown"), accepted(), Answer(500, b"")]

    def rule(request: Request) -> Answer:
        return answers.pop(0) if answers else refused(410, "device_removed", FINGERPRINT)

    server.rule = rule
    box = make_box(1000.0)
    loaded, log = loaded_by(box)
    assert "firstlight.wire.redeem" in loaded, log
    assert not strangers_among(loaded, "allowed_imports.txt")


def test_secrets_show_nowhere(server: PlatformServer, make_box: MakeBox) -> None:
    """The device key is in no argument, variable, log, status or message, and in no file that others may read."""
    box = make_box(1000.0)
    server.rule = lambda request: refused(401, "key_invalid")
    box.start()
    box.wait_status(lambda found: found["state"] == "parked")
    process = Path("/proc", str(box.pid))
    shown = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    assert box.kill(signal.SIGTERM) == 0
    shown += box.log.read_bytes() + json.dumps(box.status()).encode() + "".join(box.heard).encode()

    assert DEVICE_KEY.encode() not in shown
    for path in Path(box.store.path).rglob("*"):
        assert DEVICE_KEY not in path.read_text() or path.stat().st_mode & 0o077 == 0


def test_two_agents_do_not_share_one_registration(server: PlatformServer, make_box: MakeBox) -> None:
    """A second agent on the same state directory ends by name; the first goes on."""
    box = make_box(1.0)
    box.start()
    server.wait_beats(1)
    second = run_to_its_end(START, f"{box.store.path}/run.json")

    assert second.returncode == 74 and f"(pid {box.pid}). [agent_running]" in second.stderr
    assert box.process is not None and box.process.poll() is None


def test_status_goes_to_the_runtime_directory(server: PlatformServer, make_box: MakeBox) -> None:
    """With a runtime directory the state directory is not written at each beat."""
    box = make_box(1.0)
    runtime = box.folder / "runtime"
    runtime.mkdir()
    box.store.write_json("run.json", {"stateDir": box.store.path, "runtimeDir": str(runtime)})
    box.start()
    box.wait_for("STATUS=Online")
    assert box.kill(signal.SIGTERM) == 0

    assert StateDirectory(str(runtime)).read_json("status.json") and box.status() == {}
    assert (runtime / "status.json").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("run_file", "exit_status", "code"),
    [
        (None, 74, "state_corrupt"),
        ("{", 74, "state_corrupt"),
        ("{}", 2, "settings_invalid"),
        ('{"stateDir": "/nowhere/at/all"}', 78, "not_enrolled"),
        ('{"stateDir": "/x", "haste": 0}', 2, "settings_invalid"),
        ('{"stateDir": "/x", "logLevel": "loud"}', 2, "settings_invalid"),
        ('{"stateDir": "/x", "proxy": {"url": "http://u:p@h:1"}}', 2, "settings_invalid"),
        ('{"stateDir": "/x", "proxy": {"url": "h:1", "authFile": "/nowhere"}}', 2, "settings_unreadable"),
        ('{"stateDir": "/x", "proxy": 5}', 2, "settings_invalid"),
        ('{"stateDir": "/x", "again": "firstlight run"}', 2, "settings_invalid"),
        ('{"stateDir": "/x", "again": ["firstlight", 5]}', 2, "settings_invalid"),
    ],
)
def test_a_run_file_that_cannot_be_used_is_named(
    tmp_path: Path, run_file: str | None, exit_status: int, code: str
) -> None:
    """One line with the code and a next step, a fitting exit status, no traceback."""
    if run_file is not None:
        (tmp_path / "run.json").write_text(run_file)
    done = run_to_its_end(START, str(tmp_path / "run.json"))

    assert (done.returncode, len(done.stderr.splitlines())) == (exit_status, 1), done.stderr
    assert f"[{code}]" in done.stderr
