"""Receipts over the real app: what binds a key, what is recorded, what is refused and by which name."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from firstlight.core.model import Secret
from firstlight.wire import typed_code
from firstlight.wire.receipt import Told, digest_of, from_text
from firstlight_hub.model import iso
from firstlight_hub.store.sqlite import SqliteStore
from tests.hub.hub_world import START_MS, HeardBroker, World, refusal
from tests.hub.receipt_world import BEAT, PATH, OfflineBox, imported, invited, offline_world, opened, report

DAY_S = 86_400


@pytest.fixture
def site(tmp_path: Path) -> Iterator[World]:
    """A hub that makes offline payloads."""
    with offline_world(tmp_path) as found:
        yield found


def test_box_that_never_sees_a_network_has_a_truthful_line(site: World) -> None:
    """A receipt turns unknown into offline, with the time it was made, and says that it came by hand."""
    body, box = invited(site)
    assert site.device(body["deviceId"])["status"] == "unknown"
    site.clock.forward(3 * DAY_S)
    made_ms = site.clock.now_ms - DAY_S * 1000
    answer = report(site, box.receipt(made_ms / 1000))
    assert answer.status_code == 201
    assert (answer.json()["deviceId"], answer.json()["isNew"]) == (body["deviceId"], True)
    for shown in (site.device(body["deviceId"]), site.call("GET", PATH).json()["data"][0]):
        assert (shown["status"], shown["last_heartbeat"]) == ("offline", "2027-01-17T08:00:00.000Z")
        assert shown["by_hand"] == {
            "made_at": "2027-01-17T08:00:00.000Z",
            "received_at": "2027-01-18T08:00:00.000Z",
            "counter": 1,
            "state": "provisioned",
            "reason": "not_registered",
            "beats": 1,
            "beats_digest": digest_of([BEAT]).hex(),
        }
        assert (shown["rfdm_version"], shown["hostname"], shown["type"]) == ("0.3.0", "cam-3", "jetson")
        assert (shown["platform"], shown["hardware"]) == (None, None)


def test_receipt_never_makes_a_device_online(site: World) -> None:
    """Carried here within two minutes it is offline all the same: online is said of live beats only."""
    body, box = invited(site)
    report(site, box.receipt())
    site.clock.forward(120)
    assert site.device(body["deviceId"])["status"] == "offline"


def test_live_beat_takes_the_line_back_and_keeps_it(site: World) -> None:
    """After the first live beat nothing says by hand; an older receipt that comes late changes nothing shown."""
    body, box = invited(site)
    report(site, box.receipt())
    key = site.redeem(box.token.reveal(), box).json()["key"] if box.token else ""
    site.clock.forward(60)
    assert site.beat(body["deviceId"], key, box.beat_body()).status_code == 200
    late = box.receipt(START_MS / 1000 + 30)
    assert report(site, late).status_code == 201
    shown = site.device(body["deviceId"])
    assert shown["status"] == "online"
    assert "by_hand" not in shown
    site.clock.forward(DAY_S)
    box.token = None
    assert report(site, box.receipt(site.clock.now_ms / 1000)).status_code == 201
    shown = site.device(body["deviceId"])
    assert (shown["status"], shown["last_heartbeat"]) == ("offline", iso(site.clock.now_ms))
    assert shown["platform"] == "Linux"  # from the redeem, which said more than a receipt can


def test_first_receipt_binds_the_key_and_the_redeem_gives_the_credential(site: World) -> None:
    """Another box with the same token is refused from then on; the right one redeems, beats, and redeems again."""
    body, box = invited(site)
    assert box.token is not None
    report(site, box.receipt())
    listed = site.call("GET", f"{PATH}/{body['deviceId']}/install-ids").json()["data"]
    assert sorted(one["state"] for one in listed) == ["bound", "revoked"]
    copy = OfflineBox(box.token, box.device_id)
    assert refusal(site.redeem(box.token.reveal(), copy)) == (409, "install_id_taken")
    assert refusal(report(site, copy.receipt())) == (409, "receipt_key_other")
    first = site.redeem(box.token.reveal(), box)
    again = site.redeem(box.token.reveal(), box)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["key"] == again.json()["key"]
    assert first.json()["key"].startswith("1.")
    assert site.beat(body["deviceId"], first.json()["key"], box.beat_body()).status_code == 200


def test_box_with_a_certificate_gets_it_after_a_receipt(site: World) -> None:
    """The later redeem gives a certificate too, which a receipt could not have asked for."""
    body, box = invited(site, credential="certificate")
    report(site, box.receipt())
    assert box.token is not None
    answer = site.redeem(box.token.reveal(), box).json()
    assert "BEGIN CERTIFICATE" in answer["certificatePem"]
    assert body["deviceId"] == answer["deviceId"]


def test_registered_box_gives_receipts_without_a_proof(site: World) -> None:
    """Its key is the device's: nothing else is needed, also a year later, when the token has ended."""
    _, box = invited(site)
    assert box.token is not None
    site.redeem(box.token.reveal(), box)
    box.token = None
    site.clock.forward(500 * DAY_S)
    assert report(site, box.receipt(site.clock.now_ms / 1000)).status_code == 201


