"""The archive for support: what is in it, and that no secret is, in whatever spelling and wherever it was planted."""

from __future__ import annotations

import base64
import io
import json
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from firstlight.cli import doctor_bundle
from firstlight.cli.doctor_case import Case
from firstlight.cli.doctor_redaction import STRUCK, Redactor, spellings
from firstlight.cli.settings import Settings
from firstlight.core.model import Invitation, Moment, Secret, Trust, parse_endpoint
from firstlight.core.provision import Provision
from firstlight.system import provision_file
from firstlight.system.journal_entries import Program
from firstlight.system.provision_file import Kept
from firstlight.system.store import StateDirectory
from tests.doctor.conftest import SECRET, Enrolled
from tests.e2e.conftest import BIN, Box, Hub

INSTALL_ID = "Zk3vQ9xT7mB2nR8wY5cH1jL4pd"
TOKEN = "7k2m9qxtw4hz3n8v"
PROXY_PASSWORD = "pr0xy-Pa55word"
OPERATOR_KEY = "fl_operator_Qw8ErTy2UiOp4AsDf"
PASSPHRASE = "correct horse battery"
PIN = "sha256//" + "Ab1" * 14 + "x="
TYPED_CODE = "7K2M-9QXT-W4HZ-3N8V-05"
PAYLOAD = "FL1:6BF+70/9DN1J0+RT4WT.T0+1*4WXF"
NAMES = {"doctor", "status", "facts", "settings", "versions"}
# What a box logs, and what others get it to log.
LOG = (
    "Beating as dev-1 to https://hub.example:8443.",
    f"GET /devices/v2/{INSTALL_ID}/install.sh",
    f"enroll with install_id = {INSTALL_ID}",
    f"somebody pasted {INSTALL_ID} here",
    f"Authorization: Bearer {SECRET}",
    f"redeem {TOKEN}",
    f"proxy http://user:{PROXY_PASSWORD}@proxy.example:3128",
    f"{base64.b64encode(f'user:{PROXY_PASSWORD}'.encode()).decode()}",
    f"{base64.b64encode(SECRET.encode()).decode()} {SECRET.encode().hex()}",
    f"WIFI:T:WPA;S:Hall 3;P:{PASSPHRASE};;",
    f"nmcli: psk={PASSPHRASE}",
    f"scanned {PAYLOAD}",
    f"typed {TYPED_CODE}",
    f"key {OPERATOR_KEY}",
)
SECRETS = {
    "installId": INSTALL_ID,
    "device key": SECRET,
    "token": TOKEN,
    "proxy password": PROXY_PASSWORD,
    "operator key": OPERATOR_KEY,
    "passphrase": PASSPHRASE,
    "typed code": TYPED_CODE,
    "payload": PAYLOAD[4:],
}


