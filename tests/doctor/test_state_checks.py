"""What the agent keeps: rights, registration, trust, credential, kept heartbeats; service, release and what it says."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from firstlight.cli import doctor_plan
from firstlight.core.diagnosis import FAILURE, NOTE, PASS, WARNING, Finding
from firstlight.core.model import Credential, Registration
from firstlight.core.upgrade import Journal
from firstlight.system import checks_state, checks_unit
from firstlight.system.releases import Releases
from firstlight.system.store import StateDirectory
from tests.contract.http_transports.certificates import EXPIRED, NOT_YET_VALID, Identity, authority, self_signed
from tests.doctor.conftest import Enrolled
from tests.doctor.findings import check
from tests.doctor.test_box_checks import installed, put

NOW_S = time.time()
DAY_S = 86_400.0
NO_SERVICE = "/nowhere"


# -- permissions -----------------------------------------------------------------------------------------------------
def rights(state: Path, trust_dir: Path, *secrets: str, uid: int | None = None) -> Finding:
    """The check as this user."""
    uid = os.geteuid() if uid is None else uid
    return checks_state.permissions(str(state), str(trust_dir), secrets, uid, usual=NO_SERVICE)


def test_rights_as_they_should_be(state: Path, enrolled: Enrolled, tmp_path: Path) -> None:
    """A private directory with private files passes, with the status readable by all; so does none at all."""
    enrolled()
    put(state / "status.json", "{}").chmod(0o644)
    trust_dir = put(tmp_path / "trust.d/a.pub").parent
    trust_dir.chmod(0o755)
    (trust_dir / "a.pub").chmod(0o644)
    check(rights(state, trust_dir), "permissions", PASS, "is private")
    check(rights(tmp_path / "none", trust_dir), "permissions", PASS, "not there yet")


@pytest.mark.parametrize("open_one", ["the directory", "the registration", "the key", "the proxy's password"])
def test_rights_of_others(state: Path, enrolled: Enrolled, tmp_path: Path, open_one: str) -> None:
    """A secret that others can read is named, with the command that closes it; looking repairs nothing."""
    enrolled()
    password = put(tmp_path / "proxy.password", "user:pass")
    password.chmod(0o600)
    paths = {
        "the directory": state,
        "the registration": state / "registration.json",
        "the key": state / "device.key",
        "the proxy's password": password,
    }
    path = paths[open_one]
    path.chmod(path.stat().st_mode | 0o044)
    check(rights(state, tmp_path, str(password)), "permissions", FAILURE, str(path), "chmod go-rwx")
    assert path.stat().st_mode & 0o044


def test_trusted_keys_that_others_can_change(state: Path, tmp_path: Path) -> None:
    """A trusted key that somebody else could put there is a failure: no upgrade and no payload would count."""
    key = put(tmp_path / "trust.d/a.pub")
    key.parent.chmod(0o755)
    key.chmod(0o666)
    check(rights(state, key.parent), "permissions", FAILURE, str(key), "chown root")


def test_somebody_else_looks_at_the_service(state: Path, tmp_path: Path) -> None:
    """Whoever is not root looks at a state of his own, and is told so where a service has another."""
    found = checks_state.permissions(str(state), str(tmp_path), (), 1000, usual=str(tmp_path))
    check(found, "permissions", FAILURE, "not root", "sudo firstlight doctor")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_state_that_may_not_be_read(state: Path, tmp_path: Path) -> None:
    """A state directory that this user may not enter asks for sudo."""
    state.chmod(0)
    try:
        check(rights(state, tmp_path), "permissions", FAILURE, "sudo")
    finally:
        state.chmod(0o700)


# -- state -----------------------------------------------------------------------------------------------------------
def test_registration_is_there(state: Path, enrolled: Enrolled) -> None:
    """An enrolled box says as whom and where."""
    enrolled()
    registration, found = checks_state.read(str(state))
    check(found, "state", PASS, "dev-1", "acme", "https://hub.example:8443")
    assert registration and registration.device_id == "dev-1"


def test_registration_in_one_copy(state: Path, enrolled: Enrolled) -> None:
    """Damage to one copy is a warning, and looking does not repair it."""
    enrolled()
    damaged = put(state / "registration.json", "{")
    registration, found = checks_state.read(str(state))
    check(found, "state", WARNING, "registration.json is damaged", "Restart the agent")
    assert registration and damaged.read_text() == "{"


@pytest.mark.parametrize(
    ("text", "code"), [("{", "state_corrupt"), ('{"format": 99}', "state_newer"), ("\0" * 2_000_000, "state_corrupt")]
)
def test_registration_that_cannot_be_read(state: Path, text: str, code: str) -> None:
    """Damage to both copies, and a later version's, are told by their code."""
    put(state / "registration.json", text)
    put(state / "registration.backup.json", text)
    check(checks_state.read(str(state))[1], "state", FAILURE, f"[{code}]")


