"""Renewing and rotating over the real app: a candidate beside the credential, proved by one beat, then promoted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from firstlight_hub.model import Refusal, certificate_hash
from firstlight_hub.service.secrets import BrokerSecrets
from tests.hub.hub_world import JSON, Box, HeardBroker, World, authorities, refusal, world

BROKERS = {"secret": "mqtts://hub.example:8883", "certificate": "mqtts://hub.example:8884"}


@pytest.fixture
def broker() -> HeardBroker:
    """What the hub says to a broker."""
    return HeardBroker()


@pytest.fixture
def hub(tmp_path: Path, broker: HeardBroker) -> Iterator[World]:
    """A hub with a broker, which takes lost devices back."""
    with world(tmp_path, take_back=True, brokers=BROKERS, broker=broker) as found:
        yield found


def certified(hub: World, box: Box) -> tuple[str, x509.Certificate]:
    """Enrols a device with a certificate -> (device id, certificate)."""
    device_id, install_id = hub.created(credential="certificate")
    answer = hub.redeem(install_id, box)
    return device_id, x509.load_pem_x509_certificate(answer.json()["certificatePem"].encode())


def refused(hub: World, device_id: str, box: Box) -> str:
    """The reason for which a device's certificate is refused, "" if it is not."""
    try:
        hub.parts.beats.look_up("demo", device_id, certificate_hash(box.fingerprint))
    except Refusal as error:
        return error.code
    return ""


def test_both_count_until_a_beat_promotes_the_candidate(hub: World, broker: HeardBroker, box: Box) -> None:
    """The old key beats on until the candidate's first beat; from then on it is refused, and the broker knows both."""
    device_id, key = hub.enrolled(box, transport="mqtt")
    broker.news()
    fresh = Box()
    answer = hub.renew(device_id, box, fresh)
    assert (answer.status_code, answer.json()["transport"], answer.json()["broker"]) == (200, "mqtt", BROKERS["secret"])
    assert answer.headers["cache-control"] == "no-store"
    candidate = answer.json()["key"]
    assert candidate.startswith("2.")
    assert hub.beat(device_id, key, box.beat_body()).status_code == 200
    assert broker.news() == []
    assert hub.beat(device_id, candidate, box.beat_body()).status_code == 200
    assert broker.news() == [("ended", device_id), ("issued", device_id)]
    assert refusal(hub.beat(device_id, key, box.beat_body())) == (401, "key_invalid")
    assert hub.beat(device_id, candidate, box.beat_body()).status_code == 200


def test_same_request_key_gets_the_same_candidate(hub: World, box: Box) -> None:
    """A lost answer is asked for again; another request key replaces an unproved candidate, which is refused then."""
    device_id, _ = hub.enrolled(box)
    first, second = Box(), Box()
    one = hub.renew(device_id, box, first).json()["key"]
    assert hub.renew(device_id, box, first).json()["key"] == one
    two = hub.renew(device_id, box, second).json()["key"]
    assert refusal(hub.beat(device_id, one, box.beat_body())) == (401, "key_invalid")
    assert hub.beat(device_id, two, box.beat_body()).status_code == 200


def test_certificate_is_renewed_as_a_certificate(hub: World, box: Box) -> None:
    """The candidate has the next generation; once proved, the former certificate is on the revocation list."""
    device_id, former = certified(hub, box)
    fresh = Box()
    pem = hub.renew(device_id, box, fresh).json()["certificatePem"]
    assert hub.renew(device_id, box, fresh).json()["certificatePem"] == pem
    made = x509.load_pem_x509_certificate(pem.encode())
    assert made.subject.get_attributes_for_oid(x509.NameOID.SERIAL_NUMBER)[0].value == "2"
    assert [refused(hub, device_id, one) for one in (box, fresh, box)] == ["", "", "key_invalid"]
    with hub.store.reading() as view:
        serials = [serial for serial, _ in view.revoked_certificates(hub.clock())]
    assert serials == [f"{former.serial_number:x}"]


def test_candidate_that_is_replaced_is_revoked(hub: World, box: Box) -> None:
    """A certificate that nobody ever proved ends when another candidate takes its place."""
    device_id, _ = certified(hub, box)
    first, second = Box(), Box()
    unproved = x509.load_pem_x509_certificate(hub.renew(device_id, box, first).json()["certificatePem"].encode())
    hub.renew(device_id, box, second)
    with hub.store.reading() as view:
        assert [one for one, _ in view.revoked_certificates(hub.clock())] == [f"{unproved.serial_number:x}"]
    assert [refused(hub, device_id, one) for one in (first, second)] == ["key_invalid", ""]


