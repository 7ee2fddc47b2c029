"""Roll-outs as their operator sees them: start, widen, halt, resume, end, and how far one has come.

These change the store only. The serving hub looks there every few seconds (``service/offering.py``), so nothing has to
be started anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from firstlight.errors import UsageError
from firstlight.wire.bounded import WireError
from firstlight.wire.bundle import ARCHITECTURES, version_order
from firstlight_hub.model import Device, status
from firstlight_hub.rollout import (
    APART,
    ENDED,
    HALTED,
    RUNNING,
    SENTENCES,
    Rollout,
    Seen,
    architecture,
    has_failed,
    is_chosen,
    is_older,
    verdict,
)
from firstlight_hub.service import Clock
from firstlight_hub.shelf import Offered
from firstlight_hub.store import Store

BATCH = 500


class Releases(Protocol):
    """Where bundles are; ``firstlight_hub.shelf.Shelf``."""

    def newest(self, arch: str, python: str, *, is_signed: bool = True, version: str | None = None) -> Offered | None:
        """The newest release for a kind of box."""
        ...


class Failed(NamedTuple):
    """A device that failed: code, sentence ("" = none) and when it said so, or None where the hub itself says it."""

    device_id: str
    code: str
    message: str
    at_ms: int | None


class Progress(NamedTuple):
    """How far a roll-out has come.

    Args:
        rollout: itself.
        chosen: how many devices it is for; each of them is counted in exactly one of those that follow.
        done: run the version, or a later one.
        waiting: were offered it and have not said how it went.
        failed: those that failed.
        apart: are upgraded by somebody else: number by code.
        unfit: cannot follow: no signed bundle for their processor, an agent that is too old, or not known at all.
        offline: are not online, so that nothing is offered to them.
        left: their turn comes.
    """

    rollout: Rollout
    chosen: int
    done: int
    waiting: int
    failed: tuple[Failed, ...]
    apart: dict[str, int]
    unfit: int
    offline: int
    left: int


class Rollouts:
    """The use cases.

    Args:
        store: where roll-outs are kept.
        clock: the hub's.
        releases: the bundles of this hub.
        window_s: seconds that a device counts as online after a beat.
    """

    def __init__(self, store: Store, clock: Clock, releases: Releases, window_s: int) -> None:
        self._store = store
        self._clock = clock
        self._releases = releases
        self._window_s = window_s

    def start(self, asked: Rollout) -> Rollout:
        """Starts one; of ``asked`` count version, devices, ``halt_after`` and ``at_once``.

        Raises:
            UsageError: ``usage``, ``rollout_exists`` (end that one first) or ``bundle_missing``.
        """
        try:
            version_order(asked.version)
        except WireError:
            raise UsageError("usage", f"{asked.version[:40]!r} is not a version: give it as 1.2.3.") from None
        if not any(self._releases.newest(arch, "", version=asked.version) for arch in ARCHITECTURES):
            said = f"There is no signed bundle of version {asked.version} in this hub's folder bundles."
            raise UsageError("bundle_missing", said, "Put it there, and sign it with: firstlight-hub sign FILE")
        now_ms = self._clock()
        with self._store.writing() as transaction:
            present = transaction.rollout()
            if present is not None and present.state != ENDED:
                said = f"The roll-out of version {present.version} is {present.state}."
                raise UsageError("rollout_exists", said, "End it first: firstlight-hub rollout end")
            for device_id in asked.device_ids:
                if transaction.device(device_id) is None:
                    raise UsageError("usage", f"There is no device {device_id[:64]!r}.")
            fresh = asked._replace(number=0, state=RUNNING, started_at_ms=now_ms, changed_at_ms=now_ms)
            transaction.put_rollout(fresh)
            return transaction.rollout() or fresh

    def widen(self, percent: int) -> Rollout:
        """Has it go to that share of all devices; those it was for stay. Raises UsageError."""
        with self._store.writing() as transaction:
            present = _going_on(transaction.rollout())
            if percent <= present.percent:
                raise UsageError("usage", f"It is for {present.percent} % already; boxes that were offered it have it.")
            wider = present._replace(percent=percent)
            transaction.put_rollout(wider)
            return wider

    def halt(self) -> Rollout:
        """Nothing is offered from now on. Raises UsageError."""
        return self._turn(HALTED)

    def resume(self) -> Rollout:
        """Goes on; what has failed so far counts no more. Raises UsageError."""
        progress = self.progress()
        return self._turn(RUNNING, len(progress.failed) if progress else 0)

    def end(self) -> Rollout:
        """Ends it for good; what boxes were told already they still do. Raises UsageError."""
        return self._turn(ENDED)

    def _turn(self, state: str, forgiven: int | None = None) -> Rollout:
        with self._store.writing() as transaction:
            present = _going_on(transaction.rollout())
            if present.state == state:
                raise UsageError("usage", f"The roll-out of version {present.version} is {state} already.")
            forgiven = present.forgiven if forgiven is None else forgiven
            turned = present._replace(state=state, changed_at_ms=self._clock(), forgiven=forgiven, reason="")
            transaction.put_rollout(turned)
            return turned

    def progress(self) -> Progress | None:
        """How far the last one has come; None where there never was one."""
        with self._store.reading() as view:
            rollout = view.rollout()
        if rollout is None:
            return None
        fits = {arch: self._releases.newest(arch, "", version=rollout.version) for arch in ARCHITECTURES}
        counts = dict.fromkeys(("done", "waiting", "unfit", "offline", "left", *APART), 0)
        failed = []
        for device in self._devices():
            is_of_it = device.upgrade is not None and device.upgrade.rollout == rollout.number
            if not is_of_it and not is_chosen(rollout, device.id, device.tags):
                continue
            code = self._place(rollout, device, fits.get(architecture(device.facts and device.facts.architecture)))
            if code in counts:
                counts[code] += 1
            else:
                said = device.upgrade
                message = SENTENCES.get(code) or (said.message if said else None) or ""
                failed.append(Failed(device.id, code, message, said.ended_at_ms if said else None))
        apart = {code: counts.pop(code) for code in APART}
        return Progress(rollout, sum(counts.values()) + sum(apart.values()) + len(failed),
                        failed=tuple(failed), apart=apart, **counts)  # fmt: skip

    def _place(self, rollout: Rollout, device: Device, release: Offered | None) -> str:
        """The word of ``Progress`` that a device is counted under, or the code by which it failed."""
        now_ms, mine = self._clock(), device.upgrade
        if mine is not None and mine.rollout == rollout.number:
            code = verdict(mine, Seen(device.agent_version, device.last_heartbeat_at_ms), now_ms, self._window_s)
            if has_failed(code) or code in APART:
                return str(code)
            if code == "" or mine.told_at_ms is not None:
                return "waiting" if code is None else "done"
        if not is_older(device.agent_version, rollout.version):
            return "done" if _is_at_least(device.agent_version, rollout.version) else "unfit"
        if release is None:
            return "unfit"
        return "left" if status(device.last_heartbeat_at_ms, now_ms, self._window_s) == "online" else "offline"

    def _devices(self) -> Iterator[Device]:
        after = 0
        while True:
            with self._store.reading() as view:
                page = view.every_device(after, BATCH)
            yield from page
            if len(page) < BATCH:
                return
            after = page[-1].number


def _going_on(rollout: Rollout | None) -> Rollout:
    if rollout is None or rollout.state == ENDED:
        raise UsageError("rollout_missing", "There is no roll-out that goes on.")
    return rollout


def _is_at_least(agent_version: str | None, version: str) -> bool:
    try:
        return version_order(agent_version or "") >= version_order(version)
    except WireError:
        return False
