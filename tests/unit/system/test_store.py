"""The state directory against real disks: crashes, damage, full and read-only disks, links, rights, locks."""

import json
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import firstlight
from firstlight.core.model import Credential, Registration, Secret, Trust, parse_broker, parse_endpoint
from firstlight.errors import StateError
from firstlight.system import registration_file
from firstlight.system.store import BACKUP, CANDIDATE, CHANGE, KEY, REGISTRATION, WISH, StateDirectory, key_name

PACKAGE_ROOT = str(Path(firstlight.__file__).parent.parent)
CHILD = Path(__file__).with_name("crash_child.py")


def registration(device_id: str = "first") -> Registration:
    """One that can be told from another by its device id."""
    return Registration(
        platform="hub",
        endpoint=parse_endpoint("https://hub.example:8443"),
        trust=Trust("-----BEGIN CERTIFICATE-----\n", ("sha256//" + "A" * 43 + "=",)),
        workspace="acme",
        device_id=device_id,
        credential=Credential("secret", Secret("planted-key")),
        interval_s=60,
        key_fingerprint="sha256:" + "ab" * 32,
        csr_pem="csr",
        registered_at_s=1_795_000_000.5,
    )


@pytest.fixture
def store(tmp_path: Path) -> StateDirectory:
    """A prepared directory."""
    made = StateDirectory(str(tmp_path / "state"))
    made.prepare()
    return made


