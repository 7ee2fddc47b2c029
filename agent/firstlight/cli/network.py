"""``firstlight network``: the network that a scanned code brought; root's half of setting it up."""

from __future__ import annotations

import json

from firstlight.cli import networks, options
from firstlight.errors import StateError, UsageError
from firstlight.system import network as hook
from firstlight.system.store import StateDirectory

DESCRIPTION = (
    "Show the network that a scanned code brought. With --apply root sets it up through NetworkManager, where the "
    "setting apply_network allows it; firstlight-network.service runs that."
)
GOOD = (hook.JOINED, hook.NOT_JOINED)


def verb(words: list[str], config: str | None) -> int:
    """Shows, applies or removes; returns 0. Raises StateError, UsageError."""
    made = options.parser("network", DESCRIPTION)
    options.add_state(made)
    ways = made.add_mutually_exclusive_group()
    ways.add_argument("--apply", action="store_true", help="set up what is waiting (root)")
    ways.add_argument("--remove", action="store_true", help="remove what was set up (root)")
    made.add_argument("--json", action="store_true", help="print one JSON object")
    typed = made.parse_args(words)
    settings = options.load(typed, config)
    store = StateDirectory(settings.state_dir)
    if typed.apply:
        done = _apply(store, is_allowed=settings.apply_network == "yes")
    elif typed.remove:
        was_there = hook.remove()
        done = ("removed", "The network that a code set up was removed.") if was_there else None
    else:
        done = networks.result(store)
    code, sentence = done or ("none", "No code has set up a network here.")
    if typed.json:
        said = {"allowed": settings.apply_network == "yes", "waiting": store.has(hook.WISH), "code": code}
        print(json.dumps({**said, "isSetUp": hook.is_set_up(), "message": sentence}))
    else:
        print(sentence)
        if store.has(hook.WISH):
            print("One is waiting to be set up.")
    return 0


def _apply(store: StateDirectory, *, is_allowed: bool) -> tuple[str, str] | None:
    """Raises StateError with what went wrong, UsageError where the settings forbid it; the wish is gone then too."""
    if not is_allowed:
        if store.has(hook.WISH):
            store.remove(hook.WISH)
        raise UsageError("network_not_allowed", "This box leaves its network alone.")
    done = networks.apply(store)
    if done is not None and done[0] not in GOOD:
        raise StateError(*done)
    return done
