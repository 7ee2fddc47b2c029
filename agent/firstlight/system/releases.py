"""The releases side by side on a box, the launchers that name one of them, and the journal of an upgrade.

    PREFIX/.firstlight             says that PREFIX is ours; its lock is held by who installs or upgrades
    PREFIX/bin/firstlight          names the release in use
    PREFIX/bin/firstlight-proven   names the one that was proved last
    PREFIX/lib/VERSION-ID8/        lib, share and scan of a release; complete if it is there
    PREFIX/lib/VERSION-ID8/before/ of the state directory, as it was when that release was left
    PREFIX/upgrade.json            an upgrade under way (``core/upgrade.py``)

A launcher is switched by a rename: at every moment it names a complete release.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from firstlight.core import upgrade
from firstlight.core.upgrade import Journal
from firstlight.errors import StateError, UpgradeError
from firstlight.system import files
from firstlight.system.place import JOURNAL, MARK

if TYPE_CHECKING:
    from firstlight.system.files import OnStep

ACTIVE, PROVEN = "firstlight", "firstlight-proven"
NEW = ".new"  # in lib: what is being fetched and unpacked
BEFORE = "before"
MANIFEST = "manifest.json"  # of a release, beside its lib
MAX_LAUNCHER, MAX_KEY = 4_096, 1_024
KEPT_STATE = ("registration.json", "registration.backup.json", "change.json", "candidate.json")
_PYTHON = re.compile(r"#!(/\S+)")
_RELEASE = re.compile(r'(sys\.path\.insert\(0, ")([^"\n]*)/lib/([^/"\n]+)/lib("\))')
_CONFIG = re.compile(r'main\(config="([^"\n]*)"\)')


class Launcher(NamedTuple):
    """What a launcher says.

    Args:
        text: the whole of it.
        python: absolute path of the interpreter.
        release: name of a folder in lib.
        config: path of the settings file.
    """

    text: str
    python: str
    release: str
    config: str


class Releases:
    """What is installed below one PREFIX.

    Args:
        prefix: where the install script put it.
        on_step: called with the name of each durable step before it is taken: tests end the process there.
    """

    def __init__(self, prefix: str, on_step: OnStep | None = None) -> None:
        self.prefix = prefix
        self.lib = os.path.join(prefix, "lib")
        self._bin = os.path.join(prefix, "bin")
        self._on_step = on_step or files.no_step

    @contextmanager
    def locked(self, *, waits: bool) -> Iterator[None]:
        """Keeps other upgrades out while the ``with`` block runs.

        Args:
            waits: for the end of another one, instead of refusing.

        Raises:
            StateError: ``state_unwritable``.
            UpgradeError: ``upgrade_under_way``.
        """
        path = os.path.join(self.prefix, MARK)
        try:
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise StateError(
                "state_unwritable", f"{path} cannot be written: {error.strerror}.", "Run the command with sudo."
            ) from None
        try:
            with suppress(OSError):
                os.fchmod(fd, 0o600)  # whoever may read a file may lock it, and so keep all upgrades out
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
            except OSError:
                raise UpgradeError("upgrade_under_way", "Another upgrade is at work on this box.") from None
            yield
        finally:
            os.close(fd)

    # -- releases ----------------------------------------------------------------------------------------------------
    def folder(self, release: str) -> str:
        """Where a release is or would be."""
        return os.path.join(self.lib, release)

    def names(self) -> list[str]:
        """Every release that is there, the one put there last at the end."""
        found = []
        for name in os.listdir(self.lib):
            with suppress(OSError):
                if upgrade.is_release(name):
                    found.append((os.stat(self.folder(name), follow_symlinks=False).st_mtime_ns, name))
        return [name for _, name in sorted(found)]

    def before(self, release: str) -> str:
        """The release to go back to from another one, "" = there is none."""
        others = [name for name in self.names() if name != release]
        return others[-1] if others else ""

    def touch(self, release: str) -> None:
        """Makes it the one that was put there last: what is beside it is what to go back to. Best effort."""
        with suppress(OSError):
            os.utime(self.folder(release))

    def remove(self, release: str) -> None:
        """Removes a release. Best effort: what is left over is only space."""
        self._on_step(f"remove release {release}")
        shutil.rmtree(self.folder(release), ignore_errors=True)

    def remove_new(self) -> None:
        """Removes what ``make_new`` made. Best effort."""
        shutil.rmtree(self.folder(NEW), ignore_errors=True)

    def make_new(self) -> str:
        """An empty folder for what comes; one of an upgrade that was cut goes first. Raises StateError."""
        path = self.folder(NEW)
        try:
            shutil.rmtree(path, ignore_errors=True)
            os.mkdir(path, 0o755)
        except OSError as error:
            raise files.unwritable(path, error) from None
        return path

    def adopt(self, unpacked: str, release: str) -> None:
        """Puts what was unpacked and tried into place, as a whole and on disk. Raises StateError."""
        target = self.folder(release)
        try:
            shutil.rmtree(target, ignore_errors=True)  # of an upgrade that was cut: nobody uses it
            self._on_step(f"sync release {release}")
            os.sync()
            self._on_step(f"adopt release {release}")
            os.rename(unpacked, target)
            os.utime(target)
            files.sync_directory(self.lib)
        except OSError as error:
            raise files.unwritable(target, error) from None

    def manifest(self, release: str) -> bytes:
        """The manifest that a release came with, b"" = it is not there."""
        with suppress(StateError):
            found = files.read(self.folder(release), MANIFEST, 65_536)
            return found[0] if found else b""
        return b""

    # -- launchers ---------------------------------------------------------------------------------------------------
    def launcher(self, name: str = ACTIVE) -> Launcher | None:
        """What a launcher says; None where there is none, or it says nothing of the kind. Raises StateError."""
        found = files.read(self._bin, name, MAX_LAUNCHER)
        text = found[0].decode("utf-8", "replace") if found else ""
        python, release, config = _PYTHON.match(text), _RELEASE.search(text), _CONFIG.search(text)
        if not (python and release and config):
            return None
        return Launcher(text, python[1], release[3], config[1])

    def path_of(self, name: str) -> str:
        """Where a launcher is."""
        return os.path.join(self._bin, name)

    def point(self, name: str, release: str, like: Launcher) -> None:
        """Has a launcher name a release; does nothing where it does. Raises StateError, the launcher as it was."""
        text = _RELEASE.sub(lambda found: f"{found[1]}{found[2]}/lib/{release}/lib{found[4]}", like.text)
        found = files.read(self._bin, name, MAX_LAUNCHER)
        if found is None or found[0] != text.encode() or not found[1] & 0o100:
            files.write(self._bin, name, text.encode(), mode=0o755, on_step=self._on_step)

    def point_back(self) -> None:
        """Has the launcher name what was proved: by a link and a rename, which a full disk does not keep from it.

        Raises:
            StateError: ``state_unwritable``; ``state_corrupt``: that release is gone, and the launcher stays as it is.
        """
        spare = os.path.join(self._bin, f".{ACTIVE}.{os.getpid()}{files.TEMPORARY_END}")
        proven = self.launcher(PROVEN)
        if proven is None or not os.path.isdir(os.path.join(self.folder(proven.release), "lib")):
            # A launcher that starts is better than one that names nothing, whatever it starts.
            raise StateError("state_corrupt", f"{self.path_of(PROVEN)} names no release that is here: no way back.")
        try:
            with suppress(FileNotFoundError):
                os.unlink(spare)
            self._on_step("link launcher")
            os.link(self.path_of(PROVEN), spare, follow_symlinks=False)
            self._on_step("rename launcher back")
            os.replace(spare, self.path_of(ACTIVE))
            with suppress(FileNotFoundError):
                os.unlink(spare)  # rename(2) does nothing where both are the same file already
            self._on_step("sync launcher back")
            files.sync_directory(self._bin)
        except OSError as error:
            raise files.unwritable(self.path_of(ACTIVE), error) from None

    # -- journal -----------------------------------------------------------------------------------------------------
    def journal(self) -> Journal | None:
        """The upgrade under way, None = there is none.

        Raises:
            StateError: ``state_corrupt``: it is damaged, or was written by a later release.
        """
        found = files.read(self.prefix, JOURNAL, 65_536)
        if found is None:
            return None
        try:
            return upgrade.decode(json.loads(found[0]))
        except (ValueError, AttributeError, RecursionError):
            raise StateError("state_corrupt", f"{os.path.join(self.prefix, JOURNAL)} is damaged.") from None

    def note(self, journal: Journal) -> None:
        """On disk when it returns; readable by all, since the agent looks whether it is there. Raises StateError."""
        body = json.dumps(upgrade.encode(journal)).encode() + b"\n"
        files.write(self.prefix, JOURNAL, body, mode=0o644, on_step=self._on_step)

    def end_journal(self) -> None:
        """The upgrade is over. Raises StateError."""
        path = os.path.join(self.prefix, JOURNAL)
        self._remove_leftovers()
        try:
            self._on_step("remove journal")
            with suppress(FileNotFoundError):
                os.unlink(path)
            self._on_step("sync removed journal")
            files.sync_directory(self.prefix)
        except OSError as error:
            raise files.unwritable(path, error) from None
        self._on_step("ended")

    def _remove_leftovers(self) -> None:
        """Half-written files of an upgrade that was cut: under the lock nobody else writes here. Best effort."""
        for folder in (self.prefix, self._bin):
            with suppress(OSError):
                for name in os.listdir(folder):
                    if name.startswith(".") and name.endswith(files.TEMPORARY_END):
                        os.unlink(os.path.join(folder, name))

    # -- state -------------------------------------------------------------------------------------------------------
    def keep_state(self, release: str, state_dir: str) -> None:
        """Copies what a later release may write in a newer format, for the way back to this one. Raises StateError."""
        kept = os.path.join(self.folder(release), BEFORE)
        try:
            shutil.rmtree(kept, ignore_errors=True)
            os.mkdir(kept, 0o700)
        except OSError as error:
            raise files.unwritable(kept, error) from None
        for name in KEPT_STATE:
            with suppress(FileNotFoundError, NotADirectoryError):
                if found := files.read(state_dir, name):
                    files.write(kept, name, found[0], on_step=self._on_step)
        files.sync_directory(self.folder(release))

    def kept_state(self, release: str) -> dict[str, bytes]:
        """The copies: file name -> content; empty where none were made. Raises StateError."""
        kept = os.path.join(self.folder(release), BEFORE)
        if not os.path.isdir(kept):
            return {}
        return {name: found[0] for name in KEPT_STATE if (found := files.read(kept, name))}

    def restore_state(self, release: str, state_dir: str) -> None:
        """Puts the copies back, the leading file last. Raises StateError."""
        copies = self.kept_state(release)
        for name in reversed(KEPT_STATE):
            if name in copies:
                files.write(state_dir, name, copies[name], on_step=self._on_step)
            elif copies:
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(state_dir, name))

    # -- keys --------------------------------------------------------------------------------------------------------
    def add_key(self, folder: str, name: str, pem: bytes) -> None:
        """Adds a trusted key. Raises StateError."""
        try:
            os.makedirs(folder, mode=0o755, exist_ok=True)
        except OSError as error:
            raise files.unwritable(folder, error) from None
        files.write(folder, name, pem, mode=0o644, on_step=self._on_step)


def read_keys(folder: str, *, is_trusted: bool) -> dict[str, bytes]:
    """The files ``*.pub`` of a folder: name -> content; empty where there is none.

    Args:
        folder: such as /etc/firstlight/trust.d.
        is_trusted: refuses what somebody else than root and the user of this process could have put there.

    Raises:
        UpgradeError: ``upgrade_key_unsafe``.
        StateError: a file cannot be read, or is none.
    """
    found: dict[str, bytes] = {}
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".pub") and not name.startswith("."))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise files.unreadable(folder, error) from None
    for path in [folder, *(os.path.join(folder, name) for name in names)] if is_trusted else []:
        status = os.lstat(path)
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or status.st_uid not in (0, os.geteuid()):
            raise UpgradeError("upgrade_key_unsafe", f"{path} can be written by others than root: no key there counts.")
    for name in names:
        if body := files.read(folder, name, MAX_KEY):
            found[name] = body[0]
    return found
