"""``firstlight status`` for people: what is wrong and the next step first, then who this is, its way, and its dates."""

from __future__ import annotations

from datetime import datetime, timezone

from firstlight.cli import next_step
from firstlight.cli.durations import spoken
from firstlight.core.detached import WAITING
from firstlight.core.model import UPGRADE_MANAGED, UPGRADE_UNATTENDED
from firstlight.errors import HINTS

SKEW_WORTH_SHOWING_S = 2.0
NOT_YET = "provisioned, not yet registered"
LABELS = (
    ("why", "why"),
    ("next step", "hint"),
    ("since", "since"),
    ("next try", "nextTry"),
    ("device", "deviceId"),
    ("workspace", "workspace"),
    ("platform", "platform"),
    ("hub", "hub"),
    ("address", "address"),
    ("transport", "pairing"),
    ("broker", "broker"),
    ("certificate", "certificate"),
    ("last change", "lastChange"),
    ("last upgrade", "lastUpgrade"),
    ("upgrade", "upgradeWish"),
    ("last accepted", "accepted"),
    ("next beat", "nextBeat"),
    ("failures in a row", "failures"),
    ("kept beats", "spooled"),
    ("clock", "clock"),
    ("warning", "brokerWarning"),
    ("warning", "cloneWarning"),
    ("warning", "sandboxWarning"),
    ("hooks", "hooks"),
    ("first boot", "firstBoot"),
)


def show(found: dict[str, object], now_s: float, wall_s: float) -> None:
    """Prints what ``status.read`` found; the clocks as in ``in_words``."""
    print(f"{'state':<18} {_state(found)}")
    shown = {**found, **in_words(found, now_s, wall_s)}
    for label, name in LABELS:
        if shown.get(name) not in (None, "", 0):
            print(f"{label:<18} {shown[name]}")
    repairs = found.get("repairs")
    for repair in repairs if isinstance(repairs, list) else []:
        print(repair)
    if found["state"] == "not_enrolled":
        print(next_step.typed("To enroll: firstlight enroll INSTALL_ID --hub https://HOST:PORT --pin sha256//…"))
        print(next_step.typed("With the device file that the desk made: firstlight enroll --file FILE"))
        print(next_step.typed("Without a network: firstlight scan takes in the code on its label."))
    elif found["state"] == "enrolling":
        print(next_step.typed("To go on: firstlight enroll with the same INSTALL_ID, or the same file."))
    elif found["state"] == "stopped":
        print(f"The agent does not run. To start it: {next_step.to_start()}")
    elif found.get("agentRuns") is False:
        print(f"The agent does not run; it registers this box by itself once it does. Start it: {next_step.to_start()}")


def _state(found: dict[str, object]) -> str:
    state = str(found["state"]).replace("_", " ")
    if "provisionedAt" not in found or found["state"] == "retired":
        return state
    return NOT_YET if found["state"] == WAITING else f"{state}; {NOT_YET}"


