"""``firstlight enroll``: trades an installId for a registration and proves it with a first heartbeat."""

from __future__ import annotations

import json
import random
import secrets
import sys
from typing import cast

from firstlight.cli import enrolling, next_step, options, service
from firstlight.cli.enrolling import Enrolled, Parts
from firstlight.cli.settings import Settings, proxy_of
from firstlight.core.interfaces import DevicePlatform
from firstlight.core.model import Invitation
from firstlight.daemon.sessions import Sessions
from firstlight.platforms import half
from firstlight.sources.text import read_install_id
from firstlight.system import provision_file
from firstlight.system.clock import SystemClock, clock_floor_s
from firstlight.system.store import StateDirectory

DESCRIPTION = "Enroll this box: make its key, redeem the installId, send a first heartbeat. Running it again is safe."


def verb(words: list[str], config: str | None) -> int:
    """Parses, composes, performs. Raises FirstlightError; returns 0 when this box is enrolled."""
    made = options.parser("enroll", DESCRIPTION)
    made.add_argument("install_id", metavar="INSTALL_ID", help="the installId; '-' = standard input, '@FILE' = a file")
    options.add_hub(made)
    options.add_state(made)
    options.add_pairing(made)
    made.add_argument("--patience", metavar="SECONDS", type=float, default=60.0, help="go on trying that long (60)")
    made.add_argument("--no-start", action="store_true", help="do not start the service afterwards")
    made.add_argument("--json", action="store_true", help="print the result as one JSON object")
    typed = made.parse_args(words)
    settings = options.load(typed, config)
    endpoint, trust = options.hub_of(settings)
    invitation = Invitation(
        "hub", endpoint, trust, read_install_id(typed.install_id), typed.transport or "", typed.credential or ""
    )
    tell = _silent if typed.json else _tell
    with options.advice(endpoint, trust):
        enrolled = perform(settings.state_dir, invitation, settings, typed.patience, tell)
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
) -> Enrolled:
    """From an invitation to a registration on the disk; what the box was provisioned with is over then.

    Args:
        state_dir: where it is kept.
        invitation: what the operator handed over.
        settings: for the proxy.
        patience_s: how long to go on trying.
        tell: prints one line of progress.
        store: that state directory, where the caller has one.

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

        def saw_time(server_time_s: float) -> None:
            clock.saw(server_time_s)
            store.save_seen(server_time_s, clock.moment())

        parts = Parts(
            store=store,
            make_key=lambda: KeyFile().make_or_load(store),
            make_attempt_id=lambda: secrets.token_hex(16),
            caller=caller,
            open_session=sessions.for_beats,
            open_appeal=sessions.over_http,
            fingerprint_of=certificate_fingerprint,
            renew_at_s=renew_at_s,
            clock=clock,
            saw_time=saw_time,
            chance=random.random,
            tell=tell,
            patience_s=patience_s,
        )
        done = enrolling.enroll(parts, dialect, invitation, read_facts())
        provision_file.forget(store)
        return done


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