def test_each_candidate_has_a_subject_of_its_own(hub: World, broker: HeardBroker, box: Box) -> None:
    """A replaced candidate cannot be taken for the one that replaced it, and the broker hears that it has ended."""
    device_id, _ = certified(hub, box)
    broker.news()
    lost, fresh = Box(), Box()
    answers = [hub.renew(device_id, box, one) for one in (lost, lost, fresh)]
    shown = [x509.load_pem_x509_certificate(one.json()["certificatePem"].encode()).subject for one in answers]
    assert shown[0] == shown[1] != shown[2]
    assert broker.news() == [("ended", device_id)]


def test_device_that_was_off_for_a_year_renews_with_its_key(hub: World, box: Box) -> None:
    """An expired certificate is no hindrance: the signature alone proves the device."""
    device_id, _ = certified(hub, box)
    hub.clock.forward(400 * 86_400)
    fresh = Box()
    made = x509.load_pem_x509_certificate(hub.renew(device_id, box, fresh).json()["certificatePem"].encode())
    assert made.not_valid_after_utc.timestamp() > hub.clock() / 1000
    made.verify_directly_issued_by(authorities().present.certificate)


def test_renewal_needs_the_present_key(hub: World, box: Box) -> None:
    """A stranger's key or signature, a statement for another device or workspace: key_invalid, nothing changed."""
    device_id, _ = hub.enrolled(box)
    stranger, fresh = Box(), Box()
    good = json.loads(box.renewal_body(device_id, fresh))
    strangers = json.loads(stranger.renewal_body(device_id, fresh))
    bodies = [
        strangers,
        {**good, "signature": strangers["signature"]},
        {**good, "signature": "AAAA"},
        {**good, "currentKey": "AAAA"},
        {**good, "csr": stranger.csr_pem},
        {**good, "attemptId": "ef" * 16},
        json.loads(box.renewal_body("another", fresh)),
        json.loads(box.renewal_body(device_id, fresh, "plain")),
    ]
    for body in bodies:
        answer = hub.renew(device_id, box, fresh, json.dumps(body).encode())
        assert refusal(answer) == (401, "key_invalid")
    assert hub.parts.devices.get("demo", device_id).candidate_hash is None


def test_p384_and_other_keys(hub: World) -> None:
    """A P-384 key may sign and be renewed to; any other curve may do neither."""
    box, fresh, odd = Box(ec.SECP384R1()), Box(ec.SECP384R1()), Box(ec.SECP256K1())
    device_id, _ = hub.enrolled(box)
    assert hub.renew(device_id, box, fresh).status_code == 200
    assert refusal(hub.renew(device_id, box, odd)) == (400, "csr_invalid")
    assert refusal(hub.renew(device_id, odd, fresh)) == (401, "key_invalid")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "request_malformed")),
        (b"{}", (400, "request_malformed")),
        (b"[" * 16_000, (400, "request_malformed")),
        (b"x" * 16_385, (413, "request_too_large")),
    ],
)
def test_bad_renewals_are_named(hub: World, box: Box, body: bytes, expected: tuple[int, str]) -> None:
    """What is no renewal is refused by name."""
    device_id, _ = hub.enrolled(box)
    assert refusal(hub.renew(device_id, box, box, body)) == expected


def test_request_whose_signature_does_not_hold_is_csr_invalid(hub: World, box: Box) -> None:
    """The present key signed for it, but nobody has the next key; nor may the next key be the present one."""
    device_id, _ = hub.enrolled(box)
    body = box.renewal_body(device_id, box, csr_pem="not PEM")
    assert refusal(hub.renew(device_id, box, box, body)) == (400, "csr_invalid")
    assert refusal(hub.renew(device_id, box, box)) == (400, "csr_invalid")


def test_renewal_wants_json(hub: World, box: Box) -> None:
    """Another media type is 415."""
    device_id, _ = hub.enrolled(box)
    path, content = f"/demo/devices/v2/{device_id}/credential", box.renewal_body(device_id, Box())
    answer = hub.client.request("POST", path, content=content, headers={"Content-Type": "text/plain"})
    assert refusal(answer) == (415, "unsupported_media_type")


