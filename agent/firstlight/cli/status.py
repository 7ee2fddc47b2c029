"""``firstlight status``: whether this box is enrolled and online, from what the running agent wrote."""

from __future__ import annotations

import hashlib
import json
import os
import select
import time
from pathlib import Path

from firstlight.cli import enrolling, options
from firstlight.cli.settings import Settings
from firstlight.errors import StateError
from firstlight.sources.text import read_install_id
from firstlight.system.store import StateDirectory

ONLINE, NOT_ONLINE = 0, 3
POLL_S = 0.1


def verb(words: list[str], config: str | None) -> int:
    """Prints the state; returns 0 when the last beat was accepted and the agent runs, 3 otherwise."""
    made = options.parser("status", "Show whether this box is enrolled and online. Exit status 0 = online, 3 = not.")
    options.add_state(made)
    made.add_argument("--json", action="store_true", help="print one JSON object")
    made.add_argument("--wait-online", metavar="SECONDS", type=float, help="wait that long for an accepted heartbeat")
    made.add_argument(
        "--knows-install-id",
        metavar="INSTALL_ID",
        help="only say (0 or 3) whether this box used that installId ('-' = stdin)",
    )
    typed = made.parse_args(words)
    settings = options.load(typed, config)
    if typed.knows_install_id:
        hashed = hashlib.sha256(read_install_id(typed.knows_install_id).reveal().encode()).hexdigest()
        known = Path(settings.state_dir).is_dir() and enrolling.knows(StateDirectory(settings.state_dir), hashed)
        return ONLINE if known else NOT_ONLINE
    deadline_s = time.monotonic() + (typed.wait_online or 0.0)
    found = read(settings)
    while found["state"] != "online" and time.monotonic() < deadline_s:
        # The status file is written by another process, perhaps not there yet: look again soon.
        select.select([], [], [], POLL_S)
        found = read(settings)
    if typed.json:
        print(json.dumps(found))
    else:
        _show(found)
    return ONLINE if found["state"] == "online" else NOT_ONLINE


def read(settings: Settings) -> dict[str, object]:
    """What is known: ``state`` is not_enrolled, enrolling, stopped, starting, online, cut_off, parked or retired.

    Raises:
        StateError: the registration cannot be read.
    """
    state_dir = Path(settings.state_dir)
    if not state_dir.is_dir():
        return {"state": "not_enrolled"}
    store = StateDirectory(settings.state_dir)
    registration = store.load_registration()
    live = _live(settings, store)
    if registration is None:
        if live.get("state") == "retired":
            return live
        return {"state": "enrolling" if enrolling.kept(store, enrolling.ATTEMPT) else "not_enrolled"}
    found: dict[str, object] = {
        "state": "stopped",
        "deviceId": registration.device_id,
        "workspace": registration.workspace,
        "platform": registration.platform,
        "endpoint": registration.endpoint.url,
        "intervalS": registration.interval_s,
        "keyFingerprint": registration.key_fingerprint,
    }
    if store.repairs:
        found["repairs"] = store.repairs
    if live.get("deviceId") != registration.device_id:
        return found
    running = _runs(live)
    found.update(live)
    if not running:
        found["state"] = "stopped"
    elif live.get("state") == "beating":
        found["state"] = "online" if live.get("lastAcceptedAt") else "starting"
    return found


def _live(settings: Settings, store: StateDirectory) -> dict[str, object]:
    """The newest status that an agent wrote; empty when none did."""
    places = [
        settings.runtime_dir,
        "/run/firstlight" if settings.state_dir == "/var/lib/firstlight" else "",
        settings.state_dir,
    ]
    found = []
    for place in dict.fromkeys(filter(None, places)):
        try:
            status = StateDirectory(place).read_json("status.json") if Path(place).is_dir() else None
        except StateError:
            status = None  # a half-readable status is no reason to hide the registration
        if status:
            found.append(status)
    return max(found, key=lambda status: str(status.get("writtenAt", "")), default={})


def _runs(live: dict[str, object]) -> bool:
    pid = live.get("pid")
    if not isinstance(pid, int) or pid < 1:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


LABELS = (
    ("device", "deviceId"),
    ("workspace", "workspace"),
    ("platform", "platform"),
    ("hub", "endpoint"),
    ("last accepted", "lastAcceptedAt"),
    ("next beat", "nextBeatAt"),
    ("failures in a row", "failures"),
    ("reason", "reason"),
    ("", "message"),
    ("next step", "hint"),
    ("kept beats", "spooled"),
    ("clock skew, s", "skewS"),
)


def _show(found: dict[str, object]) -> None:
    print(f"{'state':<18} {str(found['state']).replace('_', ' ')}")
    for label, name in LABELS:
        if found.get(name) not in (None, "", 0):
            print(f"{label:<18} {found[name]}")
    repairs = found.get("repairs")
    for repair in repairs if isinstance(repairs, list) else []:
        print(repair)
    if found["state"] == "not_enrolled":
        print("To enroll: firstlight enroll INSTALL_ID --hub https://HOST:PORT --pin sha256//…")
    elif found["state"] == "stopped":
        print("The agent does not run. To start it: systemctl start firstlight, or: firstlight run")