def test_box_without_registration(state: Path) -> None:
    """Never enrolled, lost, removed, reset, begun and provisioned are told apart."""
    check(checks_state.read(str(state))[1], "state", NOTE, "not enrolled", "firstlight scan")
    put(state / "enrolled.json", "{}")
    check(checks_state.read(str(state))[1], "state", FAILURE, "registration is gone", "same installId")
    (state / "retired").mkdir()
    check(checks_state.read(str(state))[1], "state", FAILURE, "was enrolled once", "firstlight reset")
    (state / "enrolled.json").unlink()  # 'firstlight reset'
    check(checks_state.read(str(state))[1], "state", NOTE, "not enrolled", "firstlight enroll")
    put(state / "attempt.json", "{}")
    check(checks_state.read(str(state))[1], "state", WARNING, "begun")
    put(state / "provisioned.json", "{")
    check(checks_state.read(str(state))[1], "state", FAILURE, "provisioned.json is damaged")


# -- trust -----------------------------------------------------------------------------------------------------------
def test_trust() -> None:
    """A good CA passes with its date; without one, pins or the system decide."""
    check(checks_state.trust(authority("hub CA").pem, (), NOW_S - DAY_S / 2), "trust", PASS, "CN=hub CA")
    check(checks_state.trust("", ("sha256//x",), NOW_S), "trust", PASS, "pinned key")
    check(checks_state.trust("", (), NOW_S), "trust", PASS, "this system trusts")


def test_trust_that_is_none() -> None:
    """A CA that cannot be read, has ended, begins later, or ends soon."""
    check(checks_state.trust("-----BEGIN CERTIFICATE-----\nx\n", (), NOW_S), "trust", FAILURE, "[ca_malformed]")
    check(checks_state.trust(self_signed(dates=EXPIRED).pem, (), NOW_S), "trust", FAILURE, "ended on")
    check(checks_state.trust(self_signed(dates=NOT_YET_VALID).pem, (), NOW_S), "trust", FAILURE, "begins only")
    soon = checks_state.trust(authority("hub CA").pem, (), NOW_S + 10 * DAY_S)
    check(soon, "trust", WARNING, "ends on")


# -- credential ------------------------------------------------------------------------------------------------------
def certified(enrolled: Enrolled, ca: Identity, state: Path, renew_at_s: float = 0.0) -> Registration:
    """A box with a certificate for its own key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    registration = enrolled()
    key = load_pem_private_key((state / "device.key").read_bytes(), None)
    made = (
        x509.CertificateBuilder()
        .subject_name(ca.certificate.subject)
        .issuer_name(ca.certificate.subject)
        .public_key(key.public_key())  # type: ignore[arg-type]
        .serial_number(1)
        .not_valid_before(ca.certificate.not_valid_before_utc)
        .not_valid_after(ca.certificate.not_valid_after_utc)
        .sign(ca.key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM).decode()
    return registration._replace(credential=Credential("certificate", None, pem), renew_at_s=renew_at_s)


def test_credential_is_well(state: Path, enrolled: Enrolled, ca: Identity) -> None:
    """A secret with its key passes, a certificate with its key tells until when."""
    check(checks_state.credential(str(state), enrolled(), NOW_S), "credential", PASS, "secret")
    check(checks_state.credential(str(state), certified(enrolled, ca, state), NOW_S), "credential", PASS, "good until")


def test_certificate_that_has_ended(state: Path, enrolled: Enrolled, ca: Identity) -> None:
    """An ended certificate is a failure, one that should have been renewed a warning."""
    one = certified(enrolled, ca, state, NOW_S + 5 * DAY_S)
    check(checks_state.credential(str(state), one, NOW_S + 90 * DAY_S), "credential", FAILURE, "ended on")
    check(
        checks_state.credential(str(state), one, NOW_S + 10 * DAY_S), "credential", WARNING, "should have been renewed"
    )


def test_credential_without_its_key(state: Path, enrolled: Enrolled, ca: Identity) -> None:
    """A key that is gone, damaged or another box's, and a certificate for another key."""
    registration = certified(enrolled, ca, state)
    other = registration._replace(credential=Credential("certificate", None, ca.issue(title="dev-1").pem))
    check(checks_state.credential(str(state), other, NOW_S), "credential", FAILURE, "not for its key")
    moved = registration._replace(key_fingerprint="sha256:" + "0" * 64)
    check(checks_state.credential(str(state), moved, NOW_S), "credential", FAILURE, "not that of the registration")
    (state / "device.key").unlink()
    check(checks_state.credential(str(state), registration, NOW_S), "credential", FAILURE, "new installId")


