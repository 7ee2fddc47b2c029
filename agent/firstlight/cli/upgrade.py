"""``firstlight upgrade``: another release of the agent, with a way back. Decisions: ``core/upgrade.py``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from firstlight.cli import options
from firstlight.cli.upgrade_act import Act, say
from firstlight.core import upgrade
from firstlight.errors import UpgradeError, UsageError
from firstlight.system import journal as log
from firstlight.system import place
from firstlight.system.releases import Releases

DESCRIPTION = (
    "Upgrade the agent: to what the hub offers, or to a bundle from a stick. It counts as done when the hub has"
    " accepted a heartbeat of the new release; otherwise this box goes back to the old one by itself."
)
ID_DIGITS = frozenset("0123456789abcdef")


def verb(words: list[str], config: str | None) -> int:
    """Upgrades, or says what would be done. Raises UpgradeError, StateError, UnreachableError, UsageError."""
    typed = _parsed(words)
    os.umask(0o022)  # the agent's user must be able to read the release, however careful root is otherwise
    settings = options.load(typed, config)
    log_line = log.Journal(stream=os.environ.get("JOURNAL_STREAM", "")).write

    def tell(sentence: str) -> None:
        if typed.wished:
            log_line(log.INFO, sentence)
        else:
            print(f"  {sentence}", file=sys.stderr if typed.json else sys.stdout, flush=True)

    releases = installed()
    act = Act(releases, settings, typed, tell)
    if typed.check:
        return act.check()
    with releases.locked(waits=typed.wished or typed.resume):
        releases.remove_new()  # of one that was cut
        ended = act.resume(words)
        if typed.wished:
            return act.wished(log_line)
        if typed.resume:
            if ended is None:
                say(typed, {"upgraded": False}, "nothing to do: no upgrade is under way")
                return 0
            return act.conclude(ended)
        return act.conclude(act.begin())


def _parsed(words: list[str]) -> argparse.Namespace:
    made = options.parser("upgrade", DESCRIPTION)
    options.add_state(made)
    options.add_proxy(made)
    made.add_argument("file", metavar="FILE", nargs="?", help="a bundle on this box (else what the hub offers)")
    made.add_argument("--id", metavar="HEX", default="", help="the release's id: vouches for FILE without a signature")
    made.add_argument("--allow-older", action="store_true", help="FILE may be older than what runs")
    made.add_argument("--back", action="store_true", help="go back to the release before")
    made.add_argument("--check", action="store_true", help="say what would be done, change nothing")
    made.add_argument("--resume", action="store_true", help="only go on with an upgrade that was interrupted")
    made.add_argument("--wished", action="store_true", help="do what the hub asked for (the upgrade unit runs this)")
    made.add_argument(
        "--patience",
        metavar="SECONDS",
        type=float,
        default=upgrade.PATIENCE_S,
        help=f"how long the new release may take until its first accepted heartbeat ({upgrade.PATIENCE_S:g})",
    )
    made.add_argument("--json", action="store_true", help="print the result as one JSON object")
    typed = made.parse_args(words)
    ways = [bool(typed.file), typed.back, typed.wished, typed.resume]
    if sum(ways) > 1 or ((typed.id or typed.allow_older) and not typed.file):
        raise UsageError("usage", "Give one of FILE, --back, --wished, --resume; --id and --allow-older go with FILE.")
    if typed.id and (len(typed.id) != 64 or set(typed.id) - ID_DIGITS):
        raise UsageError("usage", "--id needs the 64 hex digits of a release's id.")
    return typed


def installed() -> Releases:
    """Where this agent was installed.

    Raises:
        UpgradeError: by a package manager, or not by the install script.
    """
    if Path(place.release_folder(), "share", "managed").exists():
        raise UpgradeError("upgrade_managed", "This agent was installed by this box's package manager.")
    prefix = place.prefix()
    if not prefix:
        raise UpgradeError("upgrade_unsupported", f"{place.release_folder()} was not put there by the install script.")
    return Releases(prefix)
