"""``firstlight-hub ca`` and ``move``: what they say, and what they refuse."""

from __future__ import annotations

import json
import stat
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from firstlight_hub import tls
from firstlight_hub.cli import main
from firstlight_hub.folder import HubFolder
from firstlight_hub.private_files import write_private
from tests.hub.identities import new_authority
from tests.hub.served import change

HOSTS = ("127.0.0.1",)


@pytest.fixture
def folder(tmp_path: Path) -> HubFolder:
    """A hub's folder, freshly made."""
    made = HubFolder(tmp_path / "hub")
    made.create(HOSTS, 8443, "demo")
    made.finish(HOSTS, 8443, "demo")
    return made


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    """Runs one command in this process -> exit status, output, errors."""
    status = main([str(word) for word in words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_ca_commands_say_what_they_did(folder: HubFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """new, list, switch, list; twice new and switch without a successor are refused with the next step."""
    where = ("--dir", folder.path)
    status, _, errors = run(capsys, "ca", "switch", *where)
    assert (status, f"Run: firstlight-hub ca new --dir {folder.path}" in errors) == (2, True)
    status, output, _ = run(capsys, "ca", "new", *where)
    assert (status, f"firstlight-hub ca switch --dir {folder.path}" in output) == (0, True)
    assert "You may switch at once: boxes that trust either get in." in output
    status, _, errors = run(capsys, "ca", "new", *where)
    assert (status, f"Run: firstlight-hub ca switch --dir {folder.path}" in errors) == (2, True)
    listed = run(capsys, "ca", "list", *where)[1].splitlines()
    assert [line.split()[0] for line in listed] == ["STATE", "present", "next"]
    assert run(capsys, "ca", "switch", *where)[0] == 0
    after = run(capsys, "ca", "list", *where)[1].splitlines()
    assert [line.split()[0] for line in after] == ["STATE", "present", "former"]
    assert after[1].split()[1] == listed[2].split()[1]
    for name in ("ca.key", "ca.pem", "ca-former-1.key", "ca-former-1.pem"):
        assert stat.S_IMODE((folder.path / name).stat().st_mode) == 0o600


def test_move_command_writes_and_cancels_the_order(
    folder: HubFolder, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The order is for its owner only; --cancel takes it away, and a second one says that there was none."""
    other = tmp_path / "other.pem"
    other.write_text(new_authority().pem)
    words = ("--to", "https://new.example:9443", "--ca", other, "--broker", "certificate=mqtts://b.example:8884")
    assert run(capsys, "move", "--dir", folder.path, *words)[0] == 0
    path = folder.path / "move.json"
    order = json.loads(path.read_text())
    assert (order["endpoint"], order["trust"]) == ("https://new.example:9443", other.read_text())
    assert order["brokers"] == {"certificate": "mqtts://b.example:8884"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert run(capsys, "move", "--dir", folder.path, "--cancel")[0] == 0
    assert not path.exists()
    assert "no move" in run(capsys, "move", "--dir", folder.path, "--cancel")[1]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--to", "http://new.example"), "endpoint_insecure"),
        (("--to", "nowhere"), "endpoint_malformed"),
        (("--to", "https://new.example", "--ca", "/nowhere.pem"), "ca_malformed"),
        (("--to", "https://new.example", "--ca", __file__), "ca_malformed"),
        (("--to", "https://new.example", "--broker", "both=mqtts://b"), "usage"),
        (("--to", "https://new.example", "--broker", "secret=mqtt://b.example"), "usage"),
        (("--cancel", "--broker", "secret=mqtts://b"), "usage"),
        (("--broker", "secret=mqtts://b"), "usage"),
        (("--keep-brokers",), "usage"),
        (("--cancel", "--keep-brokers"), "usage"),
        (("--to", "https://new.example", "--cancel"), "usage"),
    ],
)
def test_move_that_cannot_be_is_refused(
    folder: HubFolder, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: str
) -> None:
    """Each with its code, and no order is left."""
    status, _, errors = run(capsys, "move", "--dir", folder.path, *words)
    assert status != 0
    assert f"[{code}]" in errors
    assert not (folder.path / "move.json").exists()


def test_move_shows_the_order(folder: HubFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --to: that there is none, and then what was ordered."""
    where = ("move", "--dir", folder.path)
    assert run(capsys, *where) == (0, "No move is ordered.\n", "")
    assert run(capsys, *where, "--to", "https://new.example:9443", "--system-trust")[0] == 0
    status, said, _ = run(capsys, *where)
    assert (status, "https://new.example:9443" in said, "system trusts" in said) == (0, True, True)
    assert "brokers stay" in said
    assert run(capsys, *where, "--to", "https://new.example", "--broker", "secret=mqtts://b.example:9883")[0] == 0
    said = run(capsys, *where)[1]
    assert ("own CA" in said, "Broker for secret: mqtts://b.example:9883" in said) == (True, True)


@pytest.mark.parametrize(
    ("settings", "words", "left"),
    [
        ({"mqtt": "mosquitto"}, (), ["secret=mqtts://", "certificate=mqtts://"]),
        ({"mqtt": "mosquitto"}, ("--broker", "secret=mqtts://b.example"), ["certificate=mqtts://"]),
        ({"mqtt": "mosquitto", "mqtt_certificate_port": 0}, ("--broker", "secret=mqtts://b.example"), []),
        ({"mqtt": "mosquitto", "mqtt_websocket_port": 8885}, ("--keep-brokers",), []),
        (
            {"mqtt": "mosquitto", "mqtt_certificate_port": 0, "mqtt_websocket_port": 8885},
            ("--broker", "secret=mqtts://b.example"),
            ["secretWebsocket=wss://"],
        ),
        ({}, (), ["secret=mqtts://", "certificate=mqtts://"]),
    ],
)
def test_move_leaves_no_box_on_mqtt_behind(
    folder: HubFolder,
    capsys: pytest.CaptureFixture[str],
    settings: dict[str, object],
    words: tuple[str, ...],
    left: list[str],
) -> None:
    """Each kind of broker that boxes may have been given is named, or said to stay; serve --mqtt counts too."""
    change(folder.path, **settings)
    if not settings:
        (folder.path / "mosquitto").mkdir()
    status, _, errors = run(capsys, "move", "--dir", folder.path, "--to", "https://new.example", *words)
    assert (status, (folder.path / "move.json").exists()) == ((2, False) if left else (0, True))
    for one in ("secret=mqtts://", "certificate=mqtts://", "secretWebsocket=wss://"):
        assert (f"--broker {one}" in errors) == (one in left)
    assert ("--keep-brokers" in errors) == bool(left)


def test_move_by_a_wrong_clock_is_refused(folder: HubFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """Boxes follow the latest order: one with a time that cannot be, since this hub's CA begins later, is not made."""
    key = tls.make_key()
    later = tls.make_ca(key, datetime.now(timezone.utc) + timedelta(days=3))
    write_private(folder.path / "ca.pem", tls.certificate_pem(later))
    write_private(folder.path / "ca.key", tls.key_pem(key))
    status, _, errors = run(capsys, "move", "--dir", folder.path, "--to", "https://new.example")
    assert status != 0
    assert "clock" in errors and "[usage]" in errors
    assert not (folder.path / "move.json").exists()


def test_move_behind_a_proxy_is_refused(folder: HubFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """Boxes that trust their system's store could not check the signature."""
    change(folder.path, behind_proxy=True, public_url="https://hub.example")
    assert run(capsys, "move", "--dir", folder.path, "--to", "https://new.example")[0] == 2
