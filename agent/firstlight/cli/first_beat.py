"""The beat by which enrolling shows that a registration works; a broker may learn of the device a moment later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firstlight.cli.durations import spoken
from firstlight.core import lifecycle
from firstlight.core.exchange import HttpReply
from firstlight.core.lifecycle import Failed
from firstlight.daemon.carrier import UNEXPLAINED, failed
from firstlight.errors import UnreachableError

if TYPE_CHECKING:
    from firstlight.cli.enrolling import Parts
    from firstlight.core.interfaces import DevicePlatform, Session
    from firstlight.core.lifecycle import Event
    from firstlight.core.model import Beat, Registration

CALL_DEADLINE_S = 20.0
# A broker learns of a new device a moment after the hub did: waits before its refusal is believed, in seconds.
BROKER_WAITS_S = (1.0, 2.0, 3.0, 4.0)


def carried(parts: Parts, dialect: DevicePlatform, registration: Registration, beat: Beat, session: Session) -> Event:
    """The beat over its session; a broker that refuses is asked a few times, then the hub. Raises FirstlightError."""
    call = dialect.beat(registration, beat, _token(parts, dialect, registration, session))
    for wait_s in (*BROKER_WAITS_S, 0.0):
        try:
            reply = session.exchange(call, CALL_DEADLINE_S)
        except UnreachableError as error:
            judged = dialect.judge(registration, failed(error))
            if not isinstance(judged, Failed):
                return judged
            if registration.transport != "mqtt" or error.code not in UNEXPLAINED:
                raise
            if 0 < wait_s <= parts.patience_s:
                parts.tell(f"the broker does not know this device yet; trying again in {spoken(wait_s)}")
                if parts.clock.wait(wait_s):
                    raise KeyboardInterrupt from None
                continue
            return _appealed(parts, dialect, registration, beat, error)
        if registration.transport == "mqtt" and registration.broker:
            parts.tell(f"connected to {registration.broker.url} ({getattr(session, 'protocol_name', 'MQTT')})")
        event = dialect.read_beat(registration, reply)
        if getattr(event, "code", "") == "mqtt_unavailable" and 0 < wait_s <= parts.patience_s:
            parts.tell(f"{getattr(event, 'message', '')} Trying again in {spoken(wait_s)}")
            if parts.clock.wait(wait_s):
                raise KeyboardInterrupt from None
            continue
        return event
    raise AssertionError("the last wait is none")


def _token(parts: Parts, dialect: DevicePlatform, registration: Registration, session: Session) -> str:
    """What the credential is traded for where beats want that. Raises FirstlightError."""
    if registration.transport == "mqtt":
        return ""
    moment, knows_time = parts.clock.moment(), parts.knows_time()
    call = dialect.token_call(registration, moment, knows_time=knows_time)
    if call is None:
        return ""
    reply = session.exchange(call, CALL_DEADLINE_S)
    if not isinstance(reply, HttpReply):
        raise TypeError("a token comes over HTTP")
    return dialect.read_token(registration, reply).text.reveal()


def _appealed(
    parts: Parts, dialect: DevicePlatform, registration: Registration, beat: Beat, refused: UnreachableError
) -> Event:
    """What the hub itself says of a device that its broker refuses. Raises FirstlightError: the broker's own word."""
    call = dialect.appeal(registration, beat)
    if call is None:
        raise refused
    session = parts.open_appeal(registration)
    try:
        event = dialect.read_beat(registration, session.exchange(call, CALL_DEADLINE_S))
    except UnreachableError:
        raise refused from None
    finally:
        session.close()
    if isinstance(event, lifecycle.Accepted):
        parts.tell(f"the broker refuses this device, the hub does not; heartbeats go over HTTP so far: {refused}")
    return event
