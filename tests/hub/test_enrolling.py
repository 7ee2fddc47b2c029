"""The device half of enrolling over the real app: redeem, the install script, bundles, take-back."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from firstlight.wire.redeem import decode_redeem_answer
from tests.hub.hub_world import JSON, START_MS, Box, World, refusal, world

UNKNOWN = "a" * 26


def test_redeem_answers_the_registration_of_the_contract(hub: World, box: Box) -> None:
    """201 and every field of docs/protocol.md; the agent's own decoder reads it."""
    device_id, install_id = hub.created()
    answer = hub.redeem(install_id, box)
    assert answer.status_code == 201
    read = decode_redeem_answer(answer.content)
    assert (read.workspace, read.device_id, read.interval_s) == ("demo", device_id, 60)
    assert (read.endpoint, read.ca_pem, read.server_time_s) == ("https://hub.example:8443", "CA PEM\n", START_MS / 1000)
    assert read.key is not None
    assert len(read.key.reveal()) == len("1.") + 43
    assert answer.headers["cache-control"] == "no-store"


def test_same_key_gets_the_same_registration_again(hub: World, box: Box) -> None:
    """As long as the installId lives, the key that redeemed it is answered 200 with the same registration."""
    _, install_id = hub.created()
    first = hub.redeem(install_id, box).json()
    hub.clock.forward(86_399)
    again = hub.redeem(install_id, box)
    assert again.status_code == 200
    assert {**again.json(), "serverTime": 0} == {**first, "serverTime": 0}


def test_another_key_is_refused_and_changes_nothing(hub: World, box: Box) -> None:
    """A spent installId is 409 for every other key, and the first box beats on."""
    device_id, install_id = hub.created()
    key = hub.redeem(install_id, box).json()["key"]
    assert refusal(hub.redeem(install_id, Box())) == (409, "install_id_taken")
    assert hub.beat(device_id, key, box.beat_body()).status_code == 200


@pytest.mark.parametrize("install_id", [UNKNOWN, "short", "x" * 65, "a.b", "%20" * 8])
def test_unknown_or_malformed_install_id_is_404(hub: World, box: Box, install_id: str) -> None:
    """An installId that was never issued here is unknown, whatever it looks like."""
    assert refusal(hub.redeem(install_id, box)) == (404, "install_id_unknown")


def test_expired_install_id_is_410(hub: World, box: Box) -> None:
    """From the instant of its expiry on, an installId is refused, to the key that redeemed it too."""
    _, install_id = hub.created()
    _, redeemed = hub.created()
    hub.redeem(redeemed, box)
    hub.clock.forward(86_400)
    assert refusal(hub.redeem(install_id, box)) == (410, "install_id_expired")
    assert refusal(hub.redeem(redeemed, box)) == (410, "install_id_expired")


def test_install_id_of_a_removed_device_names_the_key_only_to_its_box(hub: World, box: Box) -> None:
    """device_removed carries keyFingerprint for the box that had the device, not for another."""
    device_id, install_id = hub.created()
    hub.redeem(install_id, box)
    hub.call("DELETE", f"/demo/devices/v2/{device_id}")
    answer = hub.redeem(install_id, box)
    assert refusal(answer) == (410, "device_removed")
    assert answer.json()["error"]["keyFingerprint"] == box.fingerprint
    assert "keyFingerprint" not in hub.redeem(install_id, Box()).json()["error"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "request_malformed")),
        (b"{}", (400, "request_malformed")),
        (b"[" * 16_000, (400, "request_malformed")),
        (b"x" * 16_385, (413, "request_too_large")),
        (b" " * 16_384, (400, "request_malformed")),
    ],
)
def test_redeem_refuses_what_is_no_request(hub: World, box: Box, body: bytes, expected: tuple[int, str]) -> None:
    """Malformed, deeply nested and oversized bodies are named, and the installId is not spent."""
    _, install_id = hub.created()
    assert refusal(hub.redeem(install_id, box, body)) == expected
    assert hub.redeem(install_id, box).status_code == 201


