"""``firstlight reset``: sets registration and key aside, so that the box can be enrolled anew."""

from __future__ import annotations

import signal
import sys

from firstlight.cli import networks, next_step, options, service
from firstlight.cli.enrolling import ATTEMPT, ENROLLED
from firstlight.errors import StateError, UsageError
from firstlight.system import provision_file
from firstlight.system.store import RUNNING, STATUS, StateDirectory, agent_running


def verb(words: list[str], config: str | None) -> int:
    """Asks, unless told not to; returns 0 when the box is as before enrolling.

    Raises:
        StateError: ``agent_running``: it would go on beating as a device that this box no longer is.
    """
    made = options.parser(
        "reset",
        "Forget this box's registration and key, which are kept aside in the folder 'retired', and what it was "
        "provisioned with.",
    )
    options.add_state(made)
    made.add_argument("--yes", action="store_true", help="do not ask")
    typed = made.parse_args(words)
    settings = options.load(typed, config)
    store = StateDirectory(settings.state_dir)
    _refuse_while_running(store)
    if not typed.yes and not _confirmed(settings.state_dir):
        raise UsageError("usage", "Nothing was changed.", "To reset without being asked: firstlight reset --yes")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a 'firstlight rotate' wakes whoever holds the lock 'running'
    store.prepare()
    try:
        with store.lock(), store.lock(RUNNING):  # no agent may start meanwhile
            # First: a provision whose key has gone would be taken for a new one.
            provision_file.forget(store)
            store.retire("reset")
            for name in (ATTEMPT, ENROLLED, STATUS):
                store.remove(name)
    except StateError as error:
        if error.code == "agent_running":
            _refuse_while_running(store)
        raise
    networks.forget(settings, print)
    print("This box is not enrolled any more.")
    if said := service.wait_for_code(settings.state_dir):
        print(said)
    return 0


def _refuse_while_running(store: StateDirectory) -> None:
    pid = store.holder(RUNNING)
    if pid:
        raise agent_running(pid, f"Stop it first: {next_step.to_stop(pid)}")


def _confirmed(state_dir: str) -> bool:
    if not sys.stdin.isatty():
        return False
    print(f"Forget the registration in {state_dir}? The platform keeps the device's record. [y/N] ", end="", flush=True)
    return sys.stdin.readline(16).strip().lower() in ("y", "yes")
