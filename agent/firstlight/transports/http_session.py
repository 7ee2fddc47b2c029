"""Beats over one kept-alive HTTP/1.1 connection, for months: small, bounded, one write per beat.

A beat may be sent twice (the platform knows its sequence number), so a connection that the server has closed while it
was idle costs nothing but a new one.
"""

from __future__ import annotations

from math import inf
from time import CLOCK_BOOTTIME, clock_gettime

from firstlight.core.exchange import HttpCall
from firstlight.errors import UnreachableError
from firstlight.transports.answer import AnswerReader
from firstlight.transports.connect import Deadline, reach
from firstlight.transports.request import request_headers, target_of
from firstlight.transports.tls import Contexts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from firstlight.core.exchange import Call, HttpReply, MqttCall, MqttMessage
    from firstlight.core.model import Identity, Trust
    from firstlight.transports.connect import Connection
    from firstlight.transports.proxy import Proxy
    from firstlight.transports.request import Target

# NAT and load balancers forget an idle connection without a word to either side, some after four minutes. Here a beat
# would wait out its whole time on one.
MAX_IDLE_S = 240.0


class HttpSession:
    """The session over HTTP.

    Args:
        trust: how the platform is recognised.
        proxy: the way out, or None for the straight one.
        check_dates: whether certificates' dates count, or a function that says so at each new connection (a clock that
            was wrong may have been set meanwhile).
        identity: the client certificate to show, or None.
        max_idle_s: how long a connection may have been idle and carry another call.
    """

    def __init__(
        self,
        trust: Trust,
        proxy: Proxy | None = None,
        *,
        check_dates: Callable[[], bool] | bool = True,
        identity: Identity | None = None,
        max_idle_s: float = MAX_IDLE_S,
    ) -> None:
        self._contexts = Contexts(trust, check_dates, identity)
        self._proxy = proxy
        self._max_idle_s = max_idle_s
        self._deadline = Deadline(0)
        self._line: _Line | None = None
        self._connections = 0

    @property
    def connections(self) -> int:
        """How many connections were opened so far."""
        return self._connections

    def exchange(self, call: Call, deadline_s: float) -> HttpReply:
        """Sends one call and waits for its reply, at most ``deadline_s`` seconds in all, name resolution aside.

        Raises:
            UnreachableError: with the code of what went wrong; the next call connects anew.
        """
        if not isinstance(call, HttpCall):
            raise TypeError("an HTTP session carries HTTP calls only")
        target = target_of(call)
        request = _written(call, target)
        self._deadline.start(deadline_s)
        kept = self._line
        if kept and kept.leads_to(target) and kept.is_at_rest(self._max_idle_s):
            try:
                return self._attempt(kept, call, request)
            except UnreachableError as error:
                if error.code != "reply_cut" or kept.connection.has_received:
                    raise
        self.close()
        return self._attempt(self._connect(target), call, request)

    def send(self, calls: tuple[MqttCall, ...], deadline_s: float) -> None:
        """Nothing can be sent beside the calls; raises TypeError where a dialect has something."""
        if calls:
            raise TypeError("an HTTP session carries HTTP calls only")

    def close(self) -> None:
        """Ends the connection, if there is one."""
        line, self._line = self._line, None
        if line:
            line.connection.close()

    def fileno(self) -> int:
        """-1: a platform says nothing unasked over HTTP."""
        return -1

    def heard(self) -> tuple[MqttMessage, ...]:
        """Nothing, as above."""
        return ()

    def rest_s(self) -> float:
        """For ever: an idle connection over HTTP wants nothing."""
        return inf

    def _connect(self, target: Target) -> _Line:
        context = self._contexts.now() if target.is_secure else None
        proxy = self._proxy if target.is_secure else None
        self._line = _Line(reach(target.host, target.port, self._deadline, context, proxy), target)
        self._connections += 1
        return self._line

    def _attempt(self, line: _Line, call: HttpCall, request: bytes) -> HttpReply:
        """One call on one connection, which is dropped unless it can surely carry another one."""
        line.connection.has_received = False
        try:
            line.connection.write(request)
            reply = line.answers.read(call.method, call.limit_bytes)
        except BaseException:
            self.close()
            raise
        line.used_at_s = clock_gettime(CLOCK_BOOTTIME)
        if not line.answers.may_go_on:
            self.close()
        return reply


class _Line:
    """A connection and the reader of its answers, which live and end together."""

    __slots__ = ("_target", "answers", "connection", "used_at_s")

    def __init__(self, connection: Connection, target: Target) -> None:
        self.connection = connection
        self.answers = AnswerReader(connection)
        self._target = target[:3]
        self.used_at_s = 0.0  # since boot, sleep included

    def leads_to(self, target: Target) -> bool:
        """Whether this connection is one to that target."""
        return self._target == target[:3]

    def is_at_rest(self, max_idle_s: float) -> bool:
        """Whether it still stands after no longer than that, and nobody has said anything without being asked."""
        is_fresh = clock_gettime(CLOCK_BOOTTIME) - self.used_at_s <= max_idle_s
        return is_fresh and not self.answers.has_rest and self.connection.is_quiet()


def _written(call: HttpCall, target: Target) -> bytes:
    """The whole request in one piece, so that it leaves in one TLS record and one segment."""
    lines = [f"{name}: {value}" for name, value in request_headers(call, target)]
    head = "\r\n".join([f"{call.method} {target.path} HTTP/1.1", *lines, "", ""])
    return head.encode("ascii") + (call.body or b"")
