"""The device's keys in files: the first, the next ones, and what TLS finds by fingerprint."""

import hashlib
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from firstlight.errors import StateError
from firstlight.system.keys import KeyFile, certificate_fingerprint
from firstlight.system.store import KEY, StateDirectory, key_name


@pytest.fixture
def store(tmp_path: Path) -> StateDirectory:
    """A prepared directory."""
    made = StateDirectory(str(tmp_path / "state"))
    made.prepare()
    return made


def test_the_first_key_is_made_once_under_its_old_name(store: StateDirectory) -> None:
    """The same key comes back, private, where boxes enrolled before have it."""
    first = KeyFile().make_or_load(store)

    assert KeyFile().make_or_load(store).key_fingerprint == first.key_fingerprint
    assert KeyFile().load(store, first.key_fingerprint).key_fingerprint == first.key_fingerprint
    assert store.key_file(first.key_fingerprint) == str(Path(store.path, KEY))
    assert stat.S_IMODE(Path(store.path, KEY).stat().st_mode) == 0o600


def test_the_next_key_stands_beside_the_first(store: StateDirectory) -> None:
    """Each is found by its fingerprint; the first is as it was."""
    first, following = KeyFile().make_or_load(store), KeyFile().make_next(store)

    assert first.key_fingerprint != following.key_fingerprint
    assert store.key_names() == sorted([KEY, key_name(following.key_fingerprint)])
    assert KeyFile().load(store, following.key_fingerprint).public_der == following.public_der
    assert Path(store.key_file(following.key_fingerprint)).name == key_name(following.key_fingerprint)
    assert Path(store.key_file(first.key_fingerprint)).name == KEY


def test_what_a_key_shows_fits_together(store: StateDirectory) -> None:
    """Request, fingerprint, public key and signature are of one key, and nothing private is printed."""
    key = KeyFile().make_next(store)
    request = x509.load_pem_x509_csr(key.csr_pem.encode())
    public = request.public_key()

    assert request.is_signature_valid
    assert isinstance(public, ec.EllipticCurvePublicKey)
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert der == key.public_der
    assert key.key_fingerprint == f"sha256:{hashlib.sha256(der).hexdigest()}"
    public.verify(key.sign(b"statement"), b"statement", ec.ECDSA(hashes.SHA256()))
    assert repr(key) == f"FileKey({key.key_fingerprint})"


def test_a_key_that_is_not_the_one_asked_for_is_named(store: StateDirectory) -> None:
    """Missing, damaged or another: state_corrupt, never a wrong key."""
    KeyFile().make_or_load(store)
    following = KeyFile().make_next(store)
    Path(store.path, key_name(following.key_fingerprint)).write_text("junk")

    for fingerprint in ("sha256:" + "0" * 64, following.key_fingerprint):
        with pytest.raises(StateError) as caught:
            KeyFile().load(store, fingerprint)
        assert caught.value.code == "state_corrupt"


def test_former_keys_go_and_the_present_one_never_does(store: StateDirectory) -> None:
    """Only what is not named goes; where the one to be kept is missing, nothing does."""
    first, second, third = KeyFile().make_or_load(store), KeyFile().make_next(store), KeyFile().make_next(store)
    Path(store.path, "notes.key.txt").write_text("not ours")

    store.remove_keys_but(second.key_fingerprint)
    assert store.key_names() == [key_name(second.key_fingerprint)]

    third = KeyFile().make_next(store)
    store.remove_keys_but(first.key_fingerprint)
    assert len(store.key_names()) == 2, "the first one is not there any more"
    store.remove_keys_but()
    assert len(store.key_names()) == 2
    assert Path(store.path, "notes.key.txt").exists()
    assert key_name(third.key_fingerprint) in store.key_names()


def test_junk_is_no_certificate() -> None:
    """A certificate that cannot be read has no key."""
    for junk in ("", "junk", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        assert certificate_fingerprint(junk) == ""
