"""The receipt in docs/offline-desk.md, read by what that page says and nothing of ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from firstlight.wire import receipt as wire
from tests.receipt.box import Keys, a_receipt
from tests.rules.sources import ROOT

PAGE = (ROOT / "docs/offline-desk.md").read_text(encoding="utf-8")


def vector() -> str:
    """The link on the page."""
    (link,) = re.findall(r"^HTTPS://\S+$", PAGE, re.MULTILINE)
    return str(link)


def test_the_page_is_enough_to_read_a_receipt() -> None:
    """Base32, CBOR, ECDSA and HMAC as the page has them: every field, signature, fingerprint and proof."""
    text = vector().partition("/R/")[2]
    body = base64.b32decode(text + "=" * (-len(text) % 8))
    claims, signature = body[:-64], body[-64:]
    said = cbor2.loads(claims)
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), said[4])
    assert key == ec.derive_private_key(20261121, ec.SECP256R1()).public_key()
    r, s = (int.from_bytes(signature[start : start + 32], "big") for start in (0, 32))
    key.verify(utils.encode_dss_signature(r, s), b"firstlight-receipt\x00" + claims, ec.ECDSA(SHA256()))
    fingerprint = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    assert f"sha256:{fingerprint}" in PAGE
    token = hashlib.sha256(b"0123456789abcdef").digest()
    proof = hmac.new(token, b"firstlight receipt" + said[4] + b"cam-ladder-7", hashlib.sha256).digest()[:16]
    del said[4]
    assert said == {
        1: 1,
        2: "site-nord",
        3: "cam-ladder-7",
        5: 12,
        6: [bytes.fromhex("ab" * 16), 1_234_567, 1_795_000_000],
        7: [True, 1_794_900_000, 86_000],
        8: ["provisioned"],
        9: "0.3.0",
        10: {1: "edge-line-7", 2: "jetson", 3: "aarch64"},
        11: bytes.fromhex("00112233aabbccdd"),
        12: {1: 50, 2: 312, 3: 420, 4: 485},
        13: [1440, 1_234_000, 1_235_440, b"digest-of-beats!"],
        14: proof,
    }


def test_ours_reads_it_the_same_way() -> None:
    """The code agrees with the page."""
    said = wire.verify(wire.from_text(vector()))
    assert said == a_receipt(Keys())._replace(public_key=said.public_key, proof=said.proof)
