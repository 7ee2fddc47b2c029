"""``firstlight doctor``: what is wrong with this box or its way to the hub, and what to do about it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from firstlight.cli import next_step, options
from firstlight.cli import settings as settings_file
from firstlight.core import diagnosis
from firstlight.core.diagnosis import CHECKS, FAILURE, NOTE, SKIPPED, WARNING, Finding
from firstlight.errors import UsageError

if TYPE_CHECKING:
    import argparse

DESCRIPTION = (
    "Look for what is wrong with this box or its way to the hub, and say what to do about it. "
    "Exit status: 0 = nothing, 20 = warnings, 21 = failures."
)
MARKS = {FAILURE: "FAILURE", WARNING: "WARNING", NOTE: "note"}


def verb(words: list[str], config: str | None) -> int:
    """Makes the checks and tells the findings; returns 0, or 20 for warnings, 21 for failures."""
    typed = _parsed(words)
    wanted = _wanted(typed.only)
    # Here, so that a wrong word on the command line does not pay for them.
    from firstlight.cli import doctor_case, doctor_plan, doctor_run

    flags = {name: getattr(typed, name, None) for name in settings_file.SETTINGS}
    settings, error = doctor_case.settings_or_rest(lambda: options.load(typed, config), flags)
    hub = doctor_case.hub_named(
        settings, typed.hub, typed.invitation, lambda: sys.stdin.buffer.read(doctor_case.MAX_INVITATION + 1)
    )
    case = doctor_case.Case(settings, error, hub)
    found = doctor_run.perform(doctor_plan.plan(case), wanted, is_offline=typed.offline)
    findings = [each._replace(fix=next_step.typed(each.fix)) for each in diagnosis.shown(found, wanted)]
    if typed.bundle:
        from firstlight.cli import doctor_bundle

        # Before anything is printed: a file that cannot be written is an error of its own.
        doctor_bundle.write(typed.bundle, findings, case)
    if typed.json:
        print(json.dumps(diagnosis.as_object(findings)))
    else:
        show(findings)
        if typed.bundle:
            print(f"The archive {typed.bundle} holds no secrets; look into it before you send it: tar -tzf FILE")
    return diagnosis.EXIT_STATUS[diagnosis.worst(findings)]


def _parsed(words: list[str]) -> argparse.Namespace:
    made = options.parser("doctor", DESCRIPTION)
    options.add_hub(made)
    options.add_state(made)
    made.add_argument("--invitation", metavar="FILE", help="check the way to the hub of this invitation ('-' = stdin)")
    made.add_argument("--offline", action="store_true", help="speak to nobody")
    made.add_argument("--only", metavar="ID,…", help="make these checks only, and what they need")
    made.add_argument("--bundle", metavar="FILE", help="write an archive for support, without secrets (FILE.tar.gz)")
    made.add_argument("--json", action="store_true", help="print one JSON object")
    return made.parse_args(words)


def _wanted(only: str | None) -> tuple[str, ...]:
    names = tuple(filter(None, (name.strip() for name in (only or "").split(","))))
    for name in names:
        if name not in CHECKS:
            raise UsageError("usage", f"There is no check {name!r}; there are: {', '.join(CHECKS)}.")
    if only is not None and not names:
        raise UsageError("usage", f"--only names no check; there are: {', '.join(CHECKS)}.")
    return names


def show(findings: Sequence[Finding]) -> None:
    """Prints the findings, what was left out and why, and at the end where to begin."""
    for each in findings:
        if each.severity == SKIPPED:
            continue
        print(f"{MARKS.get(each.severity, 'ok'):<8} {each.id:<12} {each.message}")
        if each.fix:
            print(f"{'':<8} {'':<12} -> {each.fix}")
    left_out: dict[str, list[str]] = {}
    for each in findings:
        if each.severity == SKIPPED:
            left_out.setdefault(each.message, []).append(each.id)
    for why, names in left_out.items():
        print(f"skipped  {', '.join(names)}: {why}")
    bad = [each for each in findings if each.severity == FAILURE]
    doubtful = [each for each in findings if each.severity == WARNING]
    if not bad and not doubtful:
        todo = [each.fix for each in findings if each.id == "state" and each.severity == NOTE and each.fix]
        print("\nNothing is wrong." + (f" Next: {todo[0]}" if todo else ""))
        return
    counted = [
        f"{len(some)} {word}{'s' if len(some) > 1 else ''}"
        for some, word in ((bad, "failure"), (doubtful, "warning"))
        if some
    ]
    first = (bad or doubtful)[0]
    print(f"\n{' and '.join(counted)}. Begin with '{first.id}': {first.fix or first.message}")
