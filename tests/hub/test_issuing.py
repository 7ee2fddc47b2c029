"""What a redeem gives over the real app: transport, credential and broker as asked for, and the certificate itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from firstlight.wire.redeem import decode_redeem_answer
from firstlight_hub.model import Certificate, Refusal, certificate_hash
from firstlight_hub.service.issuing import Issuing, Request
from tests.hub.hub_world import JSON, START_MS, Box, HeardBroker, World, authorities, refusal, world

BROKERS = {
    "secret": "mqtts://hub.example:8883",
    "certificate": "mqtts://hub.example:8884",
    "certificateWebsocket": "wss://hub.example:8886/mqtt",
}


@pytest.mark.parametrize(
    ("created", "asked", "road"),
    [
        ({}, {}, ("http", "secret", "")),
        ({"credential": "certificate"}, {}, ("http", "certificate", "")),
        ({"transport": "mqtt"}, {}, ("mqtt", "secret", BROKERS["secret"])),
        ({"transport": "mqtt"}, {"transport": "http"}, ("http", "secret", "")),
        ({"transport": "mqtt"}, {"credential": "certificate"}, ("mqtt", "certificate", BROKERS["certificate"])),
        (
            {"transport": "mqtt", "credential": "secret"},
            {"transport": "websocket", "credential": "certificate"},
            ("mqtt", "certificate", BROKERS["certificateWebsocket"]),
        ),
    ],
)
def test_road_is_as_the_box_asks_else_as_created(
    tmp_path: Path, box: Box, created: dict[str, str], asked: dict[str, str], road: tuple[str, str, str]
) -> None:
    """What the box asks for weighs more than what create said; the same answer comes again, whatever is asked then."""
    with world(tmp_path, brokers=BROKERS) as hub:
        device_id, install_id = hub.created(**created)
        first = hub.redeem(install_id, box, box.redeem_body(**asked))
        read = decode_redeem_answer(first.content)
        assert (read.transport, "secret" if read.key else "certificate", read.broker) == road
        again = hub.redeem(install_id, box, box.redeem_body(transport="http", credential="secret"))
        assert (again.status_code, again.content) == (200, first.content)
        stored = hub.parts.devices.get("demo", device_id)
        assert stored.credential == road[1]
        assert (stored.transport == "http") == (road[0] == "http")


def test_hub_decides_where_nobody_asked(tmp_path: Path, box: Box) -> None:
    """The hub's settings are the last word, and the first one asked weighs more."""
    with world(tmp_path, brokers=BROKERS, usual=("mqtt", "certificate")) as hub:
        _, install_id = hub.created()
        read = decode_redeem_answer(hub.redeem(install_id, box).content)
        assert (read.transport, read.key, read.broker) == ("mqtt", None, BROKERS["certificate"])
        _, install_id = hub.created(credential="secret")
        read = decode_redeem_answer(hub.redeem(install_id, Box()).content)
        assert (read.transport, read.broker) == ("mqtt", BROKERS["secret"])


def test_wish_that_cannot_be_fulfilled_spends_nothing(tmp_path: Path, box: Box) -> None:
    """No broker for that kind, no WebSocket, no way to show a certificate: 409, and the installId lives on."""
    with world(tmp_path, brokers={"secret": BROKERS["secret"]}, signs=False) as hub:
        device_id, install_id = hub.created()
        for transport, credential in (("websocket", ""), ("mqtt", "certificate"), ("", "certificate")):
            body = box.redeem_body(transport=transport, credential=credential)
            assert refusal(hub.redeem(install_id, box, body)) == (409, "transport_unavailable")
        assert hub.parts.devices.get("demo", device_id).key_hash is None
        assert hub.redeem(install_id, box, box.redeem_body(transport="mqtt")).status_code == 201


def test_certificate_that_nobody_can_sign_becomes_no_secret(tmp_path: Path, box: Box) -> None:
    """Whoever comes to the granting itself without a signer gets nothing, for any word but "secret"."""
    issuing = Issuing(lambda: START_MS, b"s" * 32)
    with world(tmp_path) as hub:
        device_id, _ = hub.created()
        with hub.store.writing() as transaction:
            device = transaction.device(device_id)
            assert device is not None
            for credential in ("certificate", ""):
                with pytest.raises(Refusal) as caught:
                    issuing.grant(transaction, device, Request(box.csr_pem, box.fingerprint), 1, credential)
                assert caught.value.code == "transport_unavailable"
            assert issuing.grant(transaction, device, Request(box.csr_pem, box.fingerprint), 1, "secret").key


@pytest.mark.parametrize("field", ["transport", "credential"])
def test_unknown_wish_is_malformed(hub: World, box: Box, field: str) -> None:
    """A word that the contract does not have."""
    _, install_id = hub.created()
    body = json.dumps({**json.loads(box.redeem_body()), field: "pigeon"}).encode()
    assert refusal(hub.redeem(install_id, box, body)) == (400, "request_malformed")


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_certificate_is_for_this_device_and_client_authentication_only(hub: World, curve: ec.EllipticCurve) -> None:
    """Subject, key, purpose, dates and signature are as docs/protocol.md says; it is no CA and names no host."""
    box = Box(curve)
    device_id, install_id = hub.created(credential="certificate")
    made = x509.load_pem_x509_certificate(hub.redeem(install_id, box).json()["certificatePem"].encode())
    subject = {one.oid: one.value for one in made.subject}
    assert subject == {NameOID.ORGANIZATION_NAME: "demo", NameOID.COMMON_NAME: device_id, NameOID.SERIAL_NUMBER: "1"}
    assert made.public_key() == box.private.public_key()
    made.verify_directly_issued_by(authorities().present.certificate)
    found = {type(one.value): one.value for one in made.extensions}
    assert list(found[x509.ExtendedKeyUsage]) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert found[x509.BasicConstraints] == x509.BasicConstraints(ca=False, path_length=None)
    assert x509.SubjectAlternativeName not in found
    assert made.not_valid_after_utc.timestamp() == START_MS / 1000 + 90 * 86_400
    assert made.not_valid_before_utc.timestamp() == START_MS / 1000 - 86_400


