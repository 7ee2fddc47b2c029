"""The desk verbs against a small real server: what is asked for, and what a person reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firstlight.cli.main import main
from tests.contract.http_transports.servers import Server, answering, reply


class Desk:
    """A platform that gives one answer, and the words that lead to it."""

    def __init__(self, folder: Path, answer: bytes) -> None:
        self.server = Server(answering(answer))
        key_file = folder / "key"
        key_file.write_text("operator-key\n")
        key_file.chmod(0o600)
        self._to = ["--hub", self.server.url("").rstrip("/"), "--workspace", "demo", "--key-file", str(key_file)]

    def __call__(self, *words: str) -> int:
        """One desk verb; its exit status."""
        return main(["device", *words, *self._to])

    @property
    def asked(self) -> str:
        """The first line of the request."""
        return self.server.requests[0].split(b"\r\n")[0].decode()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Callable[[bytes], Desk]]:
    """Makes desks whose servers stop with the test."""
    made: list[Desk] = []

    def make(answer: bytes) -> Desk:
        made.append(Desk(tmp_path, answer))
        return made[-1]

    yield make
    for one in made:
        one.server.stop()


def test_create_says_what_the_device_is_to_have(desk: Callable[[bytes], Desk]) -> None:
    """--transport and --credential stand in the body; without them the fields are not there."""
    answer = reply(b'{"deviceId": "cam-1", "installId": "abcdefgh01234567"}', "201 Created")
    at = desk(answer)
    assert at("create", "Cam", "--transport", "websocket", "--credential", "certificate") == 0
    assert at("create", "Cam") == 0

    bodies = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in at.server.requests]
    assert bodies == [
        {"device_name": "Cam", "transport": "websocket", "credential": "certificate"},
        {"device_name": "Cam"},
    ]
    assert at("create", "Cam", "--transport", "pigeon") == 2


@pytest.mark.parametrize(
    ("act", "status", "request_line"),
    [
        ("revoke", "204 No Content", "DELETE /demo/devices/v2/cam-1/credential HTTP/1.1"),
        ("rotate", "202 Accepted", "POST /demo/devices/v2/cam-1/rotate HTTP/1.1"),
        ("remove", "204 No Content", "DELETE /demo/devices/v2/cam-1 HTTP/1.1"),
    ],
)
def test_a_credential_is_ended_or_replaced(
    desk: Callable[[bytes], Desk], capsys: pytest.CaptureFixture[str], act: str, status: str, request_line: str
) -> None:
    """One call, one line; with --json an object."""
    at = desk(reply(b"", status))
    assert at(act, "cam-1") == 0
    assert capsys.readouterr().out.startswith("cam-1: ")
    assert at.asked == request_line and b"Bearer operator-key" in at.server.requests[0]

    assert at(act, "cam-1", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"deviceId": "cam-1"}


def test_a_refused_revocation_is_said_as_such(
    desk: Callable[[bytes], Desk], capsys: pytest.CaptureFixture[str]
) -> None:
    """The platform's reason and a next step, exit 78; nothing is printed as done."""
    body = json.dumps({"error": {"type": "not_found", "message": "No such device."}}).encode()

    assert desk(reply(body, "404 Not Found"))("revoke", "cam-9") == 78
    shown = capsys.readouterr()
    assert "could not end the device's credential" in shown.err and "[not_found]" in shown.err and shown.out == ""


def test_clones_are_named_in_the_list(desk: Callable[[bytes], Desk], capsys: pytest.CaptureFixture[str]) -> None:
    """A device that two boxes beat as has a warning below the table; the others have none."""
    records = [{"id": "cam-1", "status": "online", "clone": True}, {"id": "cam-2", "status": "online"}]

    assert desk(reply(json.dumps({"data": records}).encode()))("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("warning")] == [lines[-1]]
    assert "two boxes beat as cam-1" in lines[-1] and "cam-2" not in lines[-1]
