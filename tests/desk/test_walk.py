"""The walk of a desk person and a technician over a real hub: label, scan, receipt, and back at the desk."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from firstlight.wire import receipt as wire
from tests.desk import reading
from tests.e2e.conftest import BIN, Hub


class Site:
    """A hub, an operator at the desk, and boxes that reach no network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hub = Hub(folder)
        self.trust = folder / "trust.d"
        self.trust.mkdir()
        (self.trust / "hub.pub").write_text(self.hub.cli("release-key"))
        plain = {"PATH": os.environ["PATH"], "HOME": str(folder), "COLUMNS": "80", "TERM": "xterm"}
        self.box_env = {**plain, "FIRSTLIGHT_TRUST_DIR": str(self.trust)}
        self.desk_env = {
            **plain,
            "FIRSTLIGHT_HUB": self.hub.url,
            "FIRSTLIGHT_PIN": self.hub.pin,
            "FIRSTLIGHT_WORKSPACE": "demo",
            "FIRSTLIGHT_API_KEY_FILE": str(self.hub.key_file),
        }

    def desk(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """A desk verb."""
        return self._run(self.desk_env, "device", *words, stdin=stdin)

    def box(self, name: str, verb: str, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """A verb on a box."""
        state = ("--state-dir", str(self.folder / name))
        return self._run(self.box_env, verb, *state, *words, stdin=stdin)

    def _run(self, env: dict[str, str], *words: str, stdin: str) -> subprocess.CompletedProcess[str]:
        line = [str(BIN / "firstlight"), *words]
        done = subprocess.run(line, input=stdin, capture_output=True, text=True, env=env, timeout=120, check=False)
        assert "Traceback" not in done.stderr and "[internal]" not in done.stderr
        return done

    def path(self, name: str) -> str:
        """A file of this site."""
        return str(self.folder / name)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One hub for all tests here: each makes devices of its own."""
    made = Site(tmp_path_factory.mktemp("site"))
    yield made
    made.hub.stop()


def ok(done: subprocess.CompletedProcess[str]) -> str:
    """What a command printed that went well."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_from_nothing_to_a_printed_label_and_back(site: Site) -> None:
    """One command makes device and label; the label's code provisions the box; its receipt makes a line in the list."""
    pytest.importorskip("reportlab", reason="the extra labels is not installed")
    out = ok(
        site.desk("create", "Ladder cam", "--type", "ai1", "--label", site.path("l.pdf"), "--qr", site.path("l.png"))
    )
    assert "written:" in out and "FL1:" not in out
    (page,) = reading.pages(Path(site.path("l.pdf")).read_bytes())
    (text,) = reading.texts(reading.from_page(page, (595.3, 841.9)))
    assert reading.texts(Path(site.path("l.png"))) == [text]
    ok(site.box("ladder", "scan", "--image", site.path("l.png"), "--no-start"))
    stick = site.folder / "stick"
    stick.mkdir()
    ok(site.box("ladder", "receipt", "--stick", str(stick)))
    told = ok(site.desk("receipt", str(stick / "RECEIPT.txt")))
    assert "recorded" in told and "provisioned" in told and "Ladder cam" in told
    again = json.loads(ok(site.desk("receipt", "--image", str(stick / "RECEIPT.png"), "--json")))
    assert again["isNew"] is False and again["byHand"]["counter"] == 1
    device = site.hub.devices()[again["deviceId"]]
    assert device["status"] == "offline" and device["last_heartbeat"] == again["byHand"]["made_at"]


def provisioned(site: Site, name: str) -> str:
    """A device and its box, provisioned from the payload's text; the device's id."""
    answer = ok(site.desk("create", name, "--type", "ai1", "--offline", "--json"))
    created = json.loads(answer)
    ok(site.desk("qr", "-", "--png", site.path(f"{name}.png"), stdin=answer))
    (text,) = reading.texts(Path(site.path(f"{name}.png")))
    assert text == created["offlineProvisioningQrPayload"]
    ok(site.box(name, "scan", "--stdin", "--no-start", stdin=f"{text}\n"))
    return str(created["deviceId"])


def test_a_stick_for_a_device_by_its_id(site: Site) -> None:
    """As for a code on the terminal, the id is enough; a file of that name comes first."""
    device_id = provisioned(site, "by-id")
    folder = site.folder / "stick-by-id"
    folder.mkdir()
    ok(site.desk("stick", device_id, "--output", str(folder)))
    assert json.loads((folder / "device.json").read_text())["payload"].startswith("FL1:")
    missing = site.desk("stick", "no-such-device", "--output", str(folder))
    assert missing.returncode == 78 and "no such device" in missing.stderr


def test_replays_and_forgeries_are_refused_by_name(site: Site) -> None:
    """An older receipt, a changed one, one of another key and one of another hub: each its code, nothing recorded."""
    device_id = provisioned(site, "replay")
    links = [json.loads(ok(site.box("replay", "receipt", "--json")))["link"] for _ in range(3)]
    ok(site.desk("receipt", "-", stdin=links[1]))
    refused = site.desk("receipt", "-", "--json", stdin=links[0])
    assert refused.returncode == 78 and json.loads(refused.stdout)["error"]["code"] == "receipt_replayed"
    body = bytearray(wire.from_text(links[2]))
    body[-1] ^= 1
    forged = site.desk("receipt", "-", "--json", stdin=wire.bare(bytes(body)))
    assert forged.returncode == 65 and json.loads(forged.stdout)["error"]["code"] == "receipt_forged"
    ok(site.box("replay", "reset", "--yes"))
    assert site.hub.devices()[device_id]["by_hand"] is not None
    stranger = site.desk("receipt", "-", "--json", stdin=_of_a_stranger(device_id))
    assert stranger.returncode == 78 and json.loads(stranger.stdout)["error"]["code"] == "receipt_key_other"
    unknown = site.desk("receipt", "-", "--json", stdin=_of_a_stranger("no-such-device"))
    assert json.loads(unknown.stdout)["error"]["code"] == "receipt_unknown_device"
    assert ok(site.desk("receipt", "-", stdin=links[2])).count("recorded") == 1


def _of_a_stranger(device_id: str) -> str:
    """A receipt that somebody with a key of their own made for a device."""
    from tests.receipt.box import Keys, a_receipt

    keys = Keys()
    said = a_receipt(keys, device_id=device_id, workspace="demo", proof=b"")
    return wire.bare(wire.encode(said, keys.key.sign))


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"HTTPS://HUB/R/", b"\xff" * 500, b"A" * 20_000, b"\x89PNG\r\n\x1a\n\0\0"]
)
def test_what_is_no_receipt_goes_to_nobody(site: Site, content: bytes) -> None:
    """Refused at the desk, before the hub is asked: one sentence and an exit status."""
    file = site.folder / "in"
    file.write_bytes(content)
    done = site.desk("receipt", str(file))
    assert done.returncode == 65 and done.stderr.count("\n") >= 2 and not done.stdout


