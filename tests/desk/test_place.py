"""Where the desk works and with which key; what is wrong with it is said in one sentence, before anybody is asked."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from firstlight.cli import output_file, settings
from firstlight.cli.device_everywhere import masked
from firstlight.cli.main import main
from firstlight.errors import StateError, UsageError
from tests.contract.http_transports.servers import Server, answering, reply
from tests.desk.conftest import Operator, ok
from tests.e2e.conftest import BIN, Hub

GOLDEN = json.loads((Path(__file__).parent / "golden_errors.json").read_text())
BUSY_HUB = reply(b"", "429 Too Many Requests", "Retry-After: 600")


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_what_is_wrong_is_said(operator: Operator, case: dict[str, object]) -> None:
    """Exit status and every word on standard error, for each way to be wrong."""
    operator.settings.write_text(str(case.get("settings", "")))
    operator.table("name,description\nA,x\nA,x\n", "twice.csv")
    operator.table("name,colour\nA,red\n", "odd.csv")
    operator.table("name,description\nA,\n", "less.csv")
    operator.key("key", "k")
    words = [str(word) for word in case["words"]]  # type: ignore[attr-defined]
    done = operator.device(*words)
    said = done.stderr.replace(str(operator.folder), "FOLDER").replace(f"{BIN}/", "").splitlines()
    assert (done.returncode, said, done.stdout) == (case["status"], case["said"], "")


@pytest.mark.parametrize(
    "text", ['desk = "x"', "desk = [1]", '[desk]\nhuawei = "x"', "[desk.hub]\nbase = 1", "[desk.hub.more]\nbase = 'x'"]
)
def test_tables_that_are_none(tmp_path: Path, text: str) -> None:
    """Refused by name, for every verb that reads the settings."""
    file = tmp_path / "agent.toml"
    file.write_text(text)
    for read in (lambda: settings.load(str(file), {}, {}), lambda: settings.desk_tables(str(file), {})):
        with pytest.raises(UsageError) as caught:
            read()
        assert caught.value.code == "settings_invalid"


def test_tables_beside_settings(tmp_path: Path) -> None:
    """The agent passes them over; the desk has them by platform."""
    file = tmp_path / "agent.toml"
    file.write_text('hub = "https://h"\n[desk.huawei]\nbase = "https://x"\n')
    assert settings.load(str(file), {}, {}).hub == "https://h"
    assert settings.desk_tables(str(file), {}) == {"huawei": {"base": "https://x"}}
    assert settings.desk_tables(None, {"XDG_CONFIG_HOME": str(tmp_path / "none")}) == {}


KEYRING = """
class errors: pass
def get_password(service, user):
    return {("firstlight", "qubitro"): "of-the-platform", ("firstlight", "qubitro/p1"): "of-the-project"}.get(
        (service, user))
"""
FAILURES = "class KeyringError(Exception): pass\n"


@pytest.mark.parametrize(("workspace", "key"), [("p1", "of-the-project"), ("p2", "of-the-platform")])
def test_the_key_from_a_keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workspace: str, key: str) -> None:
    """The project's own entry before the platform's."""
    library = tmp_path / "libraries" / "keyring"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text(KEYRING)
    (library / "errors.py").write_text(FAILURES)
    monkeypatch.syspath_prepend(str(library.parent))
    monkeypatch.setenv("HOME", str(tmp_path))
    server = Server(answering(reply(b"[]")))
    try:
        words = [
            "device",
            "list",
            "--platform",
            "qubitro",
            "--base",
            server.url("").rstrip("/"),
            "--workspace",
            workspace,
        ]
        assert main([*words, "--api-key-keyring"]) == 0
    finally:
        server.stop()
    assert f"Bearer {key}".encode() in server.requests[0]


def test_no_keyring_here(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the library is not installed: said so, with what to install."""
    monkeypatch.setitem(sys.modules, "keyring", None)
    words = ["device", "list", "--platform", "qubitro", "--config", str(operator.settings), "--workspace", "p"]
    assert main([*words, "--api-key-keyring"]) == 2
    said = capsys.readouterr().err
    assert "the library keyring is not installed. [keyring_missing]" in said and "firstlight[keyring]" in said


def test_ctrl_c_says_how_to_go_on(operator: Operator, hub: Hub) -> None:
    """Ends at once while it waits; the same command finishes. No secret is on the screen."""
    server = Server(answering(BUSY_HUB))
    to = ["--workspace", "demo", "--api-key-file", str(hub.key_file)]
    table = operator.table("name\nInterrupted A\nInterrupted B\n")
    line = [str(BIN / "firstlight"), "device", "create", "--csv", table, *to]
    process = subprocess.Popen([*line, "--hub", server.url("").rstrip("/")], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert "waiting 600 s" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=30)[1]
    finally:
        server.stop()
    assert process.returncode == 130 and "interrupted" in rest and "Traceback" not in rest
    Path(f"{table}.journal").unlink()
    assert ok(operator.device(*line[2:], "--hub", hub.url, "--pin", hub.pin)).count("Interrupted") == 2


def test_a_bar_for_who_watches(operator: Operator, hub: Hub) -> None:
    """On a terminal one line that grows, without a line for each device."""
    table = operator.table("name\n" + "".join(f"Watched {n}\n" for n in range(8)))
    line = [str(BIN / "firstlight"), "device", "create", "--csv", table, "--hub", hub.url, "--pin", hub.pin]
    mine, theirs = pty.openpty()
    process = subprocess.Popen(
        [*line, "--workspace", "demo", "--api-key-file", str(hub.key_file)], stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = b""
    try:
        while part := os.read(mine, 65_536):
            seen += part
    except OSError:
        pass  # the terminal ends with the program
    os.close(mine)
    assert process.wait(60) == 0
    assert b"] 8 of 8" in seen and b"line 2:" not in seen and seen.count(b"\n") < 4


def test_what_is_secret_is_masked() -> None:
    """By its name, at any depth; what only sounds like it and is no text stays."""
    record = {"id": "1", "auth_info": {"secret": "s", "secure_access": True}, "list": [{"device_token": "t", "n": 1}]}
    assert masked(record) == {
        "id": "1",
        "auth_info": {"secret": "***", "secure_access": True},
        "list": [{"device_token": "***", "n": 1}],
    }


def test_many_files_at_once(tmp_path: Path) -> None:
    """Whole and private each; one that is there as it should be is left alone, one that others may read is not."""
    files = {f"{n}.json": f"{n}".encode() for n in range(5)}
    output_file.write_all(tmp_path, files)
    before = (tmp_path / "0.json").stat().st_ino
    (tmp_path / "1.json").chmod(0o644)
    (tmp_path / "2.json").write_text("x")
    (tmp_path / "3.json").unlink()
    (tmp_path / "3.json").symlink_to(tmp_path / "0.json")
    output_file.write_all(tmp_path, files)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert not any(path.is_symlink() or path.stat().st_mode & 0o077 for path in tmp_path.iterdir())
    assert (tmp_path / "0.json").stat().st_ino == before
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError):
        output_file.write_all(tmp_path, {"new": b"", "folder": b""})
    with pytest.raises(StateError):
        output_file.write_all(tmp_path / "none", {"new": b""})
    assert not (tmp_path / "new").exists()
