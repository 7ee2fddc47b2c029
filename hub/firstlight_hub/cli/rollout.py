"""``firstlight-hub rollout``: brings boxes to another version of the agent, some first, and halts when they fail."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from firstlight.errors import UsageError
from firstlight_hub.folder import HubFolder
from firstlight_hub.model import iso
from firstlight_hub.rollout import RUNNING, Rollout
from firstlight_hub.service.rollouts import Progress, Rollouts
from firstlight_hub.shelf import Shelf

MAX_AT_ONCE = 10_000
SHOWN = (
    ("done", "run it"),
    ("waiting", "were offered it and have not said how it went"),
    ("left", "are to be offered it"),
    ("offline", "are not online: they are offered it when they are back"),
    ("unfit", "cannot follow: no signed bundle for their processor, or an agent that cannot upgrade"),
)
APART = {
    "upgrade_managed": "are upgraded by their package manager",
    "upgrade_unattended": "have nothing that upgrades them",
}


@contextmanager
def _rollouts(directory: Path) -> Iterator[Rollouts]:
    folder = HubFolder(directory)
    settings = folder.settings()
    shelf = Shelf(folder.bundles, keys=folder.release_keys(settings).trusted())
    store = folder.store()
    try:
        yield Rollouts(store, lambda: time.time_ns() // 1_000_000, shelf, settings.online_window_s)
    finally:
        store.close()


def start(arguments: argparse.Namespace) -> None:
    """Starts one."""
    given = [arguments.percent is not None, arguments.tag is not None, bool(arguments.device)]
    if sum(given) != 1:
        raise UsageError("usage", "Say for which boxes: one of --percent, --tag and --device.")
    asked = Rollout(
        number=0,
        version=arguments.version,
        percent=_bounded("--percent", arguments.percent or 0, 0 if sum(given[1:]) else 1, 100),
        tag=arguments.tag,
        device_ids=tuple(dict.fromkeys(arguments.device)),
        halt_after=None if arguments.halt_after is None else _bounded("--halt-after", arguments.halt_after, 1, 10**6),
        at_once=_bounded("--at-once", arguments.at_once, 1, MAX_AT_ONCE),
        state=RUNNING,
        started_at_ms=0,
        changed_at_ms=0,
    )
    with _rollouts(arguments.dir) as rollouts:
        _say(rollouts.start(asked))
        progress = rollouts.progress()
    if progress is not None:
        print(f"{_boxes(progress.chosen)}: {progress.left + progress.offline} to go, {progress.done} run it already.")
        if not progress.chosen:
            print("It is for no box so far. More are taken in by: firstlight-hub rollout widen --percent N")
    print(f"See how it goes: firstlight-hub rollout show --dir {arguments.dir}")


def widen(arguments: argparse.Namespace) -> None:
    """Has it go to more."""
    with _rollouts(arguments.dir) as rollouts:
        _say(rollouts.widen(_bounded("--percent", arguments.percent, 1, 100)))


def halt(arguments: argparse.Namespace) -> None:
    """Halts it."""
    with _rollouts(arguments.dir) as rollouts:
        rollouts.halt()
    print("Halted. Boxes that were told already still follow; no other one is offered it.")


def resume(arguments: argparse.Namespace) -> None:
    """Has it go on."""
    with _rollouts(arguments.dir) as rollouts:
        _say(rollouts.resume())
    print("What has failed so far does not count any more; those boxes are not offered it again.")


def end(arguments: argparse.Namespace) -> None:
    """Ends it."""
    with _rollouts(arguments.dir) as rollouts:
        ended = rollouts.end()
    print(f"The roll-out of version {ended.version} has ended. Boxes stay at what they run.")


def show(arguments: argparse.Namespace) -> None:
    """Shows how far it has come."""
    with _rollouts(arguments.dir) as rollouts:
        progress = rollouts.progress()
    if arguments.json:
        print(json.dumps(None if progress is None else as_object(progress)))
    elif progress is None:
        print("There is no roll-out.")
    else:
        for line in _lines(progress):
            print(line)


def as_object(progress: Progress) -> dict[str, object]:
    """What ``--json`` prints."""
    rollout = progress.rollout
    return {
        "version": rollout.version,
        "state": rollout.state,
        "reason": rollout.reason or None,
        "percent": rollout.percent,
        "tag": rollout.tag,
        "devices": list(rollout.device_ids),
        "haltAfter": rollout.halt_after,
        "atOnce": rollout.at_once,
        "startedAt": iso(rollout.started_at_ms),
        "changedAt": iso(rollout.changed_at_ms),
        "chosen": progress.chosen,
        **{name: getattr(progress, name) for name, _ in SHOWN},
        "apart": progress.apart,
        "failed": [
            {"device": one.device_id, "code": one.code, "message": one.message or None, "at": iso(one.at_ms)}
            for one in progress.failed
        ],
    }


def _lines(progress: Progress) -> Iterator[str]:
    rollout = progress.rollout
    yield f"Version {rollout.version}, {_to_whom(rollout)}: {rollout.state} since {iso(rollout.changed_at_ms)}."
    if rollout.reason:
        yield f"It halted by itself: {rollout.reason}"
    yield f"{_boxes(progress.chosen)} in all{':' if progress.chosen else '.'}"
    counted = [(getattr(progress, name), words) for name, words in SHOWN]
    counted += [(progress.apart[code], f"{words} [{code}]") for code, words in APART.items()]
    counted += [(len(progress.failed), "failed:")]
    for count, words in counted:
        if count:
            yield f"{count:6} {words}"
    for one in progress.failed:
        at = f" ({iso(one.at_ms)})" if one.at_ms else ""
        yield f"       {one.device_id}: {' '.join(filter(None, (one.message, f'[{one.code}]')))}{at}"


def _say(rollout: Rollout) -> None:
    print(f"Rolling out version {rollout.version} {_to_whom(rollout)}, at most {rollout.at_once} boxes at once.")


def _to_whom(rollout: Rollout) -> str:
    parts = [f"to {rollout.percent} % of the boxes"] if rollout.percent else []
    parts += [f"to those with the tag {rollout.tag}"] if rollout.tag is not None else []
    parts += [f"to {_boxes(len(rollout.device_ids))} by id"] if rollout.device_ids else []
    return " and ".join(parts)


def _boxes(count: int) -> str:
    return f"{count} box{'' if count == 1 else 'es'}"


def _bounded(name: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise UsageError("usage", f"{name} is {low} to {high}.")
    return value
