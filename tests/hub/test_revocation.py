"""Ending a credential over the real app: at once, for all that the device has, and without its record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from firstlight_hub.issuer import Issuer
from firstlight_hub.model import Refusal, certificate_hash
from firstlight_hub.service.secrets import BrokerSecrets
from tests.hub.hub_world import FACTS, JSON, Box, HeardBroker, World, authorities, refusal, world

BASE = "/demo/devices/v2"


@pytest.fixture
def broker() -> HeardBroker:
    """What the hub says to a broker."""
    return HeardBroker()


@pytest.fixture
def hub(tmp_path: Path, broker: HeardBroker) -> Iterator[World]:
    """A hub that takes lost devices back."""
    with world(tmp_path, take_back=True, broker=broker) as found:
        yield found


def revoke(hub: World, device_id: str) -> None:
    """Ends a device's credential."""
    answer = hub.call("DELETE", f"{BASE}/{device_id}/credential")
    assert (answer.status_code, answer.content) == (204, b"")


def take_back(hub: World, device_id: str, key: str, box: Box) -> tuple[int, str]:
    """Asks to be taken back, and is refused."""
    headers = {**JSON, "Authorization": f"Bearer {key}"}
    path = f"{BASE}/{device_id}/take-back"
    return refusal(hub.client.request("POST", path, content=box.take_back_body(), headers=headers))


def test_revoked_key_is_refused_at_once_and_does_not_come_back(hub: World, broker: HeardBroker, box: Box) -> None:
    """The next beat is 401 credential_revoked, renewal and take-back too, the candidate with it; the record stays."""
    device_id, install_id = hub.created()
    key = hub.redeem(install_id, box).json()["key"]
    hub.beat(device_id, key, box.beat_body())
    fresh = Box()
    candidate = hub.renew(device_id, box, fresh).json()["key"]
    broker.news()
    revoke(hub, device_id)
    assert broker.news() == [("ended", device_id)]
    for one in (key, candidate):
        assert refusal(hub.beat(device_id, one, box.beat_body())) == (401, "credential_revoked")
    assert refusal(hub.renew(device_id, box, Box())) == (401, "credential_revoked")
    assert take_back(hub, device_id, key, box) == (401, "credential_revoked")
    assert take_back(hub, device_id, candidate, fresh) == (401, "credential_revoked")
    assert refusal(hub.redeem(install_id, box)) == (410, "install_id_revoked")
    assert refusal(hub.call("GET", f"{BASE}/{device_id}", key)) == (401, "unauthorized")
    assert hub.device(device_id)["hostname"] == FACTS.hostname


def test_open_install_ids_end_with_the_credential(hub: World, box: Box) -> None:
    """Who has an installId of before cannot enrol with it."""
    device_id, _ = hub.enrolled(box)
    pending = hub.call("POST", f"{BASE}/{device_id}/install-ids").json()["installId"]
    revoke(hub, device_id)
    assert refusal(hub.redeem(pending, Box())) == (410, "install_id_revoked")


def test_redeeming_anew_ends_what_is_left_of_a_revoked_session(hub: World, broker: HeardBroker, box: Box) -> None:
    """The broker is told once more to end the sessions of the credential before, in case it has missed it."""
    device_id, _ = hub.enrolled(box)
    revoke(hub, device_id)
    broker.news()
    again = hub.call("POST", f"{BASE}/{device_id}/install-ids").json()["installId"]
    assert hub.redeem(again, Box()).status_code == 201
    assert broker.news() == [("ended", device_id), ("issued", device_id)]


@pytest.mark.parametrize("is_same_key", [True, False])
def test_revoked_device_can_be_invited_again(hub: World, box: Box, is_same_key: bool) -> None:
    """A new installId gives a new credential; the revoked key stays refused, even where the key pair is the same."""
    device_id, key = hub.enrolled(box)
    revoke(hub, device_id)
    again = hub.call("POST", f"{BASE}/{device_id}/install-ids").json()["installId"]
    other = box if is_same_key else Box()
    answer = hub.redeem(again, other)
    assert answer.status_code == 201
    assert answer.json()["key"] != key
    assert hub.beat(device_id, answer.json()["key"], other.beat_body()).status_code == 200
    assert refusal(hub.beat(device_id, key, box.beat_body())) == (401, "key_invalid")


def test_desk_sees_what_a_device_has(hub: World, box: Box) -> None:
    """Credential, its end, a rotation that is due and a revocation stand after the seed's fields, listed too."""
    plain = hub.device(hub.enrolled(Box())[0])
    device_id, _ = hub.enrolled(box, credential="certificate")
    shown = hub.device(device_id)
    assert list(shown)[: len(plain)] == list(plain)

    def ours() -> dict[str, object]:
        listed = hub.call("GET", "/demo/devices/v2").json()["data"][-1]
        assert listed == hub.device(device_id)
        return {name: value for name, value in listed.items() if name not in plain}

    ends = "2027-04-15T08:00:00.000Z"
    assert ours() == {"credential": "certificate", "certificate_ends_at": ends}
    hub.call("POST", f"/demo/devices/v2/{device_id}/rotate")
    hub.clock.forward(86_400)
    assert hub.renew(device_id, box, Box()).status_code == 200
    asked = "2027-01-15T08:00:00.000Z"
    assert ours() == {"credential": "certificate", "certificate_ends_at": ends, "rotate_asked_at": asked}
    revoke(hub, device_id)
    assert ours() == {"credential": "certificate", "revoked": True}


