"""What ``firstlight run`` does on a box that is provisioned and not registered: registers it, or lives on as it is.

It knocks before it loads anything heavy: most starts of such a box have no network. The registration is on the disk
before the provision goes, and the same key with the same token gets the same registration: a cut at any point repeats
the step.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from firstlight import __version__
from firstlight.cli.settings import Settings, proxy_of
from firstlight.core.detached import NO_WAY, PARKED, WAITING, Tried
from firstlight.core.model import Registration
from firstlight.daemon.detached import PROVISIONED
from firstlight.daemon.detached_main import Handed, knock, read_handed
from firstlight.daemon.notify import service_notifier
from firstlight.daemon.report import iso
from firstlight.errors import HINTS, FirstlightError, RefusedError, StateError, UnreachableError, UsageError
from firstlight.system import provision_file
from firstlight.system.store import RUNNING, StateDirectory

if TYPE_CHECKING:
    from collections.abc import Callable

    from firstlight.core.model import Endpoint
    from firstlight.core.provision import Provision
    from firstlight.daemon.notify import ServiceNotifier

    Log = Callable[[int, str], None]

INFO, WARNING, ERROR = 6, 4, 3
RUN_FILE = "run.json"
REMOVED = "device_removed"


def register(settings: Settings, store: StateDirectory, log: Log) -> Registration | Handed | None:
    """Tries once.

    Returns:
        the registration; or what the beating process is to know where there is none yet; None on a box that is not
        provisioned.

    Raises:
        StateError: the provision cannot be read.
        RefusedError: ``device_removed``, a tombstone for this device's key.
        UsageError: the proxy's setting cannot be used.
    """
    mark = provision_file.mark(store)
    kept = provision_file.load(store)
    if kept is None:
        return None
    endpoint = kept.provision.invitation.endpoint
    host, port, is_proxy = where_to_knock(settings, endpoint)
    before = _before(store)
    notifier = service_notifier(os.environ)
    # The service is up, registered or not: the start-up time-out must not end it, and the watchdog is fed from here on.
    notifier.ready(f"{PROVISIONED}: registering with {endpoint.url}")
    try:
        knock(host, port, is_proxy=is_proxy)
        notifier.alive()
        return _perform(settings, store, kept.provision, notifier, log)
    except RefusedError as error:
        if error.code == REMOVED:
            _retire(settings, store, error)
            raise
        tried = Tried(error.code, error.message, refusals=before.refusals + 1)
    except (UnreachableError, StateError) as error:
        tries = 0 if error.code in NO_WAY else before.tries + 1
        tried = Tried(error.code, error.message, tries, retry_after_s=getattr(error, "retry_after_s", None) or 0.0)
    if tried.code != before.code:
        priority = ERROR if tried.refusals else WARNING
        log(priority, f"Not registered yet: {tried.message} [{tried.code}] {HINTS.get(tried.code, '')}".rstrip())
    return Handed(host, port, is_proxy, mark, tried, about(kept.provision), os.getpid())


def about(provision: Provision) -> dict[str, object]:
    """What the status says of a provision, whatever else is so; nothing in it is secret."""
    invitation = provision.invitation
    return {
        "deviceId": provision.device_id or None,
        "workspace": provision.workspace or None,
        "name": provision.name or None,
        "platform": invitation.platform,
        "endpoint": invitation.endpoint.url,
        "source": provision.source,
        "provisionedAt": iso(provision.taken_at.wall_s),
        "keyFingerprint": provision.key_fingerprint,
        "agentVersion": __version__,
    }


def tidy(store: StateDirectory, log: Log) -> None:
    """On a registered box: what a power cut left of its provision goes, the secret first of all. Never raises."""
    from firstlight.cli import enrolling

    try:
        kept = provision_file.load(store)
        if kept is not None and not store.has(enrolling.ENROLLED):
            store.write_json(enrolling.ENROLLED, {"installIdHash": enrolling.id_hash(kept.provision.invitation)})
    except StateError:
        pass  # it is not needed any more
    try:
        if store.has(provision_file.NAME):
            provision_file.forget(store)
            store.remove(enrolling.ATTEMPT)
    except StateError as error:
        log(WARNING, f"{error} The box is registered; the code it was provisioned with is good for nothing more.")


def _perform(
    settings: Settings, store: StateDirectory, provision: Provision, notifier: ServiceNotifier, log: Log
) -> Registration:
    """Raises FirstlightError."""
    from firstlight.cli import change_now, enroll

    def tell(line: str) -> None:
        notifier.alive()

    with change_now.locked(store, RUNNING):
        done = enroll.perform(store.path, provision.invitation, settings, 0.0, tell, store)
    registration = done.registration
    log(INFO, f"Registered as {registration.device_id} in workspace {registration.workspace}.")
    if done.not_beating:
        log(WARNING, f"Its first heartbeat was not accepted yet: {done.not_beating}")
    return registration


def where_to_knock(settings: Settings, endpoint: Endpoint) -> tuple[str, int, bool]:
    """Host and port of the proxy on the way, else of the endpoint itself; whether it is the proxy's."""
    proxy = proxy_of(settings, endpoint.host)
    return (proxy.host, proxy.port, True) if proxy else (endpoint.host.strip("[]"), endpoint.port, False)


def _before(store: StateDirectory) -> Tried:
    """How this very service fared so far: another process's counts say nothing of it."""
    with suppress(StateError, UsageError):
        found = (store.read_json(RUN_FILE) or {}).get("detached")
        if isinstance(found, dict) and (handed := read_handed(found)).pid == os.getpid():
            return handed.tried
    return Tried()


def _retire(settings: Settings, store: StateDirectory, error: FirstlightError) -> None:
    """The tombstone's rule: the key is kept aside, and the box says so from now on."""
    kept = provision_file.load(store)
    store.retire(REMOVED)
    provision_file.forget(store)
    said = {"state": "retired", "reason": REMOVED, "message": error.message, "hint": error.hint}
    with suppress(StateError):
        store.write_status({**(about(kept.provision) if kept else {}), **said})


def is_about(status: dict[str, object], provision: Provision) -> bool:
    """Whether a published status is of the life with that provision."""
    mine = about(provision)
    names = ("keyFingerprint", "provisionedAt", "endpoint", "deviceId")
    return status.get("state") in (WAITING, PARKED) and all(status.get(name) == mine[name] for name in names)