@pytest.mark.parametrize(
    ("field", "value"),
    [("attemptId", "x"), ("bootId", "A" * 32), ("mono", -1), ("wall", True), ("facts", {"hostname": 5}), ("agent", "")],
)
def test_redeem_refuses_wrong_types(hub: World, box: Box, field: str, value: object) -> None:
    """Each field of the request is checked."""
    _, install_id = hub.created()
    body = json.dumps({**json.loads(box.redeem_body()), field: value}).encode()
    assert refusal(hub.redeem(install_id, box, body)) == (400, "request_malformed")


def test_redeem_refuses_requests_whose_signature_does_not_hold(hub: World, box: Box) -> None:
    """A request that cannot be read, was changed, or is for an odd key, is csr_invalid and spends nothing."""
    _, install_id = hub.created()
    lines = box.csr_pem.splitlines()
    letters = lines[-2]
    lines[-2] = letters[:5] + ("A" if letters[5] != "A" else "B") + letters[6:]
    changed = "\n".join(lines)
    for csr in ("not PEM", changed, Box(ec.SECP256K1()).csr_pem):
        assert refusal(hub.redeem(install_id, box, box.redeem_body(csr))) == (400, "csr_invalid")
    assert hub.redeem(install_id, box).status_code == 201


def test_redeem_wants_json(hub: World, box: Box) -> None:
    """Another media type is 415."""
    _, install_id = hub.created()
    path = f"/devices/v2/{install_id}/redeem"
    answer = hub.client.request("POST", path, content=box.redeem_body(), headers={"Content-Type": "text/plain"})
    assert refusal(answer) == (415, "unsupported_media_type")


def test_redeems_at_once_make_one_registration(hub: World, box: Box) -> None:
    """Eight redeems by one key at the same time: one is the first, all have the same answer."""
    _, install_id = hub.created()
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: hub.redeem(install_id, box), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.content for answer in answers}) == 1


def test_redeems_at_once_by_two_keys_have_one_winner(hub: World) -> None:
    """Several keys at the same time: exactly one wins, the others are refused by name."""
    _, install_id = hub.created()
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda box: hub.redeem(install_id, box), [Box() for _ in range(6)]))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5


def test_new_install_id_replaces_the_key(hub: World, box: Box) -> None:
    """A re-imaged box redeems a second installId with a new key; the old key and what it redeemed end."""
    device_id, first = hub.created()
    old_key = hub.redeem(first, box).json()["key"]
    hub.beat(device_id, old_key, box.beat_body())
    fresh, second = Box(), hub.call("POST", f"/demo/devices/v2/{device_id}/install-ids").json()["installId"]
    new_key = hub.redeem(second, fresh).json()["key"]
    assert refusal(hub.beat(device_id, old_key, box.beat_body())) == (401, "key_invalid")
    assert refusal(hub.redeem(first, box)) == (410, "install_id_revoked")
    assert hub.beat(device_id, new_key, fresh.beat_body()).status_code == 200


def test_secrets_are_not_in_the_database(hub: World, box: Box) -> None:
    """Neither installId nor any key stands in the file, and only its owner may read it."""
    _, install_id = hub.created()
    key = hub.redeem(install_id, box).json()["key"]
    database = hub.folder / "hub.sqlite3"
    content = b"".join(path.read_bytes() for path in hub.folder.glob("hub.sqlite3*"))
    assert not [secret for secret in (install_id, key, hub.key) if secret.encode() in content]
    assert stat.S_IMODE(database.stat().st_mode) == 0o600


def test_install_script_for_an_open_install_id(hub: World) -> None:
    """200 and a shell script with this hub's address, pin and installId."""
    _, install_id = hub.created()
    answer = hub.client.request("GET", f"/devices/v2/{install_id}/install.sh")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/x-shellscript")
    assert answer.text.startswith("#!/bin/sh")
    for part in (install_id, "https://hub.example:8443", "sha256//"):
        assert part in answer.text


