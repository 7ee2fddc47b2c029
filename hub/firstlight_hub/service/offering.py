"""Whom the roll-out is offered to next, and what the answer to a beat says of it.

Every few seconds, in a worker thread: who was told is noted, who fell silent is counted, and where there is room for
more, the next devices are chosen, so many records at a look. A beat costs one look into a dictionary, and no query.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from firstlight.core.model import Beat, Offer
from firstlight.errors import FirstlightError
from firstlight.wire.bundle import ARCHITECTURES
from firstlight_hub.model import ONLINE, Device, is_clone, status
from firstlight_hub.rollout import (
    HALTED,
    RUNNING,
    Rollout,
    Seen,
    Upgrade,
    architecture,
    has_failed,
    is_chosen,
    is_older,
    limit,
    next_attempt,
    verdict,
)
from firstlight_hub.service import Clock
from firstlight_hub.service.rollouts import Releases
from firstlight_hub.store import Store, Writing

LOOK_EVERY_S = 3.0
PAGE, AT_A_LOOK = 500, 2_000  # records: some 50 ms of one core
LOG = logging.getLogger(__name__)


class _Open(NamedTuple):
    """The devices that were chosen and have not said how it went.

    Args:
        waiting: it is their turn.
        arrived: they run the version.
        away: went offline before they were told; another gets their place.
        failures: how many fell silent, or beat on without a word.
        told: how many were told.
    """

    waiting: list[Device]
    arrived: list[Device]
    away: list[Device]
    failures: int
    told: int


class Offering:
    """What is offered to whom.

    Args:
        store: where roll-outs are kept.
        clock: the hub's.
        releases: the bundles of this hub.
        window_s: seconds that a device counts as online after a beat.
        every_s: seconds between two looks.
    """

    def __init__(
        self, store: Store, clock: Clock, releases: Releases, window_s: int, every_s: float = LOOK_EVERY_S
    ) -> None:
        self._store = store
        self._clock = clock
        self._releases = releases
        self._window_s = window_s
        self._every_s = every_s
        self._began_ms = clock()  # nobody is silent to a hub that was down itself
        self._offers: dict[str, Offer] = {}
        self._heard: list[str] = []
        self._after = 0  # how far it has looked through the devices

    def for_beat(self, device_id: str, beat: Beat) -> Offer | None:
        """What the answer to this beat offers."""
        offer = self._offers.get(device_id)
        if offer is None:
            return None
        said = beat.upgraded
        if beat.agent_version == offer.version or (said and (said.id, said.attempt) == (offer.id, offer.attempt)):
            self._offers.pop(device_id, None)
            return None
        self._heard.append(device_id)
        return offer

    async def watch(self, changed: Callable[[Collection[str]], None]) -> None:
        """Looks again and again until it is cancelled; ``changed`` is told which devices are offered something new."""
        while True:
            try:
                if fresh := await asyncio.to_thread(self.look):
                    changed(fresh)
            except FirstlightError as error:
                LOG.warning("The roll-out cannot be looked after now: %s", error)
            except Exception as error:  # beats go on, and so does the next look; what it held is not for a log
                LOG.error("A fault in the hub [internal]: %s. The roll-out was not looked after.", type(error).__name__)
            await asyncio.sleep(self._every_s)

    def look(self) -> Collection[str]:
        """One look; returns the ids of devices that are offered something from now on. Raises StateError."""
        heard, self._heard = self._heard, []
        with self._store.reading() as view:
            rollout = view.rollout()
            is_running = rollout is not None and rollout.state == RUNNING
            opened = view.rollout_devices(rollout.number, is_open=True) if rollout and (is_running or heard) else ()
            counts = view.rollout_counts(rollout.number) if rollout and is_running else {}
        now_ms = self._clock()
        opened = self._note_told(opened, frozenset(heard), now_ms)
        if rollout is None or not is_running:
            self._offers = {}
            return ()
        sorted_out = self._sorted_out(opened, now_ms)
        self._settle(sorted_out, now_ms)
        failures = sorted_out.failures + sum(count for code, count in counts.items() if has_failed(code))
        told = sorted_out.told + sum(counts.values())
        if failures - rollout.forgiven >= limit(rollout, told):
            reason = f"{failures} of {told} devices that were offered it failed."
            if self._put_rollout(rollout._replace(state=HALTED, changed_at_ms=now_ms, reason=reason)):
                LOG.warning("The roll-out of version %s halts: %s See: rollout show", rollout.version, reason)
            self._offers = {}
            return ()
        if failures < rollout.forgiven:  # one that was silent has come back: it is not to cover for another
            self._put_rollout(rollout._replace(forgiven=failures))
        chosen = self._choose(rollout, rollout.at_once - len(sorted_out.waiting), now_ms)
        offered = {one.id: one.upgrade for one in (*sorted_out.waiting, *chosen) if one.upgrade is not None}
        self._offers = {
            name: Offer(one.version, one.release_id, one.path, one.attempt) for name, one in offered.items()
        }
        return [device.id for device in chosen]

    def _note_told(self, opened: Sequence[Device], heard: frozenset[str], now_ms: int) -> list[Device]:
        noted = []
        with_news = [one for one in opened if one.id in heard and one.upgrade and one.upgrade.told_at_ms is None]
        if with_news:
            self._put([one._replace(upgrade=_of(one)._replace(told_at_ms=now_ms)) for one in with_news])
        news = {one.id for one in with_news}
        for one in opened:
            noted.append(one._replace(upgrade=_of(one)._replace(told_at_ms=now_ms)) if one.id in news else one)
        return noted

    def _sorted_out(self, opened: Sequence[Device], now_ms: int) -> _Open:
        found = _Open([], [], [], 0, 0)
        failures = told = 0
        for device in opened:
            upgrade = _of(device)
            is_told = upgrade.told_at_ms is not None
            told += is_told
            heard_at_ms = max(device.last_heartbeat_at_ms or 0, self._began_ms)
            code = verdict(upgrade, Seen(device.agent_version, heard_at_ms), now_ms, self._window_s)
            if code == "":
                found.arrived.append(device)
            elif code is not None:
                failures += has_failed(code)
            elif is_told or self._is_online(device, now_ms):
                found.waiting.append(device)
            else:
                found.away.append(device)
        return found._replace(failures=failures, told=told)

    def _settle(self, found: _Open, now_ms: int) -> None:
        """Those that run the version are done, unless they say otherwise later; those that are away lose their turn."""
        changed = [one._replace(upgrade=_of(one)._replace(ended_at_ms=now_ms, code="")) for one in found.arrived]
        changed += [one._replace(upgrade=_of(one)._replace(rollout=None)) for one in found.away]
        if changed:
            self._put(changed)

    def _put(self, devices: Sequence[Device]) -> None:
        """Writes upgrades, but not over a word that came meanwhile."""
        with self._store.writing() as transaction:
            for device in devices:
                mine, there = _of(device), _upgrade_of(transaction, device.id)
                if there is not None and there.ended_at_ms is None and _same(there, mine):
                    transaction.put_upgrade(device.number, mine)

    def _put_rollout(self, changed: Rollout) -> bool:
        """Writes it, unless an operator changed it meanwhile; whether it did."""
        with self._store.writing() as transaction:
            present = transaction.rollout()
            if present is None or (present.number, present.state) != (changed.number, RUNNING):
                return False
            transaction.put_rollout(changed._replace(percent=present.percent))
            return True

    def _choose(self, rollout: Rollout, room: int, now_ms: int) -> list[Device]:
        """The next devices, written down as chosen."""
        if room <= 0:
            return []
        releases = {arch: self._releases.newest(arch, "", version=rollout.version) for arch in ARCHITECTURES}
        found: list[Device] = []
        looked = 0
        while len(found) < room and looked < AT_A_LOOK:
            with self._store.reading() as view:
                page = view.every_device(self._after, PAGE)
            for device in page:
                self._after = device.number
                looked += 1
                release = releases.get(architecture(device.facts and device.facts.architecture))
                if release is not None and self._may_follow(rollout, device, now_ms):
                    attempt, path = next_attempt(device.upgrade, release.id), f"/bundles/{release.name}"
                    upgrade = Upgrade(rollout.version, release.id, attempt, path, rollout.number)
                    found.append(device._replace(upgrade=upgrade))
                if len(found) >= room:
                    break
            else:
                if len(page) < PAGE:
                    self._after = 0
                    break
        return self._write_down(rollout, found)

    def _may_follow(self, rollout: Rollout, device: Device, now_ms: int) -> bool:
        had_its_turn = device.upgrade is not None and device.upgrade.rollout == rollout.number
        return (
            not had_its_turn
            and is_older(device.agent_version, rollout.version)
            and self._is_online(device, now_ms)
            and device.revoked_at_ms is None
            and not is_clone(device.clone_at_ms, now_ms)
            and is_chosen(rollout, device.id, device.tags)
        )

    def _write_down(self, rollout: Rollout, chosen: Sequence[Device]) -> list[Device]:
        written: list[Device] = []
        if not chosen:
            return written
        with self._store.writing() as transaction:
            present = transaction.rollout()
            if present is None or (present.number, present.state) != (rollout.number, RUNNING):
                return written
            for device in chosen:
                if transaction.device(device.id) is not None:  # else it was removed meanwhile
                    transaction.put_upgrade(device.number, _of(device))
                    written.append(device)
        return written

    def _is_online(self, device: Device, now_ms: int) -> bool:
        return status(device.last_heartbeat_at_ms, now_ms, self._window_s) == ONLINE


def _of(device: Device) -> Upgrade:
    if device.upgrade is None:
        raise LookupError(f"{device.id} was not chosen")
    return device.upgrade


def _upgrade_of(transaction: Writing, device_id: str) -> Upgrade | None:
    found = transaction.device(device_id)
    return found.upgrade if found else None


def _same(one: Upgrade, other: Upgrade) -> bool:
    return (one.release_id, one.attempt) == (other.release_id, other.attempt)
