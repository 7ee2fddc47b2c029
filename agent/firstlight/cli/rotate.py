"""``firstlight rotate``: replaces this box's key and credential now."""

from __future__ import annotations

import json
import os
import secrets
import select
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from firstlight.cli import change_now, options
from firstlight.cli.settings import Settings
from firstlight.core.change import REFUSALS
from firstlight.daemon.notify import service_notifier
from firstlight.errors import (
    FirstlightError,
    NotEnrolledError,
    RefusedError,
    StateError,
    UnreachableError,
    UpgradeError,
    UsageError,
)
from firstlight.platforms import has_half
from firstlight.system import changes, place
from firstlight.system.store import LOCK, RUNNING, WISH, StateDirectory

if TYPE_CHECKING:
    from firstlight.core.change import Result
    from firstlight.core.model import Registration

POLL_S = 0.1
INFO = 6
NOT_REPLACED = "The credential could not be replaced: "  # said already by the line above it
FINAL = REFUSALS | {"clone_suspected", "device_unknown", "device_removed", "csr_invalid", "rotation_failed"}


def verb(words: list[str], config: str | None) -> int:
    """Asks the running agent, or does it itself where none runs; returns 0 when the new credential is in use.

    Raises:
        NotEnrolledError: ``not_enrolled``, ``retired``.
        UsageError: ``no_renewal``, on a platform that has no such call.
        RefusedError: the hub's own no, by its code.
        UnreachableError: ``rotation_failed``; the present credential stays in use.
        StateError: the state directory cannot be read or written, or another verb is at work.
    """
    made = options.parser("rotate", "Replace this box's key and credential now. The present one stays until then.")
    options.add_state(made)
    options.add_proxy(made)
    made.add_argument("--patience", metavar="SECONDS", type=float, default=120.0, help="wait that long (120)")
    made.add_argument("--json", action="store_true", help="print the result as one JSON object")
    typed = made.parse_args(words)
    settings = options.load(typed, config)
    store = StateDirectory(settings.state_dir)
    before = store.load_registration() if Path(settings.state_dir).is_dir() else None
    if before is None:
        raise _unknown(settings)
    if not has_half(before.platform, "renewal"):
        raise UsageError("no_renewal", f"The platform {before.platform} replaces no credential at a box's word.")
    if place.is_upgrading():
        raise UpgradeError("upgrade_under_way", "An upgrade is being proved; the credential stays as it is until then.")
    teller = _Teller(is_silent=typed.json)
    try:
        result = _result(settings, store, time.monotonic() + typed.patience, teller)
    except FirstlightError:
        teller.end()
        raise
    teller.end(result.message if result.code else "")
    if result.code:
        why = result.message.removeprefix(NOT_REPLACED)
        if result.code in FINAL:
            raise RefusedError(result.code, why)
        raise UnreachableError("rotation_failed", f"{why} ({result.code})")
    _conclude(store.load_registration() or before, as_json=typed.json)
    return 0


def _result(settings: Settings, store: StateDirectory, deadline_s: float, log: change_now.Log) -> Result:
    """How the rotation ended, whoever made it: the agent, this process, or another verb that was at work already."""
    before = changes.load(store).rotation
    while True:
        holder = store.holder(RUNNING)
        # Another verb holds ``lock`` for longer than ``running``: who holds only the latter, before and after, beats.
        if _waited_for_other_verb(store, deadline_s, log) or store.holder(RUNNING) != holder:
            continue
        found = changes.load(store).rotation
        if found != before:
            log(INFO, "that was a 'firstlight rotate' too: this is how it ended")
            return found
        wish = secrets.token_hex(16)
        if holder:
            return _ask(store, holder, wish, deadline_s)
        try:
            return _do(settings, store, wish, log)
        except StateError as error:
            if error.code not in ("state_locked", "agent_running") or time.monotonic() >= deadline_s:
                raise  # otherwise somebody else began in this very moment


