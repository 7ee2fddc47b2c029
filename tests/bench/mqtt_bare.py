"""The hub's own subscriber, storing nothing: beside it the hub's ingest is measured.

``python mqtt_bare.py FILE DESCRIPTOR``: FILE is JSON, ``{"database", "broker", "count"}``. It subscribes; once so many
beats were taken and acknowledged it writes how many a second, counted from the first of them, to the descriptor. Count
0 only subscribes, so that the broker keeps beats for it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import uvloop

from firstlight.core.model import Secret, parse_broker
from firstlight_hub.ingest.group_commit import GroupCommit
from firstlight_hub.ingest.mqtt_ingest import MqttIngest
from firstlight_hub.mqtt.door import Door
from firstlight_hub.service.beats import Beats
from firstlight_hub.store.sqlite import SqliteStore

LOOK_S = 0.002


async def _main(told: dict[str, object]) -> None:
    store = SqliteStore(Path(str(told["database"])))
    beats = Beats(store, lambda: time.time_ns() // 1_000_000, 60, 7)
    commits = GroupCommit(lambda rows: frozenset())
    door = Door("bare", Secret("not asked for"), broker=parse_broker(str(told["broker"])))
    ingest = MqttIngest(beats, commits, door, "bare", expiry_s=3600)
    running = asyncio.create_task(ingest.run())
    await ingest.subscribed.wait()
    count, rate = int(str(told["count"])), 0.0
    if count:
        while not (had := ingest.counted["settled"]):
            await asyncio.sleep(LOOK_S)
        began_s = time.monotonic()
        while ingest.counted["settled"] < count:
            await asyncio.sleep(LOOK_S)
        rate = (ingest.counted["settled"] - had) / (time.monotonic() - began_s)
    await ingest.stop()
    running.cancel()
    store.close()
    os.write(int(sys.argv[2]), f"{rate}\n".encode())


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(_main(json.loads(Path(sys.argv[1]).read_text())))
