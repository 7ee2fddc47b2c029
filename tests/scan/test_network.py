"""A network from a code: the wish, root's half, NetworkManager's profile, and the way back."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given

from firstlight.cli import networks
from firstlight.cli.settings import Settings
from firstlight.core.model import Secret
from firstlight.core.network import problem_of
from firstlight.core.provision import Network
from firstlight.errors import InvitationError, StateError
from firstlight.system import network as hook
from firstlight.system.store import StateDirectory
from tests.scan.test_wifi import NETWORKS

YARD = Network("Yard", Secret("correct horse"))
WIRED = Network(address="192.0.2.7/24", gateway="192.0.2.1", dns=("192.0.2.1", "2001:db8::1"))


class Manager:
    """NetworkManager's command: notes what it is asked, and answers with exit statuses."""

    def __init__(self, **statuses: int) -> None:
        self.statuses, self.asked = statuses, list[list[str]]()

    def __call__(self, words: Sequence[str]) -> int:
        """As ``hook.nmcli``."""
        self.asked.append(list(words))
        return next((status for word, status in self.statuses.items() if word in words), 0)


@pytest.fixture
def nmcli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name is there; it is never run, since a ``Manager`` answers."""
    place = tmp_path / "bin"
    place.mkdir()
    (place / "nmcli").write_text("#!/bin/sh\nexit 1\n")
    (place / "nmcli").chmod(0o755)
    monkeypatch.setenv("PATH", str(place), prepend=":")
    return place


@pytest.fixture
def folder(tmp_path: Path, nmcli: Path) -> Path:
    """Where NetworkManager has its profiles."""
    made = tmp_path / "system-connections"
    made.mkdir()
    return made


def fields(text: str) -> dict[str, str]:
    """A key file as GLib reads it: [group] key=value, its escapes undone."""
    found, group = {}, ""
    for line in text.splitlines():
        if line.startswith("["):
            group = line.strip("[]")
        elif line:
            key, _, value = line.partition("=")
            found[f"{group}.{key}"] = unescaped(value)
    return found


def unescaped(value: str) -> str:
    """What GLib makes of the escapes that it knows; it takes away space at the beginning first."""
    value, out, place = value.lstrip(" "), "", 0
    while place < len(value):
        if value[place] == "\\":
            out += {"s": " ", "n": "\n", "t": "\t", "r": "\r", "\\": "\\"}[value[place + 1]]
            place += 2
        else:
            out += value[place]
            place += 1
    return out


def name_of(value: str) -> str:
    """A network's name from NetworkManager's list of bytes."""
    return bytes(int(each) for each in value.split(";") if each).decode()


@pytest.mark.parametrize(
    ("network", "lines"),
    [
        (YARD, ["type=wifi", "ssid=89;97;114;100;", "key-mgmt=wpa-psk", "psk=correct horse", "method=auto"]),
        (Network("65;", Secret("12345678")), ["ssid=54;53;59;"]),
        (Network("a", Secret(r" \n;#= "), "sae"), ["key-mgmt=sae", r"psk=\s\\n;#= "]),
        (Network("a", Secret("12345"), "wep"), ["key-mgmt=none", "wep-key0=12345"]),
        (Network("a", None, "open", is_hidden=True), ["hidden=true", "[wifi]"]),
        (WIRED, ["type=ethernet", "method=manual", "address1=192.0.2.7/24,192.0.2.1", "dns=192.0.2.1;"]),
        (WIRED, ["[ipv6]", "method=auto", "dns=2001:db8::1;"]),
        (Network(address="2001:db8::7/64"), ["[ipv6]", "address1=2001:db8::7/64"]),
    ],
)  # fmt: skip
def test_profile(network: Network, lines: list[str]) -> None:
    """The profile says what NetworkManager's format asks for, every value escaped."""
    found = hook.keyfile(network).splitlines()
    for line in lines:
        assert line in found
    assert ("[wifi-security]" in found) == (network.passphrase is not None)


@given(NETWORKS)
def test_profile_survives(network: Network) -> None:
    """Name and passphrase come out of the profile as they went in, whatever stands in them."""
    found = fields(hook.keyfile(network))
    assert name_of(found["wifi.ssid"]) == network.ssid
    assert found.get("wifi-security.psk") == (network.passphrase.reveal() if network.passphrase else None)


