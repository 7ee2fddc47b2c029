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
        (("enroll", "@/no/such/file", *HUB), 65, "source_unreadable"),
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


@pytest.mark.parametrize(
    "words",
    [
        ("enroll", "a" * 20, "--ca-file", "/no/such/file", *HUB),
        ("device", "list", *HUB, "--workspace", "w", "--key-file", "/no/such/file"),
        ("status", "--config", "/no/such/file"),
        ("enroll", "@/no/such/file", *HUB),
    ],
)
def test_a_file_that_is_not_there_is_a_matter_of_its_path(words: tuple[str, ...]) -> None:
    """Whoever mistyped a file's name is told to look at the path, not to become another user."""
    hint = firstlight(*words).stderr.rstrip().splitlines()[-1]

    assert hint.startswith("  Check the path"), hint


def test_a_verb_that_gives_up_says_who_tries_again(hub: Hub, make_box: MakeBox) -> None:
    """No agent tries again for a person: the hint says to run the command again; the daemon's own hints stay."""
    for words in (("enroll", "a" * 20, "--patience", "0"), ("device", "list", "--workspace", "w", "--key-file", "KEY")):
        box = make_box(hub)
        key = [str(hub.key_file) if word == "KEY" else word for word in words]
        refused = box.cli(*key, "--hub", "http://127.0.0.1:9", check=False)
        cut = box.cli(*key, "--hub", hub.url.replace("https://", "http://"), check=False)

        assert "[connect_refused]" in refused.stderr and "run the command again" in refused.stderr
        assert "The agent tries again" not in refused.stderr + cut.stderr
        assert f"use {hub.url}." in cut.stderr


def test_a_hub_without_its_pin_is_asked_for(hub: Hub, make_box: MakeBox) -> None:
    """With neither pin nor CA file the next step is to give one; there is no talk of the hub's CA."""
    done = make_box(hub).cli("enroll", "a" * 20, "--hub", hub.url, "--patience", "0", check=False)

    assert done.returncode == 69
    assert "[tls_untrusted]" in done.stderr and "--pin" in done.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("enroll", "a" * 20, "--json", "--hub", "http://127.0.0.1:9", "--patience", "0", "--state-dir", "DIR"), 69),
        (("enroll", "short", "--json", *HUB), 65),
        (("status", "--json", "--config", "/no/such/file"), 2),
        (("device", "list", "--json", *HUB), 2),
        (("facts", "--json", "--what"), 2),
    ],
)
def test_json_of_what_went_wrong(words: tuple[str, ...], code: int, tmp_path: object) -> None:
    """With --json a program reads the error from standard output; the person still reads it from standard error."""
    done = firstlight(*[str(tmp_path) if word == "DIR" else word for word in words])
    found = json.loads(done.stdout)["error"]

    assert done.returncode == code
    assert f"{found['message']} [{found['code']}]" in done.stderr
    assert found["hint"] in done.stderr and found["hint"]


def test_headings_claim_no_more_than_was_tried(hub: Hub) -> None:
    """A desk error names the act; what was not tried for want of a word is headed by the command alone."""
    desk = ("--hub", hub.url, "--pin", hub.pin, "--workspace", "demo", "--key-file", str(hub.key_file))
    missing = firstlight("device", "show", "no-such-device", *desk).stderr
    wordless = firstlight("device", "create").stderr

    assert missing.startswith("firstlight: could not show the device:")
    assert "(not_found)" not in missing and "[not_found]" in missing
    assert wordless.startswith("firstlight device create: ") and "could not" not in wordless


def test_next_steps_can_be_typed_as_they_stand(hub: Hub, make_box: MakeBox) -> None:
    """Where this program is not what the PATH calls firstlight, next steps give its path; and the state directory."""
    box = make_box(hub)
    box.env["PATH"] = "/usr/bin:/bin"
    away = box.cli("run", check=False).stderr
    (box.state_dir.parent / "firstlight").symlink_to(BIN / "firstlight")
    box.env["PATH"] = f"{box.state_dir.parent}:/usr/bin:/bin"
    linked = box.cli("run", check=False).stderr

    on_state = f"enroll --state-dir {box.state_dir}'"
    assert f"'{BIN / 'firstlight'} {on_state}" in away
    assert f"'firstlight {on_state}" in linked


def test_offline_without_a_payload_is_said(hub: Hub) -> None:
    """The operator who asks for offline mode is told when the platform made no payload for it."""
    desk = ("--hub", hub.url, "--pin", hub.pin, "--workspace", "demo", "--key-file", str(hub.key_file))
    done = firstlight("device", "create", "Offline box", "--type", "ai1", "--offline", *desk)

    assert done.returncode == 0, done.stderr
    assert "The platform gave no offline payload." in done.stdout or "QR payload" in done.stdout
