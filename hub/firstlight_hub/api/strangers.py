"""Who guesses: callers without a key whose receipts are refused, by address. Few refusals are honest, many are not.

Only refusals count, so that a phone that carries a hundred receipts is never held up, also not behind a proxy that all
of a site share; whoever is over the limit waits until the minute is over, with good receipts too.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable

from firstlight.errors import UnreachableError

REFUSALS, WINDOW_S = 30, 60.0
MOST = 4096  # addresses in one minute; more are counted as one
OTHERS = "others"


class Strangers:
    """Counts refusals in windows of a minute. For several threads.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ends_s = 0.0
        self._refused: dict[str, int] = {}

    def admit(self, address: str) -> None:
        """Raises UnreachableError ``hub_busy`` for an address with too many refusals in this minute."""
        with self._lock:
            left_s = self._ends_s - self._clock()
            if left_s > 0 and self._refused.get(self._key(address), 0) >= REFUSALS:
                raise UnreachableError("hub_busy", "Too many receipts from there were refused.", retry_after_s=left_s)

    def refused(self, address: str) -> None:
        """One more of this address."""
        with self._lock:
            now_s = self._clock()
            if now_s >= self._ends_s:
                self._refused, self._ends_s = {}, now_s + WINDOW_S
            key = self._key(address)
            self._refused[key] = self._refused.get(key, 0) + 1

    def _key(self, address: str) -> str:
        name = _network(address)
        return name if name in self._refused or len(self._refused) < MOST else OTHERS


def _network(address: str) -> str:
    """An address of IPv4; of IPv6 the network of 64 bits, in which one caller has all addresses."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 4:
        return str(found)
    return str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))