def program(path: Path, text: str) -> Path:
    """A program that prints that text, whatever it is asked."""
    path.parent.mkdir(exist_ok=True)
    (path.parent / f"{path.name}.txt").write_text(text)
    path.write_text(f"#!/bin/sh\ncat {path}.txt\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def planted(tmp_path: Path, state: Path, enrolled: Enrolled) -> tuple[list[str], dict[str, str]]:
    """A box with a secret in every place that it has for one, and in places that it has not; words and environment."""
    enrolled()
    provision_file.save(
        StateDirectory(str(state)),
        Kept(
            Provision(
                invitation=Invitation("hub", parse_endpoint("https://hub.example"), Trust(), Secret(TOKEN)),
                device_id="dev-1",
                workspace="acme",
                name="box",
                code_hash="0" * 64,
                source="camera",
                taken_at=Moment("0" * 32, 1.0, 1.0),
                key_fingerprint="sha256:" + "0" * 64,
            ),
            b"n0nce-of-16bytes",
        ),
    )
    files = {"proxy.password": f"user:{PROXY_PASSWORD}\n", "operator.key": f"{OPERATOR_KEY}\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    config = tmp_path / "agent.toml"
    config.write_text(
        f'proxy = "http://user:{PROXY_PASSWORD}@127.0.0.1:1"\nproxy_auth_file = "{tmp_path}/proxy.password"\n'
        f'api_key_file = "{tmp_path}/operator.key"\nstate_dir = "{state}"\nworkspace = "acme"\npin = "{PIN}"\n'
    )
    # systemd is replaced at its seam, the program on the path.
    unit = (
        f"# /etc/systemd/system/firstlight.service\n[Service]\nEnvironment=FOO={PASSPHRASE}\n"
        f"# {PASSPHRASE!r}\nSetCredential=agent.toml:{TOKEN}\n"
    )
    program(tmp_path / "bin/systemctl", unit)
    env = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    status = {"state": "parked", "message": f"The key {SECRET} is not known.", "deviceId": "dev-1"}
    (state / "status.json").write_text(json.dumps(status))
    return ["doctor", "--offline", "--config", str(config), "--state-dir", str(state)], env


def archive(words: list[str], env: dict[str, str], path: Path) -> dict[str, str]:
    """The files in the archive that doctor writes."""
    line = [str(BIN / "firstlight"), *words, "--bundle", str(path)]
    done = subprocess.run(line, capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode in (0, 20, 21), done.stderr
    assert not [name for name, secret in SECRETS.items() if secret in done.stdout + done.stderr]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as opened:
        found = {}
        for member in opened.getmembers():
            content = opened.extractfile(member)
            assert content is not None
            assert member.mode == 0o600
            found[member.name.removeprefix("firstlight-doctor/")] = content.read().decode()
    return found


def test_archive_is_useful(planted: tuple[list[str], dict[str, str]], tmp_path: Path) -> None:
    """It has what who helps from afar asks for, and of the state directory names, sizes and rights."""
    found = archive(*planted, tmp_path / "report.tar.gz")
    assert set(found) == {f"{name}.json" for name in NAMES} | {"state.txt", "unit.txt", "log.txt"}
    assert {each["id"] for each in json.loads(found["doctor.json"])["checks"]} >= {"state", "dns", "permissions"}
    assert json.loads(found["facts.json"])["platform"] == "Linux"
    assert json.loads(found["versions.json"])["python"]
    for name in ("registration.json", "device.key", "provisioned.json"):
        assert name in found["state.txt"]
    assert "-rw------- " in found["state.txt"]
    assert "# /etc/systemd/system/firstlight.service\n[Service]\n" in found["unit.txt"]
    assert "dev-1" in found["status.json"]
    assert json.loads(found["settings.json"])["pin"] == PIN, "public, and often what is wrong"


@pytest.mark.parametrize("which", SECRETS)
def test_archive_has_no_secret(planted: tuple[list[str], dict[str, str]], tmp_path: Path, which: str) -> None:
    """None of the planted secrets is in any file of it: not plain, not in Base64 at any offset, not in hex."""
    found = archive(*planted, tmp_path / "report.tar.gz")
    for name, text in found.items():
        for form in spellings(SECRETS[which]):
            assert form not in text, (name, form)


def test_log_in_the_archive(state: Path, enrolled: Enrolled, tmp_path: Path) -> None:
    """The last log lines are in it, without the secrets that were logged."""
    registration = enrolled()
    password = tmp_path / "proxy.password"
    password.write_text(f"user:{PROXY_PASSWORD}\n")
    entries = [
        {
            "__REALTIME_TIMESTAMP": "1795000000000000",
            "PRIORITY": "6",
            "_SYSTEMD_UNIT": "firstlight.service",
            "MESSAGE": one,
        }
        for one in LOG
    ]
    journalctl = program(tmp_path / "bin/journalctl", "".join(json.dumps(entry) + "\n" for entry in entries))
    case = Case(Settings(state_dir=str(state), proxy_auth_file=str(password)))
    body = doctor_bundle.made([], case, lambda: Program(str(journalctl)))
    with tarfile.open(fileobj=io.BytesIO(body)) as opened:
        content = opened.extractfile("firstlight-doctor/log.txt")
        assert content is not None
        text = content.read().decode()
    assert len(text.splitlines()) == len(LOG)
    assert f"Beating as {registration.device_id} to https://hub.example:8443." in text
    for name, secret in SECRETS.items():
        assert not [form for form in spellings(secret) if form in text], name


def test_archive_has_nothing_of_the_keys(
    planted: tuple[list[str], dict[str, str]], tmp_path: Path, state: Path
) -> None:
    """No line of a private key and none of a registration is in it."""
    found = "".join(archive(*planted, tmp_path / "report.tar.gz").values())
    lines = [line for line in (state / "device.key").read_text().splitlines() if not line.startswith("-----")]
    lines += [line.strip() for line in (state / "registration.json").read_text().splitlines() if "csr" in line]
    assert lines
    assert not [line for line in lines if line in found]


def test_archive_that_cannot_be_written(box: Box, hub: Hub) -> None:
    """A place that does not exist is an error of its own, before anything is printed."""
    done = box.cli("doctor", "--offline", "--bundle", "/nowhere/report.tar.gz", check=False)
    assert (done.returncode, done.stdout) == (74, "")
    assert "[output_unwritable]" in done.stderr and "Check the path" in done.stderr


def test_archive_takes_no_link(box: Box, hub: Hub, tmp_path: Path) -> None:
    """A link in the archive's place is replaced, and what it leads to stays as it was."""
    target = tmp_path / "target"
    target.write_text("mine")
    path = tmp_path / "report.tar.gz"
    path.symlink_to(target)
    box.cli("doctor", "--offline", "--bundle", str(path), check=False)
    assert not path.is_symlink()
    assert target.read_text() == "mine"


# -- striking out ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [
        "Online: the platform accepts this device's beats, one every 60 s.",
        "firstlight.service: Main process exited, code=exited, status=74",
        "No word from https://hub.example:8443: hub.example:8443 refused the connection. [connect_refused]",
        "2026-11-21T14:30:05Z error    firstlight: Cut off [sandbox_weakened] See: systemctl cat firstlight",
        "See /var/lib/firstlight/registration.json and /etc/firstlight/agent.toml.",
        "ExecStart=/opt/firstlight/bin/firstlight run\nProtectKernelTunables=yes\nSystemCallFilter=~@privileged",
        "The certificate of hub.example:8443 is not trusted: self-signed certificate",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    """The agent's own words go through unchanged."""
    assert Redactor([]).all(text) == text


def test_what_is_known_to_be_none_stays() -> None:
    """A device id and a fingerprint look like secrets; they are known and stay."""
    fingerprint = "0123456789abcdef" * 4
    text = f"device line4-press-0017-x9 with sha256:{fingerprint}"
    assert Redactor([], ["line4-press-0017-x9", fingerprint]).all(text) == text
    assert STRUCK in Redactor([]).all(text)


@pytest.mark.parametrize("offset", range(3))
def test_base64_at_every_offset(offset: int) -> None:
    """A secret inside something longer is struck out of its Base64, wherever it begins."""
    whole = base64.b64encode(b"x" * offset + f"{SECRET} and more".encode()).decode()
    left = Redactor([SECRET]).exact(whole)
    assert STRUCK in left
    assert not [form for form in spellings(SECRET) if form in left]


def test_key_in_a_log_is_struck_out_whole() -> None:
    """A private key that somebody logged goes, begun or whole."""
    key = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\nAgEGCCqGSM49AwEH\n-----END PRIVATE KEY-----"
    assert Redactor([]).all(f"before {key} after") == f"before {STRUCK} after"
    assert "MIGH" not in Redactor([]).all(f"before {key[:60]}")
