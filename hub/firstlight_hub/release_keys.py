"""The keys whose signature makes boxes take a release: the hub's own, former ones, and public keys of others.

``release.key`` is the hub's present Ed25519 key. A new one leaves the one before as ``release-former-NNNN-KEYID.key``,
with growing numbers: the hub goes on signing with all of them, so that a box that was off through a change verifies by
the key it knows, and gets the new one along. When every box was upgraded since, the former files may be deleted. Keys
have no dates. What only one key can sign (an offline payload) is signed by the oldest: every box knows that one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from firstlight.errors import StateError, UsageError
from firstlight.wire import bundle as wire
from firstlight.wire.bounded import WireError
from firstlight_hub.private_files import damaged, read_private, write_private

PRESENT = "release.key"
FORMER = "release-former-*.key"
NUMBERED = re.compile(r"release-former-([0-9]{4})-")


class ReleaseKeys(NamedTuple):
    """What signs, and what boxes are to trust.

    Args:
        signing: the hub's private keys by id, the present one first, then the former ones from new to old.
        public: key id -> PEM, of those and of others named in hub.toml.
    """

    signing: Mapping[str, Ed25519PrivateKey]
    public: Mapping[str, bytes]

    def sign(self, manifest: bytes) -> dict[str, bytes]:
        """The bytes of a manifest -> key id -> signature, by each key of the hub."""
        return {name: key.sign(manifest) for name, key in self.signing.items()}

    def oldest(self) -> tuple[str, Ed25519PrivateKey]:
        """Id and key of the oldest that the hub still keeps."""
        return list(self.signing.items())[-1]

    def trusted(self) -> dict[str, bytes]:
        """Key id -> the 32 bytes of each public key: whose signatures count."""
        return dict(wire.read_public_key(pem) for pem in self.public.values())


def load(folder: Path, others: Sequence[str] = ()) -> ReleaseKeys:
    """The release keys of a hub; on one of an older version the first is made now.

    Args:
        folder: the hub's.
        others: PEM files with one public key each, as the setting ``release_keys`` names them; relative ones are
            looked for in the folder.

    Raises:
        StateError: ``hub_damaged``, ``state_unwritable``.
        UsageError: ``settings_invalid``: a file of the setting cannot be used.
    """
    if not (folder / PRESENT).exists():
        _write(folder / PRESENT, make_key())
    signing: dict[str, Ed25519PrivateKey] = {}
    for path in (folder / PRESENT, *_former(folder)):
        key = _private(path)
        signing[key_id(key)] = key
    public = {name: public_pem(key) for name, key in signing.items()}
    for name in others:
        try:
            pem = (folder / name).read_bytes()
            public[wire.read_public_key(pem)[0]] = pem
        except (OSError, WireError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise UsageError("settings_invalid", f"hub.toml: release_keys: {folder / name}: {why}.") from None
    return ReleaseKeys(signing, public)


def renew(folder: Path) -> str:
    """Makes a new present key; the one before goes on signing. Returns the new key's id. Raises as ``load``."""
    before = load(folder)
    former = next(iter(before.signing))
    fresh = make_key()
    # First the former one under its new name: cut between the two, both files hold the same key, which does no harm.
    number = max((_number(path) for path in _former(folder)), default=0) + 1
    _write(folder / FORMER.replace("*", f"{number:04d}-{former}"), before.signing[former])
    _write(folder / PRESENT, fresh)
    return key_id(fresh)


def _former(folder: Path) -> list[Path]:
    """From new to old. Hubs before 0.3 wrote no numbers: those keys are older than any with one."""
    return sorted(folder.glob(FORMER), key=lambda path: (_number(path), path.name), reverse=True)


def _number(path: Path) -> int:
    found = NUMBERED.match(path.name)
    return int(found[1]) if found else 0


def make_key() -> Ed25519PrivateKey:
    """A new key."""
    return Ed25519PrivateKey.generate()


def private_pem(key: Ed25519PrivateKey) -> bytes:
    """PKCS#8 in PEM, not encrypted: the file's rights keep it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: Ed25519PrivateKey) -> bytes:
    """SubjectPublicKeyInfo in PEM: a file of a box's trust.d."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def key_id(key: Ed25519PrivateKey) -> str:
    """16 hex digits of the public key's SHA-256."""
    return wire.read_public_key(public_pem(key))[0]


def read_key_file(path: Path) -> Ed25519PrivateKey:
    """A private key that a person named. Raises UsageError ``usage``."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise UsageError("usage", f"{path} cannot be read: {error.strerror}.", "Check the path.") from None
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        hint = "Make one: openssl genpkey -algorithm ed25519 -out FILE"
        raise UsageError("usage", f"{path} holds no Ed25519 private key in PEM without a password.", hint)
    return key


def _private(path: Path) -> Ed25519PrivateKey:
    content = read_private(path)
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise damaged(path, "is no Ed25519 key in PEM")
    return key


def _write(path: Path, key: Ed25519PrivateKey) -> None:
    try:
        write_private(path, private_pem(key))
    except OSError as error:
        raise StateError("state_unwritable", f"{path} cannot be written: {error.strerror}.") from None
