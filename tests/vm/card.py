"""A container whose disk loses what was not flushed when the power goes: quick enough for hundreds of power cuts.

The kernel is this machine's, which goes on running; the file system is one of its own, on the disk of ``disk.py``. That
reaches the kernel as a loop device, by way of qemu-storage-daemon and FUSE: a flush goes all the way to it.
"""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

from tests.e2e.conftest import wait_until
from tests.system.box import Box
from tests.system.namespaces import PLAIN_ENV, WITH_US, Network
from tests.vm.disk import Disk

SIZE_BYTES = 1 << 30
# Without --direct-io: with it, what ext4 writes at the same time arrives mixed up (Linux 6.18, loop on FUSE).
# $1 = the shared tree, $2 = where the card is to be, $3 = the card's file system: empty, or as it was left.
INSERT = """
set -eu
loop=$(losetup --find --show "$3")
echo "$loop" >"$3.loop"
mount -t ext4 "$loop" "$2"
mkdir -p "$2/changes" "$2/work" "$2/top"
mount -t overlay -o "lowerdir=$1,upperdir=$2/changes,workdir=$2/work" overlay "$2/top"
grep -q "$4" "$2/top/etc/hosts" || echo "127.0.1.1 $4" >>"$2/top/etc/hosts"
"""
# Lazily only where somebody is still on it; the loop device is free when nobody is. What the kernel still wants to
# write must fail before the device gets another disk: it would be written to that one.
PULL = """
for each in "$1/top" "$1"; do umount "$each" 2>/dev/null || umount -l "$each" || :; done
loop=$(cat "$2.loop")
blockdev --flushbufs "$loop" 2>/dev/null || :
losetup --detach "$loop" || :
umount "$2" 2>/dev/null || umount -l "$2" || :
"""


def formatted(folder: Path) -> Path:
    """An empty file system, to be shared by any number of cards."""
    image = folder / "empty.img"
    with image.open("wb") as file:
        file.truncate(SIZE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, env=PLAIN_ENV, timeout=60)
    return image


class CardBox(Box):
    """A box whose changes are on such a disk; it is off until ``boot``.

    Args:
        name: its hostname.
        tree: the root file system that it shares with others, read-only.
        empty: of ``formatted``.
        scratch: an own, empty folder with a short name.
        network: where its cable leads.
        born_of: a box that is off, whose card this one begins with.
    """

    disk_script = "mount -t tmpfs -o mode=755 tmpfs /run\nmkdir /run/systemd\n"

    def __init__(
        self, name: str, tree: Path, empty: Path, scratch: Path, network: Network, born_of: CardBox | None = None
    ) -> None:
        super().__init__(name, tree, scratch, network)
        self._tree = tree
        self.disk: Disk = Disk(empty, scratch, born_of.disk if born_of is not None else None)
        self._ends.callback(self.disk.end)
        self._ends.callback(self._pull)
        self._card = scratch / "card"
        self._reader: subprocess.Popen[bytes] | None = None
        self.is_born = born_of is not None
        self.cuts = 0

    def boot(self, *options: str) -> None:
        """Inserts the card where it is not in, and switches the box on."""
        if self._reader is None:
            self._insert()
        super().boot(*options)

    def cut_power(self, chance: random.Random | None = None) -> int:
        """The plug is pulled: what the disk had not been told to flush is gone, or with ``chance`` a random part of it.

        Returns:
            how many blocks of the disk's cache were lost.
        """
        self.cuts += 1
        lost = self.disk.cut(chance)
        if self._reader is not None:
            self._reader.kill()  # nothing that is said from now on reaches the disk
        super().cut_power()
        self._pull()
        return lost

    def _insert(self) -> None:
        self._card.touch()
        self.disk.power_on()
        blocks = f"driver=nbd,node-name=card,server.type=unix,server.path={self.disk.socket}"
        export = f"type=fuse,id=card,node-name=card,mountpoint={self._card},writable=on"
        line = ["qemu-storage-daemon", "--blockdev", blocks, "--export", export]
        with (self._scratch / "reader.log").open("ab") as log:
            self._reader = subprocess.Popen(
                [*WITH_US, *self._holder.inside(*WITH_US, *line)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        size = ("stat", "--format=%s", str(self._card))
        wait_until("the card is in", lambda: self._holder.run(*size).strip() == str(self.disk.size_bytes), 20)
        words = (str(self._tree), str(self._scratch / "disk"), str(self._card), self.name)
        self._holder.run("sh", "-c", INSERT, "sh", *words)

    def _pull(self) -> None:
        if self._reader is None:
            return
        self._reader.kill()
        self._reader.wait(20)
        self._reader = None
        self._holder.run("sh", "-c", PULL, "sh", str(self._scratch / "disk"), str(self._card))
        name = Path(f"{self._card}.loop").read_text().strip().rpartition("/")[2]
        backed = Path("/sys/block", name, "loop/backing_file")
        wait_until("the card is out", lambda: not backed.exists() or str(self._card) not in backed.read_text(), 20)
