"""What ``firstlight doctor`` looks at, in which order, and what follows from what was found. Pure.

A check has a stable id. It ends in one finding: pass, note, warning, failure, or skipped with the reason. A check that
needs another one is skipped where that one failed, so that one cause is told once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

PASS, NOTE, WARNING, FAILURE, SKIPPED = "pass", "note", "warning", "failure", "skipped"
# From harmless to bad; what was skipped says nothing of its own.
ORDER = (SKIPPED, PASS, NOTE, WARNING, FAILURE)
# Beside those of the error tree (firstlight.errors), so that a script can tell them apart.
EXIT_STATUS = {SKIPPED: 0, PASS: 0, NOTE: 0, WARNING: 20, FAILURE: 21}


# A detail of a note that there is no network, on a box that was provisioned for a site without one.
NO_NETWORK = "withoutNetwork"
WITHOUT_NETWORK = "because there is no network"


class Finding(NamedTuple):
    """How one check ended.

    Args:
        id: of the check, a key of ``CHECKS``.
        severity: one of ``ORDER``.
        message: one sentence about what was found, without secrets.
        fix: what to do, in a technician's words; "" where nothing is to be done.
        detail: values for programs; JSON types only.
    """

    id: str
    severity: str
    message: str
    fix: str = ""
    detail: dict[str, object] = {}  # noqa: RUF012 - never changed

    def as_object(self) -> dict[str, object]:
        """As ``doctor --json`` has it."""
        found: dict[str, object] = {
            "id": self.id,
            "severity": self.severity,
            "message": self.message,
            "fix": self.fix,
        }
        return {**found, "detail": self.detail} if self.detail else found


class Check(NamedTuple):
    """One thing that is looked at.

    Args:
        what: a few words, as docs/doctor.md has them.
        severity: the worst that it can end in.
        fix: what usually helps.
        after: ids of the checks that must not have failed.
        is_network: it speaks to somebody; left out with --offline.
        deadline_s: after that its answer is not waited for.
    """

    what: str
    severity: str
    fix: str
    after: tuple[str, ...] = ()
    is_network: bool = False
    deadline_s: float = 3.0


# In the order in which they are made and shown. docs/doctor.md has this table; a test compares them.
CHECKS = {
    "settings": Check(
        "the settings file can be read, and nothing in it is wrong",
        FAILURE,
        "Correct the setting that is named, in /etc/firstlight/agent.toml.",
    ),
    "python": Check(
        "the version of Python, and that the installed program is whole",
        FAILURE,
        "Paste the install command again: it repairs what is missing.",
    ),
    "clock": Check(
        "this box's clock is not in the past, and somebody sets it",
        FAILURE,
        "Set the clock: sudo timedatectl set-time 'YYYY-MM-DD hh:mm:ss'. Better let NTP do it (UDP port 123).",
    ),
    "disk": Check(
        "there is room where the agent keeps its state, and it can be written",
        FAILURE,
        "Delete what is not needed. A disk that turned read-only is often a worn-out SD card: replace it.",
    ),
    "permissions": Check(
        "nobody else can read this box's secrets or change the keys it trusts; you may look at them",
        FAILURE,
        "Run the command with sudo; take the rights away from others with: chmod go-rwx FILE",
    ),
    "state": Check(
        "the box is enrolled, and its registration can be read",
        FAILURE,
        "Not enrolled: firstlight enroll. Damaged: firstlight reset, then enroll with a new installId or device file.",
    ),
    "trust": Check(
        "the CA certificate of the hub or other platform can be read and is within its dates",
        FAILURE,
        "Ask the operator for the new CA, then enroll this box anew with a new installId or device file.",
        ("state",),
    ),
    "credential": Check(
        "the box's credential and its key are there, fit each other and have not run out",
        FAILURE,
        "Have it replaced: firstlight rotate. If that fails, ask the operator for a new installId or device file.",
        ("state",),
    ),
    "release": Check(
        "which release runs, and whether an upgrade is under way",
        FAILURE,
        "See how far it is: firstlight upgrade --check",
    ),
    "unit": Check(
        "the service firstlight is installed, switched on and runs",
        FAILURE,
        "Start it: sudo systemctl enable --now firstlight. Why it ended: firstlight logs --errors",
        (),
        False,
        6.0,
    ),
    "sandbox": Check(
        "the running service is protected as its unit says",
        WARNING,
        "See which drop-in takes the protection away: systemctl cat firstlight",
    ),
    "beats": Check(
        "the agent runs, and when the platform last accepted a heartbeat",
        FAILURE,
        "Start the agent: sudo systemctl start firstlight. If it runs, correct what the checks below name.",
        ("state",),
    ),
    "refusal": Check(
        "the platform has not refused this device",
        FAILURE,
        "Ask the operator what happened to this device.",
        ("state",),
    ),
    "spool": Check(
        "heartbeats that wait for a network, and whether some were lost",
        WARNING,
        "Nothing, once the platform is reached: they are handed over by themselves.",
    ),
    "hooks": Check(
        "an integrator's hooks may be run, and ended well",
        WARNING,
        "See which and why: firstlight hooks, and what it wrote: journalctl -t firstlight-hook",
    ),
    "keys": Check(
        "a box that waits for its code trusts a key that may have signed one",
        WARNING,
        "Put the hub's public key into /etc/firstlight/trust.d; the operator has it from: firstlight-hub release-key",
    ),
    "waiting": Check(
        "the service that waits for a box's code is switched on and runs, where it is installed",
        FAILURE,
        "Switch it on: sudo systemctl enable --now firstlight-provision. Why it ended: firstlight logs --errors",
        (),
        False,
        6.0,
    ),
    "camera": Check(
        "a camera is there and you may use it",
        WARNING,
        "Plug the camera in again; join the group that may use it: sudo usermod -aG video USER",
    ),
    "scan": Check(
        "the libraries that read QR codes are there",
        NOTE,
        "Install them: sudo apt-get install libzbar0, or run the installer again with --with-scanning.",
    ),
    "led": Check(
        "a light that can show how scanning goes, and whether it can be switched",
        NOTE,
        "Run it as root; a box without such a light answers on the screen and on the stick.",
    ),
    "memory": Check(
        "there is memory left",
        WARNING,
        "See what takes it: top -o %MEM. Restart the box if it is not clear.",
    ),
    "load": Check(
        "the processor is neither overloaded nor too hot",
        WARNING,
        "See what takes it: top. Clean the fan and the air inlets of a hot box.",
    ),
    "route": Check(
        "a network cable or Wi-Fi is connected, and there is a way out",
        FAILURE,
        "Plug the cable in, or connect the Wi-Fi; check that the network gives this box an address: ip address",
    ),
    "dns": Check(
        "the name of the platform (or of the proxy) is found",
        FAILURE,
        "Check the spelling of the name and the DNS server of this box: cat /etc/resolv.conf",
        ("route",),
        True,
        5.0,
    ),
    "proxy": Check(
        "the proxy on the way, if there is one, lets this box through",
        FAILURE,
        "Check proxy and proxy_auth_file in /etc/firstlight/agent.toml with whoever runs the proxy.",
        ("dns",),
        True,
        5.0,
    ),
    "port": Check(
        "the platform's port takes a connection",
        FAILURE,
        "Check that the hub or other platform runs, and that no firewall on the way blocks its port.",
        ("dns", "proxy"),
        True,
        5.0,
    ),
    "tls": Check(
        "the other side speaks TLS, with a certificate that this box trusts",
        FAILURE,
        "Ask the network's administrator to let this box through to the platform without inspecting TLS.",
        ("trust", "dns", "proxy", "port"),
        True,
        7.0,
    ),
    "pin": Check(
        "the other side shows the key that this box was told",
        FAILURE,
        "Copy address and pin anew from the operator. If they are right, somebody on the way plays the platform.",
        ("port", "tls"),
        True,
        7.0,
    ),
    "portal": Check(
        "no login page of a network answers in the platform's place",
        FAILURE,
        "Log in to the network's page with a browser, or ask for this box to be let through without it.",
        ("dns",),
        True,
        6.0,
    ),
    "hub": Check(
        "a Firstlight hub answers, and is well",
        FAILURE,
        "Ask the operator to look at the hub's log.",
        ("port", "tls", "pin", "credential"),
        True,
        7.0,
    ),
    "skew": Check(
        "this box's clock agrees with the platform's",
        WARNING,
        "Set the clock, or let NTP do it (UDP port 123). Heartbeats go on meanwhile.",
        ("hub",),
        True,
    ),
    "broker": Check(
        "the MQTT broker is reached and lets this device in",
        FAILURE,
        "Ask the operator to look at the broker's log; its port must be open from this box.",
        ("state", "route", "credential"),
        True,
        8.0,
    ),
}
TOTAL_S = 28.0


def passed(check: str, message: str, detail: Mapping[str, object] | None = None, **more: object) -> Finding:
    """All is well."""
    return Finding(check, PASS, message, "", {**(detail or {}), **more})


def noted(
    check: str, message: str, fix: str = "", detail: Mapping[str, object] | None = None, **more: object
) -> Finding:
    """Worth knowing; nothing is wrong."""
    return Finding(check, NOTE, message, fix, {**(detail or {}), **more})


def warned(
    check: str, message: str, fix: str = "", detail: Mapping[str, object] | None = None, **more: object
) -> Finding:
    """Not yet a failure, but somebody should look; without a ``fix`` the usual one."""
    return Finding(check, WARNING, message, fix or CHECKS[check].fix, {**(detail or {}), **more})


def failed(
    check: str, message: str, fix: str = "", detail: Mapping[str, object] | None = None, **more: object
) -> Finding:
    """The box cannot do its work like that; without a ``fix`` the usual one."""
    return Finding(check, FAILURE, message, fix or CHECKS[check].fix, {**(detail or {}), **more})


def skipped(check: str, why: str) -> Finding:
    """It was not made, and why: a few words that follow "skipped"."""
    return Finding(check, SKIPPED, why)


def needed(wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The wanted checks and all that they come after, in order; all checks where none is named."""
    if not wanted:
        return tuple(CHECKS)
    found = set(wanted)
    # From the last to the first: what a check comes after stands before it.
    for name in reversed(CHECKS):
        if name in found:
            found.update(CHECKS[name].after)
    return tuple(name for name in CHECKS if name in found)