def _waited_for_other_verb(store: StateDirectory, deadline_s: float, log: change_now.Log) -> bool:
    """Waits for the end of an enroll, reset or rotate on this box, if one is at work: those hold ``lock``.

    Raises:
        StateError: ``state_locked``: it has not ended in time.
    """
    waited = False
    while pid := store.holder(LOCK):
        named = f" (pid {pid})" if pid > 0 else ""
        if not waited:
            log(INFO, f"another firstlight{named} is at work here; waiting for its end")
        waited = True
        if time.monotonic() >= deadline_s:
            raise StateError("state_locked", f"Another firstlight{named} is still at work in {store.path}.")
        select.select([], [], [], POLL_S)
    return waited


def _do(settings: Settings, store: StateDirectory, wish: str, log: change_now.Log) -> Result:
    """No agent runs: this process makes the change, and none may start meanwhile."""
    # Another 'firstlight rotate' wakes whoever holds the lock 'running'; and a lost terminal ends no change halfway.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with change_now.locked(store, LOCK, RUNNING):
        registration = store.load_registration()
        if registration is None:
            raise _unknown(settings)
        store.write_json(WISH, {"id": wish})
        try:
            _, notes = change_now.perform(settings, store, registration, log, service_notifier({}))
        finally:
            store.remove(WISH)
    return notes.rotation


def _ask(store: StateDirectory, holder: int, wish: str, deadline_s: float) -> Result:
    """The agent runs: it reads the wish, is woken, and tells in its notes how it went. A wish that waits is shared."""
    there = changes.wish_of(store)
    if there and there != changes.load(store).rotation.wish:
        wish = there
    else:
        store.write_json(WISH, {"id": wish})
    if holder > 0:
        try:
            os.kill(holder, signal.SIGHUP)
        except ProcessLookupError:
            pass  # it ended just now; the next one finds the wish
        except PermissionError:
            with suppress(FirstlightError):
                store.remove(WISH)
            raise StateError(
                "state_unreadable", f"The agent (pid {holder}) belongs to another user.", "Run the command with sudo."
            ) from None
    while True:
        result = changes.load(store).rotation
        if result.wish == wish:
            return result
        wish = changes.wish_of(store) or wish  # another one, wished in the same moment, took its place
        if time.monotonic() >= deadline_s:
            raise UnreachableError(
                "rotation_failed",
                "The running agent did not answer in time; it goes on by itself.",
                "See: firstlight status",
            )
        # The notes are written by another process: look again soon.
        select.select([], [], [], POLL_S)


def _conclude(registration: Registration, *, as_json: bool) -> None:
    if as_json:
        print(
            json.dumps(
                {
                    "rotated": True,
                    "deviceId": registration.device_id,
                    "credential": registration.credential.kind,
                    "keyFingerprint": registration.key_fingerprint,
                    "renewAtS": registration.renew_at_s or None,
                }
            )
        )
        return
    print(f"{registration.device_id} has a new key and a new {registration.credential.kind}; the former ones ended.")


def _unknown(settings: Settings) -> NotEnrolledError:
    """Why there is no registration, as ``firstlight status`` says it."""
    from firstlight.cli import status

    found = status.read(settings)
    if found["state"] == "retired":
        return NotEnrolledError("retired", str(found.get("message") or "The hub removed this device."))
    return NotEnrolledError("not_enrolled", f"There is no registration in {settings.state_dir}.")


class _Teller:
    """Shows progress at once, and what went wrong at the end, without what the error says anyway."""

    def __init__(self, *, is_silent: bool) -> None:
        self._is_silent = is_silent
        self._kept: list[str] = []

    def __call__(self, priority: int, line: str) -> None:
        if priority < INFO:
            self._kept.append(line)
        else:
            self._say(line)

    def end(self, said_anyway: str = "") -> None:
        for line in self._kept:
            if not said_anyway or not line.startswith(said_anyway):
                self._say(line)

    def _say(self, line: str) -> None:
        if not self._is_silent:
            print(f"  {line}", flush=True)
