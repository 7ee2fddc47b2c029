"""Whether a payload is for this box, now: the rules, without a clock or a machine of their own.

A box without a trustworthy clock (none that runs without power, no time server yet) knows one thing for sure: it is not
earlier than when this agent was built, nor than the last moment that it has seen. What had expired by then has expired;
what seems to be of the future may well be of now.
"""

from __future__ import annotations

from firstlight.errors import InvitationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from firstlight.core.provision import Payload
else:
    from firstlight.core.record import NamedTuple

SKEW_S = 900  # between two clocks that are both right enough


class TimeBounds(NamedTuple):
    """What a box knows of the time, in seconds since 1970.

    Args:
        now_s: by its own clock, right or wrong.
        is_trustworthy: whether that clock was set by a time server, or in another way that counts.
        floor_s: it is surely not earlier: build of the agent, last moment seen.
    """

    now_s: float
    is_trustworthy: bool
    floor_s: float

    @property
    def surely_s(self) -> float:
        """The latest moment that has surely passed."""
        return max(self.now_s, self.floor_s) if self.is_trustworthy else self.floor_s


class Identity(NamedTuple):
    """What a box is, as an audience may ask for it; "" = it does not know.

    Args:
        device_type: the setting of that name.
        serial: of the machine, or the setting of that name.
        key_fingerprint: ``sha256:`` + hex of the device key's SubjectPublicKeyInfo, "" = it has none yet.
    """

    device_type: str = ""
    serial: str = ""
    key_fingerprint: str = ""


def admit(payload: Payload, bounds: TimeBounds, identity: Identity) -> None:
    """Says nothing where the payload may be taken in.

    Raises:
        InvitationError: ``payload_expired``, ``payload_from_future``, ``payload_not_for_this_box``.
    """
    _check_time(payload, bounds)
    _check_audience(payload, identity)


def _check_time(payload: Payload, bounds: TimeBounds) -> None:
    if payload.expires_at_s < bounds.surely_s:
        raise InvitationError(
            "payload_expired", f"The code was good until {moment(payload.expires_at_s)}; it is {_now(bounds)} now."
        )
    if bounds.is_trustworthy and payload.issued_at_s > bounds.surely_s + SKEW_S:
        raise InvitationError(
            "payload_from_future",
            f"The code was made at {moment(payload.issued_at_s)}; by this box's clock it is {_now(bounds)} now.",
        )


def _check_audience(payload: Payload, identity: Identity) -> None:
    audience = payload.audience
    if audience is None:
        return
    for what, asked, own, setting in (
        ("device type", audience.device_type, identity.device_type, "the setting device_type"),
        ("serial", audience.serial, identity.serial, "the setting serial"),
        ("device key", audience.key_hash, identity.key_fingerprint, "the key made when a code is taken in"),
    ):
        if asked and asked != own:
            raise InvitationError(
                "payload_not_for_this_box",
                f"It is for {what} {asked}; this box is {own}."
                if own
                else f"It is for {what} {asked}; this box has none to compare ({setting}).",
            )


def moment(at_s: float) -> str:
    """Seconds since 1970 -> ``2026-11-21 10:15 UTC``."""
    from datetime import datetime, timezone

    bounded = min(max(at_s, 0), 253_402_300_799)  # the years that a date can have
    return datetime.fromtimestamp(bounded, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _now(bounds: TimeBounds) -> str:
    return moment(bounds.surely_s) if bounds.is_trustworthy else f"at least {moment(bounds.surely_s)}"
