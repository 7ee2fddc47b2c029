"""A CA of the operator's own, from the settings ca_certificate and ca_key."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from firstlight.errors import FirstlightError
from firstlight_hub import tls
from firstlight_hub.authorities import Authority
from firstlight_hub.cli import main
from firstlight_hub.folder import HubFolder
from firstlight_hub.moves import Order, sealed
from tests.hub.identities import DAY, believed, new_authority, now
from tests.hub.served import change, command

HOSTS = ("127.0.0.1",)
HERE = "https://hub.example:8443"


@pytest.fixture
def folder(tmp_path: Path) -> HubFolder:
    """A hub's folder, freshly made."""
    made = HubFolder(tmp_path / "hub")
    made.create(HOSTS, 8443, "demo")
    made.finish(HOSTS, 8443, "demo")
    return made


def sign_ca(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    above: Authority | None = None,
    ends_in: timedelta = 10 * DAY,
    is_ca: bool = True,
) -> x509.Certificate:
    """A company's CA, or an intermediate below one."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Works" if above is None else "Works, hubs")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(above.certificate.subject if above else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - 30 * DAY)
        .not_valid_after(now() + ends_in)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .sign(above.key if above else key, hashes.SHA256())
    )


def write_key(path: Path, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
    """PKCS#8 PEM."""
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    """An RSA key, made once."""
    return rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_external_intermediate_signs_server_and_devices(
    folder: HubFolder, kind: str, rsa_key: rsa.RSAPrivateKey
) -> None:
    """The operator's intermediate signs; the chain is sent without the root, and either is enough to trust."""
    root_key = tls.make_key()
    root = Authority(sign_ca(root_key), root_key)
    key = rsa_key if kind == "rsa" else ec.generate_private_key(ec.SECP384R1())
    made = sign_ca(key, root)
    (folder.path / "works.pem").write_bytes(tls.certificate_pem(made) + tls.certificate_pem(root.certificate))
    write_key(folder.path / "works.key", key)
    change(folder.path, ca_certificate="works.pem", ca_key=str(folder.path / "works.key"))
    fresh = HubFolder(folder.path)
    own = x509.load_pem_x509_certificate((folder.path / "ca.pem").read_bytes())
    known = fresh.authorities()
    assert (fresh.ca_pem(), known.formers, known.others) == (tls.certificate_pem(made).decode(), (), (own,))
    assert sealed(known, None, HERE) == ""
    assert fresh.renew_certificate(HOSTS, now()) is True
    assert fresh.renew_certificate(HOSTS, now()) is False
    shown = x509.load_pem_x509_certificates(fresh.server_certificate.read_bytes())
    assert shown[1:] == [made]
    shown[0].verify_directly_issued_by(made)
    assert root.pem in known.trust_pem()
    text = sealed(known, Order("https://new.example:8443", "own", (), 5.0), HERE)
    assert believed(text, made).ca_pem == fresh.ca_pem()


def bad_settings(folder: Path, rsa_key: rsa.RSAPrivateKey) -> Iterator[tuple[dict[str, str], str]]:
    """Settings that cannot be, each with a part of the sentence."""
    key = tls.make_key()
    write_key(folder / "key", key)
    write_key(folder / "other", rsa_key)
    write_key(folder / "tiny", ec.generate_private_key(ec.SECP192R1()))
    for name, certificate in (
        ("good", sign_ca(key)),
        ("ended", sign_ca(key, ends_in=-DAY)),
        ("leaf", sign_ca(key, is_ca=False)),
    ):
        (folder / name).write_bytes(tls.certificate_pem(certificate))
    yield {"ca_certificate": "good"}, "belong together"
    yield {"ca_key": "key"}, "belong together"
    yield {"ca_certificate": "nowhere", "ca_key": "key"}, "ca_certificate"
    yield {"ca_certificate": "key", "ca_key": "key"}, "ca_certificate"
    yield {"ca_certificate": "good", "ca_key": "nowhere"}, "ca_key"
    yield {"ca_certificate": "good", "ca_key": "good"}, "ca_key"
    yield {"ca_certificate": "good", "ca_key": "tiny"}, "ca_key"
    yield {"ca_certificate": "good", "ca_key": "other"}, "is not the key of ca_certificate"
    yield {"ca_certificate": "ended", "ca_key": "key"}, "ended on"
    yield {"ca_certificate": "leaf", "ca_key": "key"}, "is not a CA"


def test_external_ca_that_cannot_be_used_is_named(folder: HubFolder, rsa_key: rsa.RSAPrivateKey) -> None:
    """Each way in which the two settings can be wrong ends in a sentence with the setting in it."""
    for settings, part in bad_settings(folder.path, rsa_key):
        change(folder.path, ca_certificate="", ca_key="")
        change(folder.path, **settings)
        with pytest.raises(FirstlightError) as refused:
            HubFolder(folder.path).authorities()
        assert (refused.value.code, part in refused.value.message) == ("settings_invalid", True), refused.value.message


def test_serve_with_a_bad_external_ca_is_one_sentence(folder: HubFolder) -> None:
    """Checked before it listens; and a successor is not made for a CA that is not the hub's."""
    change(folder.path, ca_certificate="nowhere.pem", ca_key="nowhere.key")
    refused = command("serve", "--dir", folder.path, "--host", "127.0.0.1", "--port", "0")
    assert (refused.returncode, "[settings_invalid]" in refused.stderr) == (2, True)
    assert "Traceback" not in refused.stderr


def test_successor_of_an_external_ca_is_the_operators(folder: HubFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """``ca new`` says what to do instead."""
    key = tls.make_key()
    (folder.path / "works.pem").write_bytes(tls.certificate_pem(sign_ca(key)))
    write_key(folder.path / "works.key", key)
    change(folder.path, ca_certificate="works.pem", ca_key="works.key")
    status = main(["ca", "new", "--dir", str(folder.path)])
    assert (status, "firstlight-hub move --ca" in capsys.readouterr().err) == (2, True)
    assert not (folder.path / "ca-next.pem").exists()


def test_certificate_without_a_key_is_only_accepted(folder: HubFolder) -> None:
    """A former CA whose key is elsewhere: its devices are let in, nothing is signed by it."""
    other = new_authority()
    (folder.path / "ca-former-works.pem").write_text(other.pem)
    known = folder.authorities()
    assert (known.formers, known.others) == ((), (other.certificate,))
    assert known.accepted() == (known.present.certificate, other.certificate)
    assert sealed(known, None, HERE) == ""
