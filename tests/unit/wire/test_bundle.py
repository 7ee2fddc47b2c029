"""What a bundle says about itself: one encoding, bounded, and nothing believed that no trusted key signed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from firstlight.wire import bundle
from firstlight.wire.bounded import WireError
from firstlight.wire.bundle import Content, Manifest

MANIFEST = Manifest("0.2.0", "aarch64", ("3.10", "3.13"), Content("a" * 64, 3), Content("b" * 64, 5), 2, 7, 9)
BODY = bundle.encode_manifest(MANIFEST)
ONE, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))


def public(key: Ed25519PrivateKey) -> tuple[str, bytes]:
    """Key id and raw public key, by way of the file that lies in trust.d."""
    return bundle.read_public_key(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def signed(*keys: Ed25519PrivateKey, body: bytes = BODY) -> bytes:
    """The text of ``signatures`` by these keys."""
    return bundle.encode_signatures({public(key)[0]: key.sign(body) for key in keys})


def test_manifest_is_canonical() -> None:
    """A manifest has one encoding, whose SHA-256 is the id of the release."""
    assert bundle.decode_manifest(BODY) == MANIFEST
    assert json.dumps(json.loads(BODY), sort_keys=True, separators=(",", ":")).encode() == BODY
    assert bundle.release_id(BODY) == hashlib.sha256(BODY).hexdigest()
    with pytest.raises(WireError, match="canonically"):
        bundle.decode_manifest(json.dumps(json.loads(BODY)).encode())


def test_field_of_a_later_release_is_passed_over() -> None:
    """A manifest may say more than this version knows; a later format is refused by its name."""
    more = {**json.loads(BODY), "later": {"x": [1]}}
    assert bundle.decode_manifest(json.dumps(more, sort_keys=True, separators=(",", ":")).encode()) == MANIFEST
    with pytest.raises(WireError, match="of format 2, this agent reads 1") as caught:
        bundle.decode_manifest(json.dumps({**more, "format": 2}).encode())
    assert caught.value.code == "bundle_newer"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("name",), "other"),
        (("version",), "0.2"),
        (("version",), "../../x"),
        (("arch",), "riscv64"),
        (("pythons",), []),
        (("pythons",), ["3.10; rm"]),
        (("pythons",), "3.10"),
        (("pythons",), [["3.10"]]),
        (("format",), 0),
        (("format",), True),
        (("registrationFormat",), "2"),
        (("files",), None),
        (("files", "install.sh", "sha256"), "A" * 64),
        (("files", "install.sh", "size"), bundle.MAX_INSTALLER + 1),
        (("files", "payload.tar.gz", "size"), bundle.MAX_PAYLOAD + 1),
        (("files", "payload.tar.gz", "size"), 1.5),
        (("files", "payload.tar.gz"), []),
        (("installed",), [1]),
        (("installed", "core"), -1),
    ],
)
def test_manifest_with_one_wrong_field_is_refused(path: tuple[str, ...], value: object) -> None:
    """Each field is checked for its type and bounds."""
    source = json.loads(BODY)
    place = source
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(WireError) as caught:
        bundle.decode_manifest(json.dumps(source, sort_keys=True, separators=(",", ":")).encode())
    assert caught.value.code == "bundle_malformed"


def test_any_one_trusted_key_suffices() -> None:
    """Of several signatures one by a trusted key counts; adding one does not change the id."""
    trusted = dict([public(ONE)])
    assert bundle.verify(BODY, signed(ONE), trusted) == public(ONE)[0]
    assert bundle.verify(BODY, signed(OTHER, ONE), trusted) == public(ONE)[0]
    assert bundle.verify(BODY, signed(OTHER, ONE), dict([public(OTHER)])) == public(OTHER)[0]


@pytest.mark.parametrize(
    ("signatures", "code"),
    [
        (lambda: b"", "signature_missing"),
        (lambda: signed(OTHER), "signature_unknown"),
        (lambda: signed(ONE, body=BODY + b" "), "signature_wrong"),
        (lambda: bundle.encode_signatures({public(ONE)[0]: OTHER.sign(BODY)}), "signature_wrong"),
        (lambda: signed(ONE) * 2, "bundle_malformed"),
        (lambda: signed(ONE).upper(), "bundle_malformed"),
        (lambda: signed(ONE).rstrip(), "bundle_malformed"),
        (lambda: signed(ONE) + b"\n", "bundle_malformed"),
        (lambda: signed(ONE).replace(b"==", b"=", 1), "bundle_malformed"),
        (lambda: b"x" * (bundle.MAX_SIGNATURES + 1), "bundle_malformed"),
        (lambda: b"\xff\n", "bundle_malformed"),
    ],
)
def test_what_no_trusted_key_signed_is_refused(signatures: Callable[[], bytes], code: str) -> None:
    """No signature, one by a stranger, of other bytes, by another key under this one's id, or none at all."""
    with pytest.raises(WireError) as caught:
        bundle.verify(BODY, signatures(), dict([public(ONE)]))
    assert caught.value.code == code