def test_unknown_removed_and_unredeemed_devices_do_not_renew(hub: World, box: Box) -> None:
    """404, 410 with the device's own key named, and 401."""
    device_id, _ = hub.enrolled(box)
    unredeemed, _ = hub.created()
    assert refusal(hub.renew("nobody", box, Box())) == (404, "device_unknown")
    assert refusal(hub.renew("a.b", box, Box())) == (404, "device_unknown")
    assert refusal(hub.renew(unredeemed, box, Box())) == (401, "key_invalid")
    hub.call("DELETE", f"/demo/devices/v2/{device_id}")
    answer = hub.renew(device_id, box, Box())
    assert refusal(answer) == (410, "device_removed")
    assert answer.json()["error"]["keyFingerprint"] == box.fingerprint
    stranger = hub.renew(device_id, Box(), Box())
    assert refusal(stranger) == (401, "key_invalid")


def test_unknown_device_is_refused_before_the_body_is_read(hub: World) -> None:
    """Whoever knows no device cannot make the hub read or verify anything."""
    path = "/demo/devices/v2/nobody/credential"
    answer = hub.client.request("POST", path, content=b"{", headers={"Content-Type": "a/b"})
    assert refusal(answer) == (404, "device_unknown")


def test_device_that_asks_without_end_is_held_back(hub: World, box: Box) -> None:
    """A hundred certificates that nobody proved are enough: then 503 with a day to wait, and its beats go on."""
    device_id, _ = certified(hub, box)
    for _ in range(99):
        assert hub.renew(device_id, box, Box()).status_code == 200
    last = Box()
    answer = hub.renew(device_id, box, last)
    assert refusal(answer) == (503, "hub_busy")
    assert answer.headers["retry-after"] == "86400"
    assert refused(hub, device_id, box) == ""
    hub.clock.forward(91 * 86_400)
    assert hub.renew(device_id, box, last).status_code == 200


def test_promotions_at_once_make_one(hub: World, broker: HeardBroker, box: Box) -> None:
    """Eight beats with the candidate at the same time: all are taken, and one of them promotes it."""
    device_id, _ = hub.enrolled(box)
    candidate = hub.renew(device_id, box, Box()).json()["key"]
    broker.news()
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: hub.beat(device_id, candidate, box.beat_body()).status_code, range(8)))
    assert answers == [200] * 8
    assert broker.news() == [("ended", device_id), ("issued", device_id)]
    assert hub.parts.devices.get("demo", device_id).key_generation == 2


def test_promotion_ends_what_the_former_key_redeemed(hub: World, box: Box) -> None:
    """An installId that the old key redeemed does not bring it back."""
    device_id, install_id = hub.created()
    hub.redeem(install_id, box)
    hub.beat(device_id, hub.renew(device_id, box, Box()).json()["key"], box.beat_body())
    assert refusal(hub.redeem(install_id, box)) == (410, "install_id_revoked")


def test_new_key_is_newer_than_a_candidate_that_was_never_proved(hub: World, box: Box) -> None:
    """A re-imaged box gets a generation of its own, so that the lost candidate cannot win it back."""
    device_id, _ = hub.enrolled(box)
    lost, fresh = Box(), Box()
    candidate = hub.renew(device_id, box, lost).json()["key"]
    again = hub.call("POST", f"/demo/devices/v2/{device_id}/install-ids").json()["installId"]
    assert hub.redeem(again, fresh).json()["key"].startswith("3.")
    path, headers = f"/demo/devices/v2/{device_id}/take-back", {**JSON, "Authorization": f"Bearer {candidate}"}
    answer = hub.client.request("POST", path, content=lost.take_back_body(), headers=headers)
    assert refusal(answer) == (401, "key_invalid")


def test_replaced_candidate_does_not_come_back(hub: World, box: Box) -> None:
    """It has the generation of the one in its place, which is not proved yet either: take-back prefers neither."""
    device_id, key = hub.enrolled(box)
    first, second = Box(), Box()
    replaced, candidate = (hub.renew(device_id, box, one).json()["key"] for one in (first, second))
    for shown, pair, status in ((replaced, first, 401), (candidate, second, 200), (key, box, 200)):
        path, headers = f"/demo/devices/v2/{device_id}/take-back", {**JSON, "Authorization": f"Bearer {shown}"}
        answer = hub.client.request("POST", path, content=pair.take_back_body(), headers=headers)
        assert answer.status_code == status
    assert hub.beat(device_id, key, box.beat_body()).status_code == 200


