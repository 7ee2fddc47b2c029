"""``firstlight status``: whether this box is enrolled and online, from what the running agent wrote."""

from __future__ import annotations

import hashlib
import json
import select
import time
from pathlib import Path

from firstlight.cli import enrolling, firstboot_notes, liveness, options, status_words
from firstlight.cli.settings import Settings
from firstlight.core.detached import PARKED, WAITING
from firstlight.core.model import Registration
from firstlight.daemon.report import iso
from firstlight.errors import StateError
from firstlight.sources.text import read_install_id
from firstlight.system import changes, provision_file
from firstlight.system.store import RUNNING, UPGRADE_WISH, UPGRADED, StateDirectory
from firstlight.wire.bounded import WireError
from firstlight.wire.upgrade import read_offer, read_upgraded, upgraded_object

ONLINE, NOT_ONLINE = 0, 3
POLL_S = 0.1
RUN_FILE = "run.json"


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
        status_words.show(found, liveness.now_s(), time.time())
    return ONLINE if found["state"] == "online" else NOT_ONLINE


def read(settings: Settings) -> dict[str, object]:
    """What is known: ``state`` is not_enrolled, provisioned, enrolling, retired, or what ``liveness.judged`` says.

    Raises:
        StateError: the registration cannot be read.
    """
    store = StateDirectory(settings.state_dir)
    if not store.is_there():
        return {"state": "not_enrolled"}
    registration = store.load_registration()
    holder = store.holder(RUNNING)
    live = _live(settings, store, holder)
    if registration is None:
        if (provisioned := _provisioned(store, live, holder)) is not None:
            return provisioned
        if live.get("state") == "retired":
            return live
        state = "enrolling" if enrolling.kept(store, enrolling.ATTEMPT) else "not_enrolled"
        return {"state": state, "firstBoot": firstboot_notes.last(store) or None}
    found: dict[str, object] = {
        "state": "stopped",
        "deviceId": registration.device_id,
        "workspace": registration.workspace,
        "platform": registration.platform,
        "endpoint": registration.endpoint.url,
        "intervalS": registration.interval_s,
        "keyFingerprint": registration.key_fingerprint,
        **_pairing(registration),
    }
    if said := _last_change(store):
        found["lastChange"] = said
    if upgrade := _upgrade(store):
        found["upgrade"] = upgrade
    if holder and (weakened := _weakened(settings, store)):
        found["weakened"] = weakened
    if hooks := _hooks(settings):
        found["hooks"] = hooks
    if store.repairs:
        found["repairs"] = store.repairs
    is_ours = live.get("deviceId") == registration.device_id
    return {**found, **liveness.judged(live if is_ours else {}, holder)}


def _provisioned(store: StateDirectory, live: dict[str, object], holder: int | None) -> dict[str, object] | None:
    """Of a box that is provisioned and not registered; None for another one. Raises StateError."""
    from firstlight.cli import registering  # here: most boxes are registered

    kept = provision_file.load(store)
    if kept is None:
        return None
    judged = liveness.judged(live if registering.is_about(live, kept.provision) else {}, holder)
    runs = judged["state"] != "stopped"
    state = judged["state"] if judged["state"] in (PARKED, "not_responding") else WAITING
    return {**registering.about(kept.provision), **judged, "state": state, "agentRuns": runs}


def _pairing(registration: Registration) -> dict[str, object]:
    """How the beats travel and what is shown with them."""
    credential = registration.credential
    is_mqtt = registration.transport == "mqtt" and registration.broker is not None
    found: dict[str, object] = {
        "transport": registration.transport,
        "credential": credential.kind,
        "broker": registration.broker.url if is_mqtt and registration.broker else None,
    }
    if credential.certificate_pem:
        found["certificateEndsAt"] = _ends_at(credential.certificate_pem)
    if registration.renew_at_s:
        found["renewalDueAt"] = iso(registration.renew_at_s)
    return found


def _ends_at(certificate_pem: str) -> str | None:
    from cryptography import x509  # here: it costs more than the whole rest of a status

    try:
        return iso(x509.load_pem_x509_certificates(certificate_pem.encode())[0].not_valid_after_utc.timestamp())
    except (ValueError, IndexError):
        return None


def _weakened(settings: Settings, store: StateDirectory) -> str:
    """What the running service lacks of its sandbox, as it said at its start."""
    for place in (StateDirectory(settings.runtime_dir or "/run/firstlight"), store):
        try:
            run_file = place.read_json(RUN_FILE)
        except StateError:
            continue
        if run_file is not None:
            return str(run_file.get("weakened") or "")
    return ""


def _hooks(settings: Settings) -> str:
    """Which hooks did not end well; "" = none."""
    from firstlight.system import checks_hooks  # here: most boxes have none

    if not Path(settings.hooks_dir).is_dir():
        return ""
    return checks_hooks.in_words(checks_hooks.ended_wrong(settings.hooks_dir, settings.state_dir))


def _last_change(store: StateDirectory) -> str:
    """How the last rotation or move ended, as one sentence."""
    try:
        notes = changes.load(store)
    except StateError:
        return ""  # what cannot be read is no reason to hide the rest
    last = max(notes.rotation, notes.move_result, key=lambda result: result.at_s)
    if not last.message:
        return ""
    code = f" [{last.code}]" if last.code else ""
    return f"{last.message}{code} ({iso(last.at_s)})"


def _upgrade(store: StateDirectory) -> dict[str, object]:
    """How the last upgrade ended, and the version that the upgrade unit is asked for; empty where there is neither."""
    found: dict[str, object] = {}
    try:
        if last := store.read_json(UPGRADED):
            found = upgraded_object(read_upgraded(last))
        if wish := store.read_json(UPGRADE_WISH):
            found["wished"] = read_offer(wish).version
    except (StateError, WireError):
        pass  # what cannot be read is no reason to hide the rest
    return found


def _live(settings: Settings, store: StateDirectory, holder: int | None) -> dict[str, object]:
    """The status that the running agent wrote, else the newest; empty when none did."""
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
    return max(found, key=lambda status: (status.get("pid") == holder, str(status.get("writtenAt", ""))), default={})
