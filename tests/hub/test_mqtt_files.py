"""The files that mosquitto reads, without a mosquitto."""

from __future__ import annotations

import base64
import hashlib
import stat
import threading
from datetime import datetime, timezone
from pathlib import Path

import pytest
from cryptography import x509

from firstlight.core.model import Secret
from firstlight.errors import StateError
from firstlight_hub import tls
from firstlight_hub.cli.broker import addresses
from firstlight_hub.mqtt.files import (
    ACL,
    CRL,
    PASSWORDS,
    Files,
    Listener,
    Source,
    access_list,
    configuration,
    password_line,
)
from firstlight_hub.mqtt.link import Together
from firstlight_hub.settings import parse

WORKSPACE: dict[str, object] = {"workspace": {"demo": {}}}


class Hub:
    """What a hub would tell of its devices: secrets and revoked certificates, changed by the test."""

    def __init__(self, folder: Path) -> None:
        self.keys = {"cam-1": "1.aaa", "cam-2": "1.bbb"}
        self.revoked: list[tuple[str, int]] = []
        self.asked: list[str] = []
        self._ca_key = tls.make_key()
        self._ca = tls.make_ca(self._ca_key, datetime.now(timezone.utc))
        (folder / "server.pem").write_text("CERTIFICATE")
        (folder / "server.key").write_text("KEY")
        source = Source(
            secret=self._one,
            secrets=lambda: ((name, Secret(key)) for name, key in self.keys.items()),
            crl=lambda at: tls.make_crl(self._ca, self._ca_key, self.revoked, at),
            trust_pem=lambda: tls.certificate_pem(self._ca).decode(),
            server_certificate=folder / "server.pem",
            server_key=folder / "server.key",
        )
        self.files = Files(folder / "mosquitto", source, ("hub.user", Secret("hub-password")))

    def _one(self, device_id: str) -> Secret | None:
        self.asked.append(device_id)
        key = self.keys.get(device_id)
        return Secret(key) if key else None

    def users(self) -> list[str]:
        """The names in the password file."""
        return [line.partition(":")[0] for line in (self.files.folder / PASSWORDS).read_text().splitlines()]

    def crl(self) -> x509.CertificateRevocationList:
        """The list of revoked certificates as written."""
        return x509.load_pem_x509_crl((self.files.folder / CRL).read_bytes())


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    """A hub whose files were written once."""
    made = Hub(tmp_path)
    assert made.files.write(conf="conf\n")
    return made


def test_password_lines_are_as_mosquitto_passwd_writes_them() -> None:
    """``$7$`` rounds, salt and PBKDF2-HMAC-SHA512 of the password, and the same line each time."""
    line = password_line("cam-1", Secret("1.secret"))
    user, _, rest = line.strip().partition(":")
    _, kind, rounds, salt, hashed = rest.split("$")
    made = hashlib.pbkdf2_hmac("sha512", b"1.secret", base64.b64decode(salt), int(rounds))
    assert (user, kind, base64.b64decode(hashed)) == ("cam-1", "7", made)
    assert len(base64.b64decode(salt)) == 12
    assert password_line("cam-1", Secret("1.secret")) == line
    assert password_line("cam-2", Secret("1.other")).split("$")[3] != salt


def test_only_what_changed_is_written(hub: Hub) -> None:
    """Without a change nothing is to be read again; with one, only the device it is about is looked at."""
    assert not hub.files.write(conf="conf\n")
    assert not hub.files.write(["cam-1"])
    hub.keys["cam-3"] = "1.ccc"
    hub.asked.clear()
    assert hub.files.write(["cam-3"])
    assert hub.asked == ["cam-3"]
    del hub.keys["cam-1"]
    assert hub.files.write(["cam-1"])
    assert hub.users() == ["hub.user", "cam-2", "cam-3"]


def test_files_are_for_their_owner_only(hub: Hub) -> None:
    """Folder 0700, files 0600, no secret in clear."""
    assert stat.S_IMODE(hub.files.folder.stat().st_mode) == 0o700
    for path in hub.files.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert b"1.aaa" not in path.read_bytes()
        assert b"hub-password" not in path.read_bytes()


def test_each_list_of_revoked_certificates_is_later_than_the_one_before(hub: Hub) -> None:
    """OpenSSL takes the later of two lists, in whole seconds; an unchanged list is not written again."""
    dates = [hub.crl().last_update_utc]
    for serial in ("a1", "b2", "c3"):
        hub.revoked.append((serial, 1_800_000_000_000))
        assert hub.files.write(())
        assert not hub.files.write(())
        dates.append(hub.crl().last_update_utc)
    assert dates == sorted(set(dates))
    assert dates[-1] < datetime.now(timezone.utc)
    assert [one.serial_number for one in hub.crl()] == [0xA1, 0xB2, 0xC3]


def test_a_damaged_list_is_written_anew(hub: Hub) -> None:
    """What cannot be read is replaced."""
    (hub.files.folder / CRL).write_text("junk\n-----END X509 CRL-----\n")
    assert hub.files.write(())
    assert len(list(hub.crl())) == 0


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file in the folder's place: the error names it."""
    hub = Hub(tmp_path)
    (tmp_path / "mosquitto").write_text("")
    with pytest.raises(StateError) as caught:
        hub.files.write()
    assert caught.value.code == "state_unwritable"


