"""Starting one hook: ``firstlight hooks --one`` in a process of its own, which keeps the hook within its bounds.

Where systemd is, root has it started in a transient unit, so that neither the sandbox nor the life of the process that
asks is the hook's, and the end of the unit is the end of whatever the hook left behind. Elsewhere it is a child, which
adopts and ends all that the hook starts.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from firstlight.system import hook_runs
from firstlight.system.hook_files import Hook
from firstlight.system.hook_queue import Queue
from firstlight.system.hook_runs import Outcome

Start = Callable[[Hook, bytes], Outcome]

GRACE_S = 30.0  # for the process around a hook, beyond the hook's own time
UNIT = "firstlight-hooks.service"
ENDED, NOW = "ended.json", "now.json"
MAX_ENDED_BYTES = 4096
LIMITS = ("CPUWeight=20", "IOWeight=20", "MemoryMax=50%", "TasksMax=512", "LimitCORE=0", "OOMScoreAdjust=500")


def by_unit() -> bool:
    """Whether hooks can be started as units of systemd's."""
    return os.geteuid() == 0 and Path("/run/systemd/system").is_dir() and shutil.which("systemd-run") is not None


def starter(queue: Queue, program: list[str], folder: str, limit_s: float) -> Start:
    """What starts a hook on this box and waits for its end.

    Args:
        queue: prepared; its folder holds the hook's input and how it ended.
        program: the words that start this very program, without a verb.
        folder: of the hooks.
        limit_s: how long a hook may take.
    """
    one = [*program, "hooks", "--one", "{}", "--hooks-dir", folder, "--limit", f"{limit_s:g}"]
    ended, now = Path(queue.folder, ENDED), Path(queue.folder, NOW)
    number = 0

    def start(hook: Hook, body: bytes) -> Outcome:
        nonlocal number
        number += 1
        ended.unlink(missing_ok=True)
        words = [hook.id if word == "{}" else word for word in one]
        if not by_unit():
            return _outcome(_child([*words, "--sweep"], body, limit_s + GRACE_S), hook)
        _write(now, body)
        unit = f"firstlight-hook-{hook.kind}-{os.getpid()}-{number}"
        failure = _unit([*_unit_words(unit, hook, now, ended, limit_s), *words], limit_s + 3 * GRACE_S)
        try:
            return _outcome(ended.read_bytes()[:MAX_ENDED_BYTES] or failure, hook)
        except OSError:
            return _outcome(failure, hook)
        finally:
            for path in (now, ended):
                with suppress(OSError):
                    path.unlink()

    return start


def _write(path: Path, body: bytes) -> None:
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(body)


def _unit_words(unit: str, hook: Hook, now: Path, ended: Path, limit_s: float) -> list[str]:
    """systemd-run(1): of type oneshot, so that its job lasts as long as the hook."""
    properties = [
        f"Description=Firstlight hook {hook.id}",
        f"StandardInput=file:{now}",
        f"StandardOutput=file:{ended}",
        "StandardError=journal",
        "SyslogIdentifier=firstlight-hook",
        f"TimeoutStartSec={limit_s + GRACE_S:g}",
        "TimeoutStopSec=5",
        *LIMITS,
    ]
    if os.environ.get("INVOCATION_ID"):
        properties += [f"BindsTo={UNIT}", f"After={UNIT}"]  # this is the service: the hook ends with it
    words = ["systemd-run", "--quiet", "--collect", "--service-type=oneshot", f"--unit={unit}"]
    return [*words, *(f"--property={each}" for each in properties), "--"]


def _unit(words: list[str], patience_s: float) -> bytes:
    """Has systemd run it; what systemd-run says where it could not."""
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=patience_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stderr if done.returncode else b""


def _child(words: list[str], body: bytes, patience_s: float) -> bytes:
    """A child of this process; it ends the hook when it is asked to end itself."""
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:  # noqa: S603 - our own words
        try:
            return child.communicate(body, timeout=patience_s)[0][:MAX_ENDED_BYTES]
        except subprocess.TimeoutExpired:
            child.kill()
            return b""
        except BaseException:
            child.terminate()
            child.wait()
            raise


def _outcome(said: bytes, hook: Hook) -> Outcome:
    """What ``firstlight hooks --one`` printed."""
    try:
        found = json.loads(said)
        code, message = found["code"], found["message"]
        if isinstance(code, str) and isinstance(message, str):
            return Outcome(code, message)
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    more = said.decode("utf-8", "replace").strip().splitlines()[:1]
    why = f": {more[0][:200]}" if more else "."
    return Outcome(hook_runs.FAILED, f"{hook.id} was ended from outside, or could not be started{why}")


def this_program(words: list[str]) -> list[str]:
    """The words that started this very program, without the verb and its options."""
    mine = list(sys.orig_argv)
    count = len(words) + 1
    is_whole = len(mine) > count and mine[-count] == "hooks" and mine[len(mine) - len(words) :] == words
    return [sys.executable, *mine[1:-count]] if is_whole else [sys.executable, "-I", "-m", "firstlight"]
