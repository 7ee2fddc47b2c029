"""Check of the MQTT broker: reached, TLS as it should be, and (where nobody is disturbed by it) the login.

A second connection with a device's id throws the first one out. So the login is tried only while no agent runs.
"""

from __future__ import annotations

from firstlight.core.diagnosis import Finding, failed, passed, warned
from firstlight.errors import HINTS, UnreachableError
from firstlight.transports.connect import Deadline, reach
from firstlight.transports.mqtt_session import MqttSession
from firstlight.transports.tls import client_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.core.exchange import MqttLogin
    from firstlight.core.model import Broker, Identity, Trust
    from firstlight.transports.proxy import Proxy

CALL_S = 6.0


class _Knock(MqttSession):
    """A session that only logs in."""

    def knock(self, deadline_s: float) -> str:
        """Logs in and out again; the version that was spoken. Raises UnreachableError."""
        self._deadline.start(deadline_s)
        self._connect()
        self.close()
        return self.protocol_name


def login(
    made: MqttLogin,
    trust: Trust,
    way: Proxy | None,
    *,
    check_dates: bool,
    identity: Identity | None,
    deadline_s: float = CALL_S,
) -> Finding:
    """Logs in as this device: nothing is published, and no last will is left.

    Args:
        made: by the platform's dialect.
        trust: how the broker is recognised.
        way: the proxy, None = a direct way.
        check_dates: whether certificates' dates count.
        identity: the device's certificate, None = it has a secret.
        deadline_s: for all of it.
    """
    quiet = made._replace(listens_to=(), greets=(), will=None, least_gap_s=0.0)
    session = _Knock(lambda: quiet, trust, way, check_dates=check_dates, identity=identity)
    try:
        spoken = session.knock(deadline_s)
    except UnreachableError as error:
        return _no(error)
    finally:
        session.close()
    return passed("broker", f"{made.broker.url} lets this device in ({spoken}).", protocol=spoken)


def line(
    broker: Broker,
    trust: Trust,
    way: Proxy | None,
    published: dict[str, object],
    *,
    check_dates: bool,
    deadline_s: float = CALL_S,
) -> Finding:
    """Connection and TLS only; ``published`` is what the running agent says. Other arguments as for ``login``."""
    context = client_context(trust, check_dates=check_dates) if broker.is_secure else None
    try:
        reach(broker.host.strip("[]"), broker.port, Deadline(deadline_s), context, way).close()
    except UnreachableError as error:
        return _no(error)
    for name, what in (("brokerRefuses", "refuses this device"), ("brokerOutOfReach", "was out of reach lately")):
        if code := str(published.get(name) or ""):
            said = f"{broker.url} {what}; heartbeats go over HTTP instead. [{code}]"
            return warned("broker", said, HINTS.get(code, ""), code=code)
    return passed("broker", f"{broker.url} is reached; the running agent is the one that is logged in.")


def _no(error: UnreachableError) -> Finding:
    return failed("broker", f"{error.message} [{error.code}]", error.hint, code=error.code)