def test_the_configuration_opens_nothing_to_all() -> None:
    """Client id = user name inside each listener, nobody anonymous, and every port that was asked for."""
    listeners = [Listener(8883), Listener(8884, has_certificates=True), Listener(443, is_websocket=True)]
    head, hub, *devices = configuration(Path("/hub/mosquitto"), "0.0.0.0", listeners).split("\nlistener ")
    assert "allow_anonymous false" in head
    assert "use_username_as_clientid" not in head + hub
    assert hub.startswith("0 hub.sock\n")
    assert [part.split("\n")[0] for part in devices] == ["8883 0.0.0.0", "8884 0.0.0.0", "443 0.0.0.0"]
    assert all("use_username_as_clientid true" in part and "certfile" in part for part in devices)
    assert ["require_certificate true" in part for part in devices] == [False, True, False]
    assert ["crlfile" in part for part in devices] == [False, True, False]


def test_the_access_list_gives_a_device_its_own_topics(hub: Hub) -> None:
    """Three patterns with the proved user name, and everything below ``firstlight`` for the hub alone."""
    rules = [line for line in access_list("hub.user").splitlines() if line and not line.startswith("#")]
    assert rules == [
        "pattern write firstlight/+/%u/heartbeat",
        "pattern write firstlight/+/%u/gone",
        "pattern read firstlight/+/%u/answer/+",
        "user hub.user",
        "topic readwrite firstlight/#",
    ]
    assert (hub.files.folder / ACL).read_text() == access_list("hub.user")


def test_a_device_that_is_barred(hub: Hub) -> None:
    """It may publish nothing, until it is no longer barred."""
    hub.files.barred.add("cam-1")
    assert hub.files.write(())
    rules = (hub.files.folder / ACL).read_text()
    assert rules == access_list("hub.user") + "\nuser cam-1\ntopic deny firstlight/#\n"
    hub.files.barred.clear()
    assert hub.files.write(())
    assert (hub.files.folder / ACL).read_text() == access_list("hub.user")


def test_addresses_are_those_of_the_ports() -> None:
    """A port of 0 has no address; the host is the broker's own or the hub's first."""
    settings = parse({"hosts": ["hub.example"], "mqtt": "mosquitto", "mqtt_websocket_port": 8443, **WORKSPACE})
    assert addresses(settings) == {
        "secret": "mqtts://hub.example:8883",
        "certificate": "mqtts://hub.example:8884",
        "secretWebsocket": "wss://hub.example:8443/mqtt",
    }
    assert addresses(settings._replace(mqtt="off")) == {}
    elsewhere = settings._replace(mqtt_host="::1", mqtt_port=0, mqtt_websocket_port=0)
    assert addresses(elsewhere) == {"certificate": "mqtts://[::1]:8884"}


def test_work_is_done_once_for_all_who_asked_before_it_began() -> None:
    """Ten who ask while one is at it share one more round, and each returns after it."""
    begun, gate = threading.Event(), threading.Event()
    rounds: list[set[str] | None] = []

    def work(whose: set[str] | None) -> None:
        rounds.append(whose)
        begun.set()
        assert gate.wait(10)

    together = Together(work)
    first = threading.Thread(target=together.do, args=("a",))
    first.start()
    assert begun.wait(10)
    others = [threading.Thread(target=together.do, args=(f"b{number}",)) for number in range(10)]
    for one in others:
        one.start()
    while together.asked < 11:
        assert not gate.is_set()
    gate.set()
    for one in (first, *others):
        one.join(10)
        assert not one.is_alive()
    assert rounds == [{"a"}, {f"b{number}" for number in range(10)}]


def test_failed_work_is_told_and_everything_is_looked_at_next_time() -> None:
    """Who asked hears of the failure; the next round looks at all."""
    rounds: list[set[str] | None] = []

    def work(whose: set[str] | None) -> None:
        rounds.append(whose)
        if len(rounds) == 1:
            raise StateError("state_unwritable", "The disk is full.")

    together = Together(work)
    with pytest.raises(StateError):
        together.do("a")
    together.do("b")
    assert rounds == [{"a"}, None]


def test_who_waits_no_longer_is_served_all_the_same() -> None:
    """Rounds that take longer than anybody waits: what was asked meanwhile is done after them, by whoever is at it."""
    begun, gate = threading.Event(), threading.Event()
    rounds: list[set[str] | None] = []

    def work(whose: set[str] | None) -> None:
        rounds.append(whose)
        begun.set()
        assert gate.wait(10)

    together = Together(work, patience_s=0.05)
    first = threading.Thread(target=together.do, args=("a",))
    first.start()
    assert begun.wait(10)
    assert not together.do("b") and not together.do("c")
    assert rounds == [{"a"}]
    gate.set()
    first.join(10)
    assert not first.is_alive()
    assert rounds == [{"a"}, {"b", "c"}]
    assert not together.is_behind
    assert together.do("d")


def test_a_failure_is_told_to_all_who_waited_for_that_round() -> None:
    """Nobody takes for done what failed in another's thread; it is still to be done."""
    begun, gate, failing = threading.Event(), threading.Event(), threading.Event()
    told: list[bool] = []

    def work(_: set[str] | None) -> None:
        if begun.is_set():
            assert failing.wait(10)
            raise StateError("state_unwritable", "The disk is full.")
        begun.set()
        assert gate.wait(10)

    together = Together(work)

    def ask() -> None:
        try:
            told.append(together.do("b"))
        except StateError:
            told.append(False)

    first = threading.Thread(target=together.do, args=("a",))
    first.start()
    assert begun.wait(10)
    others = [threading.Thread(target=ask) for _ in range(3)]
    for one in others:
        one.start()
    while together.asked < 4:
        assert not gate.is_set()
    gate.set()
    failing.set()
    for one in (first, *others):
        one.join(10)
    assert told == [False] * 3
    assert together.is_behind
