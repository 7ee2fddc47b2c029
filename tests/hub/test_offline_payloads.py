"""Offline payloads: where create answers one, what stands in it, who signed it, and what becomes of its token."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from firstlight.core.provision import Audience, Network
from firstlight.errors import InvitationError
from firstlight.wire import payload, typed_code
from firstlight_hub import release_keys
from firstlight_hub.offline import OfflinePayloads
from tests.hub.hub_world import JSON, START_MS, Box, World, refusal, world
from tests.hub.receipt_world import PATH, invited, offline_world, opened

DAY_S = 86_400
OFFLINE: dict[str, Any] = {"device_type": "ai1", "offline_mode": True}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[World]:
    """A hub that makes offline payloads."""
    with offline_world(tmp_path) as found:
        yield found


def invite(site: World, device_id: str, content: str = "") -> Any:
    """The answer to another invitation."""
    headers = {"Authorization": f"Bearer {site.key}", **(JSON if content else {})}
    return site.client.request("POST", f"{PATH}/{device_id}/install-ids", content=content, headers=headers)


def test_create_answers_a_payload_exactly_where_the_seed_says(site: World) -> None:
    """AI1 in offline mode has the field; AI1 without, other types, and a hub that cannot make one, do not."""
    assert "offlineProvisioningQrPayload" in site.create(**OFFLINE).json()
    others: list[dict[str, Any]] = [
        {"device_type": "ai1"},
        {**OFFLINE, "offline_mode": False},
        {"device_type": "edge"},
        {},
    ]
    for fields in others:
        assert not [name for name in site.create(**fields).json() if name.startswith("offline")]
    (site.folder / "other").mkdir()
    with world(site.folder / "other") as without:
        assert "offlineProvisioningQrPayload" not in without.create(**OFFLINE).json()


def test_payload_says_all_that_a_box_needs(site: World) -> None:
    """Endpoint and pin of the install command, ids and name, when it ends, and a token of its own."""
    body = site.create(**OFFLINE).json()
    said = opened(body["offlineProvisioningQrPayload"], site.folder)
    assert (said.platform, said.endpoint.url) == ("hub", "https://hub.example:8443")
    assert said.pins == ("sha256//" + "A" * 43 + "=",)
    assert said.pins[0] in body["installCommand"]
    assert (said.device_id, said.workspace, said.name) == (body["deviceId"], "demo", "Dock cam 3")
    assert (said.issued_at_s, said.expires_at_s) == (START_MS // 1000, START_MS // 1000 + 30 * DAY_S)
    assert said.token is not None
    assert re.fullmatch("[0-9abcdefghjkmnpqrstvwxyz]{16}", said.token.reveal())
    assert said.token.reveal() != body["installId"]
    assert typed_code.read(body["offlineTypedCode"]) == said.token
    assert (said.credential, said.audience, said.network) == (None, None, None)
    assert body["offlinePayloadExpiresAt"] == "2027-02-14T08:00:00.000Z"
    assert body["offlineTokenExpiresAt"] == "2028-02-19T08:00:00.000Z"
    assert len(body["offlineProvisioningQrPayload"]) <= 600


def test_another_invitation_has_another_payload(site: World) -> None:
    """Nonce and token are new each time; a device that is no offline one is answered none."""
    body = site.create(**OFFLINE).json()
    first = opened(body["offlineProvisioningQrPayload"], site.folder)
    again = invite(site, body["deviceId"]).json()
    second = opened(again["offlineProvisioningQrPayload"], site.folder)
    assert len({first.nonce, second.nonce}) == len({first.token, second.token}) == 2
    assert second.device_id == first.device_id
    plain, _ = site.created()
    assert "offlineProvisioningQrPayload" not in invite(site, plain).json()


def test_token_redeems_for_a_year_and_ends(site: World, box: Box) -> None:
    """Long after the short installId, and the payload itself, have expired; the same key again gets the same."""
    body, offline = invited(site)
    assert offline.token is not None
    site.clock.forward(399 * DAY_S)
    assert refusal(site.redeem(body["installId"], box)) == (410, "install_id_expired")
    first = site.redeem(offline.token.reveal(), offline)
    again = site.redeem(offline.token.reveal(), offline)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["key"] == again.json()["key"]
    assert refusal(site.redeem(offline.token.reveal(), box)) == (409, "install_id_taken")
    _, other = invited(site)
    assert other.token is not None
    site.clock.forward(400 * DAY_S)
    assert refusal(site.redeem(other.token.reveal(), other)) == (410, "install_id_expired")


@pytest.mark.parametrize("first", ["token", "installId"])
def test_redeeming_one_ends_the_others(site: World, box: Box, first: str) -> None:
    """A label that somebody took a picture of, even a newer print, does not take a running device over."""
    body, offline = invited(site)
    assert offline.token is not None
    ids = {"token": offline.token.reveal(), "installId": body["installId"]}
    site.clock.forward(1)
    newer = invite(site, body["deviceId"]).json()["installId"]
    key = site.redeem(ids.pop(first), box).json()["key"]
    for ended in (*ids.values(), newer):
        assert refusal(site.redeem(ended, Box())) == (410, "install_id_revoked")
    assert site.beat(body["deviceId"], key, box.beat_body()).status_code == 200
    again = invite(site, body["deviceId"]).json()["installId"]
    assert site.redeem(again, box).status_code == 201


def test_tokens_of_one_device_at_once_have_one_winner(site: World) -> None:
    """Two boxes with the two ids of one device at the same moment: one has it, the other is refused."""
    for _ in range(4):
        body, offline = invited(site)
        assert offline.token is not None
        pairs = [(body["installId"], Box()), (offline.token.reveal(), Box())]
        with ThreadPoolExecutor(2) as threads:
            answers = list(threads.map(lambda pair: site.redeem(*pair), pairs))
        assert sorted(answer.status_code for answer in answers) == [201, 410]


def test_wishes_are_in_the_payload(site: World) -> None:
    """Audience and network go in as asked, from create and from another invitation."""
    network = {
        "ssid": "Plant 7",
        "passphrase": "two words",
        "security": "sae",
        "hidden": True,
        "address": "192.0.2.7/24",
        "gateway": "192.0.2.1",
        "dns": ["192.0.2.53"],
    }
    audience = {"deviceType": "jetson", "serial": "1423", "keyHash": "sha256:" + "ab" * 32}
    body = site.create(**OFFLINE, network=network, audience=audience).json()
    said = opened(body["offlineProvisioningQrPayload"], site.folder)
    assert said.audience == Audience("jetson", "1423", "sha256:" + "ab" * 32)
    assert said.network is not None
    assert said.network.passphrase is not None
    assert said.network.passphrase.reveal() == "two words"
    plain = said.network._replace(passphrase=None)
    assert plain == Network("Plant 7", None, "sae", True, "192.0.2.7/24", "192.0.2.1", ("192.0.2.53",))
    again = invite(site, body["deviceId"], '{"network": {"ssid": "Guests"}, "audience": null}').json()
    said = opened(again["offlineProvisioningQrPayload"], site.folder)
    assert (said.audience, said.network) == (None, Network("Guests", security="open"))


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("network", [], "network"),
        ("network", {}, "network"),
        ("network", {"psk": "two words"}, "network.psk"),
        ("network", {"ssid": 5}, "network.ssid"),
        ("network", {"ssid": None}, "network.ssid"),
        ("network", {"ssid": ""}, "network.ssid"),
        ("network", {"ssid": "x" * 33}, "Wi-Fi's name"),
        ("network", {"ssid": "a\nb"}, "Wi-Fi's name"),
        ("network", {"ssid": "a", "passphrase": "short12"}, "passphrase"),
        ("network", {"ssid": "a", "passphrase": "x" * 257}, "network.passphrase"),
        ("network", {"ssid": "a", "security": "wpa"}, "passphrase"),
        ("network", {"ssid": "a", "security": "wpa9"}, "security"),
        ("network", {"ssid": "a", "hidden": 1}, "network.hidden"),
        ("network", {"passphrase": "two words"}, "not its name"),
        ("network", {"address": "192.0.2.7"}, "address"),
        ("network", {"address": "192.0.2.7/33"}, "address"),
        ("network", {"gateway": "192.0.2.1"}, "gateway"),
        ("network", {"address": "192.0.2.7/24", "gateway": "fd00::1"}, "gateway"),
        ("network", {"dns": "192.0.2.53"}, "network.dns"),
        ("network", {"dns": ["a name"]}, "DNS"),
        ("network", {"dns": ["192.0.2.53"] * 4}, "DNS"),
        ("audience", "all", "audience"),
        ("audience", {"mac": "x"}, "audience.mac"),
        ("audience", {"serial": "x" * 65}, "serial"),
        ("audience", {"serial": "\u202e1"}, "serial"),
        ("audience", {"keyHash": "ab" * 32}, "audience.keyHash"),
    ],
)
def test_wish_that_no_box_could_follow_is_named(site: World, field: str, value: Any, named: str) -> None:
    """400 with the field's name, without the passphrase, and nothing is created."""
    before = len(site.call("GET", PATH).json()["data"])
    answer = site.create(**{**OFFLINE, field: value})
    assert refusal(answer) == (400, "bad_request")
    assert named in answer.json()["error"]["message"]
    assert "short12" not in answer.text
    assert len(site.call("GET", PATH).json()["data"]) == before


