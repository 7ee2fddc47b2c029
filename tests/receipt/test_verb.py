"""``firstlight receipt`` on boxes of every kind: what a phone reads off the screen, the picture and the stick."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from firstlight.cli import receipt as receipt_verb
from firstlight.cli import settings as settings_file
from firstlight.cli.main import main
from firstlight.core.model import Metrics, MissedBeat, Moment
from firstlight.system import receipts
from firstlight.system.keys import KeyFile
from firstlight.system.spool import DiskSpool
from firstlight.system.store import KEY, RUNNING, StateDirectory
from firstlight.wire import receipt as wire
from firstlight.wire.heartbeat import missed_object, read_missed
from firstlight.wire.receipt import Receipt
from tests.desk import reading
from tests.receipt.box import TOKEN, provisioned, registered

LINK = re.compile(r"HTTPS?://[^\s\"]+/R/[A-Z2-7]+")


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of the usual width, with colours."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def shown(link: str) -> Receipt:
    """What a link says, its signature verified."""
    return wire.verify(wire.from_text(link))


def run(store: StateDirectory, *words: str) -> int:
    """The verb on a box."""
    return main(["receipt", "--state-dir", store.path, *words])


def test_a_phone_reads_it_off_the_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The drawn code, the link below it and the sentence say the same; the proof is that of the token."""
    store = provisioned(tmp_path / "state")
    assert run(store) == 0
    out = capsys.readouterr().out
    (link,) = LINK.findall(out)
    assert reading.texts(reading.from_terminal(out)) == [link]
    assert max(len(reading.ESCAPE.sub("", line)) for line in out.splitlines() if line.startswith("\x1b")) <= 80
    said = shown(link)
    key = KeyFile().make_or_load(store)
    assert wire.key_fingerprint(said.public_key) == key.key_fingerprint
    assert (said.device_id, said.workspace, said.state, said.counter) == ("cam-ladder-7", "site-nord", "provisioned", 1)
    assert said.proof == wire.proof_of(TOKEN, said.public_key, "cam-ladder-7") and not said.hint
    assert "Receipt 1 of cam-ladder-7" in out and TOKEN.reveal() not in out


@pytest.mark.parametrize("name", ["TERM", "NO_COLOR"])
def test_without_colours_it_is_light_on_dark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A console without colour codes draws what is light; that too is read."""
    monkeypatch.setenv(name, "dumb")
    assert run(provisioned(tmp_path / "state")) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert reading.texts(reading.from_terminal(out)) == LINK.findall(out)


def test_a_narrow_terminal_is_told_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the code has no room the way out is named, and the link is there all the same."""
    monkeypatch.setenv("COLUMNS", "40")
    assert run(provisioned(tmp_path / "state")) == 0
    out = capsys.readouterr().out
    assert "--png FILE" in out and LINK.search(out) and "█" not in out


def test_a_terminal_of_few_characters_is_told_so(tmp_path: Path) -> None:
    """Where the terminal's encoding has no half blocks nothing fails."""
    store = provisioned(tmp_path / "state")
    line = [str(Path(sys.executable).with_name("firstlight")), "receipt", "--state-dir", store.path]
    env = {**os.environ, "PYTHONIOENCODING": "latin-1", "COLUMNS": "80"}
    done = subprocess.run(line, capture_output=True, env=env, timeout=60, check=True)
    assert b"--png FILE" in done.stdout and b"HTTPS://" in done.stdout


def test_pictures_and_stick_hold_the_same_receipt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """PNG, SVG, RECEIPT.txt and RECEIPT.png of one call are one receipt, readable by all who carry it."""
    stick = tmp_path / "stick"
    stick.mkdir()
    png, svg = tmp_path / "r.png", tmp_path / "r.svg"
    words = ("--png", str(png), "--svg", str(svg), "--stick", str(stick), "--json")
    assert run(provisioned(tmp_path / "state"), *words) == 0
    told = json.loads(capsys.readouterr().out)
    texts = [
        *reading.texts(png),
        *reading.texts(reading.from_svg(svg.read_bytes())),
        *reading.texts(stick / "RECEIPT.png"),
        (stick / "RECEIPT.txt").read_text().splitlines()[0],
    ]
    assert texts == [told["link"]] * 4
    assert wire.from_text((stick / "RECEIPT.txt").read_text()) == wire.from_text(told["link"])
    assert told["counter"] == 1 and told["files"] == [str(png), str(svg), *map(str, sorted(stick.iterdir())[::-1])]
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in stick.iterdir())


def test_text_is_the_link_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--text draws nothing: to be copied, or sent by radio."""
    assert run(provisioned(tmp_path / "state"), "--text") == 0
    out = capsys.readouterr().out
    assert LINK.match(out) and "▀" not in out


def test_a_box_that_does_not_know_its_device_says_by_what_it_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a typed code the box knows only the token: the receipt carries the start of its hash."""
    assert run(provisioned(tmp_path / "state", device_id=""), "--json") == 0
    said = shown(json.loads(capsys.readouterr().out)["link"])
    assert said.device_id == "" and said.hint == wire.hint_of(TOKEN)
    assert said.proof == wire.proof_of(TOKEN, said.public_key, "")