def in_words(found: dict[str, object], now_s: float, wall_s: float) -> dict[str, str]:
    """What people read better as words.

    Args:
        found: what ``status.read`` found.
        now_s: seconds since boot.
        wall_s: seconds since 1970 by the box's own clock.
    """
    skew_s = found.get("skewS")
    hub_s = wall_s + (skew_s if isinstance(skew_s, (int, float)) else 0.0)
    words = {
        "hint": next_step.typed(str(found.get("hint") or "")),
        "why": " ".join(filter(None, (str(found.get("message") or ""), _bracketed(found.get("reason"))))),
        "certificate": _certificate(found, hub_s),
        "accepted": _day(found.get("lastAcceptedAt"), hub_s),
        "nextBeat": _next_beat(found, now_s),
        "nextTry": _away(found.get("nextTryMonoS"), now_s, ", by itself") if found.get("agentRuns") else "",
        "since": _since(found),
    }
    if found.get("transport"):
        spoken_by = found.get("protocol") or str(found["transport"]).upper()
        words["pairing"] = f"{spoken_by} with a {found.get('credential', 'secret')}"
    words["hub" if found.get("platform", "hub") == "hub" else "address"] = str(found.get("endpoint") or "")
    words.update(_upgrade(found.get("upgrade")))
    if found.get("weakened"):
        words["sandboxWarning"] = f"{found['weakened']} [sandbox_weakened] {HINTS['sandbox_weakened']}"
    if found.get("clone"):
        words["cloneWarning"] = "Two boxes beat with this device's identity. [clone_suspected]"
    for name, what in (("brokerRefuses", "refuses this device"), ("brokerOutOfReach", "is out of reach")):
        if found.get(name):
            code = str(found[name])
            words["brokerWarning"] = f"The broker {what}; its beats go over HTTP. [{code}] {HINTS.get(code, '')}"
    if isinstance(skew_s, (int, float)) and abs(skew_s) >= SKEW_WORTH_SHOWING_S:
        words["clock"] = (
            f"{spoken(abs(skew_s))} {'behind' if skew_s > 0 else 'ahead of'} the {found.get('platform') or 'hub'}'s"
        )
    return words


def _upgrade(found: object) -> dict[str, str]:
    """How the last upgrade ended, as a sentence; and the version that is asked for."""
    if not isinstance(found, dict):
        return {}
    words = {"upgradeWish": f"to version {found['wished']}, asked for by the hub"} if found.get("wished") else {}
    if found.get("version"):
        ending = f"failed: {found.get('message') or ''} {_bracketed(found['code'])}" if found["code"] else "done"
        if found["code"] in (UPGRADE_MANAGED, UPGRADE_UNATTENDED):
            ending = f"not from here: {found.get('message') or ''} {_bracketed(found['code'])}"
        words["lastUpgrade"] = f"to version {found['version']}: {' '.join(ending.split())}"
    return words


def _bracketed(code: object) -> str:
    return f"[{code}]" if code else ""


def _next_beat(found: dict[str, object], now_s: float) -> str:
    if found["state"] == "not_responding":
        return ""
    again = ", by itself" if found["state"] in ("cut_off", "parked") else ""
    return _away(found.get("nextBeatMonoS"), now_s, again)


def _away(due_s: object, now_s: float, again: str) -> str:
    """How far an instant of the boot clock is to come; "" where there is none."""
    if not isinstance(due_s, (int, float)):
        return ""
    return f"in {spoken(due_s - now_s)}{again}" if due_s > now_s else "now"


def _since(found: dict[str, object]) -> str:
    """When and by what it was provisioned, by its own clock, right or wrong then; "" where it was not."""
    if found.get("provisionedAt") is None or found["state"] == "retired":
        return ""
    return f"{found['provisionedAt']}, by this box's clock, from: {found.get('source')}"


def _certificate(found: dict[str, object], hub_s: float) -> str:
    """Until when it is good, and when the agent asks for the next one; "" without one."""
    ends_s, due_s = _seconds(found.get("certificateEndsAt")), _seconds(found.get("renewalDueAt"))
    if ends_s is None:
        return ""
    until = "ended" if ends_s <= hub_s else "valid until"
    text = f"{until} {_day(found['certificateEndsAt'], hub_s)}"
    if due_s is None:
        return text
    return f"{text}; renewal due {_day(found['renewalDueAt'], hub_s)}, by itself"


def _day(moment: object, hub_s: float) -> str:
    """A moment as a date and how far away it is: ``2027-02-19 15:58 UTC (in 90 days)``; "" where there is none."""
    seconds = _seconds(moment)
    if seconds is None:
        return ""
    away_s = seconds - hub_s
    away = f"in {spoken(away_s)}" if away_s > 0 else f"{spoken(-away_s)} ago"
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M} UTC ({away})"


def _seconds(moment: object) -> float | None:
    try:
        return datetime.fromisoformat(str(moment).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None
