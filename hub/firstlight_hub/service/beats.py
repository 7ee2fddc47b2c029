"""Beats: whose is it, what does it write, what is answered."""

from __future__ import annotations

from collections.abc import Callable, Collection

from firstlight.core.model import Beat, Metrics, Moment, Offer
from firstlight.wire.heartbeat import BeatReply
from firstlight_hub.model import BeatRow, Device, HistoryRow, is_clone
from firstlight_hub.service import Clock
from firstlight_hub.service.binding import beating, promote, vouched_for_by_broker
from firstlight_hub.service.broker import BrokerLink, NoBroker
from firstlight_hub.service.clones import Boots
from firstlight_hub.store import Store

MQTT = "mqtt"
MAX_KNOWN = 200_000
DAY_MS = 86_400_000
# How old what a hub knows of a device may be, where a beat asks or brings facts, and for all others. Another hub on the
# same database may have been told something meanwhile.
ASKED_FRESH_MS, FRESH_MS = 60_000, 3_600_000


class Beater:
    """A device whose credential was right when it was looked up; a hint: the transaction that writes looks again."""

    __slots__ = (
        "boots",
        "device_id",
        "facts_hash",
        "is_told",
        "key_hash",
        "looked_at_ms",
        "number",
        "rotate",
        "workspace",
    )

    def __init__(self, device: Device, boots: Boots, looked_at_ms: int) -> None:
        self.workspace = device.workspace
        self.device_id = device.id
        self.key_hash = device.key_hash or b""
        self.number = device.number
        self.facts_hash = device.facts_hash
        self.rotate = device.rotate_asked_at_ms is not None
        self.boots = boots
        self.looked_at_ms = looked_at_ms
        self.is_told = False  # whether this process answered it since there was something new to say


class Beats:
    """Recording beats.

    Args:
        store: where they go; asked only for devices that are not known yet.
        clock: the hub's.
        interval_s: seconds between beats, told to each device.
        history_days: how long single beats are kept.
        broker: told when a device's candidate takes the place of its credential.
        move_for: where the hub is to be found from now on, for the answer to this beat; "" = nothing new.
        offer_for: a release that is offered to the device of that id, in the answer to this beat; None = none.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        interval_s: int,
        history_days: int,
        broker: BrokerLink | None = None,
        move_for: Callable[[Beat], str] = lambda beat: "",
        offer_for: Callable[[str, Beat], Offer | None] = lambda device_id, beat: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._interval_s = interval_s
        self._history_ms = history_days * DAY_MS
        self._broker = broker or NoBroker()
        self._move_for = move_for
        self._offer_for = offer_for
        self._known: dict[str, Beater] = {}
        self._forgotten = 0

    def known(self, workspace: str, device_id: str, key_hash: bytes | None = None) -> Beater | None:
        """A device that beat before, without asking the store; ``key_hash`` None where a broker has checked it."""
        beater = self._known.get(device_id)
        if beater is not None and beater.workspace == workspace and key_hash in (None, beater.key_hash):
            return beater
        return None

    def is_stale(self, beater: Beater, beat: Beat) -> bool:
        """Whether the store is to be asked again before this beat is taken."""
        age_ms = self._clock() - beater.looked_at_ms
        return not 0 <= age_ms < (ASKED_FRESH_MS if beat.asks or beat.facts is not None else FRESH_MS)

    def look_up(self, workspace: str, device_id: str, key_hash: bytes) -> Beater:
        """Asks the store whose credential this is; a candidate that is shown here becomes the device's credential.

        Raises:
            Refusal: ``key_invalid``, ``credential_revoked``, ``device_removed`` or ``device_unknown``.
        """
        forgotten = self._forgotten
        with self._store.reading() as view:
            device = beating(view, workspace, device_id, key_hash)
        if device.key_hash != key_hash:
            device = self._promote(workspace, device_id, key_hash)
        return self._keep(device, forgotten)

    def for_broker(self, workspace: str, device_id: str) -> Beater:
        """Asks the store for a device that a broker let in. Raises Refusal as ``look_up``."""
        forgotten = self._forgotten
        with self._store.reading() as view:
            device = vouched_for_by_broker(view, workspace, device_id)
        if device.transport is None:  # it was taken back, and only now shows over what it beats
            with self._store.writing() as transaction:
                device = vouched_for_by_broker(transaction, workspace, device_id)._replace(transport=MQTT)
                transaction.put_device(device)
        return self._keep(device, forgotten)

    def _promote(self, workspace: str, device_id: str, key_hash: bytes) -> Device:
        with self._store.writing() as transaction:
            device = beating(transaction, workspace, device_id, key_hash)
            if device.key_hash == key_hash:
                return device  # another beat was faster
            promote(transaction, device, self._clock())
            device = transaction.device(device_id) or device
        self._broker.ended(device_id)
        self._broker.issued(device_id)
        return device

    def _keep(self, device: Device, forgotten: int) -> Beater:
        before = self._known.get(device.id)
        is_same = before is not None and before.key_hash == device.key_hash
        boots = before.boots if before is not None and is_same else Boots(device.boot_id, device.clone_at_ms)
        beater = Beater(device, boots, self._clock())
        beater.is_told = before is not None and is_same and before.is_told and before.rotate == beater.rotate
        if forgotten == self._forgotten:  # else the operator's word may have come after the look
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[device.id] = beater
        return beater

    def forget(self, device_id: str) -> None:
        """Has a device looked up again at its next beat, because something in its record changed."""
        self._forgotten += 1
        self._known.pop(device_id, None)

    def expel(self, device_id: str) -> None:
        """Ends the session of a device that floods; called in a worker thread."""
        self._broker.expel(device_id)

    def record_gone(self, workspace: str, *device_ids: str) -> None:
        """Notes last wills that a broker published: a hint beside the status. Unknown devices are left out."""
        self._store.mark_gone(workspace, device_ids, self._clock())

    def row(self, beater: Beater, beat: Beat) -> BeatRow:
        """What to write for a beat that arrived now."""
        now_ms = self._clock()
        boot_id, clone_at_ms = beater.boots.saw(beat.moment, beat.sequence, now_ms)
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
            boot_id=boot_id,
            clone_at_ms=clone_at_ms,
            upgraded=beat.upgraded,
        )

    def reply(self, beater: Beater, beat: Beat) -> BeatReply:
        """What to answer once the beat is on disk."""
        if beat.facts is not None:
            beater.facts_hash = beat.facts_hash
        is_news = not beater.is_told and self.is_news(beater)
        now_ms = self._clock()
        return BeatReply(
            now_ms / 1000,
            self._interval_s,
            beater.facts_hash != beat.facts_hash,
            beater.rotate,
            is_clone(beater.boots.clone_at_ms, now_ms),
            self._move_for(beat) if is_news or beat.facts is not None or beat.asks else "",
            self._offer_for(beater.device_id, beat),
        )

    def is_news(self, beater: Beater) -> bool:
        """Whether nothing was said to a device yet since this hub began, or since it is to rotate; true once.

        Until then the device may go by another interval, which the hub had before, and asks only about once an hour.
        """
        known = self._known.get(beater.device_id, beater)
        was_told, known.is_told = known.is_told, True
        return not was_told

    def have_news(self, device_ids: Collection[str] | None = None) -> None:
        """There is something new to say to these devices, or to every one: each hears it with its next beat."""
        known = list(self._known.values())  # other threads add to it
        for beater in known if device_ids is None else filter(None, map(self._known.get, device_ids)):
            beater.is_told = False

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