def test_install_script_of_a_bad_install_id_says_why(hub: World, box: Box) -> None:
    """404 for an unknown installId, 410 for a spent, expired or revoked one, each with a script that has the reason."""
    _, spent = hub.created()
    hub.redeem(spent, box)
    answer = hub.client.request("GET", f"/devices/v2/{spent}/install.sh")
    assert (answer.status_code, "used already: by another box, or by this one before a reset." in answer.text) == (
        410,
        True,
    )
    answer = hub.client.request("GET", f"/devices/v2/{UNKNOWN}/install.sh")
    assert (answer.status_code, "never issued" in answer.text) == (404, True)
    hub.clock.forward(86_400)
    answer = hub.client.request("GET", f"/devices/v2/{spent}/install.sh")
    assert (answer.status_code, "has expired" in answer.text) == (410, True)


def test_what_nobody_issued_does_not_get_into_a_script(hub: World) -> None:
    """A made-up installId is not repeated in the script."""
    answer = hub.client.request("GET", "/devices/v2/$(reboot)/install.sh")
    assert answer.status_code == 404
    assert "reboot" not in answer.text


def test_bundles_are_served_by_known_names_only(hub: World) -> None:
    """A bundle of the list is answered whole; any other name is 404, climbing names too."""
    (offered,) = hub.parts.site.bundles.offered()
    answer = hub.client.request("GET", f"/bundles/{offered.name}")
    assert answer.headers["content-type"] == "application/x-tar"
    assert answer.content == (hub.parts.site.bundles.directory / offered.name).read_bytes()
    for other in ("hub.sqlite3", "..%2Fhub.sqlite3", "nothing", "firstlight-0.0.1-x86_64.tar"):
        assert refusal(hub.client.request("GET", f"/bundles/{other}")) == (404, "not_found")


def lost(tmp_path: Path, box: Box) -> tuple[str, str]:
    """Registers a device and forgets it, as a hub restored from an older backup has -> (device id, device key)."""
    with world(tmp_path) as hub:
        device_id, key = hub.enrolled(box)
    for path in tmp_path.glob("hub.sqlite3*"):
        path.unlink()
    return device_id, key


def take_back(hub: World, device_id: str, key: str, box: Box) -> tuple[int, str]:
    """Asks to be taken back -> status and named reason, "" for a yes."""
    path, headers = f"/demo/devices/v2/{device_id}/take-back", {**JSON, "Authorization": f"Bearer {key}"}
    answer = hub.client.request("POST", path, content=box.take_back_body(), headers=headers)
    return (200, "") if answer.status_code == 200 else refusal(answer)


def test_lost_device_is_taken_back_by_its_key(tmp_path: Path, box: Box) -> None:
    """With the setting take_back, a device that the hub forgot registers again with its key, twice as well as once."""
    device_id, key = lost(tmp_path, box)
    with world(tmp_path, take_back=True) as hub:
        assert refusal(hub.beat(device_id, key, box.beat_body())) == (404, "device_unknown")
        assert take_back(hub, device_id, key, box) == (200, "")
        assert take_back(hub, device_id, key, box) == (200, "")
        answer = hub.beat(device_id, key, box.beat_body())
        assert (answer.status_code, answer.json()["factsWanted"]) == (200, True)
        assert hub.device(device_id)["status"] == "online"


def test_take_back_needs_the_setting_and_the_very_key(tmp_path: Path, box: Box) -> None:
    """403 without the setting; 401 for another key, another box or another device id."""
    device_id, key = lost(tmp_path, box)
    with world(tmp_path) as hub:
        assert take_back(hub, device_id, key, box) == (403, "take_back_not_allowed")
        assert take_back(hub, device_id, key[:-1] + "_", box) == (401, "key_invalid")
        assert take_back(hub, device_id, key, Box()) == (401, "key_invalid")
        assert take_back(hub, "other", key, box) == (401, "key_invalid")
        assert take_back(hub, "a%20b", key, box) == (401, "key_invalid")


