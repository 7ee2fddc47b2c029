"""The state directory: what must survive a crash, a power cut and a full disk.

registration.json, registration.backup.json    the same registration twice: damage to one is repaired from the other
device.key                                     the first private key, PKCS#8 in PEM
device-FINGERPRINT.key                         the one of each later credential
change.json, candidate.json                    a rotation or move under way, and the registration that is to be proved
provisioned.json, nonces.json                  an invitation that waits for a network; the payloads taken in so far
wish.json                                      what 'firstlight rotate' asks of the running agent
upgrade-wish.json, upgraded.json               a release that the platform offers; how the last upgrade ended
desired.json, children.json                    how the operator wants this box to be; how the devices behind it are
retired/TIME/                                  what a tombstone or a reset set aside; nothing is ever deleted
lock                                           held by enroll and reset, so that only one of them is at work
running                                        held by the agent for as long as it lives; a reset holds it too
status.json                                    what the running agent publishes; may be in a runtime directory instead
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from contextlib import suppress

from firstlight.errors import StateError
from firstlight.system import files, lock, registration_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from firstlight.core.lifecycle import Desired
    from firstlight.core.model import Moment, Registration
    from firstlight.system.files import OnStep

REGISTRATION, BACKUP = "registration.json", "registration.backup.json"
KEY, STATUS, LOCK, RETIRED = "device.key", "status.json", "lock", "retired"
RUNNING, agent_running = lock.RUNNING, lock.agent_running
SEEN, CANDIDATE, CHANGE, WISH = "seen.json", "candidate.json", "change.json", "wish.json"
UPGRADE_WISH, UPGRADED = "upgrade-wish.json", "upgraded.json"
KEY_START, KEY_END, KEY_DIGITS = "device-", ".key", 16


def key_name(fingerprint: str) -> str:
    """File name of a later key, from ``sha256:`` + hex."""
    return f"{KEY_START}{fingerprint.partition(':')[2][:KEY_DIGITS]}{KEY_END}"


def is_key_name(name: str) -> bool:
    """Whether a file of that name holds one of the device's keys."""
    return name == KEY or (name.startswith(KEY_START) and name.endswith(KEY_END))


