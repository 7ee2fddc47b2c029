"""A box that the first version enrolled: its state directory, written down here, is good for this version as it is."""

import hashlib
import json
from pathlib import Path

import pytest

from firstlight.cli import reset, status
from firstlight.cli.run import run_file_of
from firstlight.cli.settings import Settings
from firstlight.core.change import Notes
from firstlight.core.lifecycle import Accepted
from firstlight.daemon.run_file import read_run_file
from firstlight.system import changes, registration_file
from firstlight.system.changes import DiskChanges
from firstlight.system.keys import KeyFile
from firstlight.system.store import StateDirectory
from tests.fakes import FakeClock

FIELDS = {
    "platform": "hub",
    "endpoint": "https://hub.example:8443",
    "caPem": "",
    "pins": ["sha256//" + "A" * 43 + "="],
    "workspace": "demo",
    "deviceId": "cam-1",
    "credential": {"kind": "secret", "secret": "1.planted-key", "certificatePem": ""},
    "intervalS": 60,
}


def body(fingerprint: str) -> bytes:
    """registration.json as the first version wrote it."""
    fields = {**FIELDS, "keyFingerprint": fingerprint, "csrPem": "csr", "registeredAtS": 1_790_000_000.0}
    checksum = hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    return json.dumps({"format": 1, "sha256": checksum, "registration": fields}, indent=1).encode() + b"\n"


@pytest.fixture
def store(tmp_path: Path) -> StateDirectory:
    """The whole directory of an agent that ran and was stopped for the upgrade."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    found = StateDirectory(str(folder))
    key = KeyFile().make_or_load(found)  # device.key, PKCS#8 in PEM, as ever
    files = {
        "registration.json": body(key.key_fingerprint),
        "registration.backup.json": body(key.key_fingerprint),
        "enrolled.json": b'{"installIdHash": "' + b"0" * 64 + b'"}',
        "facts.json": b'{"hostname": "box", "hardware": {}}',
        "seen.json": b'{"serverTimeS": 1790000100}',
        "run.json": json.dumps({"stateDir": str(folder), "runtimeDir": ""}).encode(),
        "status.json": b'{"state": "stopped", "deviceId": "cam-1", "lastAcceptedAt": "2026-09-21T14:13:20Z", "pid": 1}',
        "lock": b"",
        "running": b"",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)
    return found


def test_the_registration_is_read_and_written_as_before(store: StateDirectory) -> None:
    """HTTP with a secret, never due for renewal; saved again, the first version reads it: a way back."""
    registration = store.load_registration()

    assert registration is not None and registration.device_id == "cam-1"
    assert (registration.transport, registration.broker, registration.renew_at_s) == ("http", None, 0.0)
    assert registration.credential.secret is not None and registration.credential.secret.reveal() == "1.planted-key"
    assert registration_file.encode(registration) == body(registration.key_fingerprint) and store.repairs == []


def test_its_one_key_is_the_present_key(store: StateDirectory) -> None:
    """Found by its fingerprint under its plain name, and kept when former keys go."""
    registration = store.load_registration()
    assert registration is not None
    key = KeyFile().load(store, registration.key_fingerprint)
    following = KeyFile().make_next(store)
    assert len(store.key_names()) == 2
    store.remove_keys_but(key.key_fingerprint)
    assert store.key_names() == ["device.key"]
    assert following.key_fingerprint != key.key_fingerprint


def test_without_notes_nothing_is_due_and_a_wish_of_the_hub_is_kept(store: StateDirectory) -> None:
    """No change.json: no rotation, no move, no trouble; the first ``rotate`` of the hub makes the file."""
    registration = store.load_registration()
    assert registration is not None and changes.load(store) == Notes()
    log: list[str] = []
    found = DiskChanges(store, registration, FakeClock(), lambda priority, line: log.append(line))
    assert not found.is_due("") and not found.is_due("key_invalid") and log == []
    found.note(Accepted(60, 1_790_000_200.0, rotate=True))
    assert changes.load(store).rotate and found.is_due("")


def test_the_door_and_the_daemon_understand_each_other(store: StateDirectory) -> None:
    """A run file of the first version is written anew, and read."""
    registration = store.load_registration()
    assert registration is not None
    store.write_json("run.json", run_file_of(Settings(state_dir=store.path), store, registration))
    found = read_run_file(f"{store.path}/run.json")
    assert (found.state_dir, found.haste) == (store.path, 1.0) and found.again


def test_its_status_is_shown(store: StateDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    """A status that the first version published lacks what came since."""
    assert status.verb(["--state-dir", store.path], None) == 3
    shown = capsys.readouterr().out
    for line in (
        "state              stopped",
        "transport          HTTP with a secret",
        "last accepted      2026-09-21",
    ):
        assert line in shown


def test_a_reset_sets_every_key_aside(store: StateDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    """In the middle of a first rotation: both keys and the notes go with the registration, nothing is deleted."""
    following = KeyFile().make_next(store)
    changes.save(store, Notes(rotate=True, attempt_id="f" * 32, next_key=following.key_fingerprint))
    keys, former = store.key_names(), KeyFile().make_or_load(store)
    assert reset.verb(["--state-dir", store.path, "--yes"], None) == 0

    aside = next(Path(store.path, "retired").iterdir())
    assert {path.name for path in aside.iterdir()} == {
        *keys, "registration.json", "registration.backup.json", "change.json", "reason.txt",
    }  # fmt: skip
    assert store.key_names() == [] and store.load_registration() is None
    assert KeyFile().make_or_load(store).key_fingerprint != former.key_fingerprint, "the next enrolling makes its own"
