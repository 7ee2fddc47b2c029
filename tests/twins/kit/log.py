"""What a twin saw, for tests to wait on and for integrators to read; it never holds a secret."""

import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

MOST = 5000
PATIENCE_S = 20.0


class Seen(NamedTuple):
    """One thing that happened.

    Args:
        at_s: by the twin's clock.
        kind: "http", or of MQTT: "connect", "subscribe", "publish", "ping", "gone".
        who: the client id of MQTT, "" otherwise.
        what: method and path; topic; topic filter; why a link ended.
        code: status of HTTP, CONNACK, granted QoS, QoS of a message.
        size_bytes: of a body or payload.
    """

    at_s: float
    kind: str
    who: str
    what: str
    code: int = 0
    size_bytes: int = 0


class Log:
    """The newest of what happened, safe between threads."""

    def __init__(self) -> None:
        self.entries: deque[Seen] = deque(maxlen=MOST)
        self.echo: Callable[[Seen], None] | None = None
        self._changed = threading.Condition()

    def add(self, seen: Seen) -> None:
        """Notes it."""
        with self._changed:
            self.entries.append(seen)
            self._changed.notify_all()
        if self.echo is not None:
            self.echo(seen)

    def find(self, kind: str = "", what: str = "", who: str = "") -> list[Seen]:
        """Those of that kind and that client in whose ``what`` that text occurs."""
        with self._changed:
            return self._find(kind, what, who)

    def wait_for(self, kind: str, what: str = "", who: str = "", times: int = 1) -> list[Seen]:
        """The same, as soon as there are so many.

        Raises:
            AssertionError: there were not, within ``PATIENCE_S``.
        """
        with self._changed:
            came = self._changed.wait_for(lambda: len(self._find(kind, what, who)) >= times, PATIENCE_S)
            found = self._find(kind, what, who)
        assert came, f"waited in vain for {times} x {kind} {what!r} {who!r}; there were {list(self.entries)[-20:]}"
        return found

    def _find(self, kind: str, what: str, who: str) -> list[Seen]:
        return [
            seen for seen in self.entries if kind in ("", seen.kind) and what in seen.what and who in ("", seen.who)
        ]