def test_wish_for_another_device_is_refused(site: World) -> None:
    """Where there is no payload there is nothing to put it into."""
    others: list[dict[str, Any]] = [{}, {"device_type": "ai1"}]
    for fields in others:
        assert refusal(site.create(**fields, audience={"serial": "1"})) == (400, "bad_request")
    plain, _ = site.created()
    answer = invite(site, plain, '{"network": {"ssid": "a"}}')
    assert refusal(answer) == (400, "bad_request")
    assert refusal(invite(site, plain, "[]")) == (400, "bad_request")
    assert len(site.call("GET", f"{PATH}/{plain}/install-ids").json()["data"]) == 1


@pytest.mark.parametrize("name", ["\u202edrowssap\u2066", "x" * 256, "K\u00fcche \U0001f4f7", "\u200b a"])
def test_odd_names_are_made_fit(site: World, name: str) -> None:
    """What cannot be shown on a box stays out of the payload's name, and the device keeps its own."""
    body = site.create(device_name=name, workflow_id="w", **OFFLINE).json()
    said = opened(body["offlineProvisioningQrPayload"], site.folder)
    assert len(said.name) <= 64
    assert said.name.isprintable()
    assert site.device(body["deviceId"])["name"] == name.strip()


def test_nothing_of_a_wish_is_kept(site: World) -> None:
    """Neither passphrase nor token nor payload is in any file of the hub."""
    body = site.create(**OFFLINE, network={"ssid": "Plant", "passphrase": "not to be found"}).json()
    said = opened(body["offlineProvisioningQrPayload"], site.folder)
    assert said.token is not None
    for path in site.folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for secret in ("not to be found", said.token.reveal(), body["offlineProvisioningQrPayload"]):
            assert secret.encode() not in content, path
    assert "***" in repr(site.parts.devices.invite("demo", body["deviceId"]).offline)