def has_offline_nmcli() -> bool:
    """Whether NetworkManager's own command is here, and can judge a profile without a running NetworkManager."""
    line = ["nmcli", "--offline", "connection", "add", "type", "ethernet", "con-name", "any"]
    try:
        return subprocess.run(line, capture_output=True, timeout=20, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not has_offline_nmcli(), reason="no nmcli with --offline here")
@pytest.mark.parametrize(
    "network", [YARD, WIRED, Network("65;", Secret(r" \n;#=[x] "), "sae"), Network("w", Secret("12345"), "wep")]
)
def test_profile_before_networkmanager(network: Network) -> None:
    """NetworkManager's own reader takes the profile, and writes it back with the same name and passphrase."""
    line = ["nmcli", "--offline", "connection", "modify", "connection.id", "firstlight"]
    profile = hook.keyfile(network)
    done = subprocess.run(line, input=profile, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    before, after = fields(profile), fields(done.stdout)
    for key in ("wifi-security.psk", "wifi-security.wep-key0", "wifi-security.key-mgmt", "ipv4.address1", "ipv4.dns"):
        assert before.get(key) == after.get(key)
    assert ("wifi.ssid" in before) == ("wifi.ssid" in after)


def test_wish(tmp_path: Path) -> None:
    """The wish is the owner's alone, and read as it was left."""
    store = StateDirectory(str(tmp_path / "state"))
    for network in (YARD, WIRED, Network("open", None, "open", is_hidden=True)):
        hook.leave_wish(store, network)
        assert stat.S_IMODE((tmp_path / "state" / hook.WISH).stat().st_mode) == 0o600
        assert hook.read_wish(store.path) == network
    store.remove(hook.WISH)
    assert hook.read_wish(store.path) is None


GOOD = {"format": 1, **YARD._asdict(), "passphrase": "correct horse"}
BAD_WISHES = {
    "no JSON": b"{",
    "a list": b"[]",
    "nested": b"[" * 5000,
    "too long": json.dumps({**GOOD, "ssid": "x" * 5000}).encode(),
    "another format": json.dumps({**GOOD, "format": 2}).encode(),
    "one more key": json.dumps({**GOOD, "command": "reboot"}).encode(),
    "a key less": json.dumps({key: value for key, value in GOOD.items() if key != "dns"}).encode(),
    "a number as name": json.dumps({**GOOD, "ssid": 7}).encode(),
    "a list as passphrase": json.dumps({**GOOD, "passphrase": []}).encode(),
    "two lines": json.dumps({**GOOD, "passphrase": "12345678\n[vpn]"}).encode(),
    "two lines of address": json.dumps({**GOOD, "address": "192.0.2.7/24\n[vpn]"}).encode(),
    "no address": json.dumps({**GOOD, "address": "192.0.2.7"}).encode(),
    "an interface": json.dumps({**GOOD, "address": "fe80::1%eth0/64"}).encode(),
    "DNS that is none": json.dumps({**GOOD, "dns": ["192.0.2.1;[vpn]"]}).encode(),
    "nothing": json.dumps({**GOOD, "ssid": "", "passphrase": None}).encode(),
}


@pytest.mark.parametrize("body", BAD_WISHES.values(), ids=BAD_WISHES.keys())
def test_a_bad_wish(tmp_path: Path, folder: Path, body: bytes) -> None:
    """Root does nothing for a wish that is not exactly one, says so, and takes it away."""
    (tmp_path / hook.WISH).write_bytes(body)
    manager = Manager()
    done = networks.apply(StateDirectory(str(tmp_path)), str(folder), manager)
    assert done is not None and done[0] in ("network_wish_malformed", "state_corrupt")
    assert not list(folder.iterdir()) and not manager.asked
    assert not (tmp_path / hook.WISH).exists()
    assert "correct horse" not in done[1]


def test_a_wish_that_is_a_link(tmp_path: Path, folder: Path) -> None:
    """Root follows no link that the agent's user put there."""
    (tmp_path / "elsewhere").write_text(json.dumps(GOOD))
    (tmp_path / hook.WISH).symlink_to(tmp_path / "elsewhere")
    done = networks.apply(StateDirectory(str(tmp_path)), str(folder), Manager())
    assert done is not None and done[0] == "state_corrupt"
    assert (tmp_path / "elsewhere").exists() and not list(folder.iterdir())


def test_applied(tmp_path: Path, folder: Path) -> None:
    """The profile is root's alone, NetworkManager reads and joins it, and no secret is in what it is asked."""
    store, manager = StateDirectory(str(tmp_path / "state")), Manager()
    hook.leave_wish(store, YARD)
    assert networks.apply(store, str(folder), manager) == ("network_joined", "This box has joined the Wi-Fi 'Yard'.")
    profile = folder / hook.PROFILE
    assert stat.S_IMODE(profile.stat().st_mode) == 0o600 and profile.read_text() == hook.keyfile(YARD)
    assert [words[:2] for words in manager.asked[:2]] == [["general", "status"], ["connection", "load"]]
    assert "correct horse" not in str(manager.asked)
    assert not store.has(hook.WISH)
    assert networks.result(store) == ("network_joined", "This box has joined the Wi-Fi 'Yard'.")
    assert networks.apply(store, str(folder), manager) is None


def test_not_joined(tmp_path: Path, folder: Path) -> None:
    """Out of reach is no failure: the profile stays, and NetworkManager goes on trying."""
    code, sentence = hook.apply(YARD, str(folder), Manager(up=4))
    assert code == "network_not_joined" and "wrong password" in sentence
    assert (folder / hook.PROFILE).exists()


@pytest.mark.parametrize("before", [None, b"[connection]\nid=before\n"])
def test_refused_by_networkmanager(folder: Path, before: bytes | None) -> None:
    """A profile that it does not take leaves everything as it was."""
    if before is not None:
        (folder / hook.PROFILE).write_bytes(before)
    with pytest.raises(StateError) as caught:
        hook.apply(YARD, str(folder), Manager(load=2))
    assert caught.value.code == "network_refused"
    after = (folder / hook.PROFILE).read_bytes() if (folder / hook.PROFILE).exists() else None
    assert after == before


@pytest.mark.parametrize("is_installed", [True, False])
def test_unmanaged(folder: Path, nmcli: Path, is_installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no NetworkManager is, or none runs, that is said by name and nothing is written."""
    if not is_installed:
        monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(StateError) as caught:
        hook.apply(YARD, str(folder), Manager(general=hook.NOT_RUNNING))
    assert caught.value.code == "network_unmanaged" and not list(folder.iterdir())


def test_removed(folder: Path) -> None:
    """Taking it away leaves other profiles alone, and a second time there is nothing to do."""
    hook.apply(YARD, str(folder), Manager())
    (folder / "office.nmconnection").write_text("theirs")
    assert hook.remove(str(folder), Manager()) is True
    assert [each.name for each in folder.iterdir()] == ["office.nmconnection"]
    assert hook.remove(str(folder), Manager()) is False


def test_offered_where_not_allowed(tmp_path: Path) -> None:
    """Without the setting nothing is written, and it is said what to set."""
    settings, said = Settings(state_dir=str(tmp_path / "state"), apply_network="no"), list[str]()
    assert networks.offer(settings, YARD, said.append) == "network_not_allowed"
    assert "apply_network" in said[0] and "correct horse" not in said[0]
    assert not (tmp_path / "state").exists()
    with pytest.raises(InvitationError, match="Yard") as caught:
        networks.require(settings, YARD)
    assert "apply_network" in caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root applies it at once")
def test_offered_by_an_ordinary_user(tmp_path: Path) -> None:
    """Where it is allowed, the wish waits for root."""
    settings, said = Settings(state_dir=str(tmp_path / "state"), apply_network="yes"), list[str]()
    assert networks.offer(settings, YARD, said.append, wait_s=0.0) == networks.WAITS
    assert hook.read_wish(settings.state_dir) == YARD


@pytest.mark.parametrize(
    "network",
    [
        Network(),
        Network(passphrase=Secret("12345678")),
        Network("a", Secret("12345678"), "magic"),
        Network("a", Secret("12345678"), "open"),
        Network("a", None, "wpa"),
        Network("a" * 33, None, "open"),
        Network(address="192.0.2.7/24", gateway="2001:db8::1"),
        Network(gateway="192.0.2.1", dns=("192.0.2.1",)),
        Network(address="224.0.0.1/24"),
        Network(address="0.0.0.0/0"),
        Network(dns=("192.0.2.1",) * 5),
        Network(address="192.0.2.7/24", gateway="x" * 65),
    ],
)
def test_networks_that_are_none(network: Network) -> None:
    """Each has a sentence that says what is wrong, without a secret."""
    problem = problem_of(network)
    assert problem.endswith(".") and "12345678" not in problem
