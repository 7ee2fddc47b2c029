"""``firstlight reset``: sets registration and key aside, so that the box can be enrolled anew."""

from __future__ import annotations

import sys

from firstlight.cli import options
from firstlight.cli.enrolling import ATTEMPT, ENROLLED
from firstlight.errors import UsageError
from firstlight.system.store import STATUS, StateDirectory


def verb(words: list[str], config: str | None) -> int:
    """Asks, unless told not to; returns 0 when the box is as before enrolling."""
    made = options.parser(
        "reset", "Forget this box's registration and key; both are kept aside in the folder 'retired'."
    )
    options.add_state(made)
    made.add_argument("--yes", action="store_true", help="do not ask")
    typed = made.parse_args(words)
    settings = options.load(typed, config)
    store = StateDirectory(settings.state_dir)
    if not typed.yes and not _confirmed(settings.state_dir):
        raise UsageError("usage", "Nothing was changed.", "To reset without being asked: firstlight reset --yes")
    store.prepare()
    with store.lock():
        store.retire("reset")
        for name in (ATTEMPT, ENROLLED, STATUS):
            store.remove(name)
    print("This box is not enrolled any more. A running agent must be stopped: systemctl stop firstlight")
    return 0


def _confirmed(state_dir: str) -> bool:
    if not sys.stdin.isatty():
        return False
    print(f"Forget the registration in {state_dir}? The hub keeps the device's record. [y/N] ", end="", flush=True)
    return sys.stdin.readline(16).strip().lower() in ("y", "yes")