def test_typed_code_is_found_without_ids(site: World) -> None:
    """A box that was typed the code knows neither device nor workspace; its receipt finds them by the token."""
    body, _ = invited(site)
    box = OfflineBox(typed_code.read(body["offlineTypedCode"]), "")
    for status in (201, 201):
        answer = report(site, box.receipt())
        assert (answer.status_code, answer.json()["deviceId"]) == (status, body["deviceId"])
    wrong = OfflineBox(Secret("0" * 16), "")
    assert refusal(report(site, wrong.receipt())) == (404, "receipt_unknown_device")


def test_the_same_receipt_again_is_harmless(site: World) -> None:
    """It is answered as recorded already, by every road, and changes nothing, not even when it came in."""
    body, box = invited(site)
    text = box.receipt()
    first = report(site, text)
    site.clock.forward(60)
    link = f"HTTPS://HUB.EXAMPLE:8443/R/{text}"
    for again in (report(site, text), report(site, text.lower()), imported(site, link), imported(site, link.lower())):
        assert again.status_code == 200
        assert again.json() == {**first.json(), "isNew": False}
    assert site.device(body["deviceId"])["by_hand"] == first.json()["byHand"]


def test_posts_at_once_make_one_record(site: World) -> None:
    """Two phones and a desk at the same moment: one is new, all have the same answer."""
    _, box = invited(site)
    text = box.receipt()
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: report(site, text), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({str(answer.json()["byHand"]) for answer in answers}) == 1


def test_receipt_and_redeem_at_once_end_in_one_key(site: World) -> None:
    """Two boxes with one token, one of them by hand: exactly one has the device afterwards."""
    for _ in range(4):
        body, box = invited(site)
        assert box.token is not None
        other = OfflineBox(box.token, box.device_id)
        with ThreadPoolExecutor(2) as threads:
            by_hand = threads.submit(report, site, box.receipt())
            live = threads.submit(site.redeem, box.token.reveal(), other)
        assert sorted([by_hand.result().status_code, live.result().status_code]) == [201, 409]
        device = site.parts.devices.get("demo", body["deviceId"])
        winner = box if by_hand.result().status_code == 201 else other
        assert device.key_fingerprint == winner.fingerprint


def test_older_receipt_is_a_replay(site: World) -> None:
    """A counter that is not newer is refused by name, also with other words in it."""
    _, box = invited(site)
    old, new = box.receipt(), box.receipt()
    assert report(site, new).status_code == 201
    assert refusal(report(site, old)) == (409, "receipt_replayed")
    assert refusal(report(site, box.receipt(counter=2))) == (409, "receipt_replayed")