def test_oldest_key_signs(tmp_path: Path) -> None:
    """Boxes that were imaged before any change of keys read what the hub makes today; the order survives a backup."""
    first = release_keys.load(tmp_path)
    made = [release_keys.renew(tmp_path) for _ in range(3)]
    (oldest,) = first.signing
    keys = release_keys.load(tmp_path)
    assert list(keys.signing) == [*reversed(made), oldest]
    with world(tmp_path, payloads=keys) as site:
        text = site.create(**OFFLINE).json()["offlineProvisioningQrPayload"]
    assert payload.decode(text, first.trusted()).key_id == oldest
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in sorted(tmp_path.glob("release*.key"), reverse=True):  # other times, the same names
        (copy / path.name).write_bytes(path.read_bytes())
    assert list(release_keys.load(copy).signing) == list(keys.signing)


def test_key_of_an_older_hub_is_the_oldest(tmp_path: Path) -> None:
    """Former keys had no number in their names before: they are older than all that have one."""
    oldest = release_keys.make_key()
    release_keys.load(tmp_path)
    (tmp_path / f"release-former-{'f' * 16}.key").write_bytes(release_keys.private_pem(oldest))
    (tmp_path / f"release-former-{'f' * 16}.key").chmod(0o600)
    release_keys.renew(tmp_path)
    release_keys.renew(tmp_path)
    assert release_keys.load(tmp_path).oldest()[0] == release_keys.key_id(oldest)


def test_when_the_former_keys_are_gone_the_present_one_signs(tmp_path: Path) -> None:
    """A box that trusts only a key that is no longer kept refuses, by name."""
    before = release_keys.load(tmp_path)
    release_keys.renew(tmp_path)
    for path in tmp_path.glob("release-former-*.key"):
        path.unlink()
    with world(tmp_path, payloads=release_keys.load(tmp_path)) as site:
        text = site.create(**OFFLINE).json()["offlineProvisioningQrPayload"]
    assert payload.decode(text, release_keys.load(tmp_path).trusted()).key_id
    with pytest.raises(InvitationError) as refused:
        payload.decode(text, before.trusted())
    assert refused.value.code == "payload_key_unknown"


@pytest.mark.parametrize(("url", "pin"), [("https://hub.example", None), ("http://127.0.0.1:8080", None)])
def test_hub_without_a_pin_makes_payloads_too(tmp_path: Path, url: str, pin: str | None) -> None:
    """Behind a public certificate the box trusts its system's store, as the install command does."""
    maker = OfflinePayloads(release_keys.load(tmp_path), url, pin, 500)
    with offline_world(tmp_path) as site:
        site.parts.devices._qr_payloads = maker
        said = opened(site.create(**OFFLINE).json()["offlineProvisioningQrPayload"], tmp_path)
    assert (said.endpoint.url, said.pins) == (url, ())
    assert said.expires_at_s == START_MS // 1000 + 400 * DAY_S  # never after its token
