"""What the hub offers this box, and a bundle fetched from it to the disk: bounded, and gone on with where it broke."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from pathlib import Path

from firstlight.cli.settings import Settings, proxy_of
from firstlight.cli.upgrade_bundle import FREE_BYTES, Host, check_space
from firstlight.core.exchange import HttpCall
from firstlight.core.model import Offer, Registration
from firstlight.errors import UnreachableError, UpgradeError
from firstlight.system.bundle_file import no_space
from firstlight.system.clock import SystemClock, clock_floor_s
from firstlight.system.store import StateDirectory
from firstlight.transports.http_calls import HttpCalls
from firstlight.wire import bounded, upgrade
from firstlight.wire.bounded import WireError
from firstlight.wire.bundle import MAX_BUNDLE

ASK_S, PIECE_S = 20.0, 900.0
TRIES, PAUSE_S = 5, 3.0
MAX_ANSWER = 4_096
# A try that brought nothing, for one of these, may bring something the next time.
PASSING = frozenset(
    {
        "reply_cut",
        "reply_timeout",
        "connect_timeout",
        "connect_refused",
        "network_unreachable",
        "dns_failed",
        "hub_busy",
    }
)


def caller(settings: Settings, store: StateDirectory, registration: Registration) -> HttpCalls:
    """Calls to the hub of the registration, with its trust and this box's proxy. Raises UsageError."""
    clock = SystemClock(clock_floor_s(store))
    return HttpCalls(
        registration.trust, proxy_of(settings, registration.endpoint.host), check_dates=clock.is_trustworthy()
    )


def offered(calls: HttpCalls, registration: Registration, host: Host) -> Offer:
    """The newest release that the hub has for this box.

    Raises:
        UpgradeError: ``bundle_missing``; ``upgrade_unsupported`` where the platform is no hub.
        UnreachableError: the hub was not reached, or did not answer as a hub does.
    """
    if registration.platform != "hub":
        said = f"The platform {registration.platform} offers no releases of the agent."
        raise UpgradeError("upgrade_unsupported", said, "Give a bundle: firstlight upgrade FILE")
    path = f"/bundles/latest?arch={host.arch}&python={host.python}"
    call = HttpCall("GET", registration.endpoint.url + path, limit_bytes=MAX_ANSWER)
    reply = calls.exchange(call, ASK_S)
    if reply.status == 404:
        raise UpgradeError("bundle_missing", f"The hub has no signed agent for {host.arch} with Python {host.python}.")
    _expect(reply.status, (200,))
    try:
        return upgrade.read_offer({**bounded.decode_object(reply.body, MAX_ANSWER), "attempt": 1})
    except WireError as error:
        raise UnreachableError("not_the_hub", f"The hub's answer cannot be used: {error}.") from None


def fetch(
    calls: HttpCalls,
    registration: Registration,
    path: str,
    into: Path,
    tell: Callable[[str], None],
    *,
    pause_s: float = PAUSE_S,
    most_bytes: int = MAX_BUNDLE,
) -> None:
    """Fetches a bundle into a new file; a connection that breaks is gone on with from where it was.

    Args:
        calls: to the hub.
        registration: says where it is.
        path: of the bundle there.
        into: the file.
        tell: takes a sentence of progress.
        pause_s: between two tries, where the hub names no other.
        most_bytes: no bundle is larger.

    Raises:
        UpgradeError: the hub has no such bundle, or there is no room.
        UnreachableError: it was not reached, again and again.
    """
    check_space(into.parent, FREE_BYTES)
    try:
        with into.open("xb", buffering=0) as file:
            for left in range(TRIES - 1, -1, -1):
                had = file.tell()
                try:
                    _piece(calls, registration.endpoint.url + path, _Target(file.fileno()), most_bytes)
                    return
                except UnreachableError as error:
                    got = file.seek(0, os.SEEK_END)
                    if not left or (error.code not in PASSING and got == had):
                        raise
                    tell(f"the line broke after {got >> 10} KB ({error.code}); going on from there")
                    select.select([], [], [], error.retry_after_s or pause_s)
    except OSError as error:
        raise no_space(str(into), error) from None


class _Target:
    """The file that a bundle comes into; pieces of anything but a bundle do not get there."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.had = os.lseek(fd, 0, os.SEEK_END)
        self._is_begun = False

    def take(self, status: int, part: bytes) -> None:
        """The next piece: behind what is there (206), or in its place (200)."""
        if status not in (200, 206):
            return
        if not self._is_begun and status == 200:
            os.ftruncate(self.fd, 0)
            os.lseek(self.fd, 0, os.SEEK_SET)
        self._is_begun = True
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(self.fd, rest) :]


def _piece(calls: HttpCalls, url: str, target: _Target, most_bytes: int) -> None:
    headers = (("Range", f"bytes={target.had}-"),) if target.had else ()
    reply = calls.fetch(HttpCall("GET", url, headers, limit_bytes=most_bytes), PIECE_S, target.take)
    if reply.status == 404:
        raise UpgradeError("bundle_missing", "The hub does not have that bundle any more.")
    if reply.status == 416:  # all of it was there already
        return
    _expect(reply.status, (200, 206))
    if reply.status == 206 and not reply.headers.get("content-range", "").startswith(f"bytes {target.had}-"):
        raise UnreachableError("reply_malformed", "The hub sent another part of the bundle than it was asked for.")


def _expect(status: int, good: tuple[int, ...]) -> None:
    if status in good:
        return
    if status in (429, 503):
        raise UnreachableError("hub_busy", f"The hub asked to wait ({status}).")
    code = "hub_error" if status >= 500 else "redirected" if 300 <= status < 400 else "not_the_hub"
    raise UnreachableError(code, f"The hub answered with {status}.")
