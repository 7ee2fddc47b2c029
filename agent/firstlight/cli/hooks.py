"""``firstlight hooks``: what an integrator has installed, what waits for it, how it ended; and root's half."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from types import FrameType

from firstlight.cli import hook_running, hook_starting, options
from firstlight.cli.settings import Settings
from firstlight.errors import StateError, UsageError
from firstlight.system import hook_files, hook_queue, hook_runs, hooks
from firstlight.system.hook_files import Hook
from firstlight.system.hook_queue import Queue, Result
from firstlight.system.journal import INFO, Journal

DESCRIPTION = (
    "Show the hooks of this box: executables that are run when it was enrolled, when its platform wants it otherwise, "
    "when it is refused or retired, and when a network was set up. With --run root runs what is due; "
    "firstlight-hooks.service does that by itself."
)
USUAL_LIMIT_S, MAX_LIMIT_S = 60.0, 3600.0


def verb(words: list[str], config: str | None) -> int:
    """Shows or runs; returns 0. Raises StateError, UsageError."""
    made = options.parser("hooks", DESCRIPTION)
    options.add_state(made)
    made.add_argument("--hooks-dir", metavar="DIR", help="folder of the hooks (/etc/firstlight/hooks)")
    ways = made.add_mutually_exclusive_group()
    ways.add_argument("--run", action="store_true", help="run what is due (root)")
    ways.add_argument(
        "--repeat", metavar="KIND", choices=hooks.KINDS, help="run the newest event of a kind again (root)"
    )
    ways.add_argument("--one", metavar="KIND/NAME", help=argparse.SUPPRESS)  # what --run starts
    made.add_argument("--wait", action="store_true", help="with --run: stay until failed ones were tried again")
    made.add_argument("--json", action="store_true", help="print one JSON object")
    made.add_argument("--limit", type=float, help=argparse.SUPPRESS)
    made.add_argument("--sweep", action="store_true", help=argparse.SUPPRESS)
    typed = made.parse_args(words)
    if typed.one:
        return _one(typed)
    settings = options.load(typed, config)
    limit_s = limit_of(settings)
    if typed.run or typed.repeat:
        _run(settings, limit_s, words, typed.repeat, waits=typed.wait)
    elif typed.json:
        print(json.dumps(read(settings, limit_s)))
    else:
        _show(read(settings, limit_s))
    return 0


def limit_of(settings: Settings) -> float:
    """How long a hook may take, in seconds. Raises UsageError."""
    try:
        limit_s = float(settings.hook_limit_s or USUAL_LIMIT_S)
    except ValueError:
        limit_s = 0.0
    if not 1 <= limit_s <= MAX_LIMIT_S:
        raise UsageError("settings_invalid", f"The setting 'hook_limit_s' must be 1 to {MAX_LIMIT_S:g} seconds.")
    return limit_s


# -- root's half -------------------------------------------------------------------------------------------------------
def _run(settings: Settings, limit_s: float, words: list[str], repeat: str | None, *, waits: bool) -> None:
    """Raises StateError: what waits cannot be read or taken away; another one is at work."""
    _end_tidily()
    journal = Journal(stream=os.environ.get("JOURNAL_STREAM", ""))
    queue = Queue(settings.state_dir)
    queue.prepare()
    with queue.lock():
        if repeat and not queue.repeat(repeat):
            raise UsageError("hook_no_event", f"There was no event {repeat} on this box yet.")
        program = hook_starting.this_program(words)
        start = hook_starting.starter(queue, program, settings.hooks_dir, limit_s)
        runs = hook_running.Runs(queue, settings.hooks_dir, start, journal.write, hook_running.Boot.this())
        hook_running.go_through(settings.state_dir, runs, waits=waits)


def _one(typed: argparse.Namespace) -> int:
    """Runs one hook with the event on standard input; prints how it ended."""
    _end_tidily()
    body = sys.stdin.buffer.read(2 * hooks.MAX_BYTES)
    kind, _, name = typed.one.partition("/")
    found = [each for each in hook_files.installed(typed.hooks_dir or "", kind) if each.name == name]
    if not found or found[0].problem:
        problem = found[0].problem if found else "It is not there any more."
        outcome = hook_runs.Outcome(hook_runs.UNSTARTABLE, problem)
    else:
        journal = Journal(stream=os.environ.get("JOURNAL_STREAM", ""))

        def say(line: str) -> None:
            journal.write(INFO, f"{typed.one}: {line}")

        outcome = hook_runs.run(found[0], body, typed.limit or USUAL_LIMIT_S, say, sweeps=typed.sweep)
    print(json.dumps(outcome._asdict()))
    return 0


def _end_tidily() -> None:
    """A stop ends the hook under way too."""

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)


# -- showing -----------------------------------------------------------------------------------------------------------
def read(settings: Settings, limit_s: float) -> dict[str, object]:
    """What ``--json`` prints; ``waiting`` is null where this user may not see it."""
    results = hook_queue.results(settings.state_dir)
    found = hook_files.all_installed(settings.hooks_dir)
    return {
        "folder": settings.hooks_dir,
        "limitS": limit_s,
        "hooks": [_hook(each, results.get(each.id)) for each in found],
        "waiting": _waiting(settings.state_dir),
    }


def _hook(hook: Hook, result: Result | None) -> dict[str, object]:
    last = None
    if result:
        last = {"at": result.at, "code": result.code or None, "message": result.message, "tries": result.tries}
        last["isGivenUp"] = result.is_given_up
    return {"kind": hook.kind, "name": hook.name, "problem": hook.problem or None, "last": last}


def _waiting(state_dir: str) -> list[dict[str, object]] | None:
    queue = Queue(state_dir)
    try:
        found: list[dict[str, object]] = [
            {"kind": each.kind, "at": each.event.get("at"), "tries": each.tries} for each in queue.entries()
        ]
        return found + [{"kind": hooks.kind_of(name), "at": None, "tries": {}} for name in queue.left()]
    except StateError:
        return None


def _show(found: dict[str, object]) -> None:
    waiting = found["waiting"]
    installed = found["hooks"] if isinstance(found["hooks"], list) else []
    for each in installed:
        print(f"{each['kind']}/{each['name']}: {_in_words(each)}")
    if not installed:
        print(f"There are no hooks in {found['folder']}.")
    if waiting is None:
        print("Whether something waits can be seen by root only.")
    elif isinstance(waiting, list) and waiting:
        kinds = ", ".join(str(each["kind"]) for each in waiting)
        print(f"{len(waiting)} waiting: {kinds}")


def _in_words(hook: dict[str, object]) -> str:
    last = hook["last"]
    if hook["problem"]:
        return f"not run. {hook['problem']}"
    if not isinstance(last, dict):
        return "not run yet."
    if not last["code"]:
        return f"{last['message']} ({last['at']})"
    after = "given up" if last["isGivenUp"] else f"try {last['tries']} of {hook_running.MAX_TRIES}"
    return f"{last['message']} ({last['at']}, {after}) [{last['code']}]"
