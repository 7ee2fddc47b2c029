"""What a receipt says, and the CBOR map that says it: whole numbers as keys, every value within bounds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from firstlight.core.model import IDENTIFIER, Facts, Metrics, Moment
from firstlight.wire.bounded import CONTROL, WireError

FORMAT = 1
NEWER = "receipt_newer"
DIGEST_BYTES = PROOF_BYTES = 16
HINT_BYTES = 8
_MAX_COUNT = 2**53 - 1
_MAX_S = 10**11
_STATE = re.compile(r"[a-z_]{1,32}\Z")
_REASON = re.compile(r"[a-z0-9_]{0,64}\Z")
# Name of a fact, and how many characters of it travel; the key is its place here, from 1 on.
_FACTS = (("hostname", 64), ("type", 32), ("architecture", 16))
# Name of a metric, parts of a unit, and bounds in those parts.
_METRICS = (
    ("load1", 100, 0, 10**8),
    ("memory_used", 1000, 0, 1000),
    ("disk_used", 1000, 0, 1000),
    ("temperature_c", 10, -3000, 10_000),
)


class Told(NamedTuple):
    """What the box knows of the time beside its own clock.

    Args:
        is_trusted: whether the box believes that its wall clock is right.
        at_s: what a platform said last, whole seconds since 1970; 0 = none ever did. No right clock is before it.
        ago_s: whole seconds that passed since then, sleep included; None where it was in an earlier boot.
    """

    is_trusted: bool
    at_s: int = 0
    ago_s: int | None = None


class KeptBeats(NamedTuple):
    """The beats that waited on the box for a network.

    Args:
        number: how many; with 0 the other fields are 0 and empty.
        first, last: sequence numbers of the oldest and of the newest.
        digest: as ``digest_of`` makes it: shows later whether the beats that arrive are those.
    """

    number: int = 0
    first: int = 0
    last: int = 0
    digest: bytes = b""


class Receipt(NamedTuple):
    """What a receipt says.

    Args:
        workspace, device_id: as the platform has them; "" = the box does not know them yet.
        public_key: the device's key, P-256, 33 bytes (compressed point).
        counter: grows with every receipt of this box, never repeats.
        moment: when it was made, by the clocks of the box, in whole seconds.
        told: how far the wall clock in ``moment`` can be believed.
        state: as ``firstlight status`` names it; ``reason`` the code behind it, "" = none.
        agent_version: version of the agent.
        facts: hostname, type and architecture only.
        facts_hash: as a beat has it, 16 hex digits.
        metrics: how the machine was.
        beats: those that wait on the box.
        proof: that the box took this device's token in: as ``proof_of``; empty once it is registered.
        hint: start of the token's SHA-256, to find the device where the box does not know its id; else empty.
    """

    workspace: str
    device_id: str
    public_key: bytes
    counter: int
    moment: Moment
    told: Told
    state: str
    reason: str
    agent_version: str
    facts: Facts
    facts_hash: str
    metrics: Metrics
    beats: KeptBeats = KeptBeats()
    proof: bytes = b""
    hint: bytes = b""


# -- claims -----------------------------------------------------------------------------------------------------------
def claims_of(receipt: Receipt) -> dict[int, object]:
    """What a receipt says -> the map that is encoded."""
    moment, told, beats = receipt.moment, receipt.told, receipt.beats
    known: dict[int, object] = {
        1: FORMAT,
        2: receipt.workspace or None,
        3: receipt.device_id or None,
        4: receipt.public_key,
        5: receipt.counter,
        6: [bytes.fromhex(moment.boot_id), round(moment.monotonic_s), round(moment.wall_s)],
        7: [told.is_trusted, told.at_s, *([] if told.ago_s is None else [told.ago_s])],
        8: [receipt.state, *([receipt.reason] if receipt.reason else [])],
        9: receipt.agent_version[:32],
        10: _numbered(_cut(getattr(receipt.facts, name), limit) for name, limit in _FACTS),
        11: bytes.fromhex(receipt.facts_hash),
        12: _numbered(_scaled(getattr(receipt.metrics, name), *scale) for name, *scale in _METRICS),
        13: [beats.number, beats.first, beats.last, beats.digest] if beats.number else None,
        14: receipt.proof or None,
        15: receipt.hint or None,
    }
    return {key: value for key, value in known.items() if value is not None}


def _numbered(values: Iterable[object]) -> dict[int, object]:
    return {place: value for place, value in enumerate(values, 1) if value is not None}


def receipt_of(claims: object) -> Receipt:
    """The map that was decoded -> what it says. Raises WireError: not what ``claims_of`` could have made."""
    found = _Fields(claims)
    number = found.take(1)
    if isinstance(number, int) and not isinstance(number, bool) and number > FORMAT:
        raise WireError(f"it has format {number}; this one reads up to {FORMAT}", NEWER)
    if number != FORMAT or isinstance(number, bool):
        raise WireError("it has no format")
    receipt = Receipt(
        workspace=_identifier(found.take(2)),
        device_id=_identifier(found.take(3)),
        public_key=_bytes(found.take(4), 33),
        counter=_whole(found.take(5), 1, _MAX_COUNT),
        moment=_moment(_list(found.take(6), 3, 3)),
        told=_told(_list(found.take(7), 2, 3)),
        **_state(_list(found.take(8), 1, 2)),
        agent_version=_text(found.take(9), 32),
        facts=_facts(_Fields(found.take(10))),
        facts_hash=_bytes(found.take(11), 8).hex(),
        metrics=_metrics(_Fields(found.take(12))),
        beats=_beats(found.take(13)),
        proof=_bytes(found.take(14, b""), PROOF_BYTES, 0),
        hint=_bytes(found.take(15, b""), HINT_BYTES, 0),
    )
    found.end()
    if not receipt.device_id and not receipt.hint:
        raise WireError("it names no device")
    return receipt


class _Fields:
    """The values of a map, taken one by one; what is left at the end is unknown."""

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict) or not all(type(key) is int for key in value):  # True would pass as 1
            raise WireError("a map in it is none")
        self._left = dict(value)

    def take(self, key: int, otherwise: object = None) -> object:
        """The value of a key, removed."""
        return self._left.pop(key, otherwise)

    def end(self) -> None:
        """Raises WireError where there are keys that nobody asked for."""
        if self._left:
            raise WireError("it has a field that nobody knows")


def _moment(value: list[object]) -> Moment:
    return Moment(_bytes(value[0], 16).hex(), _whole(value[1], 0), _whole(value[2], -_MAX_S))


def _told(value: list[object]) -> Told:
    if not isinstance(value[0], bool):
        raise WireError("whether the clock is trusted is not said")
    ago_s = _whole(value[2], 0, _MAX_S) if len(value) > 2 else None
    return Told(value[0], _whole(value[1], 0, _MAX_S), ago_s)


def _state(value: list[object]) -> dict[str, str]:
    state, reason = (*value, "")[:2]
    if not isinstance(state, str) or not _STATE.match(state):
        raise WireError("its state is not a word")
    if not isinstance(reason, str) or not _REASON.match(reason) or (len(value) > 1 and not reason):
        raise WireError("its reason is not a code")
    return {"state": state, "reason": reason}


def _facts(found: _Fields) -> Facts:
    given = ((name, found.take(place), limit) for place, (name, limit) in enumerate(_FACTS, 1))
    facts = {name: _text(value, limit) for name, value, limit in given if value is not None}
    found.end()
    return Facts(facts.get("hostname"), type=facts.get("type"), architecture=facts.get("architecture"))


def _metrics(found: _Fields) -> Metrics:
    given = ((found.take(place), *one) for place, one in enumerate(_METRICS, 1))
    metrics = Metrics(
        **{name: _whole(value, low, high) / scale for value, name, scale, low, high in given if value is not None}
    )
    found.end()
    return metrics


def _beats(value: object) -> KeptBeats:
    if value is None:
        return KeptBeats()
    number, first, last, digest = _list(value, 4, 4)
    return KeptBeats(
        _whole(number, 1, 10**6),
        _whole(first, 0, _MAX_COUNT),
        _whole(last, 0, _MAX_COUNT),
        _bytes(digest, DIGEST_BYTES),
    )


# -- values -----------------------------------------------------------------------------------------------------------
def _scaled(value: float | None, scale: int, low: int, high: int) -> int | None:
    return None if value is None else min(max(round(value * scale), low), high)


def _cut(value: str | None, limit: int) -> str | None:
    return (value or "")[:limit] or None


def _whole(value: object, low: int, high: int = _MAX_S) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise WireError("a number in it is none, or out of bounds")
    return value


def _bytes(value: object, *lengths: int) -> bytes:
    if not isinstance(value, bytes) or len(value) not in lengths:
        raise WireError("a field of bytes in it has another size")
    return value


def _text(value: object, limit: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= limit or CONTROL.search(value) or not value.isprintable():
        raise WireError("a text in it is none, or too long")
    return value


def _identifier(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or not IDENTIFIER.match(value):
        raise WireError("an id in it is none")
    return value


def _list(value: object, low: int, high: int) -> list[object]:
    if not isinstance(value, list) or not low <= len(value) <= high:
        raise WireError("a list in it has another length")
    return value
