"""Checks of the installed service: what systemd says of it, and which release it is."""

from __future__ import annotations

import os
import subprocess

from firstlight.core.diagnosis import Finding, failed, noted, passed, skipped, warned
from firstlight.errors import HINTS, StateError
from firstlight.system.releases import ACTIVE, Releases

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[[list[str]], str | None]

SERVICE = "firstlight.service"
SYSTEMD_RUNS = "/run/systemd/system"
ASKED = (
    *("LoadState", "UnitFileState", "ActiveState", "SubState", "NRestarts", "Result", "ExecMainStatus"),
    *("NeedDaemonReload", "ConditionResult"),
)
MANY_RESTARTS = 3
MAY_TAKE_S = 5.0
MAX_CHARACTERS = 65_536
WHY = "See why: firstlight logs --errors"
WAITS = "The service waits until this box is enrolled or provisioned."
FOR_GOOD = "78"  # how it ends when the hub removed the device: what is to be done then is said by the check "state"


def run(words: list[str]) -> str | None:
    """What a program of the system prints, None where it is not there, fails or takes too long."""
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=MAY_TAKE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace")[:MAX_CHARACTERS] if done.returncode == 0 else None


def asked(ask: Run = run) -> dict[str, str] | None:
    """The properties ``ASKED`` of the service, None where systemd does not answer."""
    said = ask(["systemctl", "show", SERVICE, f"--property={','.join(ASKED)}"])
    if said is None:
        return None
    return {name: value for name, _, value in (line.partition("=") for line in said.splitlines()) if name in ASKED}


def unit(*, is_enrolled: bool, runs: str = SYSTEMD_RUNS, ask: Run = run) -> Finding:
    """Whether the service does its work.

    Args:
        is_enrolled: without a registration it has nothing to do.
        runs: folder that is there where systemd runs.
        ask: runs a program.
    """
    if not os.path.isdir(runs):
        said = "systemd does not run here: nobody starts the agent after a boot."
        return noted("unit", said, "Have what starts programs here run: firstlight run")
    found = asked(ask)
    if found is None:
        return warned("unit", "systemd does not answer.", "Run it as root, and look at: systemctl status")
    if found.get("LoadState") != "loaded":
        said = f"systemd knows no service firstlight ({found.get('LoadState') or 'nothing said'})."
        return (warned if is_enrolled else noted)(
            "unit", said, "Install it with the hub's install command.", detail=found
        )
    return _loaded(found, is_enrolled=is_enrolled)


def _loaded(found: dict[str, str], *, is_enrolled: bool) -> Finding:
    active, sub, result = (found.get(name, "") for name in ("ActiveState", "SubState", "Result"))
    if sub == "auto-restart":
        said = f"The agent ends and is started again, {found.get('NRestarts', '?')} times so far ({_ending(found)})."
        return failed("unit", said, WHY, detail=found)
    if active == "failed" and not is_enrolled and found.get("ExecMainStatus") == FOR_GOOD:
        return passed("unit", WAITS, detail=found)
    if active == "failed" or (active == "inactive" and result not in ("success", "")):
        return failed("unit", f"The service failed: {_ending(found)}.", WHY, detail=found)
    if found.get("UnitFileState") in ("disabled", "masked"):
        state = found["UnitFileState"]
        fix = f"Switch it on: sudo systemctl {'unmask' if state == 'masked' else 'enable --now'} firstlight"
        judged = failed if active == "inactive" and is_enrolled else warned
        return judged("unit", f"The service is {state}: it does not start with the box.", fix, detail=found)
    if active == "inactive" and is_enrolled:
        return failed("unit", "The service does not run.", "Start it: sudo systemctl start firstlight", detail=found)
    if found.get("NeedDaemonReload") == "yes":
        fix = "Run: sudo systemctl daemon-reload && sudo systemctl restart firstlight"
        return warned("unit", "The unit file was changed, and systemd still has the old one.", fix, detail=found)
    restarts = found.get("NRestarts", "0")
    if restarts.isdigit() and int(restarts) >= MANY_RESTARTS:
        return warned("unit", f"The service runs, but had to be started again {restarts} times.", WHY, detail=found)
    if active == "inactive":
        return passed("unit", WAITS, detail=found)
    return passed("unit", f"The service is {active} ({sub}).", detail=found)


def _ending(found: dict[str, str]) -> str:
    status = found.get("ExecMainStatus", "")
    return found.get("Result", "") + (f", exit status {status}" if status not in ("", "0") else "")


def sandbox(weakened: str) -> Finding:
    """What the running service said at its start; ``weakened`` is "" where nothing was missing."""
    if weakened:
        return warned("sandbox", f"{weakened} [sandbox_weakened]", HINTS["sandbox_weakened"])
    return passed("sandbox", "The service is protected as its unit says.")


def release(prefix: str, version: str, *, is_managed: bool) -> Finding:
    """The release that runs, and an upgrade that is under way.

    Args:
        prefix: where the install script put the agent, "" = it was installed in another way.
        version: of the running agent.
        is_managed: a package manager upgrades it.
    """
    if not prefix:
        how = "a package of this system" if is_managed else "installed by hand (pip)"
        return passed("release", f"Version {version}, {how}.", version=version)
    releases = Releases(prefix)
    try:
        journal, launcher = releases.journal(), releases.launcher(ACTIVE)
        names = releases.names()
    except StateError as error:
        return failed("release", f"{error.message} [{error.code}]", "Paste the install command again.", code=error.code)
    except OSError as error:
        return skipped("release", f"{prefix}/lib cannot be read: {error.strerror}")
    active = launcher.release if launcher else ""
    detail = {"version": version, "active": active, "releases": names}
    if journal:
        said = f"An upgrade from {journal.old} to {journal.new} is under way ({journal.stage})."
        return warned(
            "release", said, "Wait some minutes. If it stays: sudo firstlight upgrade --resume", detail=detail
        )
    before = releases.before(active)
    back = f"; {before} is there to go back to" if before else ""
    return passed("release", f"Version {version} ({active}){back}.", detail=detail)
