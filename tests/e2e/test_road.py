"""The main road with the real programs: installId to online, refusals by name, loss and return of hub and device."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firstlight.core.exchange import HttpCall
from firstlight.core.model import Trust
from firstlight.transports.http_calls import HttpCalls
from tests.e2e.conftest import Box, Hub, wait_until

MakeBox = Callable[[Hub], Box]


def api(hub: Hub, method: str, path: str, body: dict[str, object] | None = None) -> Any:
    """An operator's call to the hub's own API; the JSON it answers."""
    headers = (("Authorization", f"Bearer {hub.key.reveal()}"), ("Content-Type", "application/json"))
    with HttpCalls(Trust(pins=(hub.pin,))) as calls:
        data = None if body is None else json.dumps(body).encode()
        reply = calls.exchange(HttpCall(method, f"{hub.url}/demo/devices/v2{path}", headers, data), 10)
    assert reply.status < 300, reply.body
    return json.loads(reply.body) if reply.body else None


def test_unknown_online_offline_online(hub: Hub, make_box: MakeBox) -> None:
    """A created device is unknown, online once its agent beats, offline when it stops, online when it starts again."""
    created, box = hub.create("road"), make_box(hub)
    assert hub.status(created.device_id) == "unknown"
    assert hub.devices()[created.device_id]["hostname"] is None

    box.enroll(created.install_id.reveal())
    agent = box.run()
    wait_until("the agent says online", lambda: box.status()["state"] == "online")
    assert hub.status(created.device_id) == "online"
    assert hub.devices()[created.device_id]["hostname"]
    assert box.cli("status").returncode == 0

    agent.send_signal(signal.SIGTERM)
    assert agent.wait(5) == 0
    assert box.cli("status", check=False).returncode == 3
    wait_until("the list says offline", lambda: hub.status(created.device_id) == "offline")

    box.run()
    wait_until("the list says online", lambda: hub.status(created.device_id) == "online")


def test_same_command_twice(hub: Hub, make_box: MakeBox) -> None:
    """The same installId on the same box a second time is fine; another box is refused by name."""
    created, box, other = hub.create("twice"), make_box(hub), make_box(hub)
    box.enroll(created.install_id.reveal())

    assert "already enrolled" in box.enroll(created.install_id.reveal()).stdout
    refused = other.enroll(created.install_id.reveal(), check=False)
    assert (refused.returncode, "[install_id_taken]" in refused.stderr) == (78, True)
    assert created.install_id.reveal() not in refused.stderr + refused.stdout
    again = box.enroll(hub.create("second id").install_id.reveal(), check=False)
    assert (again.returncode, "[already_enrolled]" in again.stderr) == (2, True)


def test_two_enrolls_at_once(hub: Hub, make_box: MakeBox) -> None:
    """Two enrolls of one box at the same time make one registration; the one that came second says why it did not."""
    created, box = hub.create("race"), make_box(hub)
    results: list[subprocess.CompletedProcess[str]] = []

    def enroll() -> None:
        results.append(box.enroll(created.install_id.reveal(), check=False))

    threads = [threading.Thread(target=enroll) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    for done in results:
        assert done.returncode == 0 or "[state_locked]" in done.stderr
    assert 0 in {done.returncode for done in results}
    assert hub.status(created.device_id) == "online"


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (("not an id",), 65, "install_id_malformed"),
        (("",), 65, "install_id_malformed"),
        (("a" * 26,), 78, "install_id_unknown"),
    ],
)
def test_wrong_ids(hub: Hub, make_box: MakeBox, words: tuple[str], status: int, code: str) -> None:
    """A malformed or unknown installId has its own code and exit status, and leaves the box as it was."""
    box = make_box(hub)
    done = box.enroll(words[0], check=False)

    assert (done.returncode, f"[{code}]" in done.stderr) == (status, True)
    assert box.status()["state"] == "not_enrolled"


def test_revoked_and_expired_ids(own_hub: Hub, make_box: MakeBox) -> None:
    """A revoked and an expired installId are told apart, and a new one for the same device works on the same box."""
    created, box = own_hub.create("revoked"), make_box(own_hub)
    listed = api(own_hub, "GET", f"/{created.device_id}/install-ids")
    handle = listed["data"][0]["handle"]
    assert created.install_id.reveal() not in json.dumps(listed)
    api(own_hub, "DELETE", f"/{created.device_id}/install-ids/{handle}")
    assert "[install_id_revoked]" in box.enroll(created.install_id.reveal(), check=False).stderr

    file = own_hub.folder / "hub.toml"
    file.write_text(re.sub(r"install_id_ttl_s = \d+", "install_id_ttl_s = 1", file.read_text()))
    own_hub.stop()
    own_hub.serve()
    short = own_hub.create("expired")

    def state() -> object:
        return api(own_hub, "GET", f"/{short.device_id}/install-ids")["data"][0]["state"]

    wait_until("it has expired", lambda: state() == "expired")
    assert "[install_id_expired]" in box.enroll(short.install_id.reveal(), check=False).stderr

    file.write_text(re.sub(r"install_id_ttl_s = \d+", "install_id_ttl_s = 600", file.read_text()))
    own_hub.stop()
    own_hub.serve()
    fresh = api(own_hub, "POST", f"/{short.device_id}/install-ids", {})["installId"]
    box.enroll(fresh)
    assert own_hub.status(short.device_id) == "online"


def test_a_reimaged_box_replaces_the_key(hub: Hub, make_box: MakeBox) -> None:
    """A new installId for a registered device lets a new key in; the old key is refused and its agent parks."""
    created, old, new = hub.create("reimaged"), make_box(hub), make_box(hub)
    old.enroll(created.install_id.reveal())
    old.run()
    wait_until("the old one is online", lambda: old.status()["state"] == "online")

    new.enroll(api(hub, "POST", f"/{created.device_id}/install-ids", {})["installId"])
    wait_until("the old one is parked", lambda: old.status()["state"] == "parked")
    assert old.status()["reason"] == "key_invalid"
    assert old.status()["hint"]
    assert new.cli("enroll", "x" * 20, "--hub", hub.url, "--pin", hub.pin, check=False).returncode == 2


def test_removed_device_retires(hub: Hub, make_box: MakeBox) -> None:
    """A tombstone that names the device's key ends the agent with 78, sets the state aside, and a new id works."""
    created, box = hub.create("removed"), make_box(hub)
    box.enroll(created.install_id.reveal())
    agent = box.run()
    wait_until("it is online", lambda: box.status()["state"] == "online")

    api(hub, "DELETE", f"/{created.device_id}")
    assert agent.wait(20) == 78
    assert box.status()["state"] == "retired"
    assert list((box.state_dir / "retired").iterdir())
    assert box.cli("run", check=False).returncode == 78
    assert hub.status(created.device_id) is None

    again = hub.create("removed and back")
    box.enroll(again.install_id.reveal())
    assert hub.status(again.device_id) == "online"