# -- spool -----------------------------------------------------------------------------------------------------------
BEAT = '{"seq": 1, "bootId": "b", "mono": 1.0, "wall": 1795000000.0, "metrics": {}, "reason": "dns_failed"}\n'


def test_spool(state: Path) -> None:
    """Kept beats are counted as the agent counts them, marks of what was handed over included."""
    check(checks_state.spool(str(state), {}, NOW_S), "spool", PASS)
    put(state / "spool.jsonl", BEAT * 3 + '{"dropped": 1}\n' + BEAT[:20])
    found = checks_state.spool(str(state), {}, NOW_S)
    check(found, "spool", NOTE, "2 heartbeats wait", "2026-11-18")
    assert (state / "spool.jsonl").read_text().endswith(BEAT[:20]), "looking cuts nothing"


def test_spool_with_losses(state: Path) -> None:
    """Lost beats, damage and beats that the hub could not read are warnings."""
    check(checks_state.spool(str(state), {"dropped": 7}, NOW_S), "spool", WARNING, "7 heartbeats were lost")
    put(state / "spool.jsonl", "junk\n" + BEAT)
    check(checks_state.spool(str(state), {}, NOW_S), "spool", WARNING, "1 heartbeats were lost")
    put(state / "spool.refused.jsonl", BEAT)
    check(checks_state.spool(str(state), {}, NOW_S), "spool", WARNING, "spool.refused.jsonl")


# -- unit ------------------------------------------------------------------------------------------------------------
def service(
    tmp_path: Path, values: dict[str, str] | None = None, *, is_enrolled: bool = True, said: bool = True
) -> Finding:
    """What systemctl(1) would say of the service."""
    whole = {
        "LoadState": "loaded",
        "UnitFileState": "enabled",
        "ActiveState": "active",
        "SubState": "running",
        "NRestarts": "0",
        "Result": "success",
        "ExecMainStatus": "0",
        "NeedDaemonReload": "no",
        **(values or {}),
    }
    text = "".join(f"{name}={value}\n" for name, value in whole.items())
    return checks_unit.unit(is_enrolled=is_enrolled, runs=str(tmp_path), ask=lambda words: text if said else None)


def test_unit_that_works(tmp_path: Path) -> None:
    """A service that runs passes, and so does one that waits for its box to be enrolled."""
    check(service(tmp_path), "unit", PASS, "active (running)")
    check(service(tmp_path, {"ActiveState": "inactive", "SubState": "dead"}, is_enrolled=False), "unit", PASS, "waits")
    removed = {"ActiveState": "failed", "SubState": "failed", "Result": "exit-code", "ExecMainStatus": "78"}
    check(service(tmp_path, removed, is_enrolled=False), "unit", PASS, "waits")
    check(service(tmp_path, removed), "unit", FAILURE, "exit status 78")


@pytest.mark.parametrize(
    ("values", "severity", "says"),
    [
        ({"ActiveState": "failed", "Result": "watchdog"}, FAILURE, "watchdog"),
        ({"SubState": "auto-restart", "Result": "exit-code", "ExecMainStatus": "74"}, FAILURE, "exit status 74"),
        ({"ActiveState": "inactive", "SubState": "dead"}, FAILURE, "systemctl start"),
        ({"UnitFileState": "disabled"}, WARNING, "enable --now"),
        ({"UnitFileState": "masked", "ActiveState": "inactive"}, FAILURE, "unmask"),
        ({"NRestarts": "12"}, WARNING, "12 times"),
        ({"NeedDaemonReload": "yes"}, WARNING, "daemon-reload"),
        ({"LoadState": "not-found"}, WARNING, "not-found"),
    ],
)
def test_unit_that_does_not(tmp_path: Path, values: dict[str, str], severity: str, says: str) -> None:
    """Failed, started again and again, stopped, switched off, changed on disk, not installed."""
    check(service(tmp_path, values), "unit", severity, says)