def test_a_registered_box_needs_no_proof(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its key is known; nothing of a token is in the receipt, and its state is that of the agent."""
    assert run(registered(tmp_path / "state"), "--json") == 0
    said = shown(json.loads(capsys.readouterr().out)["link"])
    assert (said.device_id, said.state, said.proof, said.hint) == ("cam-1", "stopped", b"", b"")
    assert said.facts_hash and said.metrics != Metrics()


def test_the_beats_that_wait_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How many, from which to which, and a digest that the hub compares when they come."""
    store = registered(tmp_path / "state")
    spool = DiskSpool(store.path, missed_object, read_missed)
    beats = [MissedBeat(100 + n, Moment("ab" * 16, n * 60.5, 1e9 + n), Metrics(), "dns_failed") for n in range(40)]
    for beat in beats:
        spool.add(beat)
    assert run(store, "--text") == 0
    out = capsys.readouterr().out
    said = shown(LINK.findall(out)[0])
    assert said.beats == wire.KeptBeats(40, 100, 139, wire.digest_of(beats))
    assert "40 heartbeats wait for a network." in out


def test_it_works_beside_everything_else(tmp_path: Path) -> None:
    """A running agent and a verb at work hold their locks; a receipt needs neither."""
    store = provisioned(tmp_path / "state")
    with store.lock(), store.lock(RUNNING):
        assert run(store, "--text") == 0


def test_each_receipt_has_its_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also after a reset, which the counter outlives."""
    store = registered(tmp_path / "state")
    assert run(store, "--json") == 0
    assert main(["reset", "--yes", "--state-dir", store.path]) == 0
    registered(tmp_path / "state")
    assert run(store, "--json") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [json.loads(line)["counter"] for line in lines] == [1, 2]


def test_a_fresh_box_has_nothing_to_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither registered nor provisioned: a name, the next step, and nothing on the disk."""
    assert main(["receipt", "--state-dir", str(tmp_path / "state"), "--json"]) == 78
    caught = capsys.readouterr()
    assert json.loads(caught.out)["error"]["code"] == "not_enrolled"
    assert "firstlight enroll" in caught.err and "firstlight scan" in caught.err
    assert not (tmp_path / "state").exists()


def test_a_box_of_another_platform_gives_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody but a hub could read it."""
    assert run(registered(tmp_path / "state", platform="elsewhere")) == 2
    assert "[receipt_unsupported]" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["lost", "other", "junk"])
def test_without_its_key_it_signs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    """A missing, foreign or damaged key ends in a sentence, and no number is used up."""
    store = provisioned(tmp_path / "state")
    file = Path(store.path, KEY)
    file.unlink()
    if damage == "other":
        KeyFile().make_or_load(store)
    elif damage == "junk":
        file.write_text("no key")
    assert run(store) == 74
    assert "[state_corrupt]" in capsys.readouterr().err
    assert not Path(store.path, receipts.COUNTER).exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unwritable for root")
def test_a_number_that_cannot_be_kept_is_not_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a disk that refuses there is no receipt: the next one could have the same number."""
    store = provisioned(tmp_path / "state")
    Path(store.path).chmod(0o500)
    try:
        assert run(store) == 74
    finally:
        Path(store.path).chmod(0o700)
    caught = capsys.readouterr()
    assert "[state_unwritable]" in caught.err and "HTTPS" not in caught.out


@pytest.mark.parametrize("words", [["--stick", "nowhere"], ["--png", "nowhere/r.png"], ["--png", "."]])
def test_a_place_that_is_none_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """A folder that is not there, or a file that is a folder: one sentence, an exit status."""
    monkeypatch.chdir(tmp_path)
    assert run(provisioned(tmp_path / "state"), *words) in (2, 74)
    assert "nowhere" in (said := capsys.readouterr().err) or "is a folder" in said


def test_a_link_on_the_stick_is_replaced_not_followed(tmp_path: Path) -> None:
    """A stick that somebody prepared leads a root process nowhere."""
    stick, goal = tmp_path / "stick", tmp_path / "goal"
    stick.mkdir()
    goal.write_text("precious")
    (stick / "RECEIPT.txt").symlink_to(goal)
    store = provisioned(tmp_path / "state")
    made = receipt_verb.write_to_stick(settings_file.load(None, {"state_dir": store.path}, {}), str(stick))
    assert goal.read_text() == "precious" and not (stick / "RECEIPT.txt").is_symlink()
    assert (stick / "RECEIPT.txt").read_text().startswith(made.link)
    assert sorted(path.name for path in stick.iterdir()) == ["RECEIPT.png", "RECEIPT.txt"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_root_and_the_agents_user_take_turns(tmp_path: Path) -> None:
    """A receipt as root leaves nothing behind that the service's user cannot go on with."""
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o011)
    store, warm = provisioned(tmp_path / "state"), provisioned(tmp_path / "warm")
    for path in (Path(store.path), *Path(store.path).iterdir()):
        os.chown(path, 65_534, 65_534)
    # All that it needs is loaded before it becomes the other user, who may not reach this interpreter.
    program = (
        "import os, sys; from firstlight.cli.main import main\n"
        "main(['receipt', '--text', '--state-dir', sys.argv[1]])\n"
        "os.setgroups([]); os.setgid(int(sys.argv[3])); os.setuid(int(sys.argv[3]))\n"
        "sys.exit(main(['receipt', '--json', '--state-dir', sys.argv[2]]))"
    )
    found = []
    for user in (0, 65_534, 0, 65_534):
        line = [sys.executable, "-c", program, warm.path, store.path, str(user)]
        env = {**os.environ, "HOME": "/nonexistent"}
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, env=env, check=False)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout.splitlines()[-1])["counter"])
    assert found == [1, 2, 3, 4]
