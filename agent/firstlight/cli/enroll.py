"""``firstlight enroll``: an installId or a device file becomes a registration, proved with a first heartbeat."""

from __future__ import annotations

import json
import random
import secrets
import sys
from argparse import Namespace
from contextlib import nullcontext
from pathlib import Path
from typing import cast

from firstlight.cli import enrolling, next_step, options, service
from firstlight.cli.enrolling import Enrolled, Parts
from firstlight.cli.settings import Settings, proxy_of
from firstlight.core.interfaces import DevicePlatform
from firstlight.core.model import Invitation, Registration, Secret
from firstlight.daemon.sessions import Sessions
from firstlight.errors import UsageError
from firstlight.platforms import half, has_half
from firstlight.sources import device_file
from firstlight.sources.text import read_install_id
from firstlight.system import provision_file
from firstlight.system.clock import SystemClock, clock_floor_s
from firstlight.system.store import StateDirectory

DESCRIPTION = (
    "Enroll this box: make its key, redeem the installId (or take in the file that the desk made for it), send a first "
    "heartbeat. Running it again is safe."
)


def verb(words: list[str], config: str | None) -> int:
    """Parses, composes, performs. Raises FirstlightError; returns 0 when this box is enrolled."""
    made = options.parser("enroll", DESCRIPTION)
    made.add_argument(
        "install_id", metavar="INSTALL_ID", nargs="?", help="the installId; '-' = standard input, '@FILE' = a file"
    )
    made.add_argument(
        "--file", metavar="FILE", help="instead of it: the device file of any platform; '-' = standard input"
    )
    options.add_hub(made)
    options.add_state(made)
    options.add_pairing(made)
    made.add_argument("--patience", metavar="SECONDS", type=float, default=60.0, help="go on trying that long (60)")
    made.add_argument("--no-start", action="store_true", help="do not start the service afterwards")
    made.add_argument("--json", action="store_true", help="print the result as one JSON object")
    typed = made.parse_args(words)
    settings = options.load(typed, config)
    tell = _silent if typed.json else _tell
    invitation, key = _handed_over(typed, settings, tell)
    # What a file says of trust is not to be mended by an option.
    with nullcontext() if typed.file else options.advice(invitation.endpoint, invitation.trust):
        enrolled = perform(settings.state_dir, invitation, settings, typed.patience, tell, key=key)
    # An agent that waits for a network with what the box was provisioned with goes on with the registration.
    service.wake(settings.state_dir)
    started = "" if typed.no_start else service.start(settings.state_dir)
    _conclude(enrolled, started, as_json=typed.json)
    return 0


def perform(
    state_dir: str,
    invitation: Invitation,
    settings: Settings,
    patience_s: float,
    tell: enrolling.Tell,
    store: StateDirectory | None = None,
    *,
    key: Secret | None = None,
) -> Enrolled:
    """From an invitation to a registration on the disk; what the box was provisioned with is over then.

    Args:
        state_dir: where it is kept.
        invitation: what the operator handed over.
        settings: for the proxy.
        patience_s: how long to go on trying.
        tell: prints one line of progress.
        store: that state directory, where the caller has one.
        key: the private key of the invitation's certificate, where it came with it.

    Raises:
        FirstlightError: as ``enrolling.enroll``; calling again goes on where it was.
    """
    # Imported here: they cost time and memory that a wrong word on the command line should not.
    from firstlight.cli.lifetime import renew_at_s
    from firstlight.system.facts import read_facts
    from firstlight.system.keys import KeyFile, certificate_fingerprint
    from firstlight.transports.http_calls import HttpCalls

    store = store or StateDirectory(state_dir)
    store.prepare()
    clock = SystemClock(clock_floor_s(store))
    dialect = cast(DevicePlatform, half(invitation.platform, "device"))
    sessions = Sessions(store, clock, dialect, lambda host: proxy_of(settings, host))
    proxy = proxy_of(settings, invitation.endpoint.host)
    with store.lock(), HttpCalls(invitation.trust, proxy, check_dates=clock.is_trustworthy()) as caller:
        _begin(store, clock, tell)
        parts = Parts(
            store=store,
            make_key=lambda: KeyFile().adopt(store, key.reveal()) if key else KeyFile().make_or_load(store),
            make_attempt_id=lambda: secrets.token_hex(16),
            caller=caller,
            open_session=sessions.for_beats,
            open_appeal=sessions.over_http,
            fingerprint_of=certificate_fingerprint,
            renew_at_s=renew_at_s if has_half(invitation.platform, "renewal") else _never,
            clock=clock,
            saw_time=lambda server_time_s: _saw_time(store, clock, server_time_s),
            chance=random.random,
            tell=tell,
            patience_s=patience_s,
            open_redeem=lambda invitation, attempt: sessions.for_redeem(invitation, attempt.key_fingerprint),
            enrolled=lambda registration: _leave_for_hooks(store, registration),
            knows_time=clock.knows_time,
        )
        done = enrolling.enroll(parts, dialect, invitation, read_facts())
        provision_file.forget(store)
        return done


