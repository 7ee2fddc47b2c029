"""The hub's folder: what lies in it, how it is made, how its certificate is kept fresh."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeVar

from cryptography import x509

from firstlight.errors import FirstlightError, StateError, UsageError
from firstlight_hub import release_keys, tls
from firstlight_hub import settings as settings_room
from firstlight_hub.authorities import Authorities, server_fits
from firstlight_hub.ca_files import CaFiles
from firstlight_hub.private_files import damaged, parsed, read_private
from firstlight_hub.private_files import write_private as write_private
from firstlight_hub.release_keys import ReleaseKeys
from firstlight_hub.settings import Settings
from firstlight_hub.store.sqlite import SqliteStore

KEPT = ("hub.toml", "ca.pem", "ca.key", "server.pem", "server.key", "secret")
KEPT_IF_THERE = ("broker.token", "move.json", "ca-next.*", "ca-former-*", "release.key", "release-former-*.key")
DATABASE = "hub.sqlite3"
UNFINISHED = ".init-unfinished"
SECRET_BYTES = 32
PACKED = (".zip", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z")  # names that promise what a backup is not

T = TypeVar("T")


class NoHubError(FirstlightError):
    """There is no hub in this folder yet: starting again would not help, and systemd is told so by the exit status."""

    exit_status = 78
    is_permanent = True


class HubFolder:
    """A folder that ``create`` has made, or will make.

    Args:
        path: the folder; 0700, for its owner only.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ca_files = CaFiles(path)

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.path / DATABASE

    @property
    def server_certificate(self) -> Path:
        """The server's certificate, PEM."""
        return self.path / "server.pem"

    @property
    def server_key(self) -> Path:
        """The server's private key, PEM, 0600."""
        return self.path / "server.key"

    @property
    def bundles(self) -> Path:
        """Where the agent's bundles are."""
        return self.path / "bundles"

    def create(self, hosts: tuple[str, ...], port: int, workspace: str) -> None:
        """Makes keys, certificates, the secret and ``hub.toml``, which comes last: a cut attempt is simply repeated.

        Raises:
            UsageError: ``hub_exists`` or ``folder_taken``: there is a hub, or something else; nothing was changed.
            StateError: ``state_unwritable``.
        """
        now = datetime.now(timezone.utc)
        ca_key, server_key = tls.make_key(), tls.make_key()
        ca = tls.make_ca(ca_key, now)
        leaf = tls.make_leaf(ca, ca_key, server_key.public_key(), hosts, now)
        try:
            self._check_free()
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            write_private(self.path / UNFINISHED, b"")
            for leftover in self.path.glob(f"{DATABASE}*"):
                leftover.unlink()
            write_private(self.path / "ca.key", tls.key_pem(ca_key))
            write_private(self.path / "ca.pem", tls.certificate_pem(ca))
            write_private(self.server_key, tls.key_pem(server_key))
            write_private(self.server_certificate, tls.certificate_pem(leaf))
            write_private(self.path / "secret", secrets.token_bytes(SECRET_BYTES))
            SqliteStore(self.database).close()
            release_keys.load(self.path)
        except OSError as error:
            raise StateError("state_unwritable", f"{self.path} cannot be written: {error.strerror}.") from None

    def _check_free(self) -> None:
        names = {path.name for path in self.path.iterdir()} if self.path.exists() else set()
        if "hub.toml" in names:
            raise UsageError("hub_exists", f"There is a hub in {self.path} already; nothing was changed.")
        # Only what a cut attempt of our own left may be replaced: other keys may have the same names as ours.
        if names and UNFINISHED not in names:
            raise UsageError("folder_taken", f"{self.path} holds other things, such as {sorted(names)[0]}.")

    def finish(self, hosts: tuple[str, ...], port: int, workspace: str) -> None:
        """Writes ``hub.toml``: from now on this is a hub."""
        write_private(self.path / "hub.toml", settings_room.template(hosts, port, workspace).encode())
        (self.path / UNFINISHED).unlink(missing_ok=True)

    def settings(self) -> Settings:
        """What ``hub.toml`` says. Raises NoHubError, or as ``settings.load``."""
        path = self.path / "hub.toml"
        with contextlib.suppress(PermissionError):  # load says it better
            if not path.exists():
                raise NoHubError("hub_missing", f"There is no hub in {self.path}.")
        return settings_room.load(path)

    def store(self) -> SqliteStore:
        """The database, its schema brought up to date. Raises StateError."""
        return SqliteStore(self.database)

    def secret(self) -> bytes:
        """The 32 bytes that device keys are derived from. Raises StateError ``hub_damaged``."""
        found = self._read("secret")
        if len(found) != SECRET_BYTES:
            raise damaged(self.path / "secret", f"has {len(found)} bytes instead of {SECRET_BYTES}")
        return found

    def release_keys(self, settings: Settings) -> ReleaseKeys:
        """The keys that sign releases and those that boxes trust; made on a hub of an older version.

        Raises:
            StateError: ``hub_damaged``, ``state_unwritable``.
            UsageError: ``settings_invalid``: a key that hub.toml names cannot be used.
        """
        return release_keys.load(self.path, settings.release_keys)

    def ca_pem(self) -> str:
        """The hub's present CA, which devices are told to trust. Raises as ``authorities``."""
        return self.authorities().present.pem

    def authorities(self) -> Authorities:
        """The hub's CAs, read again when their files changed.

        Raises:
            StateError: ``hub_damaged``.
            UsageError: ``settings_invalid``: the CA that hub.toml names cannot be used.
        """
        return self.ca_files.read()

    def pin(self) -> str:
        """The pin of the server's key; it stays when the certificate is renewed. Raises StateError ``hub_damaged``."""
        return tls.pin(self._parsed("server.key", tls.read_key).public_key())

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Keeps this hub for one serving process; the kernel lets go of it however that process ends.

        Raises:
            StateError: ``hub_served``: another process serves it; ``state_unwritable``.
        """
        path = self.path / "serve.lock"
        try:
            # Unbuffered: the lock lives as long as this descriptor, and the number is there for the next one to read.
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)
        except OSError as error:
            raise StateError("state_unwritable", f"{path} cannot be written: {error.strerror}.") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = file.read(20).decode("ascii", "replace").strip()
                raise StateError("hub_served", f"This hub is served already (pid {pid or 'unknown'}).") from None
            file.truncate(0)
            file.write(b"%d\n" % os.getpid())
            yield

    def renew_certificate(self, hosts: Sequence[str], now: datetime) -> bool:
        """Issues a new server certificate for the same key where the present one does not fit any more.

        Args:
            hosts: what it must cover.
            now: aware UTC.

        Returns:
            whether a new one was issued.

        Raises:
            StateError: ``hub_damaged``.
        """
        key = self._parsed("server.key", tls.read_key)
        known = self.authorities()
        try:
            shown = x509.load_pem_x509_certificates(self._read("server.pem"))
            if shown[0].public_key() == key.public_key() and server_fits(shown, known, hosts, now):
                return False
        except (StateError, *tls.UNREADABLE, x509.ExtensionNotFound):
            pass  # lost or damaged: the key is what counts
        fresh = tls.make_leaf(known.present.certificate, known.present.key, key.public_key(), hosts, now)
        chain = b"".join(map(tls.certificate_pem, (fresh, *known.server_chain(now))))
        write_private(self.server_certificate, chain)
        return True

    def announce(self, url: str, pin: str | None, port: int) -> bytes:
        """Writes ``hub.json``: where the running hub is, and on which port it listens. Returns what it wrote."""
        told = json.dumps({"url": url, "pin": pin, "pid": os.getpid(), "port": port}).encode()
        write_private(self.path / "hub.json", told)
        return told

    def back_up(self, target: Path) -> None:
        """Copies everything that makes this hub into a new folder, or a new file that ends in ``.tar``.

        The hub may serve meanwhile.

        Raises:
            UsageError: ``backup_exists``, ``backup_format``.
            NoHubError: ``hub_missing``.
            StateError: ``state_unwritable``, ``hub_damaged``.
        """
        self.settings()
        if target.exists():  # first: "." and "/" have no name to go on with
            raise UsageError("backup_exists", f"{target} is there already.")
        if target.suffix.lower() in PACKED:
            raise UsageError("backup_format", f"{target.name} is named like a packed file, which a backup is not.")
        partial = target.with_name(target.name + ".partial")
        if partial.exists():
            raise UsageError("backup_exists", f"{partial} is there already.")
        try:
            partial.mkdir(mode=0o700)
            try:
                self._copy_into(partial)
                if target.suffix.lower() == ".tar":
                    _pack(partial, target)
                else:
                    partial.rename(target)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        except OSError as error:
            raise StateError("state_unwritable", f"{target} cannot be written: {error.strerror}.") from None

    def _copy_into(self, folder: Path) -> None:
        for name in KEPT:
            write_private(folder / name, self._read(name))
        for path in (found for pattern in KEPT_IF_THERE for found in self.path.glob(pattern)):
            write_private(folder / path.name, self._read(path.name))
        store = self.store()
        try:
            store.copy_to(folder / DATABASE)
        finally:
            store.close()

    def _read(self, name: str) -> bytes:
        return read_private(self.path / name)

    def _parsed(self, name: str, parse: Callable[[bytes], T]) -> T:
        return parsed(self.path / name, parse)


def _pack(folder: Path, target: Path) -> None:
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            for path in sorted(folder.iterdir()):
                archive.add(path, path.name)
        file.flush()
        os.fsync(file.fileno())
