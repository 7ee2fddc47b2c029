"""A disk with a volatile write cache, as real ones have: QEMU reaches it by NBD over a Unix socket.

Killing QEMU alone loses only what the guest had not yet handed to its disk: whatever it had handed over lies in this
machine's page cache and survives, flushed or not. This disk keeps each write in its cache until the guest asks for a
flush (or writes with FUA), and a power cut empties the cache; of what was in it, a random part may have reached the
platter, in any order, as with real disks.

Protocol: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md (fixed newstyle, simple replies).
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path

BLOCK = 4096  # what is kept or lost as a whole
MAGIC, OPTION_MAGIC, REPLY_MAGIC = b"NBDMAGIC", b"IHAVEOPT", 0x3E889045565A9
REQUEST_MAGIC, ANSWER_MAGIC = 0x25609513, 0x67446698
FIXED_NEWSTYLE, NO_ZEROES = 1, 2
OPTION_ABORT, OPTION_GO = 2, 7
ACK, INFO, UNSUPPORTED = 1, 3, 0x80000001
HAS_FLAGS, SEND_FLUSH, SEND_FUA = 1, 4, 8
READ, WRITE, DISCONNECT, FLUSH = 0, 1, 2, 3
FUA = 1
EINVAL = 22
MOST_BYTES = 32 << 20


class Disk:
    """A disk on top of an image that others use too.

    Args:
        image: read-only; the size of the disk is its size.
        folder: an own, empty folder, for what differs from the image and for the socket.
        born_of: another disk that is switched off, whose content this one begins with.
    """

    def __init__(self, image: Path, folder: Path, born_of: Disk | None = None) -> None:
        self._folder: Path = folder
        self.socket = folder / "disk.sock"
        self.size_bytes = image.stat().st_size
        self._image = os.open(image, os.O_RDONLY)
        platter = folder / "platter"
        if born_of is not None:
            shutil.copyfile(born_of._folder / "platter", platter)
        self._platter = os.open(platter, os.O_RDWR | os.O_CREAT, 0o600)
        self._slots: dict[int, int] = dict(born_of._slots) if born_of is not None else {}  # block -> place in platter
        self._cache: dict[int, bytes] = {}
        self._lock = threading.Lock()
        self.flushes = 0
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.socket))
        self._listening.listen(1)
        self._connection: socket.socket | None = None
        self._is_off = False
        self._thread = threading.Thread(target=self._serve, name=f"disk {folder.name}", daemon=True)
        self._thread.start()

    def power_on(self) -> None:
        """After a cut: the disk is there again."""
        with self._lock:
            self._is_off = False

    def cut(self, chance: random.Random | None = None) -> int:
        """The power is gone: the cache is lost, or, given ``chance``, all but a random part of it.

        Call it before the machine's processes are killed: what they say from then on is not heard, on a new connection
        neither, until ``power_on``.

        Returns:
            how many blocks were lost.
        """
        with self._lock:
            self._hang_up()
            self._is_off = True
            lost = 0
            for block, content in self._cache.items():
                if chance is not None and chance.random() < 0.5:
                    self._keep(block, content)
                else:
                    lost += 1
            self._cache.clear()
            return lost

    def end(self) -> None:
        """Takes the disk away."""
        with self._lock:
            self._hang_up()
            self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listening.close()
        os.close(self._image)
        os.close(self._platter)

    def _hang_up(self) -> None:
        if self._connection is not None:
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
            self._connection = None

    # -- blocks ------------------------------------------------------------------------------------------------------
    def _block(self, block: int) -> bytes:
        if (content := self._cache.get(block)) is not None:
            return content
        if (slot := self._slots.get(block)) is not None:
            return os.pread(self._platter, BLOCK, slot * BLOCK)
        return os.pread(self._image, BLOCK, block * BLOCK)

    def _keep(self, block: int, content: bytes) -> None:
        slot = self._slots.setdefault(block, len(self._slots))
        os.pwrite(self._platter, content, slot * BLOCK)

    def _read(self, start: int, length: int) -> bytes:
        first, last = start // BLOCK, (start + length - 1) // BLOCK
        blocks = range(first, last + 1)
        if any(block in self._cache or block in self._slots for block in blocks):
            whole = b"".join(map(self._block, blocks))
            return whole[start - first * BLOCK :][:length]
        return os.pread(self._image, length, start)

    def _write(self, start: int, content: bytes) -> None:
        first = start // BLOCK
        head = start - first * BLOCK
        if head:
            content = self._block(first)[:head] + content
        if rest := len(content) % BLOCK:
            content += self._block(first + len(content) // BLOCK)[rest:]
        for at in range(0, len(content), BLOCK):
            self._cache[first + at // BLOCK] = content[at : at + BLOCK]

    def _flush(self) -> None:
        self.flushes += 1
        for block, content in self._cache.items():
            self._keep(block, content)
        self._cache.clear()

    # -- the protocol ------------------------------------------------------------------------------------------------
    def _serve(self) -> None:
        while True:
            try:
                connection = self._listening.accept()[0]
            except OSError:
                return  # the end
            with connection, suppress(OSError, EOFError):
                with self._lock:
                    if self._is_off:
                        continue
                    self._connection = connection
                self._agree(connection)
                while self._answer(connection):
                    pass

    def _agree(self, connection: socket.socket) -> None:
        connection.sendall(MAGIC + OPTION_MAGIC + struct.pack(">H", FIXED_NEWSTYLE | NO_ZEROES))
        _take(connection, 4)
        while True:
            magic, option, length = struct.unpack(">8sII", _take(connection, 16))
            if magic != OPTION_MAGIC or length > BLOCK:
                raise EOFError
            _take(connection, length)
            head = struct.pack(">QI", REPLY_MAGIC, option)
            if option == OPTION_GO:
                export = struct.pack(">HQH", 0, self.size_bytes, HAS_FLAGS | SEND_FLUSH | SEND_FUA)
                connection.sendall(head + struct.pack(">II", INFO, len(export)) + export)
                connection.sendall(head + struct.pack(">II", ACK, 0))
                return
            connection.sendall(head + struct.pack(">II", ACK if option == OPTION_ABORT else UNSUPPORTED, 0))
            if option == OPTION_ABORT:
                raise EOFError

    def _answer(self, connection: socket.socket) -> bool:
        magic, flags, kind, cookie, start, length = struct.unpack(">IHHQQI", _take(connection, 28))
        if magic != REQUEST_MAGIC or kind == DISCONNECT:
            return False
        error, content = 0, b""
        if length > MOST_BYTES or start + length > self.size_bytes or kind not in (READ, WRITE, FLUSH):
            return False
        written = _take(connection, length) if kind == WRITE else b""
        with self._lock:
            if self._connection is not connection:
                return False  # the power is gone
            if kind == READ:
                content = self._read(start, length)
            elif kind == WRITE:
                self._write(start, written)
            if kind == FLUSH or flags & FUA:
                self._flush()
        connection.sendall(struct.pack(">IIQ", ANSWER_MAGIC, error, cookie) + content)
        return True


def _take(connection: socket.socket, length: int) -> bytes:
    taken = bytearray()
    while len(taken) < length:
        more = connection.recv(min(length - len(taken), 1 << 20))
        if not more:
            raise EOFError
        taken += more
    return bytes(taken)
