"""Labels as a hub prints them, made with a key of the test's own; and the settings of a box that trusts that key."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from firstlight.cli.settings import Settings
from firstlight.core.model import Secret, parse_endpoint
from firstlight.core.provision import Payload
from firstlight.wire import payload as wire
from firstlight.wire.bundle import read_public_key

PIN = "sha256//" + "A" * 43 + "="
TOKEN = "0123456789abcdef"
DAY_S = 86_400


class Signer:
    """One signing key: its id, its public half, and what it signs."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.pem = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.id = read_public_key(self.pem)[0]

    def label(self, payload: Payload) -> str:
        """The text in the QR code."""
        return wire.encode(payload, self.id, self._key.sign)

    def label_as(self, key_id: str, payload: Payload) -> str:
        """A forged one: signed by this key, under the name of another."""
        return wire.encode(payload, key_id, self._key.sign)

    def trusted_in(self, folder: Path) -> Path:
        """A ``trust.d`` there that holds the public half."""
        trust_dir = folder / "trust.d"
        trust_dir.mkdir(mode=0o755, exist_ok=True)
        (trust_dir / f"{self.id}.pub").write_bytes(self.pem)
        return trust_dir


def payload(
    url: str = "https://hub.example:8443", pin: str = PIN, token: str | None = TOKEN, **changes: object
) -> Payload:
    """What a hub would say of a device of that token."""
    now_s = int(time.time())
    plain = Payload(
        issued_at_s=now_s,
        expires_at_s=now_s + 30 * DAY_S,
        nonce=hashlib.sha256(os.urandom(16)).digest()[:16],
        platform="hub",
        endpoint=parse_endpoint(url),
        pins=(pin,),
        token=Secret(token) if token else None,
        device_id="dev-1",
        workspace="demo",
        name="Gate 4",
    )
    return plain._replace(**changes)  # type: ignore[arg-type]


def settings_of(folder: Path, signer: Signer, **changes: str) -> Settings:
    """Those of a box below ``folder`` that trusts the signer."""
    plain = Settings(state_dir=str(folder / "state"), trust_dir=str(signer.trusted_in(folder)), payload_trust="signed")
    return plain._replace(**changes)


def everything(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content: equal before and after where nothing has changed."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
