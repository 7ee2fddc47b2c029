"""Checks of a box that still waits for its code: whose codes it would take in, and whether anything looks for one."""

from __future__ import annotations

import os

from firstlight.core.diagnosis import Finding, failed, noted, passed, skipped, warned
from firstlight.errors import FirstlightError
from firstlight.system import checks_unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SERVICE = "firstlight-provision.service"
ASKED = ("LoadState", "UnitFileState", "ActiveState", "Result")
OFF = ("disabled", "masked", "masked-runtime")
NOT_WAITING = "because this box is enrolled or provisioned already"


def asked(ask: checks_unit.Run = checks_unit.run, runs: str = checks_unit.SYSTEMD_RUNS) -> dict[str, str]:
    """The properties ``ASKED`` of the service that waits; empty where systemd does not run, or does not know it."""
    if not os.path.isdir(runs):
        return {}
    said = ask(["systemctl", "show", SERVICE, f"--property={','.join(ASKED)}"]) or ""
    found = {name: value for name, _, value in (line.partition("=") for line in said.splitlines()) if name in ASKED}
    return found if found.get("LoadState") in ("loaded", "masked") else {}


def waiting(found: dict[str, str], *, is_needed: bool) -> Finding:
    """Whether something looks for this box's code.

    Args:
        found: as ``asked``.
        is_needed: the box is neither enrolled nor provisioned.
    """
    if not is_needed:
        return skipped("waiting", NOT_WAITING)
    if not found:
        return skipped("waiting", "because the service that waits for a code is not installed here")
    active, state = found.get("ActiveState", ""), found.get("UnitFileState", "")
    if active == "active":
        return passed("waiting", "The service that waits for this box's code runs.", detail=found)
    if active == "failed" or (active == "inactive" and found.get("Result") not in ("success", "", None)):
        said = f"The service that waits for this box's code failed ({found.get('Result', '')})."
        return failed("waiting", said, "See why: firstlight logs --errors", detail=found)
    if state in OFF:
        said = f"The service that waits for this box's code is {state.partition('-')[0]}: nothing looks for one."
        unmask = "sudo systemctl unmask firstlight-provision; " if state != "disabled" else ""
        fix = f"Where that is wanted: {unmask}sudo systemctl enable --now firstlight-provision"
        return noted("waiting", said, fix, detail=found)
    said = f"The service that waits for this box's code is switched on, and {active or 'does not run'}."
    return warned("waiting", said, "Start it: sudo systemctl start firstlight-provision", detail=found)


def keys(
    folder: str, load: Callable[[str], Mapping[str, bytes]], *, is_needed: bool, waits: bool, takes_any: bool
) -> Finding:
    """Whose codes this box would take in.

    Args:
        folder: of the trusted keys.
        load: reads them: key id -> key. Raises FirstlightError.
        is_needed: the box is neither enrolled nor provisioned.
        waits: the service that waits for a code is switched on.
        takes_any: the settings let codes in that nobody signed.
    """
    if not is_needed:
        return skipped("keys", NOT_WAITING)
    fix = f"Ask the operator for the hub's public key (firstlight-hub release-key) and put it into {folder}."
    judged = warned if waits else noted
    try:
        found = sorted(load(folder))
    except FirstlightError as error:
        return judged("keys", f"{error.message} [{error.code}]", error.hint or fix)
    detail: dict[str, object] = {"keys": found}
    if found:
        said = f"This box takes codes in that {len(found)} trusted key{'s' if found[1:] else ''} may have signed."
        return passed("keys", said, detail=detail)
    if takes_any:
        return passed("keys", "This box takes codes in that nobody signed: payload_trust says so.", detail=detail)
    return judged(
        "keys", "This box trusts no key: it refuses every code on a label, a stick or a screen.", fix, detail=detail
    )
