"""Provisions, or registers, again and again, killed one step later each time, and goes on after each kill.

Not a test: tests/detached/test_kills.py runs it. ``provision FOLDER`` reads one label a line and takes each in, killed
at step n of round n; ``register FOLDER`` does what the agent does when the endpoint is there. A JSON line a round.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from firstlight.cli import provisioning, registering
from firstlight.cli.settings import Settings
from firstlight.errors import FirstlightError
from firstlight.system import nonces, provision_file
from firstlight.system.store import StateDirectory
from tests.e2e.kill_child import Fuse, in_child


def box(folder: Path, number: int) -> Settings:
    """The settings of one box; all of them trust the same key."""
    return Settings(state_dir=str(folder / f"box{number}"), trust_dir=str(folder / "trust.d"))


def nothing(line: str) -> str:
    """Nobody listens, and nothing starts."""
    return ""


def take(settings: Settings, label: str, fuse: Fuse | None) -> int:
    """``provision`` with a fuse in its state directory."""
    store = StateDirectory(settings.state_dir, on_step=fuse.step if fuse else None)
    provisioning.provision(settings, label, "test", lambda line: None, store=store, start=nothing)
    return 0


def register(settings: Settings, fuse: Fuse | None) -> int:
    """What ``firstlight run`` does before it beats, with a fuse in the state directory; 3 = not registered yet."""
    store = StateDirectory(settings.state_dir, on_step=fuse.step if fuse else None)
    if store.load_registration() is None:
        registering.register(settings, store, lambda priority, text: None)
    registering.tidy(store, lambda priority, text: None)
    return 0 if store.load_registration() else 3


def killed_at(number: int, act: Callable[[Fuse], int]) -> tuple[bool, str]:
    """Whether it was killed at its step of that number, and at which."""
    reading, writing = os.pipe()
    status = in_child(act, Fuse(number, writing))
    os.close(writing)
    step = os.read(reading, 200).decode()
    os.close(reading)
    return os.WIFSIGNALED(status), step


def seen(settings: Settings) -> dict[str, object]:
    """What is on the disk of a box."""
    store = StateDirectory(settings.state_dir)
    if not store.is_there():
        return {"provisioned": False, "registered": False, "nonces": 0, "leftovers": []}
    kept = provision_file.load(store)
    registration = store.load_registration()
    return {
        "provisioned": kept is not None,
        "registered": registration is not None,
        "device": registration.device_id if registration else "",
        "nonce": bool(kept and nonces.seen(store, kept.nonce)),
        "nonces": len((store.read_json(nonces.NAME) or {}).get("nonces", [])),  # type: ignore[arg-type]
        "names": sorted(path.name for path in Path(settings.state_dir).iterdir()),
    }


def rounds(verb: str, folder: Path) -> None:
    """One round for each label, until a round was not killed."""
    for number, line in enumerate(sys.stdin):
        label, settings = line.strip(), box(folder, number)
        if verb == "provision":
            killed, step = killed_at(number, lambda fuse: take(settings, label, fuse))  # noqa: B023
        else:
            take(settings, label, None)
            killed, step = killed_at(number, lambda fuse: register(settings, fuse))  # noqa: B023
        after = seen(settings)
        try:
            again = take(settings, label, None) if verb == "provision" else in_child(register, settings, None)
            refused = ""
        except FirstlightError as error:
            again, refused = error.exit_status, error.code
        found = {"step": step, "killed": killed, "after": after, "again": again, "refused": refused}
        sys.stdout.write(json.dumps({**found, "end": seen(settings)}) + "\n")
        sys.stdout.flush()
        if not killed:
            return


if __name__ == "__main__":
    rounds(sys.argv[1], Path(sys.argv[2]))
