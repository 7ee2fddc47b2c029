"""A network that a code brought: handed to root, where the settings allow it."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from pathlib import Path

from firstlight.cli import next_step
from firstlight.cli.settings import Settings
from firstlight.core.provision import Network
from firstlight.errors import FirstlightError, InvitationError, StateError
from firstlight.system import hooks
from firstlight.system import network as hook
from firstlight.system.store import StateDirectory

WATCHER = "firstlight-network.path"
WAIT_S = 60.0
WAITS = "network_waits"

Tell = Callable[[str], None]
LOOK_S = 0.25


def offer(settings: Settings, network: Network, tell: Tell, *, wait_s: float = WAIT_S) -> str:
    """Has the network set up where the settings allow it, and says what became of it.

    Args:
        settings: ``apply_network`` decides.
        network: of a payload or a Wi-Fi code.
        tell: takes one line.
        wait_s: how long root's answer is waited for.

    Returns:
        a code: ``network_joined``, ``network_not_joined``, ``network_waits`` (root was asked and has not answered yet),
        ``network_not_allowed``, or of what went wrong; never raises for that: without a network a box is provisioned
        all the same.
    """
    what = f"the Wi-Fi {network.ssid!r}" if network.ssid else "an address for the wired network"
    if settings.apply_network != "yes":
        tell(f'the code brings {what}; this box leaves its network alone (apply_network in its settings is "no")')
        return "network_not_allowed"
    store = StateDirectory(settings.state_dir)
    try:
        code, sentence = _asked(store, network, wait_s)
    except FirstlightError as error:
        code, sentence = error.code, f"{error.message} {error.hint}"
    tell(f"{what}: {sentence}" if code == WAITS else sentence)
    return code


def _asked(store: StateDirectory, network: Network, wait_s: float) -> tuple[str, str]:
    """Raises FirstlightError: the disk refuses."""
    if store.has(hook.RESULT):
        store.remove(hook.RESULT)
    hook.leave_wish(store, network)
    if is_watched():
        return answer(store, wait_s)
    if os.geteuid() == 0:
        return apply(store) or (WAITS, "somebody else took the wish away")
    return WAITS, f"it waits for root: {next_step.typed('firstlight network --apply')}"


def require(settings: Settings, network: Network) -> None:
    """For a code that is a network and nothing else: raises InvitationError where the settings forbid it."""
    if settings.apply_network != "yes":
        raise InvitationError(
            "network_not_allowed", f"This is the code of the Wi-Fi {network.ssid!r}; this box leaves its network alone."
        )


def is_watched() -> bool:
    """Whether systemd starts root's half when a wish appears."""
    return next_step.has_service() and any(Path(folder, WATCHER).exists() for folder in next_step.UNIT_FOLDERS)


def apply(store: StateDirectory, folder: str = hook.FOLDER, run: hook.Run = hook.nmcli) -> tuple[str, str] | None:
    """Root's half: does what is wished for, takes the wish away and leaves the result beside it.

    Returns:
        code and sentence, None where nothing was wished for.

    Raises:
        StateError: the wish cannot be removed: it would be done again and again.
    """
    try:
        network = hook.read_wish(store.path)
        if network is None:
            return None
        code, sentence = hook.apply(network, folder, run)
    except StateError as error:
        code, sentence = error.code, error.message
    # The result first: who waits for it must not find neither.
    store.write_json(hook.RESULT, {"code": code, "message": sentence}, durable=False)
    store.remove(hook.WISH)
    hooks.leave(store.path, hooks.NETWORK, {**_who(store), "code": code, "message": sentence})
    return code, sentence


def _who(store: StateDirectory) -> dict[str, object]:
    try:
        return hooks.about(store.load_registration())
    except StateError:
        return {}


def answer(store: StateDirectory, wait_s: float = WAIT_S) -> tuple[str, str]:
    """What root made of the wish, as soon as it has: code and sentence."""
    until_s = time.monotonic() + wait_s
    while store.has(hook.WISH) or not store.has(hook.RESULT):
        if time.monotonic() >= until_s:
            return (
                "network_waits",
                "The network was asked for and is not set up yet. See: journalctl -u firstlight-network",
            )
        select.select([], [], [], LOOK_S)
    return result(store) or (WAITS, "what became of it cannot be read")


def result(store: StateDirectory) -> tuple[str, str] | None:
    """Code and sentence of the last wish, None where there is none to read."""
    try:
        found = store.read_json(hook.RESULT)
    except StateError:
        return None
    code, message = (found or {}).get("code"), (found or {}).get("message")
    return (code, message[:500]) if isinstance(code, str) and isinstance(message, str) else None


def forget(settings: Settings, tell: Tell) -> None:
    """Undoes what a code of this state directory set up, where this is root. Raises StateError."""
    store = StateDirectory(settings.state_dir)
    has_set_up = store.has(hook.RESULT) and hook.is_set_up()
    if has_set_up and os.geteuid() != 0:
        tell(f"the network that a code set up stays; root removes it: {next_step.typed('firstlight network --remove')}")
        return
    if has_set_up and hook.remove():
        tell("the network that a code set up was removed")
    for name in (hook.WISH, hook.RESULT):
        if store.has(name):
            store.remove(name)