def _saw_time(store: StateDirectory, clock: SystemClock, server_time_s: float) -> None:
    clock.saw(server_time_s)
    store.save_seen(server_time_s, clock.moment())


def _leave_for_hooks(store: StateDirectory, registration: Registration) -> None:
    from firstlight.system.hooks import ENROLLED, about, leave

    how = {"transport": registration.transport, "credential": registration.credential.kind}
    leave(store.path, ENROLLED, {**about(registration), **how})


def _handed_over(typed: Namespace, settings: Settings, tell: enrolling.Tell) -> tuple[Invitation, Secret | None]:
    """The invitation, and the private key that came with it. Raises UsageError, InvitationError."""
    if (typed.install_id is None) == (typed.file is None):
        raise UsageError("usage", "Give either an installId or --file.", "Run: firstlight enroll --help")
    if typed.file is None:
        endpoint, trust = options.hub_of(settings)
        proof = read_install_id(typed.install_id)
        return Invitation("hub", endpoint, trust, proof, typed.transport or "", typed.credential or ""), None
    if typed.hub or typed.pin or typed.ca_file:
        raise UsageError("usage", "The file says where the platform is: leave --hub, --pin and --ca-file out.")
    found = device_file.read_device_file(device_file.read_bytes(typed.file))
    invitation = found.invitation
    if typed.credential not in (None, "", invitation.credential) and invitation.road != "redeem":
        raise UsageError("usage", f"The file holds a {invitation.credential}, not a {typed.credential}.")
    if typed.file != "-" and _is_open(typed.file):
        tell(f"{typed.file} can be read by everyone on this box: remove it once the box is enrolled")
    if typed.transport:
        invitation = invitation._replace(transport=typed.transport)
    if invitation.road == "redeem" and typed.credential:
        invitation = invitation._replace(credential=typed.credential)
    return invitation, found.key


def _is_open(path: str) -> bool:
    try:
        return bool(Path(path).stat().st_mode & 0o004)
    except OSError:
        return False


def _never(certificate_pem: str, now_s: float, chance: float) -> float:
    """A platform without renewal: the certificate is due for it at no time."""
    return 0.0


def _begin(store: StateDirectory, clock: SystemClock, tell: enrolling.Tell) -> None:
    """What was found before the first step."""
    for repair in (f"state directory {store.path} is ready", *store.repairs):
        tell(repair)
    if clock.is_before_floor():
        tell("this box's clock cannot be right; certificate dates do not count where the hub's key is pinned")


def _tell(line: str) -> None:
    print(f"  {line}", flush=True)


def _silent(line: str) -> None:
    """With --json, progress is not shown."""


def _conclude(enrolled: Enrolled, started: str, *, as_json: bool) -> None:
    registration = enrolled.registration
    if as_json:
        print(
            json.dumps(
                {
                    "deviceId": registration.device_id,
                    "platform": registration.platform,
                    "workspace": registration.workspace,
                    "endpoint": registration.endpoint.url,
                    "transport": registration.transport,
                    "credential": registration.credential.kind,
                    "broker": registration.broker.url if registration.broker else None,
                    "intervalS": registration.interval_s,
                    "keyFingerprint": registration.key_fingerprint,
                    "wasThere": enrolled.was_there,
                    "notBeating": enrolled.not_beating or None,
                    "service": started or None,
                }
            )
        )
        return
    if enrolled.not_beating:
        print(f"Enrolled, but the first heartbeat was not accepted yet: {enrolled.not_beating}")
        if not started:
            print(next_step.typed("The agent goes on trying while it runs: firstlight run"))
    if started:
        print(started)
    elif not enrolled.not_beating and not enrolled.was_there and sys.stdout.isatty():
        # The install script says its own next step; a person at a terminal needs to be told.
        print(next_step.typed("Enrolled. To stay online, the agent must run: firstlight run"))
