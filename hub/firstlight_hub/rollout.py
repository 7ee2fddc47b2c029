"""Roll-outs, pure: which devices one is for, which of them can follow, when it halts, and how a device fared.

An operator starts one for a version; devices of it are offered that version in the answers to their beats
(``service/rollouts.py``), a bounded number at a time. Which devices a percentage means is a hash of device and version:
a larger percentage keeps all that a smaller one had, and another version begins with other devices.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from firstlight.core.model import UPGRADE_MANAGED, UPGRADE_UNATTENDED
from firstlight.wire.bounded import WireError
from firstlight.wire.bundle import version_order

RUNNING, HALTED, ENDED = "running", "halted", "ended"
AT_ONCE = 50
FAILING_SHARE = 0.05
# What a box says where nobody upgrades it from here: counted apart, no failure.
APART = (UPGRADE_MANAGED, UPGRADE_UNATTENDED)
# What the hub itself says of a box.
SILENT, NO_WORD = "upgrade_silent", "upgrade_no_word"
SENTENCES = {
    SILENT: "It was offered the version and has not beaten since, neither with it nor with the one before.",
    NO_WORD: "It was offered the version, beats on with the one before, and has not said how the upgrade went.",
}
NO_WORD_MS = 21_600_000
FIRST_THAT_CAN = (0, 2, 0)
ARCHITECTURES = {"arm64": "aarch64", "amd64": "x86_64"}  # as other systems call them
PARTS = 10_000


class Rollout(NamedTuple):
    """One roll-out. A device is of it if any of percentage, tag and ids says so.

    Args:
        number: the store's own ordinal, growing; 0 before it is stored.
        version: that devices are to run.
        percent: 0 to 100, of all devices.
        tag: of the devices it is for, or None.
        device_ids: of the devices it is for.
        halt_after: failures at which it halts, or None for ``limit``'s own.
        at_once: how many devices are offered it and have not said how it went, at most.
        state: ``running``, ``halted`` (no further offers) or ``ended``.
        started_at_ms, changed_at_ms: when it was started, and when its state changed last.
        forgiven: failures that do not count any more, because an operator had it go on.
        reason: why it halted, "" where an operator said so, or it did not.
    """

    number: int
    version: str
    percent: int
    tag: str | None
    device_ids: tuple[str, ...]
    halt_after: int | None
    at_once: int
    state: str
    started_at_ms: int
    changed_at_ms: int
    forgiven: int = 0
    reason: str = ""


class Upgrade(NamedTuple):
    """A device's last upgrade, as the hub knows it.

    Args:
        version, release_id, attempt, path: what is offered, as in ``firstlight.core.model.Offer``.
        rollout: number of the roll-out it belongs to; None = of none any more, or somebody upgraded on the box.
        told_at_ms: when the device first was told of it, or None.
        ended_at_ms: when it said how it went, or None.
        code, message: how it went, as in ``firstlight.core.model.Upgraded``; None before it said so.
    """

    version: str
    release_id: str
    attempt: int
    path: str
    rollout: int | None
    told_at_ms: int | None = None
    ended_at_ms: int | None = None
    code: str | None = None
    message: str | None = None


class Seen(NamedTuple):
    """What the hub saw of a device that an upgrade is judged by.

    Args:
        agent_version: as its last beat said.
        heard_at_ms: when it beat last, or when the hub began to listen, if that is later; None = never.
    """

    agent_version: str | None
    heard_at_ms: int | None


def is_chosen(rollout: Rollout, device_id: str, tags: tuple[str, ...]) -> bool:
    """Whether a roll-out is for a device."""
    if device_id in rollout.device_ids or (rollout.tag is not None and rollout.tag in tags):
        return True
    return share(device_id, rollout.version) < rollout.percent * PARTS // 100


def share(device_id: str, version: str) -> int:
    """Where a device stands among all for a version: 0 to 9999, evenly spread, always the same."""
    digest = hashlib.sha256(f"{version}|{device_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % PARTS


def is_older(agent_version: str | None, version: str) -> bool:
    """Whether an agent can follow an offer of this version and does not run it, or a later one, yet."""
    try:
        return FIRST_THAT_CAN <= version_order(agent_version or "") < version_order(version)
    except WireError:
        return False


def architecture(named: str | None) -> str:
    """A machine as facts name it -> as bundles name it."""
    lower = (named or "").lower()
    return ARCHITECTURES.get(lower, lower)


def limit(rollout: Rollout, told: int) -> int:
    """At how many failures it halts: as it says, else 5 % of the devices that were told, and 1 while those are few."""
    return rollout.halt_after or max(1, int(told * FAILING_SHARE))


def verdict(upgrade: Upgrade, seen: Seen, now_ms: int, window_s: int) -> str | None:
    """How a device fared by now: "" = it runs the version, a code = it does not, None = there is no telling yet."""
    if seen.agent_version == upgrade.version:
        return ""
    if upgrade.ended_at_ms is not None:
        return upgrade.code
    if upgrade.told_at_ms is None:
        return None
    if seen.heard_at_ms is None or now_ms - seen.heard_at_ms > window_s * 1000:
        return SILENT
    return NO_WORD if now_ms - upgrade.told_at_ms > NO_WORD_MS else None


def has_failed(code: str | None) -> bool:
    """Whether a verdict is a failure."""
    return bool(code) and code not in APART


def next_attempt(before: Upgrade | None, release_id: str) -> int:
    """Which attempt an offer of this release would be for a device."""
    if before is None or before.release_id != release_id:
        return 1
    was_heard = before.told_at_ms is not None or before.ended_at_ms is not None
    return max(1, before.attempt + was_heard)