def test_rotate_is_said_until_it_is_done(hub: World, broker: HeardBroker, box: Box) -> None:
    """202; the device is told at once over the broker and with every answer, until its next credential is proved."""
    device_id, key = hub.enrolled(box)
    assert "rotate" not in hub.beat(device_id, key, box.beat_body()).json()
    broker.news()
    answer = hub.call("POST", f"/demo/devices/v2/{device_id}/rotate")
    assert (answer.status_code, answer.content) == (202, b"")
    ((word, workspace, told_device, body),) = broker.news()
    assert (word, workspace, told_device) == ("tell", "demo", device_id)
    assert json.loads(body) == {"serverTime": hub.clock() / 1000, "intervalS": 60, "rotate": True}
    assert [hub.beat(device_id, key, box.beat_body()).json()["rotate"] for _ in range(2)] == [True, True]
    candidate = hub.renew(device_id, box, Box()).json()["key"]
    assert "rotate" not in hub.beat(device_id, candidate, box.beat_body()).json()


def test_device_that_was_taken_back_stays_on_its_road(hub: World, box: Box) -> None:
    """After a restore the hub does not know how a device beats until it does; a renewal then names its broker."""
    device_id, key = hub.enrolled(box, transport="mqtt")
    with hub.store.writing() as transaction:
        device = transaction.device(device_id)
        assert device is not None
        transaction.put_device(device._replace(transport=None))
    assert hub.parts.beats.for_broker("demo", device_id).device_id == device_id
    assert hub.renew(device_id, box, Box()).json()["transport"] == "mqtt"
    assert hub.beat(device_id, key, box.beat_body()).status_code == 200


def test_rotate_needs_a_credential(hub: World, broker: HeardBroker, box: Box) -> None:
    """A device that never enrolled, or whose credential the operator ended, has nothing to replace; nobody is told."""
    fresh, _ = hub.created()
    ended, _ = hub.enrolled(box)
    hub.call("DELETE", f"/demo/devices/v2/{ended}/credential")
    broker.news()
    for device_id, why in ((fresh, "never enrolled"), (ended, "operator ended it")):
        answer = hub.call("POST", f"/demo/devices/v2/{device_id}/rotate")
        assert refusal(answer) == (400, "bad_request")
        assert why in answer.json()["error"]["message"]
        assert "installId" in answer.json()["error"]["hint"]
    assert broker.news() == []


def test_rotate_needs_the_scope_and_a_device(hub: World, box: Box) -> None:
    """A reader and a device's key may not ask for it; a foreign or unknown device is 404."""
    device_id, key = hub.enrolled(box)
    path = f"/demo/devices/v2/{device_id}/rotate"
    assert refusal(hub.call("POST", path, hub.new_key(scopes=["device:read"]))) == (403, "forbidden")
    assert refusal(hub.call("POST", path, key)) == (403, "forbidden")
    assert refusal(hub.call("POST", "/demo/devices/v2/nobody/rotate")) == (404, "not_found")
    assert refusal(hub.call("POST", path, "")) == (401, "unauthorized")


def test_broker_is_given_the_present_secrets(hub: World, box: Box) -> None:
    """Every device with a live secret, with the very key it was given; candidates only once they are proved."""
    secrets = BrokerSecrets(hub.store, hub.clock, hub.parts.credentials._issuing)
    device_id, key = hub.enrolled(box)
    other, others_key = hub.enrolled(Box())
    certificated, _ = certified(hub, Box())
    revoked, _ = hub.enrolled(Box())
    unredeemed, _ = hub.created()
    hub.call("DELETE", f"/demo/devices/v2/{revoked}/credential")
    candidate = hub.renew(device_id, box, Box()).json()["key"]
    assert {name: one.reveal() for name, one in secrets.all()} == {device_id: key, other: others_key}
    hub.beat(device_id, candidate, box.beat_body())
    told = [secrets.one(name) for name in (device_id, certificated, revoked, unredeemed, "nobody")]
    assert [one and one.reveal() for one in told] == [candidate, None, None, None, None]