def test_box_without_systemd(tmp_path: Path) -> None:
    """Where systemd does not run, somebody else must start the agent; where it is silent, that is a warning."""
    check(checks_unit.unit(is_enrolled=True, runs=str(tmp_path / "none")), "unit", NOTE, "does not run here")
    check(service(tmp_path, said=False), "unit", WARNING, "does not answer")


def test_sandbox() -> None:
    """What the service lacks of its protection is told as the service told it."""
    check(checks_unit.sandbox(""), "sandbox", PASS)
    check(checks_unit.sandbox("Without ProtectHome."), "sandbox", WARNING, "ProtectHome", "systemctl cat")


# -- release ---------------------------------------------------------------------------------------------------------
OLD, NEW = "0.2.0-0123abcd", "0.3.0-89abcdef"


def test_release(tmp_path: Path) -> None:
    """The release that runs, and the one to go back to; a package and pip are told too."""
    installed(tmp_path, "/bin/sh", NEW)
    (tmp_path / "lib" / OLD).mkdir()
    check(checks_unit.release(str(tmp_path), "0.3.0", is_managed=False), "release", PASS, NEW, OLD)
    check(checks_unit.release("", "0.3.0", is_managed=True), "release", PASS, "a package")
    check(checks_unit.release("", "0.3.0", is_managed=False), "release", PASS, "pip")


def test_release_in_between(tmp_path: Path) -> None:
    """An upgrade that is under way is a warning, its damaged journal a failure."""
    installed(tmp_path, "/bin/sh", OLD)
    Releases(str(tmp_path)).note(Journal("prove", OLD, NEW, "0.3.0"))
    check(checks_unit.release(str(tmp_path), "0.2.0", is_managed=False), "release", WARNING, "prove", "--resume")
    put(tmp_path / "upgrade.json", "{")
    check(checks_unit.release(str(tmp_path), "0.2.0", is_managed=False), "release", FAILURE, "[state_corrupt]")


# -- what the agent says ---------------------------------------------------------------------------------------------
def said(state: str, **more: object) -> dict[str, object]:
    """A status."""
    return {"state": state, "intervalS": 60, "lastAcceptedAt": "2026-11-18T10:00:00Z", **more}


ACCEPTED_S = 1_794_996_000.0
Published = Callable[..., dict[str, object]]


def test_beats() -> None:
    """A beat of a minute ago passes; one of hours ago, none, and an agent that does not run are failures."""
    check(doctor_plan.judged_beats(said("online"), ACCEPTED_S + 60), "beats", PASS, "60 s ago")
    late = doctor_plan.judged_beats(said("cut_off", reason="dns_failed", hint="Check DNS."), ACCEPTED_S + 9000)
    check(late, "beats", FAILURE, "2 h ago", "[dns_failed]", "Check DNS.")
    check(doctor_plan.judged_beats(said("stopped"), ACCEPTED_S + 60), "beats", FAILURE, "does not run")
    silent = said("not_responding", message="The agent runs, but told nothing.")
    check(doctor_plan.judged_beats(silent, ACCEPTED_S), "beats", FAILURE, "told nothing")
    check(doctor_plan.judged_beats(said("starting", lastAcceptedAt=None), ACCEPTED_S), "beats", WARNING, "none was")


@pytest.mark.parametrize(
    ("status", "severity", "says"),
    [
        (said("online"), PASS, "accepts"),
        (said("stopped"), NOTE, "has not refused"),
        (said("parked", reason="device_unknown", message="No such device.", hint=""), FAILURE, "take_back"),
        (said("retired", reason="", message="Removed."), FAILURE, "[retired]"),
        (said("online", clone=True), FAILURE, "Two boxes"),
    ],
)
def test_refusal(status: dict[str, object], severity: str, says: str) -> None:
    """A refusal is told with the hub's reason, from what the agent heard last."""
    check(doctor_plan.judged_refusal(status), "refusal", severity, says)


def test_store_is_not_touched_by_looking(state: Path, enrolled: Enrolled) -> None:
    """Reading state, rights, credential and spool leaves every file as it was."""
    registration = enrolled()
    put(state / "spool.jsonl", BEAT)
    before = {path.name: (path.stat().st_mtime_ns, path.stat().st_mode) for path in state.iterdir()}
    checks_state.read(str(state))
    rights(state, state)
    checks_state.credential(str(state), registration, NOW_S)
    checks_state.spool(str(state), {}, NOW_S)
    assert before == {path.name: (path.stat().st_mtime_ns, path.stat().st_mode) for path in state.iterdir()}
    assert StateDirectory(str(state)).load_registration() == registration
