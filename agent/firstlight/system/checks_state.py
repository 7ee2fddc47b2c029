"""Checks of what the agent keeps: who may read it, the registration, its trust and credential, kept heartbeats.

They only look: nothing here repairs a file, since a technician wants to see what is wrong before it is put right.
"""

from __future__ import annotations

import json
import os
import stat
import time

from firstlight.core.diagnosis import Finding, failed, noted, passed, warned
from firstlight.errors import HINTS, StateError
from firstlight.system import files, provision_file, registration_file
from firstlight.system.facts import clean
from firstlight.system.keys import KeyFile, certificate_fingerprint
from firstlight.system.spool import BESIDE, MARK, MAX_BYTES, NAME, REFUSED
from firstlight.system.store import BACKUP, LOCK, REGISTRATION, RETIRED, RUNNING, STATUS, StateDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from firstlight.core.model import Registration

USUAL = "/var/lib/firstlight"
ATTEMPT, ENROLLED = "attempt.json", "enrolled.json"
LOST = "Enroll it again with the same installId, or ask the operator for a new one or for a new code."
OPEN_TO_ALL = frozenset({STATUS, LOCK, RUNNING, "result.json"})
MAX_NAMES = 200
SOON_S = 30 * 86_400.0
LATE_S = 86_400.0


def read(path: str) -> tuple[Registration | None, Finding]:
    """The registration, read without changing anything, and what there is to say about it.

    Args:
        path: the state directory.
    """
    copies: dict[str, Registration | None] = {}
    damage: list[StateError] = []
    for name in (REGISTRATION, BACKUP):
        try:
            found = files.read(path, name)
            copies[name] = registration_file.decode(found[0], os.path.join(path, name)) if found else None
        except StateError as error:
            copies[name] = None
            damage.append(error)
    one = copies[REGISTRATION] or copies[BACKUP]
    if one is None:
        return None, _damaged(damage[0]) if damage else _without(path)
    detail = {"deviceId": one.device_id, "workspace": one.workspace, "endpoint": one.endpoint.url}
    within = f" in workspace {one.workspace}" if one.workspace else ""
    text = f"Enrolled as {one.device_id}{within}, at {one.endpoint.url}."
    if damage:
        said = f"{text} One of the two copies of the registration is bad: {damage[0].message}"
        return one, warned("state", said, "Restart the agent: it repairs that copy from the other one.", detail=detail)
    return one, passed("state", text, detail=detail)


def _damaged(error: StateError) -> Finding:
    return failed("state", f"{error.message} [{error.code}]", error.hint, code=error.code)


def _without(path: str) -> Finding:
    """What is said of a box that has no registration."""
    if os.path.lexists(os.path.join(path, provision_file.NAME)):
        try:
            provision_file.load(StateDirectory(path))
        except StateError as error:
            return _damaged(error)
        return noted(
            "state",
            "Provisioned, not yet registered: the box registers by itself as soon as it reaches its hub.",
            "Give it a network. Until then 'firstlight receipt' shows how it is doing.",
            state="provisioned",
        )
    if os.path.lexists(os.path.join(path, ATTEMPT)):
        said = "Enrolling was begun and not finished."
        return warned("state", said, "Run 'firstlight enroll' again with the same installId.", state="enrolling")
    if os.path.lexists(os.path.join(path, ENROLLED)):  # 'firstlight reset' takes this one away
        if os.path.isdir(os.path.join(path, RETIRED)):
            return failed(
                "state", "This box was enrolled once, and is not any more.", HINTS["retired"], state="retired"
            )
        return failed("state", "This box was enrolled, but its registration is gone.", LOST, state="not_enrolled")
    return noted("state", "This box is not enrolled.", HINTS["not_enrolled"], state="not_enrolled")