def test_changed_receipt_is_forged(site: World) -> None:
    """Whatever bit is changed in the signed part or the signature, nothing is recorded."""
    body, box = invited(site)
    whole = from_text(box.receipt())
    for at in range(0, len(whole) * 8, 97):
        changed = bytearray(whole)
        changed[at // 8] ^= 1 << at % 8
        status, code = refusal(report(site, base64.b32encode(bytes(changed)).decode().rstrip("=")))
        assert code in ("receipt_forged", "receipt_malformed", "receipt_newer"), (at, status, code)
    assert site.device(body["deviceId"])["status"] == "unknown"


def test_proof_of_another_token_is_forged(site: World) -> None:
    """A key that signs well and holds no token of the device gets nothing, and the operator hears why."""
    body, _ = invited(site)
    stranger = OfflineBox(Secret("0" * 16), body["deviceId"])
    assert refusal(imported(site, stranger.receipt())) == (403, "receipt_forged")
    stranger.token = None
    assert refusal(imported(site, stranger.receipt())) == (409, "receipt_key_other")


def test_device_of_nowhere_is_named(site: World) -> None:
    """Unknown devices, other workspaces and other hubs each have their name; nothing tells of another's devices."""
    _, box = invited(site)
    assert refusal(report(site, box.receipt(device_id="nobody"))) == (404, "receipt_unknown_device")
    assert refusal(report(site, box.receipt(workspace="elsewhere"))) == (404, "receipt_wrong_hub")
    assert refusal(report(site, box.receipt(workspace="aio"))) == (404, "receipt_unknown_device")
    key = site.new_key("aio")
    assert refusal(imported(site, box.receipt(), "aio", key)) == (404, "receipt_wrong_workspace")
    assert refusal(imported(site, box.receipt(workspace=""), "aio", key)) == (404, "receipt_unknown_device")


def test_removed_device_is_named(site: World) -> None:
    """The tombstone answers, with the key only where it is that box's."""
    body, box = invited(site)
    text = box.receipt()
    report(site, text)
    site.call("DELETE", f"{PATH}/{body['deviceId']}")
    assert refusal(report(site, text)) == (410, "device_removed")
    answer = report(site, box.receipt())
    assert answer.json()["error"]["keyFingerprint"] == box.fingerprint


def test_revoked_device_comes_back_by_a_new_payload_only(site: World) -> None:
    """Its old key is refused; with a new payload the same box, or another one, has the device again."""
    body, box = invited(site)
    assert box.token is not None
    site.redeem(box.token.reveal(), box)
    site.call("DELETE", f"{PATH}/{body['deviceId']}/credential")
    registered = OfflineBox(None, box.device_id)
    registered.private, registered.public_key = box.private, box.public_key
    assert refusal(report(site, registered.receipt())) == (401, "credential_revoked")
    assert refusal(report(site, box.receipt())) == (410, "install_id_revoked")
    again = site.call("POST", f"{PATH}/{body['deviceId']}/install-ids").json()
    box.token = opened(again["offlineProvisioningQrPayload"], site.folder).token
    assert box.token is not None
    assert report(site, box.receipt()).status_code == 201
    assert "revoked" not in site.device(body["deviceId"])
    assert site.redeem(box.token.reveal(), box).json()["key"].startswith("2.")


def test_new_payload_replaces_a_running_box(tmp_path: Path) -> None:
    """A receipt of a re-imaged box ends the key of before, as its redeem would; the broker is told."""
    broker = HeardBroker()
    with offline_world(tmp_path, broker=broker) as site:
        body, box = invited(site)
        assert box.token is not None
        key = site.redeem(box.token.reveal(), box).json()["key"]
        assert site.beat(body["deviceId"], key, box.beat_body()).status_code == 200
        site.clock.forward(1)
        again = site.call("POST", f"{PATH}/{body['deviceId']}/install-ids").json()
        fresh = OfflineBox(opened(again["offlineProvisioningQrPayload"], tmp_path).token, body["deviceId"])
        broker.news()
        assert report(site, fresh.receipt()).status_code == 201
        assert broker.news() == [("ended", body["deviceId"])]
        assert refusal(site.beat(body["deviceId"], key, box.beat_body())) == (401, "key_invalid")
        assert refusal(report(site, box.receipt())) == (410, "install_id_revoked")
        assert fresh.token is not None
        assert site.redeem(fresh.token.reveal(), fresh).json()["key"].startswith("2.")


@pytest.mark.parametrize("days", [401, 500])
def test_expired_token_binds_nothing(site: World, days: int) -> None:
    """As a redeem after the token's end is refused, so is a receipt."""
    _, box = invited(site)
    site.clock.forward(days * DAY_S)
    assert refusal(report(site, box.receipt())) == (410, "install_id_expired")


@pytest.mark.parametrize(
    ("told", "wall_s", "expected"),
    [
        (Told(True), START_MS / 1000 + 1800, (1800, None)),
        (Told(True), START_MS / 1000 + 10 * 365 * DAY_S, (3600, "receipt_from_future")),
        (Told(False), 0.0, (0, "receipt_from_past")),
        (Told(False), START_MS / 1000 + 1800, (1800, "clock_untrusted")),
        (Told(False, START_MS // 1000 + 60, 600), 0.0, (660, None)),
        (Told(False, START_MS // 1000 + 60, 10**9), 0.0, (3600, "receipt_from_future")),
        (Told(True, START_MS // 1000 + 10**9), START_MS / 1000, (3600, "receipt_from_past")),
        (Told(False, START_MS // 1000 + 60), 5.0, (60, "receipt_from_past")),
    ],
)
def test_time_is_believed_within_bounds(
    site: World, told: Told, wall_s: float, expected: tuple[int, str | None]
) -> None:
    """Between what was before and now; a platform's own word and the time since go before the box's clock."""
    _, box = invited(site)
    site.clock.forward(3600)
    by_hand = report(site, box.receipt(wall_s, told=told)).json()["byHand"]
    at_s = site.parts.devices.get("demo", box.device_id).by_hand.made_at_ms / 1000  # type: ignore[union-attr]
    assert (at_s - START_MS / 1000, by_hand.get("note")) == expected


def test_hub_of_yesterday_takes_receipts_again(tmp_path: Path) -> None:
    """A restored hub has forgotten binding and record; the same receipt records both once more."""
    with offline_world(tmp_path) as site:
        _, box = invited(site)
        (tmp_path / "backup").mkdir()
        site.store.copy_to(tmp_path / "backup" / "hub.sqlite3")
        text = box.receipt()
        assert report(site, text).status_code == 201
    (tmp_path / "hub.sqlite3").unlink()
    for left in tmp_path.glob("hub.sqlite3-*"):
        left.unlink()
    (tmp_path / "backup" / "hub.sqlite3").rename(tmp_path / "hub.sqlite3")
    with offline_world(tmp_path) as site:
        assert site.device(box.device_id)["status"] == "unknown"
        assert report(site, text).status_code == 201
        assert box.token is not None
        assert site.redeem(box.token.reveal(), box).status_code == 201


@pytest.mark.parametrize(
    "text", ["A", "1", "ABCDEFGH" * 8, "A" * 5000, "%F0%9F%92%A3" * 20, "%00", "A%20B", "x" * 9000]
)
def test_junk_is_named_on_every_road(site: World, text: str) -> None:
    """400 and receipt_malformed, as a page and as JSON; nothing is reflected."""
    assert refusal(report(site, text)) == (400, "receipt_malformed")
    page = site.client.request("GET", f"/R/{text}")
    assert (page.status_code, page.headers["content-type"]) == (400, "text/html; charset=utf-8")
    assert "receipt_malformed" in page.text
    assert text not in page.text or text in "A1"


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"receipt": 5}', b'{"receipt": ""}', b"{", b'{"receipt": null}'])
def test_import_wants_a_text(site: World, body: bytes) -> None:
    """What is no text is 400; a larger body is refused before it is read, another media type too."""
    headers = {"Authorization": f"Bearer {site.key}", "Content-Type": "application/json"}
    answer = site.client.request("POST", f"{PATH}/receipts", content=body, headers=headers)
    assert refusal(answer) == (400, "bad_request")


def test_import_wants_an_operator(site: World) -> None:
    """A key without device:update is 403, none is 401, another workspace's is 404."""
    _, box = invited(site)
    text = box.receipt()
    assert refusal(imported(site, text, key=site.new_key(scopes=["device:read"]))) == (403, "forbidden")
    assert refusal(imported(site, text, key="junk")) == (401, "unauthorized")
    assert refusal(imported(site, text, key=site.new_key("aio"))) == (404, "not_found")


def test_refusals_cost_no_write(site: World) -> None:
    """Nobody without a good receipt makes the hub write: the database is the same, byte by byte."""
    _, box = invited(site)
    good = box.receipt()
    report(site, good)
    watcher = SqliteStore(site.folder / "hub.sqlite3")
    with watcher.reading() as view:
        before = view._connection.execute("PRAGMA data_version").fetchone()[0]
    for text in ("junk", good, OfflineBox(Secret("0" * 16), box.device_id).receipt()):
        report(site, text)
        with watcher.reading() as view:
            assert view._connection.execute("PRAGMA data_version").fetchone()[0] == before
    watcher.close()
