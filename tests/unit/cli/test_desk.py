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


def test_versions_and_failed_upgrades_are_in_the_list(
    desk: Callable[[bytes], Desk], capsys: pytest.CaptureFixture[str]
) -> None:
    """Which version a device runs has a column; one that did not take another has a warning with the reason."""
    failed = {"version": "0.9.0", "state": "failed", "at": "x", "code": "upgrade_crashed", "message": "It\x1b ended."}
    records = [
        {"id": "cam-1", "status": "online", "rfdm_version": "0.2.0", "upgrade": failed},
        {"id": "cam-2", "status": "online", "rfdm_version": "0.9.0"},
        {"id": "cam-3", "status": "online", "upgrade": {**failed, "state": "offered"}},
    ]
    assert desk(reply(json.dumps({"data": records}).encode()))("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "VERSION" in lines[0] and "0.2.0" in lines[1] and "0.9.0" in lines[2]
    assert lines[-1] == "warning: cam-1 did not take version 0.9.0: It? ended. [upgrade_crashed]"
    assert sum(line.startswith("warning") for line in lines) == 1


LONG_ID = "camera-of-the-north-gate-" + "0123456789" * 3
RECORDS: list[dict[str, object]] = [
    {"id": LONG_ID, "name": "n" * 60, "status": "online", "hostname": "h" * 41, "clone": True, "transport": "mqtt"},
    {
        "id": "cam-2",
        "name": "n" * 40,
        "status": "offline",
        "revoked": True,
        "transport": "http",
        "credential": "secret",
    },
    {"id": "cam-3", "status": "unknown", "credential": "certificate", "certificate_ends_at": "2020-01-02T03:04:05Z"},
    {"id": "cam-4", "status": "online", "credential": "certificate", "certificate_ends_at": "2999-01-02T03:04:05Z"},
]


def test_an_id_is_never_cut(desk: Callable[[bytes], Desk], capsys: pytest.CaptureFixture[str]) -> None:
    """An id is there to be copied, in the table and in a warning; long names and hosts end in an ellipsis."""
    assert desk(reply(json.dumps({"data": RECORDS}).encode()))("list") == 0
    lines = capsys.readouterr().out.splitlines()

    assert len(LONG_ID) > 40 and lines[1].startswith(f"{LONG_ID}  {'n' * 39}…  ") and lines[1].endswith(f"{'h' * 39}…")
    assert f"  {'n' * 40}  " in lines[2]
    assert f"two boxes beat as {LONG_ID}. " in lines[-1]


def test_the_list_tells_how_devices_beat_and_how_many_they_are(
    desk: Callable[[bytes], Desk], capsys: pytest.CaptureFixture[str]
) -> None:
    """Transport and credential have a column where a platform tells them; a revoked device is marked; totals below."""
    assert desk(reply(json.dumps({"data": RECORDS[1:]}).encode()))("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "ID",
        "NAME",
        "STATUS",
        "LAST",
        "HEARTBEAT",
        "TRANSPORT",
        "CREDENTIAL",
        "CERTIFICATE",
        "ENDS",
        "HOST",
    ]
    assert "  offline, revoked  " in lines[1] and "  http " in lines[1] and lines[1].split()[-2:] == ["-", "-"]
    assert lines[-1] == "3 devices: 1 online, 1 offline, 1 unknown; 1 revoked"

    plain = {"id": "cam-1", "name": "Cam", "status": "online", "last_heartbeat": None, "hostname": "box"}
    assert desk(reply(json.dumps({"data": [plain]}).encode()))("list") == 0
    assert capsys.readouterr().out.splitlines() == [
        "ID     NAME  STATUS  LAST HEARTBEAT  HOST",
        "cam-1  Cam   online  -               box",
        "",
        "1 device: 1 online",
    ]

    assert desk(reply(b'{"data": []}'))("list") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "0 devices"


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (("--status", "online"), [LONG_ID, "cam-4"]),
        (("--status", "revoked"), ["cam-2"]),
        (("--transport", "mqtt"), [LONG_ID]),
        (("--expires-within", "30"), ["cam-3"]),
        (("--expires-within", "1000000"), ["cam-3", "cam-4"]),
        (("--status", "online", "--transport", "http"), []),
    ],
)
def test_the_list_is_narrowed(
    desk: Callable[[bytes], Desk], capsys: pytest.CaptureFixture[str], words: tuple[str, ...], left: list[str]
) -> None:
    """By status, transport and the end of the certificate, in the table as in the JSON; the totals say of how many."""
    at = desk(reply(json.dumps({"data": RECORDS}).encode()))
    assert at("list", "--json", *words) == 0
    assert [record["id"] for record in json.loads(capsys.readouterr().out)["data"]] == left
    assert at("list", *words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(left)]] == left
    assert any(line.startswith(f"{len(left)} of 4 devices") for line in lines)


def test_another_install_id_is_made(desk: Callable[[bytes], Desk], capsys: pytest.CaptureFixture[str]) -> None:
    """Printed as create prints it: the command, or the bare installId; with --json the platform's own answer."""
    answer = {"deviceId": "cam-1", "installId": "abcdefgh01234567", "installIdExpiresAt": "2027-01-01T00:00:00Z"}
    at = desk(reply(json.dumps(answer).encode(), "201 Created"))
    assert at("invite", "cam-1") == 0
    assert at.asked == "POST /demo/devices/v2/cam-1/install-ids HTTP/1.1"
    shown = capsys.readouterr().out
    assert "valid until 2027-01-01T00:00:00Z" in shown and "installId   abcdefgh01234567" in shown
    assert at("invite", "cam-1", "--json") == 0
    assert json.loads(capsys.readouterr().out) == answer

    command = "curl -fsSk --pinnedpubkey sha256//x https://hub.example/install.sh | sh -s -- abcdefgh01234567"
    assert desk(reply(json.dumps({**answer, "installCommand": command}).encode(), "201 Created"))("invite", "c") == 0
    assert command in capsys.readouterr().out


def test_a_revocation_says_how_the_device_comes_back(
    desk: Callable[[bytes], Desk], capsys: pytest.CaptureFixture[str]
) -> None:
    """The last line is the command that lets it in again; removing has no such line."""
    assert desk(reply(b"", "204 No Content"))("revoke", "cam-1") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("To let it in again: ")
    assert desk(reply(b"", "204 No Content"))("remove", "cam-1") == 0
    assert "again" not in capsys.readouterr().out