def test_removed_device_stays_removed(tmp_path: Path, box: Box) -> None:
    """A tombstone is not undone by take-back, and it names the key."""
    with world(tmp_path, take_back=True) as hub:
        device_id, key = hub.enrolled(box)
        hub.call("DELETE", f"/demo/devices/v2/{device_id}")
        assert take_back(hub, device_id, key, box) == (410, "device_removed")


def test_take_back_does_not_undo_a_newer_key(tmp_path: Path, box: Box) -> None:
    """A key that was replaced by a new installId stays replaced."""
    with world(tmp_path, take_back=True) as hub:
        device_id, key = hub.enrolled(box)
        second = hub.call("POST", f"/demo/devices/v2/{device_id}/install-ids").json()["installId"]
        hub.redeem(second, Box())
        assert take_back(hub, device_id, key, box) == (401, "key_invalid")


def replaced(folder: Path, old: Box, new: Box) -> tuple[str, str, str]:
    """A device enrolled by one key pair and then by another -> (device id, the first key, the second key)."""
    with world(folder) as hub:
        device_id, first = hub.enrolled(old)
        again = hub.call("POST", f"/demo/devices/v2/{device_id}/install-ids").json()["installId"]
        second = hub.redeem(again, new).json()["key"]
    for file in folder.glob("hub.sqlite3*"):
        file.unlink()
    return device_id, first, second


def test_newer_key_wins_over_a_replaced_one_that_came_back_first(tmp_path: Path) -> None:
    """After a restore both keys are genuine: the re-imaged box gets the device, the old image loses it."""
    old, new = Box(), Box()
    device_id, first, second = replaced(tmp_path, old, new)
    with world(tmp_path, take_back=True) as hub:
        assert take_back(hub, device_id, first, old) == (200, "")
        assert take_back(hub, device_id, second, new) == (200, "")
        assert take_back(hub, device_id, first, old) == (401, "key_invalid")
        assert hub.beat(device_id, second, new.beat_body()).status_code == 200
        assert refusal(hub.beat(device_id, first, old.beat_body())) == (401, "key_invalid")


def test_generation_goes_on_from_the_key_that_was_taken_back(tmp_path: Path) -> None:
    """A key that replaces a taken-back one is newer than it, so that the next restore is decided rightly too."""
    old, new, newest = Box(), Box(), Box()
    device_id, _, second = replaced(tmp_path, old, new)
    with world(tmp_path, take_back=True) as hub:
        assert take_back(hub, device_id, second, new) == (200, "")
        again = hub.call("POST", f"/demo/devices/v2/{device_id}/install-ids").json()["installId"]
        assert hub.redeem(again, newest).json()["key"].startswith("3.")
        assert take_back(hub, device_id, second, new) == (401, "key_invalid")


def test_same_key_pair_keeps_its_generation(hub: World, box: Box) -> None:
    """A box that enrols again with its own key pair gets the very same key."""
    device_id, key = hub.enrolled(box)
    again = hub.call("POST", f"/demo/devices/v2/{device_id}/install-ids").json()["installId"]
    assert hub.redeem(again, box).json()["key"] == key


def test_generation_is_part_of_what_is_proved(tmp_path: Path, box: Box) -> None:
    """Nobody makes a newer key out of an older one by writing another number before it."""
    device_id, key = lost(tmp_path, box)
    with world(tmp_path, take_back=True) as hub:
        for forged in ("2" + key[1:], "0" + key[1:], key[2:], "01" + key[1:], "9" * 30 + key[1:]):
            assert take_back(hub, device_id, forged, box) == (401, "key_invalid")


def test_unknown_install_id_is_refused_before_the_body_is_read(hub: World) -> None:
    """Whoever has no installId cannot make the hub read or judge anything."""
    answer = hub.client.request("POST", f"/devices/v2/{UNKNOWN}/redeem", content=b"{", headers={"Content-Type": "a/b"})
    assert refusal(answer) == (404, "install_id_unknown")
