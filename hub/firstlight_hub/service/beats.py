"""Beats: whose is it, what does it write, what is answered."""

from __future__ import annotations

from firstlight.core.model import IDENTIFIER, Beat, Metrics, Moment
from firstlight.wire.heartbeat import BeatReply
from firstlight_hub.model import BeatRow, HistoryRow, Refusal
from firstlight_hub.service import Clock
from firstlight_hub.service.enrolling import removed
from firstlight_hub.store import Store

MAX_KNOWN = 200_000
DAY_MS = 86_400_000


class Beater:
    """A device whose key was right when it was looked up. Only a hint: the transaction that writes checks again."""

    __slots__ = ("device_id", "facts_hash", "key_hash", "number", "workspace")

    def __init__(self, workspace: str, device_id: str, key_hash: bytes, number: int, facts_hash: str | None) -> None:
        self.workspace = workspace
        self.device_id = device_id
        self.key_hash = key_hash
        self.number = number
        self.facts_hash = facts_hash


class Beats:
    """Recording beats.

    Args:
        store: where they go; asked only for keys that are not known yet.
        clock: the hub's.
        interval_s: seconds between beats, told to each device.
        history_days: how long single beats are kept.
    """

    def __init__(self, store: Store, clock: Clock, interval_s: int, history_days: int) -> None:
        self._store = store
        self._clock = clock
        self._interval_s = interval_s
        self._history_ms = history_days * DAY_MS
        self._known: dict[bytes, Beater] = {}

    def known(self, workspace: str, device_id: str, key_hash: bytes) -> Beater | None:
        """The device of a key that beat before, without asking the store."""
        beater = self._known.get(key_hash)
        if beater is not None and beater.device_id == device_id and beater.workspace == workspace:
            return beater
        return None

    def look_up(self, workspace: str, device_id: str, key_hash: bytes) -> Beater:
        """Asks the store whose key this is.

        Raises:
            Refusal: ``key_invalid``, ``device_removed`` or ``device_unknown``.
        """
        self._known.pop(key_hash, None)
        if not IDENTIFIER.match(device_id):
            raise Refusal("device_unknown", "There is no such device in this workspace.")
        with self._store.reading() as view:
            device, tombstone = view.device(device_id), view.tombstone(device_id)
        if tombstone is not None and tombstone.workspace == workspace:
            if tombstone.key_hash != key_hash:
                raise Refusal("key_invalid", "The key is not this device's.")
            raise removed(tombstone, tombstone.key_fingerprint or "")
        if device is None or device.workspace != workspace:
            raise Refusal("device_unknown", "There is no such device in this workspace.")
        if device.key_hash != key_hash:
            raise Refusal("key_invalid", "The key is not this device's.")
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        beater = Beater(workspace, device_id, key_hash, device.number, device.facts_hash)
        self._known[key_hash] = beater
        return beater

    def row(self, beater: Beater, beat: Beat) -> BeatRow:
        """What to write for a beat that arrived now."""
        now_ms = self._clock()
        history = [_past(beat.sequence, beat.moment, beat.metrics, None)]
        history.extend(_past(m.sequence, m.moment, m.metrics, m.reason) for m in beat.missed)
        return BeatRow(
            number=beater.number,
            key_hash=beater.key_hash,
            received_at_ms=now_ms,
            skew_ms=now_ms - round(beat.moment.wall_s * 1000),
            agent_version=beat.agent_version,
            facts=beat.facts,
            facts_hash=beat.facts_hash,
            history=tuple(history),
        )

    def reply(self, beater: Beater, beat: Beat) -> BeatReply:
        """What to answer once the beat is on disk."""
        if beat.facts is not None:
            beater.facts_hash = beat.facts_hash
        return self.accepted(beater.facts_hash != beat.facts_hash)

    def accepted(self, facts_wanted: bool) -> BeatReply:
        """The answer to anything that is answered like a beat."""
        return BeatReply(self._clock() / 1000, self._interval_s, facts_wanted)

    def prune(self, limit: int) -> bool:
        """Deletes some of the beats that are too old; True while there may be more."""
        return self._store.prune(self._clock() - self._history_ms, limit) == limit


def _past(sequence: int, moment: Moment, metrics: Metrics, reason: str | None) -> HistoryRow:
    load1, memory_used, disk_used, temperature_c = metrics
    return HistoryRow(
        moment.boot_id,
        sequence,
        moment.monotonic_s,
        moment.wall_s,
        load1,
        memory_used,
        disk_used,
        temperature_c,
        reason is not None,
        reason,
    )