def test_a_picture_of_another_code_is_named(site: Site) -> None:
    """A photo of the label instead of the receipt."""
    provisioned(site, "wrongcode")
    done = site.desk("receipt", "--image", site.path("wrongcode.png"), "--json")
    assert done.returncode == 65 and json.loads(done.stdout)["error"]["code"] == "code_not_found"


def test_a_table_becomes_labels_and_stick_files(site: Site) -> None:
    """Many devices in one go; each box takes only its own file in, by its serial number."""
    table, stick = site.folder / "boxes.csv", site.folder / "many"
    stick.mkdir()
    table.write_text("name,type,serial,tags\nRow A,ai1,SN-1,dock north\nRow B,ai1,SN-2,\n")
    out = ok(site.desk("create", "--csv", str(table), "--offline", "--stick", str(stick)))
    assert "line 2: Row A is " in out and "line 3: Row B is " in out
    assert sorted(path.name for path in stick.iterdir()) == ["device-SN-1.json", "device-SN-2.json"]
    found = {str(record["name"]): record for record in site.hub.devices().values()}
    assert found["Row A"]["tags"] == ["dock", "north"]
    payload = json.loads((stick / "device-SN-1.json").read_text())["payload"]
    site.box_env["FIRSTLIGHT_SERIAL"] = "SN-2"
    try:
        other = site.box("other", "scan", "--stdin", "--no-start", stdin=f"{payload}\n")
        assert other.returncode == 65 and "payload_not_for_this_box" in other.stderr
        site.box_env["FIRSTLIGHT_SERIAL"] = "SN-1"
        ok(site.box("other", "scan", "--stdin", "--no-start", stdin=f"{payload}\n"))
    finally:
        del site.box_env["FIRSTLIGHT_SERIAL"]


def test_a_table_twice_makes_nothing_twice(site: Site) -> None:
    """The same command again says what it made; without its journal, names that are there already are refused."""
    table = site.folder / "twice.csv"
    table.write_text("name;type;serial\nTwice A;ai1;T1\nTwice B;ai1;T2\n")
    made = json.loads(ok(site.desk("create", "--csv", str(table), "--offline", "--json")))
    assert [one["serial"] for one in made] == ["T1", "T2"] and all(
        "offlineProvisioningQrPayload" in one for one in made
    )
    before = len(site.hub.devices())
    assert json.loads(ok(site.desk("create", "--csv", str(table), "--offline", "--json"))) == made
    assert len(site.hub.devices()) == before
    Path(f"{table}.journal").unlink()
    again = site.desk("create", "--csv", str(table), "--offline")
    assert again.returncode == 2 and "'Twice A' (line 2) and 1 more already" in again.stderr
    assert len(site.hub.devices()) == before