class StateDirectory:
    """Implements ``core.interfaces.Store``, and the files that enrolling keeps beside the registration.

    Args:
        path: the directory; ``prepare`` makes it.
        on_step: called with the name of each durable step before it is taken: tests end the process there.

    Attributes:
        repairs: sentences about what was found wrong and put right, for the caller to show; newest last.
    """

    def __init__(self, path: str, on_step: OnStep | None = None) -> None:
        self.path = path
        self.repairs: list[str] = []
        self._on_step = on_step or files.no_step

    def __repr__(self) -> str:
        return f"StateDirectory({self.path!r})"

    def is_there(self) -> bool:
        """Whether the directory exists. Raises StateError (``state_unreadable``) where that cannot be seen."""
        try:
            os.listdir(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise files.unreadable(self.path, error) from None
        return True

    def prepare(self) -> None:
        """Makes the directory, private, and proves that it can be written and synced.

        Raises:
            StateError: ``state_unwritable``.
        """
        try:
            if not os.path.isdir(self.path):
                self._on_step("make directory")
                os.makedirs(os.path.dirname(self.path) or ".", exist_ok=True)
                os.mkdir(self.path, 0o700)
                files.sync_directory(os.path.dirname(self.path) or ".")
            mode = os.stat(self.path).st_mode & 0o777
            if mode & 0o077:
                os.chmod(self.path, 0o700)
                self.repairs.append(f"{self.path} could be read by others; it is private again.")
            files.remove_leftovers(self.path)
        except OSError as error:
            raise files.unwritable(self.path, error) from None
        self._write(".probe", b"firstlight\n")
        self.remove(".probe")

    def lock(self, name: str = LOCK) -> AbstractContextManager[None]:
        """Keeps others out while the ``with`` block runs: other enrolls and resets, or with ``running`` other agents.

        Raises:
            StateError: ``state_locked`` when one is at work, ``agent_running``, ``state_unwritable``.
        """
        return lock.Lock(self.path, name, self.holder)

    def holder(self, name: str) -> int | None:
        """The process that holds a lock, found without taking it: one that looks is in nobody's way.

        Returns:
            its pid, 0 when nobody holds the lock, -1 for a process that cannot be seen from here, and None when it
            cannot be told: there is no such file, it cannot be read, or nobody could lock it on a read-only disk.
        """
        import struct  # here: the agent itself never asks

        try:
            fd = os.open(os.path.join(self.path, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                asked = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)  # struct flock, fcntl(2)
                kind, _, _, _, pid = struct.unpack("hhqqi", fcntl.fcntl(fd, fcntl.F_GETLK, asked))
                is_read_only = bool(os.fstatvfs(fd).f_flag & os.ST_RDONLY)
            finally:
                os.close(fd)
        except OSError:
            return None
        if kind == fcntl.F_UNLCK:
            return None if is_read_only else 0
        return pid or -1

    # -- small files -------------------------------------------------------------------------------------------------
    def write_json(self, name: str, value: dict[str, object], *, durable: bool = True, mode: int = 0o600) -> None:
        """One JSON object in one file. Raises StateError (``state_unwritable``), the old content kept."""
        # Without indent: that keeps to the encoder in C, which leaves no garbage behind at each beat.
        self._write(name, json.dumps(value).encode() + b"\n", durable=durable, mode=mode)

    def read_json(self, name: str) -> dict[str, object] | None:
        """The object, None where there is no file. Raises StateError (``state_corrupt``, ``state_unreadable``)."""
        body = self._read(name)
        if body is None:
            return None
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise StateError("state_corrupt", f"{os.path.join(self.path, name)} is damaged.")
        return found

    def refuse_newer(self, name: str, found: dict[str, object], known: int) -> None:
        """Raises StateError (``state_newer``) for an object whose field ``format`` is beyond what is known."""
        if isinstance(found.get("format"), int) and found["format"] > known:  # type: ignore[operator]
            path = os.path.join(self.path, name)
            raise StateError("state_newer", f"{path} has format {found['format']}; this agent reads up to {known}.")

    def write_text(self, name: str, text: str) -> None:
        """One secret or other text, durable and 0600. Raises StateError (``state_unwritable``)."""
        self._write(name, text.encode())

    def read_text(self, name: str) -> str | None:
        """The text, None where there is no file. Raises StateError (``state_corrupt``, ``state_unreadable``)."""
        body = self._read(name)
        try:
            return None if body is None else body.decode()
        except UnicodeDecodeError:
            raise StateError("state_corrupt", f"{os.path.join(self.path, name)} is damaged.") from None

    def has(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return os.path.lexists(os.path.join(self.path, name))

    def remove(self, name: str) -> None:
        """Removes a file for good; one that is not there is fine. Raises StateError (``state_unwritable``)."""
        path = os.path.join(self.path, name)
        try:
            self._on_step(f"remove {name}")
            try:
                os.unlink(path)
            except FileNotFoundError:
                return
            self._on_step(f"sync directory of {name}")
            files.sync_directory(self.path)
        except OSError as error:
            raise files.unwritable(path, error) from None
        self._on_step(f"removed {name}")

    def _write(self, name: str, body: bytes, *, durable: bool = True, mode: int = 0o600) -> None:
        files.write(self.path, name, body, durable=durable, mode=mode, on_step=self._on_step)

    def _read(self, name: str) -> bytes | None:
        found = files.read(self.path, name)
        if found is None:
            return None
        body, mode = found
        if mode & 0o077 and name != STATUS:
            self._make_private(name)
        return body

    def _make_private(self, name: str) -> None:
        path = os.path.join(self.path, name)
        try:
            files.make_private(self.path, name)
        except OSError as error:
            self.repairs.append(f"{path} can be read by others, and its rights cannot be changed: {error.strerror}.")
        else:
            self.repairs.append(f"{path} could be read by others; it is private again.")

    # -- the registration --------------------------------------------------------------------------------------------
    def load_registration(self) -> Registration | None:
        """What ``save_registration`` wrote; damage to one copy is repaired from the other.

        Raises:
            StateError: ``state_corrupt`` when both copies are damaged, ``state_newer``, ``state_unreadable``.
        """
        first, first_damage = self._copy(REGISTRATION)
        second, second_damage = self._copy(BACKUP)
        found = first or second
        if found is None:
            damage = first_damage or second_damage
            if damage:
                raise damage
            return None
        if found != first:
            self._mend(REGISTRATION, found)
        elif found != second:
            self._mend(BACKUP, found)
        return found

    def _copy(self, name: str) -> tuple[Registration | None, StateError | None]:
        try:
            body = self._read(name)
            if body is None:
                return None, None
            return registration_file.decode(body, os.path.join(self.path, name)), None
        except StateError as error:
            if error.code != "state_corrupt":
                raise
            return None, error

    def _mend(self, name: str, registration: Registration) -> None:
        """Best effort: one good copy is enough to go on with, so a read-only disk is no reason to stop."""
        path = os.path.join(self.path, name)
        try:
            if os.path.lexists(path):
                os.replace(path, path + ".damaged")
            self._write(name, registration_file.encode(registration))
        except (OSError, StateError):
            self.repairs.append(f"{path} is damaged and cannot be repaired; the other copy is good.")
        else:
            self.repairs.append(f"{path} was missing or damaged; it was repaired from the other copy.")

    def save_registration(self, registration: Registration) -> None:
        """On disk, twice, when it returns. Raises StateError (``state_unwritable``)."""
        body = registration_file.encode(registration)
        self._write(REGISTRATION, body)
        self._write(BACKUP, body)

    def save_candidate(self, registration: Registration) -> None:
        """A registration still to be proved, beside the present one. Raises StateError (``state_unwritable``)."""
        self._write(CANDIDATE, registration_file.encode(registration))

    def load_candidate(self) -> Registration | None:
        """What ``save_candidate`` wrote. Raises StateError (``state_corrupt``, ``state_newer``)."""
        body = self._read(CANDIDATE)
        return None if body is None else registration_file.decode(body, os.path.join(self.path, CANDIDATE))

    def merge_desired(self, desired: Desired) -> dict[str, object] | None:
        """As ``core.interfaces.Store``."""
        from firstlight.system import desired as on_disk  # here: few platforms desire anything

        return on_disk.merge(self, desired)

    # -- the keys ----------------------------------------------------------------------------------------------------
    def key_file(self, fingerprint: str) -> str:
        """Path of the key with that fingerprint: what TLS reads. The first key of a box has the plain name."""
        name = key_name(fingerprint)
        return os.path.join(self.path, name if self.has(name) else KEY)

    def key_names(self) -> list[str]:
        """File names of all keys. Raises StateError (``state_unreadable``)."""
        try:
            return sorted(name for name in os.listdir(self.path) if is_key_name(name))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise files.unreadable(self.path, error) from None

    def remove_keys_but(self, *fingerprints: str) -> None:
        """Removes the keys of former credentials; none while one of those to be kept is missing. Raises StateError."""
        kept = {os.path.basename(self.key_file(one)) for one in fingerprints if one}
        names = self.key_names()
        if not kept or not kept.issubset(names):
            return
        for name in names:
            if name not in kept:
                self.remove(name)

    # -- setting aside -----------------------------------------------------------------------------------------------
    def retire(self, reason: str) -> None:
        """Sets keys, registration and changes under way aside in ``retired/TIME/``, with the reason; fine without any.

        The keys go first and the leading copy last: after a crash in between the box is still enrolled, and asks or is
        asked again; a lone backup could bring the registration back. Raises StateError (``state_unwritable``).
        """
        there = [*self.key_names(), *filter(self.has, (CANDIDATE, CHANGE, WISH, BACKUP, REGISTRATION))]
        if not there:
            return
        aside = self._make_aside()
        try:
            # By its descriptor: whoever owns the state directory could put a link in place of the path.
            files.write(f"/proc/self/fd/{aside}", "reason.txt", f"{reason}\n".encode(), on_step=self._on_step)
            for name in there:
                self._set_aside(name, aside)
        finally:
            os.close(aside)
        self._on_step("retired")

    def _set_aside(self, name: str, aside: int) -> None:
        path = os.path.join(self.path, name)
        try:
            self._on_step(f"set aside {name}")
            os.replace(path, name, dst_dir_fd=aside)
            self._on_step(f"sync directory of {name}")
            os.fsync(aside)
            files.sync_directory(self.path)
        except OSError as error:
            raise files.unwritable(path, error) from None

    def _make_aside(self) -> int:
        """A new folder in ``retired``, open. Raises StateError (``state_unwritable``)."""
        above = os.path.join(self.path, RETIRED)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        try:
            with suppress(FileExistsError):
                os.mkdir(above, 0o700)
            outer = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                files.give_to_owner(outer, self.path)
                aside = _new_folder(outer, stamp)
                files.give_to_owner(aside, self.path)
                os.fsync(outer)
            finally:
                os.close(outer)
            files.sync_directory(self.path)
        except OSError as error:
            raise files.unwritable(os.path.join(above, stamp), error) from None
        return aside

    # -- what is published -------------------------------------------------------------------------------------------
    def write_status(self, status: dict[str, object]) -> None:
        """Publishes what ``firstlight status`` shows: readable by all, not fsynced.

        Raises:
            StateError: ``state_unwritable``; what was published before is still there, and grows old.
        """
        self.write_json(STATUS, status, durable=False, mode=0o644)

    def read_status(self) -> dict[str, object] | None:
        """The newest status, or None. Raises StateError (``state_corrupt``, ``state_unreadable``)."""
        return self.read_json(STATUS)

    def seen_s(self) -> float:
        """The latest time a platform told, seconds since 1970, 0.0 where none did: no right clock is before it."""
        try:
            value = (self.read_json(SEEN) or {}).get("serverTimeS")
        except StateError:
            return 0.0
        return float(value) if isinstance(value, (int, float)) and 0 <= value < 1e11 else 0.0

    def save_seen(self, server_time_s: float, at: Moment | None = None) -> None:
        """Keeps the latest time a platform told; what a later version wrote stays. Raises StateError.

        Args:
            server_time_s: seconds since 1970.
            at: when it told that, by this box's clocks: a receipt can then say how long ago it was.
        """
        try:
            self.refuse_newer(SEEN, self.read_json(SEEN) or {}, 1)
        except StateError as error:
            if error.code == "state_newer":
                return
        when = {"bootId": at.boot_id, "monoS": round(at.monotonic_s)} if at else {}
        self.write_json(SEEN, {"serverTimeS": round(server_time_s), **when})


def _new_folder(outer: int, stamp: str) -> int:
    """A new folder in an open one, open. Raises OSError."""
    for number in range(1000):
        name = f"{stamp}-{number}" if number else stamp
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=outer)
            return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=outer)
    raise OSError(errno.EEXIST, "it is full of folders of this second")
