"""The heartbeat: request and reply, encode and decode side by side. The same body over HTTP and MQTT.

Request: ``{"seq", "bootId", "mono", "wall", "agent", "factsHash", "metrics": {…}, "facts"?: {…}, "missed"?: […],
"ask"?, "upgraded"?: {…}}``. Reply: ``{"serverTime", "intervalS", "factsWanted"?, "rotate"?, "clone"?, "move"?,
"upgrade"?: {…}}``; over MQTT it comes where it was asked for, or unasked when something changed. Field by field:
docs/protocol.md.
"""

from __future__ import annotations

import re

from firstlight.core.model import Beat, Metrics, MissedBeat, Moment
from firstlight.wire import bounded
from firstlight.wire.bounded import WireError
from firstlight.wire.facts import facts_object, read_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from firstlight.core.model import Offer, Upgraded
else:
    from firstlight.core.record import NamedTuple

MAX_MISSED = 32
MAX_MOVE = 24_576
MAX_SEQUENCE = 2**53 - 1
MAX_SECONDS = 1e11
BOOT_ID = re.compile(r"[0-9a-f]{32}\Z")
FACTS_HASH = re.compile(r"[0-9a-f]{16}\Z")


class BeatReply(NamedTuple):
    """The hub's answer to an accepted beat.

    Args:
        server_time_s: the hub's clock, seconds since 1970.
        interval_s: seconds until the next beat.
        facts_wanted: the hub does not know the facts behind ``factsHash``.
        rotate: the operator wants the device to replace its credential now.
        clone: another box beats with this device's credential.
        move: where the hub is to be found from now on, as ``wire/move.py`` writes it, "" = nothing new.
        upgrade: a release that the operator wants on this device, None = none.
    """

    server_time_s: float
    interval_s: int
    facts_wanted: bool = False
    rotate: bool = False
    clone: bool = False
    move: str = ""
    upgrade: Offer | None = None


def _moment_object(sequence: int, moment: Moment, metrics: Metrics) -> dict[str, object]:
    known = {
        "load1": metrics.load1,
        "memoryUsed": metrics.memory_used,
        "diskUsed": metrics.disk_used,
        "temperatureC": metrics.temperature_c,
    }
    return {
        "seq": sequence,
        "bootId": moment.boot_id,
        "mono": round(moment.monotonic_s, 3),
        "wall": round(moment.wall_s, 3),
        "metrics": {name: value for name, value in known.items() if value is not None},
    }


def _read_moment(source: dict[str, object]) -> tuple[int, Moment, Metrics]:
    metrics = bounded.child(source, "metrics")
    boot_id = bounded.text(source, "bootId", 32)
    if not BOOT_ID.match(boot_id):
        raise WireError("bootId is not 32 hex digits")
    moment = Moment(
        boot_id,
        bounded.number(source, "mono", 0, MAX_SECONDS),
        bounded.number(source, "wall", -MAX_SECONDS, MAX_SECONDS),
    )
    read = Metrics(
        load1=bounded.optional_number(metrics, "load1", 0, 1e6),
        memory_used=bounded.optional_number(metrics, "memoryUsed", 0, 1),
        disk_used=bounded.optional_number(metrics, "diskUsed", 0, 1),
        temperature_c=bounded.optional_number(metrics, "temperatureC", -300, 1000),
    )
    return bounded.integer(source, "seq", 0, MAX_SEQUENCE), moment, read


def missed_object(missed: MissedBeat) -> dict[str, object]:
    """A kept beat -> its JSON object; also the form in which it waits on disk."""
    return {**_moment_object(missed.sequence, missed.moment, missed.metrics), "reason": missed.reason}


def read_missed(source: dict[str, object]) -> MissedBeat:
    """A JSON object -> ``MissedBeat``. Raises WireError."""
    sequence, moment, metrics = _read_moment(source)
    return MissedBeat(sequence, moment, metrics, bounded.text(source, "reason", 64))


def encode_beat(beat: Beat) -> bytes:
    """``Beat`` -> the request's body."""
    body = _moment_object(beat.sequence, beat.moment, beat.metrics)
    body["agent"] = beat.agent_version
    body["factsHash"] = beat.facts_hash
    if beat.facts is not None:
        body["facts"] = facts_object(beat.facts)
    if beat.missed:
        body["missed"] = [missed_object(one) for one in beat.missed]
    if beat.asks:
        body["ask"] = True
    if beat.upgraded is not None:
        from firstlight.wire.upgrade import upgraded_object  # most beats never need it: it stays off most boxes

        body["upgraded"] = upgraded_object(beat.upgraded)
    return bounded.encode_object(body)


def decode_beat(body: bytes) -> Beat:
    """The request's body -> ``Beat``.

    Raises:
        WireError: not what ``encode_beat`` could have made.
    """
    source = bounded.decode_object(body, bounded.MAX_BEAT_BYTES)
    sequence, moment, metrics = _read_moment(source)
    facts_hash = bounded.text(source, "factsHash", 16)
    if not FACTS_HASH.match(facts_hash):
        raise WireError("factsHash is not 16 hex digits")
    return Beat(
        sequence=sequence,
        moment=moment,
        metrics=metrics,
        agent_version=bounded.text(source, "agent", 64),
        facts=read_facts(bounded.child(source, "facts")) if source.get("facts") is not None else None,
        facts_hash=facts_hash,
        missed=tuple(read_missed(one) for one in bounded.children(source, "missed", MAX_MISSED)),
        asks=_flag(source, "ask"),
        upgraded=_upgraded(source) if "upgraded" in source else None,
    )


def encode_beat_reply(reply: BeatReply) -> bytes:
    """``BeatReply`` -> the reply's body."""
    return bounded.encode_object(
        {
            "serverTime": round(reply.server_time_s, 3),
            "intervalS": reply.interval_s,
            "factsWanted": reply.facts_wanted or None,
            "rotate": reply.rotate or None,
            "clone": reply.clone or None,
            "move": reply.move or None,
            "upgrade": None if reply.upgrade is None else _offer_object(reply.upgrade),
        }
    )


def decode_beat_reply(body: bytes) -> BeatReply:
    """The reply's body -> ``BeatReply``.

    Raises:
        WireError: not what ``encode_beat_reply`` could have made.
    """
    source = bounded.decode_object(body, bounded.MAX_REPLY_BYTES)
    return BeatReply(
        server_time_s=bounded.number(source, "serverTime", 0, MAX_SECONDS),
        interval_s=bounded.integer(source, "intervalS", 1, 86_400),
        facts_wanted=_flag(source, "factsWanted"),
        rotate=_flag(source, "rotate"),
        clone=_flag(source, "clone"),
        move=bounded.optional_text(source, "move", MAX_MOVE) or "",
        upgrade=_offer(source) if "upgrade" in source else None,
    )


def _upgraded(source: dict[str, object]) -> Upgraded | None:
    from firstlight.wire.upgrade import read_upgraded

    found = bounded.child(source, "upgraded")
    return read_upgraded(found) if source["upgraded"] is not None else None


def _offer(source: dict[str, object]) -> Offer | None:
    from firstlight.wire.upgrade import read_offer

    found = bounded.child(source, "upgrade")
    return read_offer(found) if source["upgrade"] is not None else None


def _offer_object(offer: Offer) -> dict[str, object]:
    from firstlight.wire.upgrade import offer_object

    return offer_object(offer)


def _flag(source: dict[str, object], name: str) -> bool:
    value = source.get(name, False)
    if not isinstance(value, bool):
        raise WireError(f"{name} is not a boolean")
    return value
