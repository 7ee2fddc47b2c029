"""Labels for the tests: payloads that a key of the test signs, and pictures of their codes."""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path
from typing import NamedTuple

import qrcode
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from PIL import Image

from firstlight.core.model import Endpoint, Secret
from firstlight.core.provision import Network, Payload
from firstlight.wire import payload as wire

PIN = "sha256//" + "A" * 43 + "="
TOKEN = "0123456789abcdef"


class Desk(NamedTuple):
    """Signs payloads; ``trust`` puts its public key where a box looks for it."""

    key: Ed25519PrivateKey
    key_id: str

    @classmethod
    def make(cls) -> Desk:
        """One with a fresh key."""
        key = Ed25519PrivateKey.generate()
        spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return cls(key, hashlib.sha256(spki).hexdigest()[:16])

    def trust(self, folder: Path) -> None:
        """Has a box with that folder believe this desk."""
        folder.mkdir(exist_ok=True)
        pem = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / f"{self.key_id}.pub").write_bytes(pem)

    def text(self, nonce: bytes = b"n" * 16, network: Network | None = None, device_id: str = "gate-3") -> str:
        """The text of a payload that may be scanned for a day."""
        now_s = int(time.time())
        return wire.encode(
            Payload(
                issued_at_s=now_s,
                expires_at_s=now_s + 86_400,
                nonce=nonce,
                platform="hub",
                endpoint=Endpoint("https", "hub.example", 8443),
                pins=(PIN,),
                token=Secret(TOKEN),
                device_id=device_id,
                workspace="site",
                name="Gate 3",
                network=network,
            ),
            self.key_id,
            self.key.sign,
        )


def picture(text: str, scale: int = 4) -> Image.Image:
    """The text's QR code, as a grey picture."""
    made = qrcode.QRCode(border=4, box_size=scale, error_correction=qrcode.constants.ERROR_CORRECT_M)
    made.add_data(text)
    body = io.BytesIO()
    made.make_image().save(body)
    return Image.open(body).convert("L")


def beside(*pictures: Image.Image) -> Image.Image:
    """Several pictures in one, next to each other."""
    sheet = Image.new("L", (sum(each.width for each in pictures), max(each.height for each in pictures)), 255)
    left = 0
    for each in pictures:
        sheet.paste(each, (left, 0))
        left += each.width
    return sheet


def pnm(picture: Image.Image) -> bytes:
    """A picture as its bytes in PNM."""
    body = io.BytesIO()
    picture.save(body, "PPM")
    return body.getvalue()


def jpeg(picture: Image.Image) -> bytes:
    """A picture as its bytes in JPEG."""
    body = io.BytesIO()
    picture.save(body, "JPEG", quality=90)
    return body.getvalue()