def test_no_flipped_bit_of_a_signed_manifest_is_believed() -> None:
    """Whatever byte of manifest or signatures changes, nothing is verified."""
    trusted, signatures = dict([public(ONE)]), signed(ONE)
    for index in range(len(BODY)):
        with pytest.raises(WireError):
            bundle.verify(BODY[:index] + bytes([BODY[index] ^ 1]) + BODY[index + 1 :], signatures, trusted)
    for index in range(len(signatures)):
        with pytest.raises(WireError):
            bundle.verify(BODY, signatures[:index] + bytes([signatures[index] ^ 1]) + signatures[index + 1 :], trusted)


@pytest.mark.parametrize("kind", ["elliptic", "junk", "empty", "large"])
def test_public_key_of_another_kind_is_refused(kind: str) -> None:
    """Only an Ed25519 key in PEM of reasonable size is read."""
    elliptic = generate_private_key(SECP256R1()).public_key()
    pem = elliptic.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    good = ONE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(WireError) as caught:
        bundle.read_public_key({"elliptic": pem, "junk": b"<html>", "empty": b"", "large": good + b"\n" * 2000}[kind])
    assert caught.value.code == "key_malformed"


def test_key_id_is_of_the_public_key() -> None:
    """The id is the start of the SHA-256 of SubjectPublicKeyInfo, as openssl would compute it."""
    der = ONE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert public(ONE)[0] == bundle.key_id(der) == hashlib.sha256(der).hexdigest()[:16]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("firstlight-0.2.0-x86_64.tar", ("0.2.0", "x86_64")),
        ("firstlight-10.20.30-aarch64.tar", ("10.20.30", "aarch64")),
        ("firstlight-0.2.0-x86_64.tar.gz", None),
        ("firstlight-0.2.0-riscv64.tar", None),
        ("../firstlight-0.2.0-x86_64.tar", None),
        ("firstlight-0.2-x86_64.tar", None),
        ("firstlight-0.2.0-x86_64.tar\n", None),
    ],
)
def test_file_names_are_read_strictly(name: str, found: tuple[str, str] | None) -> None:
    """Version and architecture stand in the name; anything else is no bundle."""
    assert bundle.parse_name(name) == found
    assert found is None or bundle.bundle_name(*found) == name


def test_versions_compare_as_numbers() -> None:
    """0.10.0 comes after 0.9.9; what is no version is refused."""
    assert bundle.version_order("0.10.0") > bundle.version_order("0.9.9")
    with pytest.raises(WireError):
        bundle.version_order("1.0rc1")


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("lib/_cffi_backend.cpython-312-x86_64-linux-gnu.so", True),
        ("lib/_cffi_backend.cpython-310-x86_64-linux-gnu.so", False),
        ("lib/psutil/_psutil_linux.abi3.so", True),
        ("lib/firstlight/errors.py", True),
        ("scan/pillow.libs/libjpeg-1.so.62", True),
    ],
)
def test_modules_of_other_pythons_are_told_apart(name: str, fits: bool) -> None:
    """A module compiled for another Python is of no use; all else is."""
    assert bundle.is_for(name, "3.12") is fits


@pytest.mark.parametrize(
    "name",
    [
        *("/lib/x", "lib/../x", "lib/..", "lib/./x", "lib//x", "lib", "lib/", "etc/x", "lib/a b", "lib/x\n"),
        *("lib/-x/\x1b", "lib/" + "x" * 300, "", "lib/.hidden"),
    ],
)
def test_payload_holds_plain_names_only(name: str) -> None:
    """Absolute names, ways up, other folders and odd characters are refused."""
    assert not bundle.is_member(name)
    assert bundle.is_member("lib/pillow-12.0.0.dist-info/licenses/LICENSE")
