"""The files of the hub's CAs: ``ca``, its successor ``ca-next``, those before ``ca-former-N``; each as PEM and key."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from cryptography import x509

from firstlight.errors import StateError, UsageError
from firstlight_hub import settings as settings_room
from firstlight_hub import tls
from firstlight_hub.authorities import Authorities, Authority, make_successor, read_external, read_signer
from firstlight_hub.private_files import damaged, parsed, read_private, sync_folder, write_private

PRESENT, NEXT, FORMER = "ca", "ca-next", "ca-former-"


class CaFiles:
    """The CAs in a hub's folder.

    Args:
        path: the hub's folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._external: Authority | None = None
        self._known: tuple[object, Authorities] | None = None

    def state(self) -> object:
        """Something that changes with the files."""
        found = []
        for path in (path for pattern in ("ca.*", "ca-*") for path in self._path.glob(pattern)):
            with contextlib.suppress(FileNotFoundError):  # gone since
                found.append((path.name, path.stat().st_mtime_ns))
        return sorted(found)

    def read(self) -> Authorities:
        """What is there, read again when files changed; a change that is half done is not seen yet.

        Raises:
            StateError: ``hub_damaged``.
            UsageError: ``settings_invalid``: the CA that hub.toml names cannot be used.
        """
        known, state = self._known, self.state()
        if known is None or known[0] != state:
            try:
                known = self._known = (state, self._read())
            except StateError:
                if known is None:
                    raise
        return known[1]

    def _read(self) -> Authorities:
        if self._external is None and (self._path / "hub.toml").exists():
            self._external = read_external(self._path, settings_room.load(self._path / "hub.toml"))
        stems = sorted(self._formers(), key=lambda stem: (len(stem), stem), reverse=True)
        whole = [self._authority(stem) for stem in stems if self._file(stem, "key").exists()]
        bare = [self._certificate(stem) for stem in stems if not self._file(stem, "key").exists()]
        if self._external is not None:
            own = [self._certificate(PRESENT)] if self._file(PRESENT, "pem").exists() else []
            listing = [self._authority(PRESENT)] if own and self._file(PRESENT, "key").exists() else []
            return Authorities(self._external, None, tuple(whole), (*own, *bare), tuple(listing))
        successor = self._authority(NEXT) if self._file(NEXT, "pem").exists() else None
        return Authorities(self._authority(PRESENT), successor, tuple(whole), tuple(bare))

    def begin(self, now: datetime) -> x509.Certificate:
        """Makes a successor beside the present CA.

        Raises:
            UsageError: ``usage``: there is one, or the present one is the operator's own.
            StateError: ``hub_damaged``, ``state_unwritable``.
        """
        known = self.read()
        if self._external is not None:
            hint = "Tell the boxes first, with 'firstlight-hub move --ca', then change ca_certificate and ca_key."
            raise UsageError("usage", "The CA that hub.toml names is not this hub's to replace.", hint)
        if known.successor is not None:
            raise UsageError(
                "usage", "There is a successor already.", f"Run: firstlight-hub ca switch --dir {self._path}"
            )
        made, key = make_successor(known.present.certificate, now)
        with self._writing():
            write_private(self._file(NEXT, "key"), tls.key_pem(key))
            write_private(self._file(NEXT, "pem"), tls.certificate_pem(made))
        return made

    def switch(self) -> x509.Certificate:
        """Makes the successor the present CA and keeps the one before; cut off, it is simply run again.

        Raises:
            UsageError: ``usage``: there is no successor.
            StateError: ``hub_damaged``, ``state_unwritable``.
        """
        if not self._file(NEXT, "pem").exists():
            raise UsageError(
                "usage", "There is no successor to switch to.", f"Run: firstlight-hub ca new --dir {self._path}"
            )
        successor, present = self._authority(NEXT), self._certificate(PRESENT)
        formers = self._formers()
        kept = [self._certificate(stem) for stem in formers if self._file(stem, "key").exists()]
        with self._writing():
            if present not in (successor.certificate, *kept):
                numbers = [int(stem[len(FORMER) :]) for stem in formers if stem[len(FORMER) :].isdigit()]
                stem = f"{FORMER}{max(numbers, default=0) + 1}"
                for suffix in ("pem", "key"):
                    write_private(self._file(stem, suffix), read_private(self._file(PRESENT, suffix)))
            for suffix in ("key", "pem"):
                write_private(self._file(PRESENT, suffix), read_private(self._file(NEXT, suffix)))
            for suffix in ("pem", "key"):
                self._file(NEXT, suffix).unlink()
            sync_folder(self._path)
        return successor.certificate

    def _formers(self) -> list[str]:
        return [path.stem for path in self._path.glob(f"{FORMER}*.pem")]

    def _authority(self, stem: str) -> Authority:
        found = Authority(self._certificate(stem), parsed(self._file(stem, "key"), read_signer))
        if found.certificate.public_key() != found.key.public_key():
            raise damaged(self._file(stem, "key"), f"is not the key of {stem}.pem")
        return found

    def _certificate(self, stem: str) -> x509.Certificate:
        return parsed(self._file(stem, "pem"), x509.load_pem_x509_certificate)

    def _file(self, stem: str, suffix: str) -> Path:
        return self._path / f"{stem}.{suffix}"

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StateError("state_unwritable", f"{self._path} cannot be written: {error.strerror}.") from None
