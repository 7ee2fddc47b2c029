"""What a rotation or a move is made of on a real box: files, sessions, clock. ``run`` and ``rotate`` call it.

Looking whether anything is due costs three small files; the libraries are loaded only where something is.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, cast

from firstlight.cli.settings import Settings, proxy_of
from firstlight.core import change
from firstlight.core.model import Credential, Facts, Registration
from firstlight.daemon.notify import ServiceNotifier, service_notifier
from firstlight.errors import FirstlightError, StateError, UsageError
from firstlight.platforms import half
from firstlight.system import changes, place
from firstlight.system.clock import SystemClock, clock_floor_s
from firstlight.system.store import RUNNING, StateDirectory
from firstlight.wire.facts import read_facts

if TYPE_CHECKING:
    from firstlight.cli.change_parts import Parts, RenewalPlatform
    from firstlight.core.change import Notes
    from firstlight.core.interfaces import DevicePlatform

Log = Callable[[int, str], None]
ERROR = 3


def at_start(settings: Settings, store: StateDirectory, registration: Registration, log: Log) -> None:
    """Makes what is due or was interrupted, before the beats begin. Never raises: they begin in any case."""
    try:
        if not _is_due(store, registration):
            return
        notifier = service_notifier(os.environ)
        # The service is up: the start-up time-out must not end a change, and the watchdog is fed from here on.
        notifier.ready("Replacing the credential, or following the platform, before the next heartbeat")
        with locked(store, RUNNING):
            perform(settings, store, registration, log, notifier)
    except FirstlightError as error:
        log(ERROR, f"{error} Credential and address stay as they are.")
    except Exception as error:
        # Not its text: what went wrong may have held a secret.
        log(
            ERROR, f"A fault in firstlight [internal]: {type(error).__name__}. Credential and address stay as they are."
        )


def _is_due(store: StateDirectory, registration: Registration) -> bool:
    from firstlight.cli.change_parts import situation

    if place.is_upgrading():
        return False  # going back must find the credential as it was; the beating process asks again
    notes = changes.load(store)
    now = situation(store, registration, SystemClock(), notes)
    return bool(notes.begun or change.due(now, goes_on=True))


@contextmanager
def locked(store: StateDirectory, *names: str) -> Iterator[None]:
    """Keeps other agents, and with ``lock`` other verbs, out for as long as a change is made. Raises StateError."""
    from contextlib import ExitStack

    with ExitStack() as held:
        for name in names:
            held.enter_context(store.lock(name))
        yield


def perform(
    settings: Settings, store: StateDirectory, registration: Registration, log: Log, notifier: ServiceNotifier
) -> tuple[Registration, Notes]:
    """Makes what is due. The caller holds the lock ``running``.

    Returns:
        the registration that counts now, and how it ended.

    Raises:
        FirstlightError: the disk refuses, or the settings cannot be used.
    """
    from firstlight.cli.changing import Changing

    store.prepare()
    making = Changing(parts_of(settings, store, registration, log, notifier), registration)
    notes = making.perform()
    return making.registration, notes


def parts_of(
    settings: Settings, store: StateDirectory, registration: Registration, log: Log, notifier: ServiceNotifier
) -> Parts:
    """Files, sessions and clock of this box. Raises UsageError where a setting cannot be used."""
    from firstlight.cli.change_parts import CALL_DEADLINE_S, Parts
    from firstlight.cli.lifetime import renew_at_s
    from firstlight.daemon.sessions import Sessions
    from firstlight.system.keys import KeyFile, certificate_fingerprint

    clock = SystemClock(clock_floor_s(store))
    dialect = cast("DevicePlatform", half(registration.platform, "device"))
    sessions = Sessions(store, clock, dialect, lambda host: proxy_of(settings, host))

    def saw_time(server_time_s: float) -> None:
        clock.saw(server_time_s)
        with suppress(StateError):
            store.save_seen(server_time_s, clock.moment())

    watchdog_s = notifier.watchdog_s
    return Parts(
        store=store,
        keys=KeyFile(),
        dialect=dialect,
        renewal=_renewal(registration.platform),
        # Without a client certificate: that may be what has expired.
        open_plain=lambda found: sessions.over_http(found._replace(credential=Credential("secret"))),
        open_proving=sessions.for_beats,
        fingerprint_of=certificate_fingerprint,
        renew_at_s=renew_at_s,
        clock=clock,
        chance=lambda: secrets.randbelow(2**32) / 2**32,
        facts=_facts(store),
        make_attempt_id=lambda: secrets.token_hex(16),
        saw_time=saw_time,
        alive=notifier.alive,
        log=log,
        deadline_s=CALL_DEADLINE_S if watchdog_s is None else min(CALL_DEADLINE_S, watchdog_s / 2),
    )


def _renewal(platform: str) -> RenewalPlatform | None:
    try:
        return cast("RenewalPlatform", half(platform, "renewal"))
    except UsageError:
        return None


def _facts(store: StateDirectory) -> Facts:
    try:
        return read_facts(store.read_json("facts.json") or {})
    except (StateError, ValueError):
        return Facts()