def test_desk_sees_over_what_a_device_beats(tmp_path: Path) -> None:
    """MQTT is said, HTTP is not."""
    with world(tmp_path, brokers={"secret": "mqtts://hub.example:8883"}) as hub:
        assert hub.device(hub.enrolled(Box(), transport="mqtt")[0])["transport"] == "mqtt"
        assert "transport" not in hub.device(hub.enrolled(Box(), transport="http")[0])


def test_revoked_certificate_is_refused_and_listed(hub: World, box: Box) -> None:
    """The hub refuses it at once, and it stands on the revocation list that brokers read, as OpenSSL reads it."""
    device_id, install_id = hub.created(credential="certificate")
    made = x509.load_pem_x509_certificate(hub.redeem(install_id, box).json()["certificatePem"].encode())
    shown = certificate_hash(box.fingerprint)
    assert hub.parts.beats.look_up("demo", device_id, shown).device_id == device_id
    revoke(hub, device_id)
    with pytest.raises(Refusal) as caught:
        hub.parts.beats.look_up("demo", device_id, shown)
    assert caught.value.code == "credential_revoked"
    listed = BrokerSecrets(hub.store, hub.clock, hub.parts.credentials._issuing).revoked_certificates()
    crl = x509.load_pem_x509_crl(Issuer(authorities, 90).crl(listed, hub.clock()))
    assert crl.get_revoked_certificate_by_serial_number(made.serial_number) is not None
    assert crl.is_signature_valid(authorities().present.certificate.public_key())  # type: ignore[arg-type]
    hub.clock.forward(90 * 86_400)
    assert BrokerSecrets(hub.store, hub.clock, hub.parts.credentials._issuing).revoked_certificates() == []


def test_removal_ends_certificates_and_tells_the_broker(hub: World, broker: HeardBroker, box: Box) -> None:
    """Removing a device revokes all it held, the candidate too; the box is told by its own certificate."""
    device_id, install_id = hub.created(credential="certificate")
    hub.redeem(install_id, box)
    hub.renew(device_id, box, Box())
    broker.news()
    hub.call("DELETE", f"{BASE}/{device_id}")
    assert broker.news() == [("ended", device_id)]
    with hub.store.reading() as view:
        assert len(view.revoked_certificates(hub.clock())) == 2
    with pytest.raises(Refusal) as caught:
        hub.parts.beats.look_up("demo", device_id, certificate_hash(box.fingerprint))
    assert (caught.value.code, caught.value.key_fingerprint) == ("device_removed", box.fingerprint)


def test_revoking_twice_or_before_there_was_a_credential_changes_nothing_more(hub: World, box: Box) -> None:
    """It is 204 all the same, and the device can be invited."""
    device_id, _ = hub.created()
    for _ in range(2):
        revoke(hub, device_id)
    again = hub.call("POST", f"{BASE}/{device_id}/install-ids").json()["installId"]
    assert hub.redeem(again, box).status_code == 201


def test_revoking_needs_the_scope_and_a_device(hub: World, box: Box) -> None:
    """A reader and the device itself may not; a foreign or unknown device is 404."""
    device_id, key = hub.enrolled(box)
    path = f"{BASE}/{device_id}/credential"
    assert refusal(hub.call("DELETE", path, hub.new_key(scopes=["device:read"]))) == (403, "forbidden")
    assert refusal(hub.call("DELETE", path, key)) == (403, "forbidden")
    assert refusal(hub.call("DELETE", f"{BASE}/nobody/credential")) == (404, "not_found")


def test_broker_road_refuses_what_ended(hub: World, box: Box) -> None:
    """Beats that a broker still had: of a revoked, a removed, an unredeemed, an unknown and a foreign device."""
    revoked, _ = hub.enrolled(box)
    gone, _ = hub.enrolled(Box())
    unredeemed, _ = hub.created()
    assert hub.parts.beats.for_broker("demo", revoked).device_id == revoked
    revoke(hub, revoked)
    hub.call("DELETE", f"{BASE}/{gone}")
    expected = {
        ("demo", revoked): "credential_revoked",
        ("demo", gone): "device_removed",
        ("demo", unredeemed): "key_invalid",
        ("demo", "nobody"): "device_unknown",
        ("plain", revoked): "device_unknown",
    }
    for road, code in expected.items():
        with pytest.raises(Refusal) as caught:
            hub.parts.beats.for_broker(*road)
        assert caught.value.code == code