def blocked(check: str, found: dict[str, Finding]) -> str:
    """Why a check cannot be made after what was found so far, "" = it can."""
    for name in CHECKS[check].after:
        before = found.get(name)
        if before is None:
            continue
        if before.severity == FAILURE:
            return f"because {name} failed"
        if before.severity == NOTE and before.detail.get(NO_NETWORK):
            return WITHOUT_NETWORK
        if before.severity == SKIPPED and before.message.endswith((" failed", WITHOUT_NETWORK)):
            return before.message
    return ""


def shown(found: dict[str, Finding], wanted: tuple[str, ...]) -> list[Finding]:
    """What is told: everything, or what was asked for and the failures that stand in its way."""
    if not wanted:
        return list(found.values())
    return [each for each in found.values() if each.id in wanted or each.severity == FAILURE]


def worst(findings: list[Finding]) -> str:
    """The worst severity among them; "pass" for none."""
    return max((each.severity for each in findings), key=ORDER.index, default=PASS)


def as_object(findings: list[Finding]) -> dict[str, object]:
    """What ``doctor --json`` prints."""
    return {"checks": [each.as_object() for each in findings], "worst": worst(findings)}


def late(check: str) -> Finding:
    """A check that did not end in time."""
    return failed(check, f"{LATE.get(check, 'This check')} gave no answer within {CHECKS[check].deadline_s:.3g} s.")


LATE = {
    "dns": "The DNS server",
    "disk": "The disk of the state directory",
    "permissions": "The disk of the state directory",
    "state": "The disk of the state directory",
    "unit": "systemd",
    "proxy": "The proxy",
    "port": "The hub's address",
    "tls": "The other side's TLS",
    "hub": "The hub",
    "broker": "The broker",
}