@pytest.mark.parametrize(
    "rows",
    [
        "name\nA\nA\n",
        "name,serial\nA,1\nB,1\n",
        "type\nai1\n",
        "name,colour\nA,red\n",
        "name\n",
        "name,type\n,ai1\n",
        "",
    ],
)
def test_a_table_that_is_wrong_makes_nothing(site: Site, rows: str) -> None:
    """Doubled names or serial numbers, unknown columns, nothing at all: refused as a whole."""
    table, before = site.folder / "wrong.csv", len(site.hub.devices())
    table.write_text(rows)
    done = site.desk("create", "--csv", str(table), "--offline")
    assert done.returncode == 65 and "[source_unreadable]" in done.stderr
    assert len(site.hub.devices()) == before


def test_a_table_that_fails_in_the_middle_says_what_was_made(site: Site) -> None:
    """What the hub refuses ends the run; the files of those that were made are written, and the rest is named."""
    table, stick = site.folder / "middle.csv", site.folder / "middle"
    stick.mkdir()
    long = "x" * 500
    table.write_text(f"name,type,serial\nMid A,ai1,M1\nMid {long},ai1,M2\nMid C,ai1,M3\n")
    done = site.desk("create", "--csv", str(table), "--stick", str(stick), "--json")
    assert done.returncode == 78
    assert "(line 3): 1 of 3 devices are made" in done.stderr and "Correct line 3 of the table." in done.stderr
    made = json.loads(done.stdout.splitlines()[0])
    assert [one["name"] for one in made] == ["Mid A"]
    assert [path.name for path in stick.iterdir()] == ["device-M1.json"]
    table.write_text("name,type,serial\nMid A,ai1,M1\nMid B,ai1,M2\nMid C,ai1,M3\n")
    ok(site.desk("create", "--csv", str(table), "--stick", str(stick)))
    assert sorted(path.name for path in stick.iterdir()) == [f"device-M{number}.json" for number in (1, 2, 3)]
    names = [str(record["name"]) for record in site.hub.devices().values()]
    assert sorted(name for name in names if name.startswith("Mid")) == ["Mid A", "Mid B", "Mid C"]


def test_a_place_that_is_none_makes_no_device(site: Site) -> None:
    """Where the label could not be written nothing is created: its secrets would be lost."""
    before = len(site.hub.devices())
    for words in (("--stick", site.path("none")), ("--qr", site.path("none/q.png")), ("--label", str(site.folder))):
        done = site.desk("create", "Nowhere", "--type", "ai1", *words)
        assert done.returncode == 2
    assert len(site.hub.devices()) == before


def test_a_device_with_a_network_has_no_offline_code(site: Site) -> None:
    """Asked for its code the hub gives none, and the desk says for which devices there are some."""
    made = json.loads(ok(site.desk("create", "Edge one", "--type", "edge", "--json")))
    done = site.desk("qr", made["deviceId"])
    assert done.returncode == 65 and "[no_offline_payload]" in done.stderr and "--offline" in done.stderr


def test_a_network_comes_from_a_private_file(site: Site) -> None:
    """A passphrase is never an argument: it stands in a file, which others may not read."""
    file = site.folder / "wifi.json"
    file.write_text('{"ssid": "Site", "passphrase": "correct horse"}')
    words = ("create", "Wifi cam", "--type", "ai1", "--offline", "--network", str(file), "--json")
    file.chmod(0o644)
    done = site.desk(*words)
    assert done.returncode == 2 and "chmod 600" in done.stderr
    file.chmod(0o600)
    from firstlight.wire import payload as payload_wire

    made = json.loads(ok(site.desk(*words)))
    said = payload_wire.decode(made["offlineProvisioningQrPayload"], {}, allow_unsigned=True).payload
    assert said.network is not None and said.network.ssid == "Site" and said.network.passphrase is not None
    assert said.network.passphrase.reveal() == "correct horse"
    file.write_text('{"ssid": "Site", "pass": "x"}')
    assert "is no network" in site.desk(*words).stderr


def test_a_box_that_beats_gives_receipts_too(site: Site) -> None:
    """Its agent runs and is online: the receipt says so, is recorded, and the live heartbeats stay the newest word."""
    created = site.hub.create("live")
    hub = ("--hub", site.hub.url, "--pin", site.hub.pin)
    ok(site.box("live", "enroll", "-", *hub, "--no-start", stdin=created.install_id.reveal()))
    line = [str(BIN / "firstlight"), "run", "--state-dir", site.path("live")]
    agent = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=site.box_env)
    try:
        ok(site.box("live", "status", "--wait-online", "60"))
        told = json.loads(ok(site.box("live", "receipt", "--json")))
        assert told["state"] == "online" and told["clockIsTrusted"] is True
        recorded = json.loads(ok(site.desk("receipt", "-", "--json", stdin=told["link"])))
        assert recorded["isNew"] is True and recorded["byHand"]["state"] == "online"
        assert site.hub.status(created.device_id) == "online"
    finally:
        agent.terminate()
        agent.wait(30)
    said = wire.verify(wire.from_text(told["link"]))
    assert said.told.at_s > 0 and said.told.ago_s is not None and not said.proof