def test_hub_killed_and_back(own_hub: Hub, make_box: MakeBox) -> None:
    """Beats that the hub said yes to survive its SIGKILL; beats of the time without it arrive afterwards, once."""
    created, box = own_hub.create("steady"), make_box(own_hub)
    box.enroll(created.install_id.reveal())
    box.run()
    wait_until("it is online", lambda: box.status()["state"] == "online")
    own_hub.stop(signal.SIGKILL)
    wait_until("beats are kept", lambda: int(str(box.status().get("spooled", 0))) >= 1)
    assert box.status()["state"] == "cut_off"

    own_hub.serve()
    wait_until("it is online again", lambda: box.status()["state"] == "online", 40)
    wait_until("kept beats are delivered", lambda: not box.status().get("spooled"), 40)
    assert own_hub.status(created.device_id) == "online"


def test_hub_restored_from_an_old_backup_takes_the_device_back(own_hub: Hub, make_box: MakeBox, tmp_path: Path) -> None:
    """A hub that forgot a device it once registered takes it back by its key; no hand touches the box."""
    backup = tmp_path / "backup"
    own_hub.cli("backup", str(backup))
    created, box = own_hub.create("forgotten"), make_box(own_hub)
    box.enroll(created.install_id.reveal())
    box.run()
    wait_until("it is online", lambda: box.status()["state"] == "online")

    own_hub.stop()
    shutil.rmtree(own_hub.folder)
    shutil.copytree(backup, own_hub.folder)
    own_hub.serve()

    wait_until("it is back in the list", lambda: own_hub.status(created.device_id) == "online", 40)
    wait_until("the agent says online", lambda: box.status()["state"] == "online", 40)