def in_child(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs a few lines with the agent at hand."""
    lines = f"import sys; sys.path[:0] = [{PACKAGE_ROOT!r}]\n{script}"
    return subprocess.run([sys.executable, "-I", "-c", lines, *words], capture_output=True, text=True, timeout=60)


def test_registration_comes_back_as_it_was_saved(store: StateDirectory) -> None:
    """Every field of a registration survives the disk, and the files are the owner's only."""
    store.save_registration(registration())

    assert store.load_registration() == registration()
    assert stat.S_IMODE(Path(store.path).stat().st_mode) == 0o700
    for name in (REGISTRATION, BACKUP):
        assert stat.S_IMODE((Path(store.path) / name).stat().st_mode) == 0o600


def test_a_registration_with_certificate_and_broker_comes_back(store: StateDirectory) -> None:
    """What MQTT and certificates added survives, in a format that an old agent refuses; so does a candidate."""
    found = registration()._replace(
        credential=Credential("certificate", certificate_pem="-----BEGIN CERTIFICATE-----\n"),
        transport="mqtt",
        broker=parse_broker("wss://hub.example/mqtt"),
        renew_at_s=1_800_000_000.5,
    )
    store.save_registration(found)
    store.save_candidate(registration("candidate"))

    assert store.load_registration() == found
    assert store.load_candidate() == registration("candidate")
    assert json.loads((Path(store.path) / REGISTRATION).read_text())["format"] == 2
    assert json.loads((Path(store.path) / CANDIDATE).read_text())["format"] == 1
    assert stat.S_IMODE((Path(store.path) / CANDIDATE).stat().st_mode) == 0o600


def test_nothing_there_is_no_registration(store: StateDirectory) -> None:
    """A fresh directory has no registration, no status and no texts."""
    assert store.load_registration() is None
    assert store.load_candidate() is None
    assert store.read_status() is None
    assert store.read_text(KEY) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff\xfe", b"x" * 2_000_000, b'{"format": 1}'])
@pytest.mark.parametrize("name", [REGISTRATION, BACKUP])
def test_one_damaged_copy_is_repaired_from_the_other(store: StateDirectory, name: str, damage: bytes) -> None:
    """Whichever copy is damaged, the registration is there, the copy is whole again and the damage is kept."""
    store.save_registration(registration())
    path = Path(store.path) / name
    path.write_bytes(damage)
    path.chmod(0o600)

    assert store.load_registration() == registration()
    assert registration_file.decode(path.read_bytes(), "") == registration()
    assert path.with_name(name + ".damaged").read_bytes() == damage
    assert [name in sentence for sentence in store.repairs] == [True]


def test_changed_value_is_damage(store: StateDirectory) -> None:
    """A bit that flipped inside a value is noticed by the checksum."""
    store.save_registration(registration())
    path = Path(store.path) / REGISTRATION
    path.write_text(path.read_text().replace("acme", "acne"))

    assert store.load_registration() == registration()


def test_two_damaged_copies_are_named_and_kept(store: StateDirectory) -> None:
    """With both copies damaged nothing is guessed at and nothing is deleted."""
    store.save_registration(registration())
    for name in (REGISTRATION, BACKUP):
        (Path(store.path) / name).write_bytes(b"junk")

    with pytest.raises(StateError) as caught:
        store.load_registration()

    assert caught.value.code == "state_corrupt"
    assert REGISTRATION in caught.value.message
    assert (Path(store.path) / REGISTRATION).read_bytes() == b"junk"


def test_newer_format_is_not_touched(store: StateDirectory) -> None:
    """A registration that a newer agent wrote is refused by name, even with an older copy beside it."""
    store.save_registration(registration())
    path = Path(store.path) / REGISTRATION
    newer = json.dumps({**json.loads(path.read_text()), "format": 4})
    path.write_text(newer)

    with pytest.raises(StateError) as caught:
        store.load_registration()

    assert caught.value.code == "state_newer"
    assert path.read_text() == newer


def test_a_kill_at_any_step_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    """After kill -9 before any step of saving and retiring, what was promised is there and no half file is read."""
    deadly = 0
    while True:
        deadly += 1
        folder = tmp_path / str(deadly)
        store = StateDirectory(str(folder))
        store.prepare()
        store.write_text(KEY, "first key")
        store.save_registration(registration("first"))
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(CHILD), PACKAGE_ROOT, str(folder), str(deadly)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        promised = done.stdout.split("\n")
        check_after_kill(store, promised)
        store.prepare()
        assert not list(folder.glob(".*.tmp")), "a leftover survives the next start"
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert deadly > 40, "the child counts fewer steps than it takes"


def check_after_kill(store: StateDirectory, promised: list[str]) -> None:
    """Compares what is there with what the child had promised before it was killed."""
    found = store.load_registration()
    device = found.device_id if found else None
    key = store.read_text(KEY)
    if "again" in promised:
        assert device == "third"
    elif "retired" in promised:
        assert (device, key) in {(None, None), ("third", None)}
    elif "saved" in promised:
        assert device in ("second", None) and key in ("second key", None)
        assert device is None or key is not None or (Path(store.path) / "retired").is_dir()
    elif "key" in promised:
        assert device in ("first", "second") and key == "second key"
    else:
        assert device == "first" and key in ("first key", "second key")


def test_retiring_sets_aside_and_deletes_nothing(store: StateDirectory) -> None:
    """Key, both copies and the reason lie in retired/, twice in one second too; the box is as before enrolling."""
    for _ in range(2):
        store.write_text(KEY, "key")
        store.save_registration(registration())
        store.retire("reset")

    aside = sorted((Path(store.path) / "retired").iterdir())
    assert len(aside) == 2
    for folder in aside:
        assert sorted(path.name for path in folder.iterdir()) == sorted([KEY, REGISTRATION, BACKUP, "reason.txt"])
        assert (folder / "reason.txt").read_text() == "reset\n"
    assert store.load_registration() is None and store.read_text(KEY) is None
    store.retire("again")  # nothing there: fine


def test_retiring_takes_a_change_under_way_along(store: StateDirectory) -> None:
    """No key, candidate, note or wish of the former device stays for the next one."""
    names = [KEY, key_name("sha256:" + "ab" * 32), CANDIDATE, CHANGE, WISH]
    for name in names:
        store.write_text(name, "{}")
    store.save_registration(registration())
    store.retire("reset")

    aside = next((Path(store.path) / "retired").iterdir())
    assert sorted(path.name for path in aside.iterdir()) == sorted([*names, REGISTRATION, BACKUP, "reason.txt"])
    assert [path.name for path in Path(store.path).iterdir()] == ["retired"]


def test_a_disk_that_fills_up_keeps_the_old_content(store: StateDirectory) -> None:
    """When not one more byte can be written, writing says state_unwritable and the old content stays."""
    store.save_registration(registration())
    done = in_child(
        "import resource, sys\n"
        "from firstlight.system.store import StateDirectory\n"
        "from firstlight.errors import StateError\n"
        "store = StateDirectory(sys.argv[1])\n"
        "old = store.load_registration()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))\n"
        "try:\n    store.save_registration(old._replace(device_id='second'))\n"
        "except StateError as error:\n    print(error.code)\n"
        "try:\n    store.write_status({'a': 'b' * 100})\n"
        "except StateError as error:\n    print('status', error.code)\n"
        "try:\n    store.prepare()\n    print('prepared')\nexcept StateError as error:\n    print(error.code)\n",
        store.path,
    )

    assert done.stdout.splitlines() == ["state_unwritable", "status state_unwritable", "prepared"], done.stderr
    assert store.load_registration() == registration()
    assert not list(Path(store.path).glob(".*.tmp"))
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 64


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_without_rights_is_named(tmp_path: Path) -> None:
    """A directory that cannot be written says so before anything is spent."""
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(StateError) as caught:
        StateDirectory(str(tmp_path / "locked" / "state")).prepare()

    assert caught.value.code == "state_unwritable"


def test_a_file_in_the_place_of_the_directory_is_named(tmp_path: Path) -> None:
    """A state directory that cannot be one is state_unwritable."""
    (tmp_path / "state").write_text("not a directory")

    with pytest.raises(StateError) as caught:
        StateDirectory(str(tmp_path / "state")).prepare()

    assert caught.value.code == "state_unwritable"


def test_symbolic_links_and_pipes_are_not_followed(store: StateDirectory, tmp_path: Path) -> None:
    """What is no plain file is refused by name, at once."""
    secret = tmp_path / "elsewhere"
    secret.write_text('{"a": 1}')
    (Path(store.path) / "link.json").symlink_to(secret)
    os.mkfifo(Path(store.path) / "pipe.json")

    for name in ("link.json", "pipe.json"):
        with pytest.raises(StateError) as caught:
            store.read_json(name)
        assert caught.value.code == "state_corrupt" and name in caught.value.message

    store.write_json("link.json", {"b": 2})
    assert secret.read_text() == '{"a": 1}', "writing replaces the link, not what it points to"


def test_readable_secrets_are_made_private_again_and_said(store: StateDirectory) -> None:
    """A key that others could read is 0600 after the next look, and the caller can say so."""
    store.write_text(KEY, "key")
    path = Path(store.path) / KEY
    path.chmod(0o644)

    assert store.read_text(KEY) == "key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [KEY in sentence for sentence in store.repairs] == [True]


def test_an_open_directory_is_closed_and_said(tmp_path: Path) -> None:
    """A state directory that others could list is private after prepare."""
    (tmp_path / "state").mkdir(mode=0o755)
    store = StateDirectory(str(tmp_path / "state"))
    store.prepare()

    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert len(store.repairs) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_writes_belongs_to_the_owner_of_the_directory(store: StateDirectory) -> None:
    """Files made with sudo can be read by the service's user."""
    os.chown(store.path, 12345, 12345)
    store.save_registration(registration())
    store.write_text(KEY, "key")
    with store.lock():
        pass
    store.retire("reset")

    found = {path: path.stat().st_uid for path in Path(store.path).rglob("*")}
    assert set(found.values()) == {12345}, found


def test_one_lock_at_a_time(store: StateDirectory) -> None:
    """A second enroll is told that one is at work; afterwards the way is free, for another process too."""
    script = (
        "from firstlight.system.store import StateDirectory\n"
        "from firstlight.errors import StateError\n"
        "try:\n    StateDirectory(sys.argv[1]).lock().__enter__()\n    print('free')\n"
        "except StateError as error:\n    print(error.code)\n"
    )
    with store.lock():
        assert in_child(script, store.path).stdout == "state_locked\n"
        with store.lock("running"):
            pass
    assert in_child(script, store.path).stdout == "free\n"


def test_who_holds_a_lock_is_seen_without_taking_it(store: StateDirectory) -> None:
    """The holder's pid, 0 when it is free, None without a file; and while one looks, another can take it."""
    assert store.holder("running") is None
    script = (
        "from firstlight.system.store import StateDirectory\nprint(StateDirectory(sys.argv[1]).holder('running'))\n"
    )
    with store.lock("running"):
        assert in_child(script, store.path).stdout == f"{os.getpid()}\n"
    assert in_child(script, store.path).stdout == "0\n"
    assert store.holder("running") == 0

    take = (
        "from firstlight.system.store import StateDirectory\nfrom firstlight.errors import StateError\n"
        "try:\n    StateDirectory(sys.argv[1]).lock('running').__enter__()\n"
        "except StateError as error:\n    print(error)\n"
    )
    with store.lock("running"):
        assert in_child(take, store.path).stdout == f"The agent runs already (pid {os.getpid()}). [agent_running]\n"


def test_damaged_small_files_are_named(store: StateDirectory) -> None:
    """A JSON file that is none, and a text that is not UTF-8, are state_corrupt."""
    for body in (b"{", b"[1]", b"[" * 100_000):
        (Path(store.path) / "attempt.json").write_bytes(body)
        with pytest.raises(StateError) as caught:
            store.read_json("attempt.json")
        assert caught.value.code == "state_corrupt"
    (Path(store.path) / KEY).write_bytes(b"\xff")
    with pytest.raises(StateError) as caught:
        store.read_text(KEY)
    assert caught.value.code == "state_corrupt"


def test_the_time_last_seen_is_kept_and_junk_is_nothing(store: StateDirectory) -> None:
    """The platform's clock survives a restart; a damaged file counts as never seen."""
    assert store.seen_s() == 0.0
    store.save_seen(1_795_000_000.4)
    assert store.seen_s() == 1_795_000_000.0
    (Path(store.path) / "seen.json").write_text('{"serverTimeS": "soon"}')
    assert store.seen_s() == 0.0


def test_the_directory_does_not_show_secrets(store: StateDirectory) -> None:
    """Neither the store nor what it holds prints the credential."""
    assert "planted-key" not in repr(store) + repr(registration()) + str(registration().credential)
