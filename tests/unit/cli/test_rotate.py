"""How ``firstlight rotate`` says that it did not come about: one sentence, one code, and the next step of that code."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from firstlight.cli.main import main
from firstlight.core.model import parse_endpoint
from firstlight.errors import HINTS
from firstlight.system.keys import KeyFile
from firstlight.system.store import CANDIDATE, StateDirectory
from firstlight.wire.problem import Problem, encode_problem
from tests.contract.http_transports.servers import Server, answering, reply
from tests.unit.cli.test_status import PLAIN

DAMAGED = "candidate.json is damaged"


@pytest.fixture
def fingerprint(tmp_path: Path) -> str:
    """Of the key that the box has."""
    store = StateDirectory(str(tmp_path / "state"))
    store.prepare()
    return KeyFile().make_or_load(store).key_fingerprint


def rotated(folder: Path, url: str, fingerprint: str) -> int:
    """``firstlight rotate`` on an enrolled box on which no agent runs, and on which a candidate was damaged."""
    store = StateDirectory(str(folder / "state"))
    store.save_registration(PLAIN._replace(endpoint=parse_endpoint(url), key_fingerprint=fingerprint))
    (folder / "state" / CANDIDATE).write_bytes(b"{")
    return main(["rotate", "--state-dir", store.path])


@pytest.mark.parametrize("code", ["credential_revoked", "clone_suspected", "key_invalid", "device_removed"])
def test_a_no_of_the_hub_keeps_its_own_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fingerprint: str, code: str
) -> None:
    """Said once, with its own next step; nothing to run again."""
    problem = encode_problem(Problem(code, "The hub says no.", key_fingerprint=fingerprint))
    hub = Server(answering(reply(problem, "410 Gone")))
    try:
        assert rotated(tmp_path, hub.url("").rstrip("/"), fingerprint) == 78
    finally:
        hub.stop()
    shown = capsys.readouterr()

    said = shown.out + shown.err
    assert said.count("The hub says no.") == 1 and said.count(f"[{code}]") == 1 and "rotation_failed" not in said
    assert DAMAGED in shown.out and len(shown.out.splitlines()) == 1
    assert HINTS[code].partition("'")[0] in shown.err and "Run the command again" not in said


def test_what_may_pass_is_a_rotation_that_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fingerprint: str
) -> None:
    """The cause is named in the sentence, and the next step is one sentence to its end."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        peer = f"127.0.0.1:{closed.getsockname()[1]}"
    assert rotated(tmp_path, f"http://{peer}", fingerprint) == 69
    lines = capsys.readouterr().err.splitlines()

    assert lines[1] == f"  {peer} refused the connection. (connect_refused) [rotation_failed]"
    assert lines[2].startswith("  The present credential stays in use. ") and "Then run" not in lines[2]


def test_a_removed_device_is_said_to_be_retired(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As ``firstlight status`` says it: the hub has removed it, and what to do now."""
    store = StateDirectory(str(tmp_path / "state"))
    store.prepare()
    store.write_json("status.json", {"state": "retired", "deviceId": "dev-1", "message": "The operator removed it."})

    assert main(["rotate", "--state-dir", store.path]) == 78
    said = capsys.readouterr().err
    assert "The operator removed it. [retired]" in said and "Ask for a new installId" in said
