"""What ``firstlight status`` shows of a registration: transport, broker, certificate, and how the last change ended."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
import trustme

from firstlight.cli import status, status_words
from firstlight.cli.settings import Settings
from firstlight.core.model import Credential, Registration, Secret, Trust, parse_broker, parse_endpoint
from firstlight.system.store import StateDirectory

ENDS = datetime.datetime(2040, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
PLAIN = Registration(
    "hub", parse_endpoint("https://hub.example"), Trust(), "acme", "dev-1", Credential("secret", Secret("planted")),
    60, "sha256:" + "ab" * 32, "csr", 1.0,
)  # fmt: skip


def read(folder: Path, registration: Registration, **files: dict[str, object]) -> dict[str, object]:
    """The status of a box with that registration and those files."""
    store = StateDirectory(str(folder / "state"))
    store.prepare()
    store.save_registration(registration)
    for name, value in files.items():
        store.write_json(f"{name}.json", value)
    return status.read(Settings(state_dir=store.path))


def test_a_device_over_http_with_a_secret(tmp_path: Path) -> None:
    """The plain pairing: no broker, no dates, and the secret is nowhere."""
    found = read(tmp_path, PLAIN._replace(broker=parse_broker("mqtts://hub.example")))

    assert (found["state"], found["transport"], found["credential"]) == ("stopped", "http", "secret")
    assert found["broker"] is None, "where beats could go is not where they go"
    assert not {"certificateEndsAt", "renewalDueAt", "lastChange"} & set(found)
    assert "planted" not in json.dumps(found)


def test_a_device_over_mqtt_with_a_certificate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Broker, end of the certificate and the day of its renewal are shown, as data and as lines."""
    issued = trustme.CA().issue_cert("dev-1", not_after=ENDS)
    pem = issued.cert_chain_pems[0].bytes().decode()
    registration = PLAIN._replace(
        transport="mqtt",
        broker=parse_broker("wss://hub.example:8084/mqtt"),
        credential=Credential("certificate", certificate_pem=pem),
        renew_at_s=2_000_000_000.0,
    )
    found = read(tmp_path, registration)

    assert found["broker"] == "wss://hub.example:8084/mqtt" and found["certificateEndsAt"] == "2040-01-02T03:04:05Z"
    assert found["renewalDueAt"] == "2033-05-18T03:33:20Z"
    assert status.verb(["--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path)], None) == 3
    shown = capsys.readouterr().out
    assert "transport          MQTT with a certificate" in shown
    assert "\nbroker             wss://hub.example:8084/mqtt\n" in shown
    assert "\ncertificate        valid until 2040-01-02 03:04 UTC (in " in shown
    assert "; renewal due 2033-05-18 03:33 UTC (in " in shown


def test_a_certificate_that_cannot_be_read_hides_nothing(tmp_path: Path) -> None:
    """A damaged certificate leaves its date out and the rest in."""
    found = read(tmp_path, PLAIN._replace(credential=Credential("certificate", certificate_pem="junk")))

    assert found["credential"] == "certificate" and found["certificateEndsAt"] is None


@pytest.mark.parametrize(
    ("notes", "words"),
    [
        (
            {
                "lastRotation": {"message": "The hub said no.", "code": "key_invalid", "atS": 2e9},
                "lastMove": {"message": "Moved.", "atS": 1e9},
            },
            "The hub said no. [key_invalid] (2033-05-18T03:33:20Z)",
        ),
        ({"lastMove": {"message": "Moved.", "atS": 2e9}}, "Moved. (2033-05-18T03:33:20Z)"),
        ({"lastRotation": "junk", "lastMove": {"message": 5}}, None),
    ],
)
def test_the_last_change_is_told(tmp_path: Path, notes: dict[str, object], words: str | None) -> None:
    """The newer of rotation and move, with its code and time; junk is passed over."""
    assert read(tmp_path, PLAIN, change=notes).get("lastChange") == words


def test_damaged_notes_hide_nothing(tmp_path: Path) -> None:
    """A change file that cannot be read costs its line only."""
    read(tmp_path, PLAIN)
    (tmp_path / "state" / "change.json").write_text("{")

    assert status.read(Settings(state_dir=str(tmp_path / "state")))["deviceId"] == "dev-1"


def test_what_is_wrong_comes_first_with_its_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    """A parked device: why, with its code, what to do, and that it asks again by itself; then who it is."""
    found: dict[str, object] = {
        "state": "parked",
        "deviceId": "dev-1",
        "reason": "credential_revoked",
        "message": "The operator ended it.",
        "hint": "Ask the operator.",
        "nextBeatMonoS": 1_000.0,
    }
    status_words.show(found, now_s=100.0, wall_s=0.0)

    assert capsys.readouterr().out.splitlines() == [
        "state              parked",
        "why                The operator ended it. [credential_revoked]",
        "next step          Ask the operator.",
        "device             dev-1",
        "next beat          in 15 min, by itself",
    ]


def test_dates_are_told_by_the_hubs_clock() -> None:
    """A box whose clock is ten days behind does not call an ended certificate good."""
    ten_days_s = 864_000.0
    found: dict[str, object] = {
        "state": "online",
        "skewS": ten_days_s,
        "certificateEndsAt": "1970-01-10T00:00:00Z",
        "lastAcceptedAt": "1970-01-10T23:59:56Z",
    }
    words = status_words.in_words(found, 0.0, 0.0)

    assert words["certificate"] == "ended 1970-01-10 00:00 UTC (24 h ago)"
    assert words["accepted"] == "1970-01-10 23:59 UTC (4 s ago)"


@pytest.mark.parametrize("moment", [None, "", "junk", 5, "2040-13-01T00:00:00Z"])
def test_a_date_that_cannot_be_read_costs_its_line_only(moment: object) -> None:
    """What another version wrote, or nobody, hides nothing else."""
    words = status_words.in_words({"state": "online", "certificateEndsAt": moment, "transport": "http"}, 0.0, 0.0)

    assert (words["certificate"], words["pairing"]) == ("", "HTTP with a secret")


def test_a_broker_in_the_way_is_said_as_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    """Out of reach and refusing are two things; the device is online all the same."""
    status_words.show({"state": "online", "brokerOutOfReach": "connect_refused"}, 0.0, 0.0)
    away = capsys.readouterr().out
    status_words.show({"state": "online", "brokerRefuses": "mqtt_not_authorized"}, 0.0, 0.0)
    refusing = capsys.readouterr().out

    assert "warning            The broker is out of reach; its beats go over HTTP. [connect_refused] Check that" in away
    assert "The broker refuses this device; its beats go over HTTP. [mqtt_not_authorized]" in refusing


def test_a_clone_is_said_once_with_its_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    """The warning names it, the next step is what ends it, and neither says what the other does."""
    hint = "Run 'firstlight reset' on the copy and enroll it with an installId of its own."
    status_words.show({"state": "online", "clone": True, "hint": hint}, 0.0, 0.0)
    said = capsys.readouterr().out

    assert "[clone_suspected]" in said and said.count("on the copy") == 1 and "\nnext step          Run '" in said


@pytest.mark.parametrize(
    ("code", "message", "words"),
    [
        ("", "", "to version 0.3.0: done"),
        (
            "upgrade_unproved",
            "No beat was accepted.",
            "to version 0.3.0: failed: No beat was accepted. [upgrade_unproved]",
        ),
        ("upgrade_managed", "By apt.", "to version 0.3.0: not from here: By apt. [upgrade_managed]"),
    ],
)
def test_the_last_upgrade_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: str, message: str, words: str
) -> None:
    """As one line for people and as an object for scripts; and what the unit is asked for now."""
    last = {"version": "0.3.0", "id": "5eed" * 16, "attempt": 1, "code": code}
    last.update({"message": message} if message else {})
    wish = {"version": "0.4.0", "id": "ab" * 32, "path": "/bundles/firstlight-0.4.0-x86_64.tar", "attempt": 1}
    found = read(tmp_path, PLAIN, upgraded=last)
    assert found["upgrade"] == last

    StateDirectory(str(tmp_path / "state")).write_json("upgrade-wish.json", dict(wish))
    status.verb(["--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path)], None)
    shown = capsys.readouterr().out
    assert f"last upgrade       {words}\n" in shown
    assert "upgrade            to version 0.4.0, asked for by the hub\n" in shown


def test_a_damaged_result_hides_nothing(tmp_path: Path) -> None:
    """What the upgrade unit left half written is passed over."""
    found = read(tmp_path, PLAIN, upgraded={"version": "0.3.0"})
    assert found["deviceId"] == "dev-1" and "upgrade" not in found
