"""How ``firstlight rotate`` says that it did not come about: one sentence, one code, and the next step of that code."""

from __future__ import annotations

from pathlib import Path

import pytest

from firstlight.cli import change_now
from firstlight.cli.main import main
from firstlight.core.change import Notes, Result
from firstlight.errors import HINTS
from firstlight.system.store import StateDirectory
from tests.unit.cli.test_status import PLAIN

SUBJECT = "The credential could not be replaced: "


@pytest.fixture
def state_dir(tmp_path: Path) -> str:
    """Of an enrolled box on which no agent runs."""
    store = StateDirectory(str(tmp_path / "state"))
    store.prepare()
    store.save_registration(PLAIN)
    return store.path


def rotated(monkeypatch: pytest.MonkeyPatch, state_dir: str, code: str, message: str) -> int:
    """A rotation that ends so, told in the log as ``Changing`` tells it."""

    def perform(settings: object, store: object, registration: object, log: change_now.Log, _: object) -> object:
        log(4, "A candidate was damaged.")
        log(4, f"{SUBJECT}{message} [{code}]")
        return registration, Notes(rotation=Result(code, SUBJECT + message))

    monkeypatch.setattr(change_now, "perform", perform)
    return main(["rotate", "--state-dir", state_dir])


@pytest.mark.parametrize("code", ["credential_revoked", "clone_suspected", "key_invalid", "device_removed"])
def test_a_no_of_the_hub_keeps_its_own_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state_dir: str, code: str
) -> None:
    """Said once, with its own next step; nothing to run again."""
    assert rotated(monkeypatch, state_dir, code, "The hub says no.") == 78
    shown = capsys.readouterr()

    said = shown.out + shown.err
    assert said.count("The hub says no.") == 1 and said.count(f"[{code}]") == 1 and "rotation_failed" not in said
    assert shown.out == "  A candidate was damaged.\n"
    assert HINTS[code].partition("'")[0] in shown.err and "Run the command again" not in said


def test_what_may_pass_is_a_rotation_that_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state_dir: str
) -> None:
    """The cause is named in the sentence, and the next step is one sentence to its end."""
    assert rotated(monkeypatch, state_dir, "connect_refused", "Nobody is there.") == 69
    lines = capsys.readouterr().err.splitlines()

    assert lines[1] == "  Nobody is there. (connect_refused) [rotation_failed]"
    assert lines[2].startswith("  The present credential stays in use. ") and "Then run" not in lines[2]


def test_a_removed_device_is_said_to_be_retired(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As ``firstlight status`` says it: the hub has removed it, and what to do now."""
    store = StateDirectory(str(tmp_path / "state"))
    store.prepare()
    store.write_json("status.json", {"state": "retired", "deviceId": "dev-1", "message": "The operator removed it."})

    assert main(["rotate", "--state-dir", store.path]) == 78
    said = capsys.readouterr().err
    assert "The operator removed it. [retired]" in said and "Ask for a new installId" in said
