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
from firstlight.errors import FirstlightError, NotEnrolledError, RefusedError, StateError, UnreachableError
from firstlight.system import changes
from firstlight.system.store import LOCK, RUNNING, WISH, StateDirectory

if TYPE_CHECKING:
    from firstlight.core.change import Result
    from firstlight.core.model import Registration

POLL_S = 0.1
FINAL = REFUSALS | {"clone_suspected", "device_unknown", "device_removed", "csr_invalid", "rotation_failed"}


def verb(words: list[str], config: str | None) -> int:
    """Asks the running agent, or does it itself where none runs; returns 0 when the new credential is in use.

    Raises:
        NotEnrolledError: ``not_enrolled``.
        RefusedError, UnreachableError: ``rotation_failed``; the present credential stays in use.
        StateError: the state directory cannot be read or written, or another verb is at work.
    """
    made = options.parser("rotate", "Replace this box's key and credential now. The present one stays until then.")
    options.add_state(made)
    made.add_argument("--proxy", metavar="URL", help="HTTP proxy on the way to the hub, http://HOST:PORT")
    made.add_argument("--proxy-auth-file", metavar="FILE", help="file with USER:PASSWORD for the proxy")
    made.add_argument("--patience", metavar="SECONDS", type=float, default=120.0, help="wait that long (120)")
    made.add_argument("--json", action="store_true", help="print the result as one JSON object")
    typed = made.parse_args(words)
    settings = options.load(typed, config)
    store = StateDirectory(settings.state_dir)
    before = store.load_registration() if Path(settings.state_dir).is_dir() else None
    if before is None:
        raise NotEnrolledError("not_enrolled", f"There is no registration in {settings.state_dir}.")
    wish = secrets.token_hex(16)
    holder = store.holder(RUNNING)
    if holder:
        result = _ask(store, holder, wish, typed.patience)
    else:
        result = _do(settings, store, wish, _silent if typed.json else _tell)
    if result.code:
        kind = RefusedError if result.code in FINAL else UnreachableError
        raise kind("rotation_failed", f"{result.message} [{result.code}]")
    _conclude(store.load_registration() or before, as_json=typed.json)
    return 0


def _do(settings: Settings, store: StateDirectory, wish: str, log: change_now.Log) -> Result:
    """No agent runs: this process makes the change, and none may start meanwhile."""
    with change_now.locked(store, LOCK, RUNNING):
        registration = store.load_registration()
        if registration is None:
            raise NotEnrolledError("not_enrolled", f"There is no registration in {store.path}.")
        store.write_json(WISH, {"id": wish})
        try:
            _, notes = change_now.perform(settings, store, registration, log, service_notifier({}))
        finally:
            store.remove(WISH)
    return notes.rotation


def _ask(store: StateDirectory, holder: int, wish: str, patience_s: float) -> Result:
    """The agent runs: it reads the wish, is woken, and tells in its notes how it went."""
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
    deadline_s = time.monotonic() + patience_s
    while True:
        result = changes.load(store).rotation
        if result.wish == wish:
            return result
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


def _tell(priority: int, line: str) -> None:
    print(f"  {line}", flush=True)


def _silent(priority: int, line: str) -> None:
    """With --json, progress is not shown."""