def test_secrets_stay_where_they_belong(hub: Hub, make_box: MakeBox) -> None:
    """The device key is in no output, log, status, argument or open file; all files are private."""
    created, box = hub.create("secret"), make_box(hub)
    outputs = [box.enroll(created.install_id.reveal()).stdout]
    registration = json.loads((box.state_dir / "registration.json").read_text())
    key = re.search(r'"(?:secret|key)": ?"([^"]{20,})"', json.dumps(registration))
    assert key is not None
    agent = box.run()
    wait_until("it is online", lambda: box.status()["state"] == "online")
    outputs += [box.cli("status").stdout, box.cli("status", "--json").stdout, box.cli("facts").stdout]
    for name in ("cmdline", "environ"):
        outputs.append(Path(f"/proc/{agent.pid}/{name}").read_text())
    agent.send_signal(signal.SIGTERM)
    outputs.append(agent.communicate(timeout=10)[0])
    outputs.append((hub.folder.parent / "hub.log").read_text())

    for secret in (key.group(1), created.install_id.reveal(), hub.key.reveal()):
        assert all(secret not in output for output in outputs)
    published = box.state_dir / "status.json"  # for everyone who may enter the folder; it holds no secret
    for path in {box.state_dir, *box.state_dir.rglob("*")} - {published}:
        assert path.stat().st_mode & 0o077 == 0, path
    for path in hub.folder.rglob("*"):
        if path.suffix in (".key", ".sqlite3", ".toml") or path.name == "secret":
            assert path.stat().st_mode & 0o007 == 0, path


def test_wrong_pin_spends_nothing(hub: Hub, make_box: MakeBox) -> None:
    """With a wrong pin nothing is sent: the error says so and the installId works afterwards."""
    created, box = hub.create("pinned"), make_box(hub)
    wrong = box.cli(
        "enroll",
        "-",
        "--hub",
        hub.url,
        "--pin",
        "sha256//" + "A" * 43 + "=",
        stdin=created.install_id.reveal(),
        check=False,
    )
    assert (wrong.returncode, "[tls_pin_mismatch]" in wrong.stderr) == (69, True)

    box.enroll(created.install_id.reveal())


def test_desk_verbs(hub: Hub, make_box: MakeBox) -> None:
    """The operator's verbs create, list and show through the public API; the printed command pins the hub's key."""
    box = make_box(hub)
    desk = ("--hub", hub.url, "--pin", hub.pin, "--workspace", "demo", "--key-file", str(hub.key_file))
    printed = box.cli("device", "create", "Desk device", "--tag", " roof ", "--tag", "roof", *desk).stdout
    assert "--pinnedpubkey" in printed
    assert "-k is safe here" in printed
    device_id = re.search(r"device +(\S+)", printed)
    assert device_id is not None

    shown = json.loads(box.cli("device", "show", device_id.group(1), "--json", *desk).stdout)
    assert (shown["name"], shown["status"], shown["tags"]) == ("Desk device", "unknown", ["roof"])
    assert device_id.group(1) in box.cli("device", "list", *desk).stdout
    missing = box.cli("device", "show", "no-such-device", *desk, check=False)
    assert (missing.returncode, "[not_found]" in missing.stderr) == (78, True)