def permissions(path: str, trust_dir: str, secret_files: tuple[str, ...], uid: int, usual: str = USUAL) -> Finding:
    """Who may read and change what.

    Args:
        path: the state directory.
        trust_dir: folder of the keys that releases and payloads are signed with.
        secret_files: other files with secrets, as the settings name them; "" is passed over.
        uid: of this process.
        usual: state directory of the service.
    """
    who = f"user {uid}" if uid else "root"
    if uid and path != usual and os.path.isdir(usual):
        said = f"You are not root; this looks at {path}, and the service keeps its state in {usual}."
        return failed("permissions", said, "Run: sudo firstlight doctor", uid=uid)
    try:
        names = sorted(os.listdir(path))[:MAX_NAMES]
    except (FileNotFoundError, NotADirectoryError):
        names = []
    except OSError as error:
        return failed("permissions", f"{path} cannot be read by {who}: {error.strerror}.", "Run it with sudo.", uid=uid)
    paths = [
        path,
        *(os.path.join(path, name) for name in names if name not in OPEN_TO_ALL),
        *filter(None, secret_files),
    ]
    open_ones = [one for one in paths if _is_open(one, is_folder=one == path)]
    unsafe = _unsafe(trust_dir)
    if unsafe:
        fix = f"Run: sudo chown root {unsafe[0]} && sudo chmod go-w {unsafe[0]}"
        said = f"Others than root can change the trusted keys in {', '.join(unsafe[:3])}."
        return failed("permissions", said, fix, paths=unsafe)
    if open_ones:
        fix = f"Run: sudo chmod go-rwx {' '.join(open_ones[:3])}"
        return failed("permissions", f"Others can read {', '.join(open_ones[:3])}.", fix, paths=open_ones)
    kept = f"{path} is private" if names or os.path.isdir(path) else f"{path} is not there yet"
    return passed("permissions", f"You are {who}; {kept}.", uid=uid)


def _is_open(path: str, *, is_folder: bool) -> bool:
    """Whether others than the owner may look into a folder, or at a file."""
    try:
        found = os.stat(path) if is_folder else os.lstat(path)
    except OSError:
        return False
    if is_folder:
        return bool(found.st_mode & 0o077)
    return stat.S_ISREG(found.st_mode) and bool(found.st_mode & 0o077)


def _unsafe(trust_dir: str) -> list[str]:
    """What in the folder of trusted keys could be changed by others than root and this user."""
    try:
        paths = [trust_dir, *(os.path.join(trust_dir, name) for name in sorted(os.listdir(trust_dir))[:MAX_NAMES])]
    except OSError:
        return []
    found = []
    for path in paths:
        status = os.lstat(path)
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or status.st_uid not in (0, os.geteuid()):
            found.append(path)
    return found


def trust(ca_pem: str, pins: tuple[str, ...], now_s: float) -> Finding:
    """The CA that the hub is recognised by.

    Args:
        ca_pem: as in ``Trust``, "" = the system's store or pins alone.
        pins: as in ``Trust``.
        now_s: seconds since 1970, as near to the hub's clock as is known.
    """
    if not ca_pem:
        how = "by its pinned key" if pins else "by the certificates that this system trusts"
        return passed("trust", f"The platform is recognised {how}.")
    from cryptography import x509  # here: 7 MB that only who asks pays for

    try:
        found = x509.load_pem_x509_certificates(ca_pem.encode())
    except ValueError:
        return failed("trust", "The platform's CA certificate cannot be read. [ca_malformed]", code="ca_malformed")
    ends_s = min(one.not_valid_after_utc.timestamp() for one in found)
    begins_s = max(one.not_valid_before_utc.timestamp() for one in found)
    day = time.strftime("%Y-%m-%d", time.gmtime(ends_s))
    name = _subject(found[0])
    if ends_s <= now_s:
        return failed("trust", f"The platform's CA {name} ended on {day}.", endsAtS=ends_s)
    if begins_s > now_s:
        said = f"The platform's CA {name} begins only on {time.strftime('%Y-%m-%d', time.gmtime(begins_s))}."
        return failed("trust", said, "This box's clock may be wrong: check it first.", endsAtS=ends_s)
    if ends_s - now_s < SOON_S:
        return warned(
            "trust",
            f"The platform's CA {name} ends on {day}.",
            "Tell the operator: the platform has to move to a new CA.",
        )
    return passed("trust", f"The platform is recognised by its CA {name}, good until {day}.", endsAtS=ends_s)


