"""What a hub has on disk of a device's beats: whether something is missing or there twice."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from itertools import pairwise
from typing import NamedTuple

from tests.e2e.conftest import wait_until
from tests.system.any_box import AnyBox
from tests.system.hub_site import HubSite

SPOOL = "/var/lib/private/firstlight/spool.jsonl"
# An agent begins with the milliseconds since boot and adds one a beat: a larger step is another process of that boot.
RESTART = 100
QUESTION = """SELECT beat.boot_id, sequence, monotonic_s, wall_s, late FROM beat
    JOIN device ON device.number = beat.device WHERE device.id = ? ORDER BY beat.number"""


class Beat(NamedTuple):
    """One line of the history; ``late`` if it was kept on the box first."""

    boot_id: str
    sequence: int
    monotonic_s: float
    wall_s: float
    late: bool


def beats(hub: HubSite, device_id: str) -> list[Beat]:
    """All beats of a device, in the order in which they came."""
    connection = sqlite3.connect(f"file:{hub.database}?mode=ro", uri=True)
    try:
        return [Beat(boot, seq, mono, wall, bool(late)) for boot, seq, mono, wall, late in rows(connection, device_id)]
    finally:
        connection.close()


def rows(connection: sqlite3.Connection, device_id: str) -> list[tuple[str, int, float, float, int]]:
    """The answer to ``QUESTION``."""
    return connection.execute(QUESTION, (device_id,)).fetchall()


def check_whole(found: list[Beat]) -> None:
    """Nothing is missing within a boot, and no beat is there twice, not under another number either."""
    assert found
    of_boot: dict[str, list[Beat]] = defaultdict(list)
    for beat in found:
        of_boot[beat.boot_id].append(beat)
    for one_boot in of_boot.values():
        for earlier, later in pairwise(sorted(one_boot, key=lambda beat: beat.sequence)):
            step = later.sequence - earlier.sequence
            assert step == 1 or step > RESTART, f"missing after {earlier}: {later}"
            assert later.monotonic_s > earlier.monotonic_s, (earlier, later)


def processes(found: list[Beat]) -> int:
    """How many processes beat. Not by boot ids: seen from a service in a container it is the kernel's, and stays."""
    numbers = sorted((beat.boot_id, beat.sequence) for beat in found)
    return 1 + sum(one[0] != two[0] or two[1] - one[1] > RESTART for one, two in pairwise(numbers))


def kept(box: AnyBox) -> set[tuple[str, int]]:
    """Boot and number of each beat that waits on the box's disk, read as it is at this moment."""
    try:
        text = box.read(SPOOL)
    except FileNotFoundError:
        return set()
    found = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("}\n")]
    return {(beat["bootId"], beat["seq"]) for beat in found if "seq" in beat}


def check_once(box: AnyBox, hub: HubSite, device_id: str, within_s: float = 90) -> list[Beat]:
    """The end of every adventure: online, listed once, everything that was kept delivered, nothing doubled.

    Returns:
        the device's history.
    """
    box.wait_state("beating", within_s)
    wait_until("the kept beats are delivered", lambda: box.live().get("spooled") == 0, within_s)
    wait_until("the list says online", lambda: hub.desk.status(device_id) == "online", within_s)
    # Other files of the same run had boxes of this name too, but earlier.
    mine = hub.desk.device(device_id)
    listed = [each for each in hub.desk.call("GET", "?limit=100")["data"] if each["hostname"] == mine["hostname"]]
    assert [each["id"] for each in listed if each["created_at"] >= str(mine["created_at"])] == [device_id]
    assert box.status()["deviceId"] == device_id
    found = beats(hub, device_id)
    check_whole(found)
    return found