def test_certificate_that_expired_is_answered_anew(tmp_path: Path, box: Box) -> None:
    """The same key gets the same certificate only while it is of use."""
    with world(tmp_path) as hub:
        device_id, install_id = hub.created(credential="certificate")
        first = hub.redeem(install_id, box).json()["certificatePem"]
        hub.clock.forward(91 * 86_400)
        again = hub.call("POST", f"/demo/devices/v2/{device_id}/install-ids").json()["installId"]
        assert hub.redeem(again, box).json()["certificatePem"] != first


def test_certificate_outlives_no_ca(hub: World, box: Box) -> None:
    """Where the CA ends sooner, the certificate ends with it, so that it is renewed in time."""
    ca = authorities().present.certificate.not_valid_after_utc
    hub.clock.forward(ca.timestamp() - START_MS / 1000 - 86_400)
    _, install_id = hub.created(credential="certificate")
    made = x509.load_pem_x509_certificate(hub.redeem(install_id, box).json()["certificatePem"].encode())
    assert made.not_valid_after_utc == ca


def test_fingerprint_is_no_key(hub: World, box: Box) -> None:
    """Whoever knows a certificate, which is no secret, cannot make a key of what the hub keeps of it."""
    device_id, _ = hub.enrolled(box, credential="certificate")
    for key in (f"certificate|{box.fingerprint}", f"\xffcertificate|{box.fingerprint}"):
        path, headers = f"/demo/devices/v2/{device_id}/heartbeat", {**JSON, "Authorization": f"Bearer {key}"}
        raw = {name: value.encode("latin-1") for name, value in headers.items()}
        answer = hub.client.request("POST", path, content=box.beat_body(), headers=raw)
        assert refusal(answer) == (401, "key_invalid")


def test_kind_can_change_with_a_new_install_id(hub: World, box: Box) -> None:
    """The same key pair redeems once more as a certificate: its former key is refused from then on, and back again."""
    device_id, key = hub.enrolled(box)
    path = f"/demo/devices/v2/{device_id}/install-ids"
    body = box.redeem_body(credential="certificate")
    answer = hub.redeem(hub.call("POST", path).json()["installId"], box, body)
    assert (answer.status_code, "key" in answer.json()) == (201, False)
    assert refusal(hub.beat(device_id, key, box.beat_body())) == (401, "key_invalid")
    assert hub.parts.beats.look_up("demo", device_id, certificate_hash(box.fingerprint)).device_id == device_id
    answer = hub.redeem(hub.call("POST", path).json()["installId"], box, box.redeem_body(credential="secret"))
    assert hub.beat(device_id, answer.json()["key"], box.beat_body()).status_code == 200


def test_broker_knows_before_the_box_does(tmp_path: Path, box: Box) -> None:
    """Each redeem tells the broker, one that replaces a credential also what ended; a refused one tells nothing."""
    broker = HeardBroker()
    with world(tmp_path, broker=broker, take_back=True) as hub:
        device_id, install_id = hub.created()
        hub.redeem(install_id, box)
        hub.redeem(install_id, box)
        assert broker.news() == [("issued", device_id)] * 2
        hub.redeem(install_id, Box())
        assert broker.news() == []
        again = hub.call("POST", f"/demo/devices/v2/{device_id}/install-ids").json()["installId"]
        hub.redeem(again, Box())
        assert broker.news() == [("ended", device_id), ("issued", device_id)]


def shown(pem: str, device_id: str, box: Box) -> Certificate:
    """A certificate as it comes out of a handshake."""
    read = x509.load_pem_x509_certificate(pem.encode())
    ends_ms = int(read.not_valid_after_utc.timestamp()) * 1000
    return Certificate(f"{read.serial_number:x}", device_id, box.fingerprint, pem, ends_ms)


def test_lost_device_is_taken_back_by_its_certificate(tmp_path: Path, box: Box) -> None:
    """Twice as well as once; the hub knows the certificate again and can revoke it. Another request key is refused."""
    with world(tmp_path) as hub:
        device_id, install_id = hub.created(credential="certificate")
        certificate = shown(hub.redeem(install_id, box).json()["certificatePem"], device_id, box)
    for path in tmp_path.glob("hub.sqlite3*"):
        path.unlink()
    broker = HeardBroker()
    with world(tmp_path, take_back=True, broker=broker) as hub:
        with pytest.raises(Refusal) as caught:
            hub.parts.enrolling.take_back_certificate("demo", 1, certificate, Box().fingerprint)
        assert caught.value.code == "key_invalid"
        for _ in range(2):
            hub.parts.enrolling.take_back_certificate("demo", 1, certificate, box.fingerprint)
        assert broker.news() == [("issued", device_id)]
        assert hub.parts.beats.look_up("demo", device_id, certificate_hash(box.fingerprint)).device_id == device_id
        hub.call("DELETE", f"/demo/devices/v2/{device_id}/credential")
        with hub.store.reading() as view:
            assert [one for one, _ in view.revoked_certificates(START_MS)] == [certificate.serial]
        with pytest.raises(Refusal) as caught:
            hub.parts.enrolling.take_back_certificate("demo", 1, certificate, box.fingerprint)
        assert caught.value.code == "credential_revoked"
