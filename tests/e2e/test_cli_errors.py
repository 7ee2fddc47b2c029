"""What a user sees when something is wrong: one sentence, a code, the next step, an exit status; never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable

import pytest

from firstlight.cli.main import AT_THE_DESK, ON_THIS_BOX
from tests.e2e.conftest import BIN, Box, Hub

MakeBox = Callable[[Hub], Box]
HUB = ("--hub", "https://hub.example:8443")


def firstlight(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs the installed program with a plain environment."""
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **more}
    return subprocess.run(
        [str(BIN / "firstlight"), *words], capture_output=True, text=True, env=env, timeout=30, input=""
    )


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        ((), 2, ""),
        (("fly",), 2, "usage"),
        (("enroll",), 2, "usage"),
        (("enroll", "a" * 20), 2, "usage"),
        (("enroll", "a" * 20, "--patience", "long", *HUB), 2, "usage"),
        (("enroll", "a" * 20, "--hub", "hub.example"), 65, "endpoint_malformed"),
        (("enroll", "a" * 20, "--hub", "http://hub.example"), 65, "endpoint_insecure"),
        (("enroll", "a" * 20, "--pin", "sha256//short", *HUB), 65, "pin_malformed"),
        (("enroll", "a" * 20, "--ca-file", "/etc/hostname", *HUB), 65, "ca_malformed"),
        (("enroll", "a" * 20, "--ca-file", "/no/such/file", *HUB), 2, "settings_unreadable"),
        (("enroll", "@/no/such/file", *HUB), 65, "install_id_malformed"),
        (("enroll", "-", *HUB), 65, "install_id_malformed"),
        (("status", "--config", "/no/such/file"), 2, "settings_unreadable"),
        (("run", "--state-dir", "/proc/firstlight"), 78, "not_enrolled"),
        (("enroll", "a" * 20, "--state-dir", "/proc/firstlight", *HUB), 74, "state_unwritable"),
        (("device",), 2, "usage"),
        (("device", "create"), 2, "usage"),
        (("device", "list", *HUB), 2, "api_key_missing"),
        (("device", "list", *HUB, "--workspace", "w", "--key-file", "/no/such/file"), 2, "settings_unreadable"),
        (("device", "list", *HUB, "--platform", "nasa", "--workspace", "w", "--key-file", "KEY"), 2, "usage"),
    ],
)
def test_wrong_words(words: tuple[str, ...], status: int, code: str, tmp_path: object) -> None:
    """A wrong word on the command line is a sentence, its code and a next step."""
    key = f"{tmp_path}/key"
    with open(key, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write("a-key")
    done = firstlight(*[key if word == "KEY" else word for word in words])

    assert done.returncode == status, done.stderr
    if code:
        sentence, hint = done.stderr.rstrip().splitlines()[-2:]
        assert f"[{code}]" in sentence
        assert hint.strip()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", [*ON_THIS_BOX, *AT_THE_DESK])
def test_every_verb_explains_itself(verb: str) -> None:
    """--help works for every verb, and the first screen names them all."""
    assert firstlight(verb, "--help").returncode == 0
    assert verb in firstlight("--help").stdout


def test_output_into_a_closed_pipe() -> None:
    """A reader that goes away early is no fault of the program."""
    line = f"{BIN / 'firstlight'} facts | head -c 1 >/dev/null; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=30)

    assert done.stderr == ""


def test_damaged_registration(hub: Hub, make_box: MakeBox) -> None:
    """One damaged copy is repaired silently; both damaged is said by name, and reset helps."""
    created, box = hub.create("damaged"), make_box(hub)
    box.enroll(created.install_id.reveal())
    first, second = box.state_dir / "registration.json", box.state_dir / "registration.backup.json"
    whole = first.read_bytes()

    first.write_bytes(whole[:-20])
    assert box.status()["deviceId"] == created.device_id
    assert first.read_bytes() == whole

    first.write_bytes(b"")
    second.write_bytes(b"\x00" * 50)
    for verb in ("status", "run"):
        done = box.cli(verb, check=False)
        assert (done.returncode, "[state_corrupt]" in done.stderr) == (74, True)
    assert second.read_bytes() == b"\x00" * 50

    box.cli("reset", "--yes")
    again = hub.create("damaged, again")
    box.enroll(again.install_id.reveal())
    assert hub.status(again.device_id) == "online"


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff" * 100, b'{"installIdHash": 5}'])
def test_damaged_notes_do_not_matter(hub: Hub, make_box: MakeBox, damage: bytes) -> None:
    """Notes beside the registration may be damaged: enrolling and status work all the same."""
    box = make_box(hub)
    box.state_dir.mkdir(mode=0o700)
    for name in ("attempt.json", "enrolled.json", "status.json", "facts.json", "run.json"):
        (box.state_dir / name).write_bytes(damage)

    assert box.status()["state"] in ("not_enrolled", "enrolling")
    unreachable = box.cli("enroll", "a" * 20, "--hub", "http://127.0.0.1:9", "--patience", "0", check=False)
    assert (unreachable.returncode, "[connect_refused]" in unreachable.stderr) == (69, True)


def test_reset_asks_first(hub: Hub, make_box: MakeBox) -> None:
    """Without --yes and without a terminal nothing is reset; with it the old state is kept aside."""
    created, box = hub.create("reset"), make_box(hub)
    box.enroll(created.install_id.reveal())
    assert box.cli("reset", check=False).returncode == 2
    assert box.status()["deviceId"] == created.device_id

    box.cli("reset", "--yes")
    assert box.status()["state"] == "not_enrolled"
    assert list((box.state_dir / "retired").rglob("registration*.json"))


def test_enroll_as_json(hub: Hub, make_box: MakeBox) -> None:
    """--json prints one object and nothing else."""
    created, box = hub.create("json"), make_box(hub)

    found = json.loads(box.enroll(created.install_id.reveal(), "--json").stdout)

    assert (found["deviceId"], found["wasThere"], found["notBeating"]) == (created.device_id, False, None)
