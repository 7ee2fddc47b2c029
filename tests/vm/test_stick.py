"""A FAT stick on a machine with a kernel and an udev of its own: plugged in while it runs, read, answered, pulled."""

from __future__ import annotations

import json
import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.detached.labels import Signer
from tests.e2e.conftest import wait_until
from tests.system.hub_site import HubSite
from tests.system.test_provision_service import UNIT, label_of
from tests.vm import trials
from tests.vm.machine import Machine
from tests.vm.test_first_boot import tool
from tests.vm.trials import Machines

# The cloud's kernel knows no USB: a SCSI disk is plugged in, and a rule of the test says that it hangs on USB.
RULE = 'SUBSYSTEM=="block", KERNEL=="sd*", ENV{ID_BUS}="usb"\n'
SLOW = {"qom-type": "throttle-group", "id": "slow", "limits": {"bps-total": 200_000}}


class Plug:
    """QEMU's own door (QMP): what is plugged into a machine that runs.

    Args:
        path: of its socket.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("r", encoding="utf-8")
        assert "QMP" in json.loads(self._lines.readline())
        self.do("qmp_capabilities")

    def do(self, what: str, **arguments: object) -> None:
        """One command, to its answer."""
        self._socket.sendall(json.dumps({"execute": what, "arguments": arguments}).encode() + b"\n")
        self._wait("return", "error")

    def put_in(self, name: str, image: Path, *, is_slow: bool = False) -> None:
        """A stick with that image; a slow one gives 200 kB a second."""
        file = {"driver": "file", "node-name": f"{name}-file", "filename": str(image)}
        self.do("blockdev-add", **file)
        node = f"{name}-file"
        if is_slow:
            self.do("object-add", **SLOW)
            node = f"{name}-slow"
            self.do(
                "blockdev-add",
                **{"driver": "throttle", "node-name": node, "throttle-group": "slow", "file": file["node-name"]},
            )
        self.do("device_add", driver="scsi-hd", bus="scsi.0", drive=node, id=name)

    def pull(self, name: str) -> None:
        """Takes it out, whatever is being done with it."""
        self.do("device_del", id=name)
        while self._wait("event")["event"] != "DEVICE_DELETED":
            pass

    def _wait(self, *names: str) -> dict[str, object]:
        while True:
            line = self._lines.readline()
            assert line, "QEMU has ended"
            said = json.loads(line)
            assert "error" not in said, said
            if any(name in said for name in names):
                assert isinstance(said, dict)
                return said

    def close(self) -> None:
        """Closes the door."""
        self._lines.close()
        self._socket.close()


@pytest.fixture
def machine(make_machine: Machines, imaged: Machine) -> Iterator[Machine]:
    """A machine whose disk was written from an image; off."""
    one = make_machine(imaged)
    yield one
    one.end()


@contextmanager
def plugged(machine: Machine, tmp_path: Path) -> Iterator[Plug]:
    """The machine switched on, with a door for sticks."""
    machine.boot("-device", "virtio-scsi-pci,id=scsi", "-qmp", f"unix:{tmp_path}/qmp,server=on,wait=off")
    plug = Plug(tmp_path / "qmp")
    try:
        yield plug
    finally:
        plug.close()


def fat(path: Path, **files: bytes) -> Path:
    """An image of a stick with these files; an underscore stands for the dot."""
    tool("mkfs.vfat", "-C", str(path), "16384")
    for name, body in files.items():
        file = path.with_name(f"{path.name}.{name}")
        file.write_bytes(body)
        tool("mcopy", "-i", str(path), str(file), f"::{name.replace('_', '.')}")
    return path


def mounts(machine: Machine) -> str:
    """The sticks that are mounted."""
    return machine.sh("grep ' /run/firstlight-stick/' /proc/self/mountinfo", check=False).stdout


def test_a_stick_by_kernel_udev_and_rule(machine: Machine, hub: HubSite, tmp_path: Path) -> None:
    """One is pulled while it is read, which harms nothing; the next provisions the box and carries the answer away."""
    signer = Signer()
    with plugged(machine, tmp_path) as plug:
        key = f"/etc/firstlight/trust.d/{signer.id}.pub"
        machine.sh(f"mkdir -p /etc/firstlight/trust.d && printf %s {shlex.quote(signer.pem.decode())} >{key}")
        machine.sh(f"printf %s {shlex.quote(RULE)} >/etc/udev/rules.d/65-test.rules && udevadm control --reload")
        machine.run("systemctl", "start", UNIT)

        plug.put_in("first", fat(tmp_path / "first", label_png=bytes(8 << 20)), is_slow=True)
        wait_until("it is mounted", lambda: mounts(machine), trials.PATIENCE_S)
        assert " vfat " in mounts(machine)
        wait_until("it is looked at", lambda: "a stick was put in" in machine.journal(UNIT), trials.PATIENCE_S)
        plug.pull("first")
        wait_until("it is unmounted", lambda: not mounts(machine), trials.PATIENCE_S)
        said = ("[stick_unreadable]", "[stick_unwritable]", "was pulled out")
        wait_until("it is given up", lambda: any(each in machine.journal(UNIT) for each in said), trials.PATIENCE_S)
        assert (machine.unit("ActiveState", UNIT), machine.unit("NRestarts", UNIT)) == ("active", "0")
        assert machine.run("test", "-e", "/var/lib/firstlight/provisioned.json", check=False).returncode == 1

        text, device_id = label_of(hub, machine, signer)
        second = fat(tmp_path / "second", device_json=json.dumps({"format": 1, "payload": text}).encode())
        plug.put_in("second", second)
        try:
            wait_until("it is provisioned", lambda: machine.live().get("deviceId") == device_id, trials.PATIENCE_S)
        except AssertionError as error:
            lines = "journalctl --no-pager -b | tail -n 60; lsblk; cat /proc/self/mountinfo | tail -n 4"
            raise AssertionError(f"{error}\n{machine.sh(lines).stdout}") from None
        wait_until("it is given back", lambda: not mounts(machine), trials.PATIENCE_S)
        plug.pull("second")
        machine.wait_online(trials.PATIENCE_S)
        assert machine.run("systemctl", "--failed", "--plain", "--no-legend").stdout == ""
    told = tool("mtype", "-i", str(second), "::RESULT.txt")
    assert f"This box is provisioned as {device_id}." in told and "HTTPS://" in told
