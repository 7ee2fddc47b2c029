"""A machine: a real kernel and a real systemd in QEMU, with a disk that loses what was not flushed when the power goes.

Always without KVM: what /dev/kvm gives differs from machine to machine, and a test must not.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import select
import socket
import subprocess
import time
from pathlib import Path

from tests.system.any_box import AnyBox
from tests.system.namespaces import PLAIN_ENV, WITH_US, Network
from tests.vm.disk import Disk

PATIENCE_S = 240.0  # of a boot, on a machine that does much else
OUTPUT_BYTES = 8 << 20
MEMORY_MB = 384
KERNEL_LINE = (
    "console=ttyS0 root=/dev/vda rw quiet mitigations=off random.trust_cpu=on tsc=reliable no_timer_check audit=0"
    " apparmor=0 systemd.show_status=0 rcupdate.rcu_expedited=1 panic=-1 net.ifnames=0"
)
NO_CARD = "systemd.mask=boot-firmware.mount"


class Machine(AnyBox):
    """One machine; it is off until ``boot``.

    Args:
        name: its hostname.
        image: folder with vmlinuz, initrd and root.img; shared with others.
        scratch: an own, empty folder.
        network: where its cable leads, and the only way out of it.
        born_of: a machine that is off, whose disk this one begins with.
    """

    def __init__(self, name: str, image: Path, scratch: Path, network: Network, born_of: Machine | None = None) -> None:
        super().__init__(name)
        self._image, self._scratch = image, scratch
        self._tap, self.address, prefix = network.plug_in_tap()
        self._network = network
        self.disk: Disk = Disk(image / "root.img", scratch, born_of.disk if born_of is not None else None)
        self._line = f"{KERNEL_LINE} systemd.hostname={name} ip={self.address}::::{name}:eth0:none"
        self._line = self._line.replace("::::", f":::{prefix}:")
        self._ear = socket.socket(socket.AF_UNIX)
        self._ear.bind(str(scratch / "hand"))
        self._ear.listen(1)
        self._hand: socket.socket | None = None
        self._heard = b""
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._is_over = False
        self.is_born = born_of is not None
        self.boot_s = 0.0
        self.cuts = 0

    # -- power -------------------------------------------------------------------------------------------------------
    def boot(self, *options: str, card: Path | None = None, kernel_words: str = "") -> None:
        """Switches it on; returns when it can be talked to, which is before everything has started.

        Args:
            options: further words for QEMU, for this start.
            card: image of a boot partition that is plugged in.
            kernel_words: for the end of the kernel's command line, as a boot loader would add them.
        """
        if card is None:  # else a machine whose fstab has one would wait for it
            kernel_words = f"{NO_CARD} {kernel_words}".rstrip()
        else:
            options = (*options, "-blockdev", f"driver=file,node-name=card,filename={card}")
            options = (*options, "-device", "virtio-blk-pci,drive=card")
        started_s = time.monotonic()
        self.disk.power_on()
        with (self._scratch / "qemu.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*WITH_US, *self._network.holder.inside(*WITH_US, *self._command(kernel_words), *options)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=PLAIN_ENV,
            )
        deadline_s = started_s + PATIENCE_S
        while not select.select([self._ear], [], [], 0.1)[0]:
            assert self._process.poll() is None and time.monotonic() < deadline_s, self.console()
        self._hand, self._heard = self._ear.accept()[0], b""
        self._answer(0, deadline_s - time.monotonic())
        self.boot_s = time.monotonic() - started_s

    def wait_started(self) -> None:
        """Until systemd has nothing more to start."""
        self.run("systemctl", "is-system-running", "--wait", check=False)

    def reboot(self) -> None:
        """``systemctl reboot``, until it can be talked to again."""
        assert self._process is not None
        self.run("systemctl", "--no-block", "reboot")
        self._process.wait(PATIENCE_S)  # QEMU ends where a machine would start again
        self._let_go()
        self.boot()

    def cut_power(self, chance: random.Random | None = None) -> int:
        """The plug is pulled: what the disk had not been told to flush is gone, or with ``chance`` a random part of it.

        Returns:
            how many blocks of the disk's cache were lost.
        """
        assert self._process is not None
        self.cuts += 1
        lost = self.disk.cut(chance)
        self._process.kill()
        self._process.wait(20)
        self._let_go()
        return lost

    @property
    def is_on(self) -> bool:
        """Whether there is power."""
        return self._process is not None and self._process.poll() is None

    def end(self) -> None:
        """Takes the machine away, with all that was on it."""
        if self._is_over:
            return
        self._is_over = True
        if self.is_on:
            self.cut_power()
        self._let_go()
        self._ear.close()
        self.disk.end()

    def _let_go(self) -> None:
        if self._hand is not None:
            self._hand.close()
            self._hand = None

    def _command(self, kernel_words: str) -> list[str]:
        line = f"{self._line} {kernel_words}"
        disk = f"driver=nbd,node-name=disk,server.type=unix,server.path={self.disk.socket}"
        return [
            *("qemu-system-x86_64", "-M", "q35,usb=off,vmport=off,smm=off", "-accel", "tcg,thread=multi,tb-size=256"),
            *("-cpu", "max", "-smp", "2", "-m", str(MEMORY_MB), "-nodefaults", "-no-user-config", "-nographic"),
            *("-no-reboot", "-serial", f"file:{self._scratch / 'console'}"),
            *("-kernel", str(self._image / "vmlinuz"), "-initrd", str(self._image / "initrd"), "-append", line),
            *("-blockdev", disk, "-device", "virtio-blk-pci,drive=disk,write-cache=on"),
            *("-netdev", f"tap,id=cable,ifname={self._tap},script=no,downscript=no"),
            *("-device", f"virtio-net-pci,netdev=cable,romfile=,mac={_mac(self.address)}"),
            *("-chardev", f"socket,id=hand,path={self._scratch / 'hand'}", "-device", "virtio-serial-pci"),
            *("-device", "virtserialport,chardev=hand,name=hand"),
        ]

    def console(self) -> str:
        """What it printed on its serial line, and QEMU's own complaints."""
        files = [self._scratch / name for name in ("qemu.log", "console")]
        return "\n".join(file.read_text(errors="replace")[-4000:] for file in files if file.exists())

    # -- inside ------------------------------------------------------------------------------------------------------
    def run(
        self, *words: str, check: bool = True, stdin: str = "", timeout_s: float = 180
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command as root; one at a time. Its outputs are cut to their last MiB."""
        assert self._hand is not None
        number = next(self._numbers)
        self._hand.sendall(json.dumps({"id": number, "words": words, "stdin": stdin}).encode() + b"\n")
        said = self._answer(number, timeout_s)
        done = subprocess.CompletedProcess(words, int(str(said["status"])), str(said["stdout"]), str(said["stderr"]))
        return self._checked(done, words, check)

    def read(self, inside: str) -> str:
        """A file's text. Raises FileNotFoundError."""
        done = self.run("cat", inside, check=False)
        if done.returncode:
            raise FileNotFoundError(inside)
        return done.stdout

    def _answer(self, number: int, within_s: float) -> dict[str, object]:
        assert self._hand is not None
        deadline_s = time.monotonic() + within_s
        while b"\n" not in self._heard:
            assert len(self._heard) < OUTPUT_BYTES
            left_s = deadline_s - time.monotonic()
            heard = left_s > 0 and select.select([self._hand], [], [], left_s)[0] and self._hand.recv(1 << 20)
            assert heard, f"{self.name} does not answer\n{self.console()}"
            self._heard += heard
        line, _, self._heard = self._heard.partition(b"\n")
        said = json.loads(line)
        assert isinstance(said, dict) and said["id"] == number, line[:200]
        return said


def _mac(address: str) -> str:
    return "52:54:00:" + ":".join(f"{int(part):02x}" for part in address.split(".")[1:])


def image(cache: Path) -> Path:
    """The folder that a machine boots from; made if it is missing."""
    line = [str(Path(__file__).with_name("image.sh")), str(cache)]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True, timeout=900, env=dict(os.environ))
    return Path(done.stdout.strip())
