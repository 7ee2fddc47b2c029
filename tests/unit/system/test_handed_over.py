"""What a device file leaves on the disk: its key, what only its platform knows, and what the platform desires later."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from firstlight.core.desired import MAX_BYTES, merged
from firstlight.core.lifecycle import Desired
from firstlight.core.model import Credential, Registration, Secret, Trust, parse_broker, parse_endpoint
from firstlight.errors import InvitationError, StateError
from firstlight.system import registration_file
from firstlight.system.desired import NAME
from firstlight.system.keys import LEAST_RSA_BITS, KeyFile
from firstlight.system.store import KEY, StateDirectory, key_name

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PLAIN = Registration(
    "huawei", parse_endpoint("https://h.example"), Trust(), "", "d_1", Credential("secret", Secret("s")),
    60, "sha256:" + "ab" * 32, "CSR", 1.0,
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> StateDirectory:
    """A fresh state directory."""
    made = StateDirectory(str(tmp_path / "state"))
    made.prepare()
    return made


def pem_of(
    key: PrivateKey,
    encryption: KeySerializationEncryption | None = None,
    form: PrivateFormat = PrivateFormat.TraditionalOpenSSL,
) -> str:
    """As other tools write it."""
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption()).decode()


@pytest.mark.parametrize(
    "make",
    [
        lambda: ec.generate_private_key(ec.SECP256R1()),
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: rsa.generate_private_key(65537, 2048),
    ],
    ids=["p256", "p384", "rsa"],
)
def test_a_key_is_adopted(store: StateDirectory, make: Callable[[], ec.EllipticCurvePrivateKey]) -> None:
    """It lies beside the box's own, private, found by its fingerprint, signs, and is adopted twice as once."""
    own = KeyFile().make_or_load(store)
    pem = pem_of(make())
    made = KeyFile().adopt(store, pem)
    again = KeyFile().adopt(store, pem)
    assert made.key_fingerprint == again.key_fingerprint != own.key_fingerprint
    assert store.key_names() == sorted([KEY, key_name(made.key_fingerprint)])
    file = Path(store.key_file(made.key_fingerprint))
    assert file.stat().st_mode & 0o777 == 0o600
    assert made.csr_pem.startswith("-----BEGIN CERTIFICATE REQUEST-----")
    kept = load_pem_private_key(file.read_bytes(), None)
    statement, public = b"statement", kept.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        public.verify(made.sign(statement), statement, PKCS1v15(), SHA256())
    else:
        assert isinstance(public, ec.EllipticCurvePublicKey)
        public.verify(made.sign(statement), statement, ec.ECDSA(SHA256()))
    assert KeyFile().make_or_load(store).key_fingerprint == own.key_fingerprint


@pytest.mark.parametrize(
    ("pem", "words"),
    [
        ("junk", "cannot be read"),
        (pem_of(ed25519.Ed25519PrivateKey.generate(), form=PrivateFormat.PKCS8), "neither P-256"),
        (pem_of(rsa.generate_private_key(65537, LEAST_RSA_BITS // 2)), "neither P-256"),
        (pem_of(ec.generate_private_key(ec.SECP521R1())), "neither P-256"),
        (pem_of(ec.generate_private_key(ec.SECP256R1()), BestAvailableEncryption(b"x")), "passphrase"),
    ],
    ids=["junk", "ed25519", "rsa1024", "p521", "encrypted"],
)
def test_a_key_that_cannot_be_used(store: StateDirectory, pem: str, words: str) -> None:
    """It is named, and nothing is left on the disk."""
    with pytest.raises(InvitationError, match=words) as caught:
        KeyFile().adopt(store, pem)
    assert caught.value.code == "device_file_malformed"
    assert store.key_names() == []


def test_what_only_its_platform_knows_is_kept(store: StateDirectory) -> None:
    """Extras make the file one that an older agent refuses; without them it is as it always was."""
    mine = PLAIN._replace(
        extra=(("service", "Firstlight"), ("sign", "1")), transport="mqtt", broker=parse_broker("mqtts://h.example")
    )
    store.save_registration(mine)
    assert store.load_registration() == mine
    assert json.loads(registration_file.encode(mine))["format"] == 3
    plain = json.loads(registration_file.encode(PLAIN))
    assert plain["format"] == 1
    assert not {"extra", "broker", "transport"} & set(plain["registration"])
    assert json.loads(registration_file.encode(PLAIN._replace(transport="mqtt", broker=mine.broker)))["format"] == 2


def test_what_is_desired_is_kept(store: StateDirectory) -> None:
    """Merged or replaced, private, the same again is no change, and damage counts as nothing desired."""
    assert store.merge_desired(Desired(1, '{"a":{"b":1}}', False)) == {"a": {"b": 1}}
    assert store.merge_desired(Desired(2, '{"a":{"b":1}}', False)) is None
    assert store.merge_desired(Desired(3, '{"a":{"c":2},"d":{}}', False)) == {"a": {"b": 1, "c": 2}, "d": {}}
    assert store.merge_desired(Desired(4, '{"d":{"e":null}}', True)) == {"d": {"e": None}}
    file = Path(store.path, NAME)
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text("{")
    assert store.merge_desired(Desired(5, "{}", True)) == {}
    file.write_text('{"format": 2}')
    with pytest.raises(StateError) as caught:
        store.merge_desired(Desired(6, "{}", True))
    assert caught.value.code == "state_newer"


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', "[" * 20_000, '{"a":{"b":"' + "x" * MAX_BYTES + '"}}'])
def test_what_cannot_be_desired(store: StateDirectory, text: str) -> None:
    """It is refused by name, and what was kept stays."""
    store.merge_desired(Desired(1, '{"a":{"b":1}}', False))
    with pytest.raises(StateError) as caught:
        store.merge_desired(Desired(2, text, True))
    assert caught.value.code == "desired_unusable"
    assert (store.read_json(NAME) or {})["desired"] == {"a": {"b": 1}}


def test_wishes_do_not_add_up_without_end() -> None:
    """All of it together has a bound too."""
    before: dict[str, object] = {"a": {str(number): "x" * 1000 for number in range(60)}}
    with pytest.raises(ValueError, match="too much"):
        merged(before, Desired(1, json.dumps({"b": {str(number): "x" * 1000 for number in range(10)}}), False))
