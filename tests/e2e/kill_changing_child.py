"""Rotates, or follows the hub, again and again, killed one step later each time; then goes on as a fresh start does.

Not a test: tests/e2e/test_kill_changing.py runs it on a box that is enrolled. Reads one line a round from standard
input: empty for a rotation, else the signed statement of where the hub is. Prints a JSON line a round. A step is every
durable step of the state directory, every call about to be sent and every reply just received. Round n is killed at
step n; the rounds end when one was not killed, because there is no step n.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

from firstlight.cli import change_now
from firstlight.cli.changing import Changing
from firstlight.cli.settings import Settings, proxy_of
from firstlight.core import change
from firstlight.core.interfaces import Session
from firstlight.core.lifecycle import Accepted
from firstlight.core.model import Beat, Facts, Metrics, Registration
from firstlight.daemon.notify import service_notifier
from firstlight.daemon.sessions import Sessions
from firstlight.platforms.hub import device
from firstlight.system import changes
from firstlight.system.clock import SystemClock
from firstlight.system.store import RUNNING, StateDirectory
from firstlight.wire.facts import facts_hash
from tests.e2e.kill_child import Fuse, Fused, in_child


def enrolled(store: StateDirectory) -> Registration:
    """The registration on disk."""
    found = store.load_registration()
    assert found is not None
    return found


def change_until_killed(state_dir: str, text: str, fuse: Fuse) -> None:
    """The same parts as ``firstlight run``, each with the fuse in it, after the beating process gave way."""
    store = StateDirectory(state_dir, on_step=fuse.step)
    registration = enrolled(store)
    notes = changes.load(store)
    # Long after the round before: rotations keep a distance.
    asked = notes._replace(heard=text) if text else notes._replace(rotate=True, rotation_rest=change.Later())
    changes.save(store, change.begun(asked))
    with store.lock(RUNNING):
        parts = change_now.parts_of(
            Settings(state_dir=state_dir), store, registration, lambda priority, line: None, service_notifier({})
        )

        def fused(opens: Callable[[Registration], Session]) -> Callable[[Registration], Session]:
            return lambda found: Fused(opens(found), fuse)  # type: ignore[return-value]

        parts = parts._replace(open_plain=fused(parts.open_plain), open_proving=fused(parts.open_proving))
        Changing(parts, registration).perform()


def go_on(state_dir: str) -> int:
    """What a fresh ``firstlight run`` does first, then one beat as the process that stays sends it."""
    settings, store = Settings(state_dir=state_dir), StateDirectory(state_dir)
    said: list[str] = []
    change_now.at_start(settings, store, enrolled(store), lambda priority, line: said.append(line))
    registration, clock = enrolled(store), SystemClock()
    moment = clock.moment()
    sequence = int(moment.monotonic_s * 1000)
    beat = Beat(sequence, moment, Metrics(), "0", Facts(), facts_hash(Facts()), asks=True)
    session = Sessions(store, clock, device, lambda host: proxy_of(settings, host)).for_beats(registration)
    event = device.read_beat(registration, session.exchange(device.beat(registration, beat), 20))
    session.close()
    if not isinstance(event, Accepted):
        sys.stderr.write(f"{event} after {said}\n")
    return 0 if isinstance(event, Accepted) else 1


def rounds(state_dir: str) -> None:
    """One round for each line, until a round was not killed."""
    store = StateDirectory(state_dir)
    for number, line in enumerate(sys.stdin):
        reading, writing = os.pipe()
        status = in_child(change_until_killed, state_dir, line.strip(), Fuse(number, writing))
        os.close(writing)
        step = os.read(reading, 200).decode()
        os.close(reading)
        killed = os.WIFSIGNALED(status)
        resumed = os.waitstatus_to_exitcode(in_child(go_on, state_dir))
        registration = enrolled(store)
        told = {
            "step": step,
            "killed": killed,
            "status": status,
            "resumed": resumed,
            "deviceId": registration.device_id,
            "endpoint": registration.endpoint.url,
            "key": registration.key_fingerprint,
            "keys": store.key_names(),
            "begun": changes.load(store).begun,
        }
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        if not killed:
            return


if __name__ == "__main__":
    rounds(sys.argv[1])
