"""The lists of revoked certificates, read as mosquitto has OpenSSL read them: whom they let in."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography import x509

from firstlight_hub import tls
from firstlight_hub.authorities import Authorities, Authority
from firstlight_hub.folder import HubFolder
from firstlight_hub.issuer import Issuer
from tests.hub.identities import DAY, new_authority, now, show, trusting
from tests.hub.served import change
from tests.hub.test_broker_settings import without_lists

HOSTS = ("localhost",)


def verdict(folder: Path, known: Authorities, signer: Authority, is_revoked: bool) -> str:
    """A device comes with a certificate of one of the CAs -> "" or why it is refused."""
    key, server_key = tls.make_key(), tls.make_key()
    device = tls.make_device_certificate(
        signer.certificate, signer.key, key.public_key(), ("demo", "cam", 1), now() + DAY, now()
    )
    revoked = [(f"{device.serial_number:x}", 0)] if is_revoked else []
    lists, trusted = folder / "crl.pem", folder / "trusted.pem"
    lists.write_bytes(Issuer(lambda: known, 90).crl(revoked, round(now().timestamp() * 1000)))
    trusted.write_text(known.trust_pem())
    broker = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    broker.verify_mode = ssl.CERT_REQUIRED
    broker.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    broker.load_verify_locations(trusted)
    broker.load_verify_locations(lists)
    leaf = tls.make_leaf(known.present.certificate, known.present.key, server_key.public_key(), HOSTS, now())
    show(broker, tls.certificate_pem(leaf).decode(), server_key)
    client = trusting(known.present.pem, tls.certificate_pem(device).decode(), key)
    return handshake(client, broker)


def handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> str:
    """A whole one in memory -> "" or the server's complaint."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(back, there, server_hostname=HOSTS[0]), server.wrap_bio(there, back, server_side=True)]
    for _ in range(10):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
    return ""


@pytest.fixture
def known() -> dict[str, Authority]:
    """CAs by what the hub has of them."""
    return {"present": new_authority(), "former": new_authority(), "listing": new_authority(), "bare": new_authority()}


@pytest.mark.parametrize(
    ("signer", "is_revoked", "refused"),
    [
        ("present", False, ""),
        ("present", True, "certificate revoked"),
        ("former", False, ""),
        ("former", True, "certificate revoked"),
        ("listing", False, ""),
        ("listing", True, "certificate revoked"),
        ("bare", False, "unable to get certificate CRL"),
    ],
)
def test_who_is_let_in(
    tmp_path: Path, known: dict[str, Authority], signer: str, is_revoked: bool, refused: str
) -> None:
    """Devices of each CA whose key is here, unless revoked; without a key there is no list, and nobody is let in."""
    others = (known["listing"].certificate, known["bare"].certificate)
    all_of_them = Authorities(known["present"], None, (known["former"],), others, (known["listing"],))
    assert verdict(tmp_path, all_of_them, known[signer], is_revoked) == refused


def test_a_ca_that_may_not_sign_lists_locks_everybody_out(tmp_path: Path) -> None:
    """Which is why such a one is refused at the start."""
    ca = without_lists(new_authority())
    assert "CRL" in verdict(tmp_path, Authorities(ca), ca, is_revoked=False)


def test_the_first_ca_goes_on_listing_under_one_of_the_operators(tmp_path: Path) -> None:
    """Its devices are let in after ca_certificate was set, and their certificates can be revoked."""
    folder = HubFolder(tmp_path / "hub")
    folder.create(HOSTS, 8443, "demo")
    folder.finish(HOSTS, 8443, "demo")
    works = new_authority()
    (folder.path / "works.pem").write_text(works.pem)
    (folder.path / "works.key").write_bytes(tls.key_pem(works.key))  # type: ignore[arg-type]
    change(folder.path, ca_certificate="works.pem", ca_key="works.key")
    found = HubFolder(folder.path).authorities()
    own = x509.load_pem_x509_certificate((folder.path / "ca.pem").read_bytes())
    assert ([one.certificate for one in found.listing], found.others) == ([own], (own,))
    for is_revoked, refused in ((False, ""), (True, "certificate revoked")):
        assert verdict(tmp_path, found, found.listing[0], is_revoked) == refused
    (folder.path / "ca.key").unlink()
    assert HubFolder(folder.path).authorities().listing == ()