def _subject(certificate: Certificate) -> str:
    return repr(clean(certificate.subject.rfc4514_string()) or "without a name")


def credential(path: str, registration: Registration, now_s: float) -> Finding:
    """The credential, its key and its dates.

    Args:
        path: the state directory.
        registration: of this box.
        now_s: seconds since 1970, as near to the hub's clock as is known.
    """
    pem = registration.credential.certificate_pem
    try:
        KeyFile().load(StateDirectory(path), registration.key_fingerprint)
    except StateError as error:
        if error.code == "state_unreadable":
            return failed("credential", error.message, "Run it with sudo.", code=error.code)
        fix = "The key is gone for good: ask the operator for a new installId, run 'firstlight reset', enroll again."
        return failed("credential", f"{error.message} [{error.code}]", fix, code=error.code)
    if not pem:
        return passed("credential", "A secret that does not run out, and its key fits.", kind="secret")
    if certificate_fingerprint(pem) != registration.key_fingerprint:
        return failed("credential", "The device's certificate is not for its key.", kind="certificate")
    from cryptography import x509

    ends_s = x509.load_pem_x509_certificates(pem.encode())[0].not_valid_after_utc.timestamp()
    day = time.strftime("%Y-%m-%d", time.gmtime(ends_s))
    detail: dict[str, object] = {"kind": "certificate", "endsAtS": ends_s, "renewAtS": registration.renew_at_s}
    if ends_s <= now_s:
        said = (
            f"The device's certificate ended on {day}. The agent renews it with its key, once it reaches the platform."
        )
        return failed("credential", said, detail=detail)
    if registration.renew_at_s and now_s > registration.renew_at_s + LATE_S:
        return warned(
            "credential", f"The certificate should have been renewed by now; it ends on {day}.", detail=detail
        )
    return passed("credential", f"A certificate, good until {day}; its key fits.", detail=detail)


def spool(path: str, published: dict[str, object], now_s: float) -> Finding:
    """Heartbeats kept for later.

    Args:
        path: the state directory.
        published: what the running agent says; empty without one.
        now_s: seconds since 1970.
    """
    count, oldest_s, bad = _kept_beats(path)
    dropped = published.get("dropped")
    lost = dropped if isinstance(dropped, int) else 0
    detail = {"kept": count, "lost": lost, "unreadable": bad, "oldestAtS": oldest_s}
    if os.path.lexists(os.path.join(path, REFUSED)):
        said = f"The platform could not read some heartbeats; they are in {os.path.join(path, REFUSED)}."
        return warned("spool", said, "Ask the operator whether platform and agent fit each other.", detail=detail)
    if lost or bad:
        said = f"{lost + bad} heartbeats were lost (too many to keep, a full disk, or damage); {count} are kept."
        return warned(
            "spool", said, "Look at the disk, and at how long the platform has been out of reach.", detail=detail
        )
    if not count:
        return passed("spool", "No heartbeat waits.", detail=detail)
    since = f", the oldest of {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(oldest_s))}" if oldest_s else ""
    return noted("spool", f"{count} heartbeats wait for the platform{since}.", "", detail=detail)


def _kept_beats(path: str) -> tuple[int, float | None, int]:
    """Beats kept, when the oldest was, and unreadable lines. The agent's own reader cuts torn ends: not here."""
    kept: list[float | None] = []
    bad = 0
    for name in (NAME, BESIDE):
        try:
            found = files.read(path, name, 2 * MAX_BYTES)
        except StateError:
            return len(kept), None, bad + 1
        lines = found[0].split(b"\n") if found else []
        for line in lines[:-1]:  # what follows the last line end is still being written
            if line.startswith(MARK):
                number = line[len(MARK) : -1]
                del kept[: int(number) if number.isdigit() and len(number) < 8 else 0]
                continue
            try:
                beat = json.loads(line)
                wall_s = beat.get("wall")
                kept.append(wall_s if isinstance(wall_s, (int, float)) else None)
            except (ValueError, AttributeError, RecursionError):
                bad += 1
    return len(kept), kept[0] if kept else None, bad
