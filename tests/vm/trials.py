"""What is done to a machine again and again, and what must hold after it: for the tests, and for ``make soak``."""

from __future__ import annotations

import json
import random
import shlex
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from firstlight.platforms.hub.management import Created
from firstlight_hub.bundle_file import read_bundle
from tests.e2e.conftest import wait_until
from tests.system.any_box import AnyBox
from tests.system.history import check_once, kept
from tests.system.hub_site import HubSite
from tests.vm.card import CardBox
from tests.vm.machine import Machine

PATIENCE_S = 180.0
Cuttable = Machine | CardBox  # whose disk loses what was not flushed
RESTS = "find /etc /opt/firstlight /var/lib/private/firstlight -name '*.new' -o -name '*.tmp' -o -name '.new.*'"

STATE, JOURNAL = "/var/lib/private/firstlight", "/opt/firstlight/upgrade.json"
WISH = f"{STATE}/upgrade-wish.json"
PUT_WISH = f"cd {STATE} && cat >new && chown --reference=. new && mv new {WISH} && sync"  # as the agent does
# What the shell of the machine waits for before the power goes.
MOMENTS = {
    "unpacking": "[ -e /opt/firstlight/lib/.new/release ]",
    "switching": f"[ -e {JOURNAL} ]",
    "proving": f"grep -q prove {JOURNAL} 2>/dev/null && grep -q {{new}} /opt/firstlight/bin/firstlight",
}


def rest(seconds: float) -> None:
    """Lets the clock run."""
    end_s = time.monotonic() + seconds
    wait_until("the moment has come", lambda: time.monotonic() >= end_s, seconds + 5)


def install(machine: Cuttable, hub: HubSite) -> Created:
    """Runs the pasted command; the machine is online and all of it is on its disk."""
    device = hub.desk.create(machine.name)
    done = machine.sh(device.install_command)
    assert done.stderr == "", done.stderr
    machine.run("sync")
    return device


def install_offline(machine: Machine, hub: HubSite, bundle: Path) -> None:
    """Makes the machine one from an image: the bundle's own installer, and a boot partition for where there is one.

    Ends with the machine switched off.
    """
    url = shlex.quote(f"{hub.desk.url}/bundles/{bundle.name}")
    machine.sh(f"cd /srv && curl -fsSk -o b.tar {url} && tar -xOf b.tar install.sh | sh -s -- --bundle /srv/b.tar")
    card = "/dev/vdb /boot/firmware vfat nofail 0 0"
    machine.sh(f"mkdir -p /boot/firmware && echo '{card}' >>/etc/fstab && rm /srv/b.tar && sync")
    machine.cut_power()


def forget(machine: Cuttable) -> None:
    """Takes back what enrolling did: the agent's files stay. Ends with the machine switched off."""
    machine.sh("systemctl disable --now --quiet firstlight; rm -f /etc/systemd/system/firstlight*")
    machine.sh("rm -rf /var/lib/firstlight /var/lib/private/firstlight /etc/firstlight; sync")
    machine.cut_power()


def cut_while_enrolling(machine: Cuttable, hub: HubSite, chance: random.Random, span_s: float) -> str:
    """Cut somewhere in the pasted command, the same command makes the machine one device, online, and leaves no rest.

    Args:
        machine: switched off, not enrolled.
        hub: which serves.
        chance: when, and what the disk's cache loses.
        span_s: the cut comes within this time.

    Returns:
        the device's id.
    """
    machine.boot()
    device = hub.desk.create(machine.name)
    machine.sh(f"printf '%s\\n' {shlex.quote(device.install_command)} >/srv/pasted && sync")
    machine.run("systemd-run", "--quiet", "--unit=pasted", "--setenv=HOME=/root", "sh", "/srv/pasted")
    rest(chance.uniform(0.0, span_s))
    machine.cut_power(_part(chance))
    machine.boot()
    done = machine.sh("sh /srv/pasted")
    assert done.stderr == "", done.stderr
    check_once(machine, hub, device.device_id, PATIENCE_S)
    assert hub.desk.install_id_state(device.device_id) == "redeemed"
    assert not (rests := machine.sh(RESTS).stdout), rests
    return device.device_id


def cut_while_beating(machine: Cuttable, hub: HubSite, device_id: str, chance: random.Random) -> None:
    """Cut while the hub takes every beat, the machine is back as the same device, with nothing missing or doubled."""
    _cut_and_check(machine, hub, device_id, chance, set())


def cut_while_keeping(machine: Cuttable, hub: HubSite, device_id: str, chance: random.Random) -> None:
    """Cut while there is no hub: every beat that was on the disk arrives later, once.

    What the guest had not flushed yet may be lost: the agent does not flush each beat, an SD card would wear.
    """
    with hub.away():
        machine.wait_state("cut_off", PATIENCE_S)
        rest(chance.uniform(0.0, 3.0))
        waiting = kept(machine)
        machine.run("sync")
        stays_away = chance.random() < 0.5
        if stays_away:
            _cut(machine, chance)
            machine.wait_state("cut_off", PATIENCE_S)
    _cut_and_check(machine, hub, device_id, chance, waiting)


def cut_while_upgrading(
    machine: Cuttable, hub: HubSite, device_id: str, release: Path, chance: random.Random, moment: str
) -> None:
    """Cut in the middle of an upgrade that the hub asked for: it ends by itself, and one release is left at work.

    Args:
        machine: online.
        hub: which has ``release`` on its shelf.
        device_id: the machine's.
        release: a bundle that is newer than what runs.
        chance: what the disk's cache loses.
        moment: of the cut, one of ``MOMENTS``.
    """
    bundle = read_bundle(release)
    name = f"{bundle.manifest.version}-{bundle.id[:8]}"
    before = _running(machine)
    wish = {"version": bundle.manifest.version, "id": bundle.id, "path": f"/bundles/{release.name}", "attempt": 1}
    machine.run("sh", "-c", PUT_WISH, stdin=json.dumps(wish))
    # The moment may be over before the shell has looked: then the cut comes after it.
    machine.sh(f"until {MOMENTS[moment].format(new=name)} || [ ! -e {WISH} -a ! -e {JOURNAL} ]; do :; done")
    machine.cut_power(_part(chance))
    machine.boot()

    def has_ended() -> bool:
        return not machine.sh(f"cat {WISH} {JOURNAL}", check=False).stdout

    wait_until("the upgrade is over", has_ended, 2 * PATIENCE_S)
    check_once(machine, hub, device_id, PATIENCE_S)
    now = _running(machine)
    told = json.loads(machine.read(f"{STATE}/upgraded.json"))
    assert now == (name if told["id"] == bundle.id and not told["code"] else before), told
    launchers = [machine.read(f"/opt/firstlight/bin/firstlight{end}") for end in ("", "-proven")]
    assert launchers[0] == launchers[1] and f"/{now}/" in launchers[0]
    assert now in machine.sh("ls /opt/firstlight/lib").stdout.split()
    assert not (rests := machine.sh(RESTS).stdout), rests
    assert machine.run("systemctl", "--failed", "--plain", "--no-legend").stdout == ""


def _running(machine: Cuttable) -> str:
    """The release whose agent beats."""
    live = machine.live()
    return f"{live.get('agentVersion')}-{live.get('release')}"


def reboot(machine: AnyBox, hub: HubSite, device_id: str, chance: random.Random, *, with_hub: bool) -> None:
    """Rebooted, with the hub or without one: back as the same device, and nothing that was kept is missing."""
    with nullcontext() if with_hub else hub.away():
        if not with_hub:
            machine.wait_state("cut_off", PATIENCE_S)
        rest(chance.uniform(0.0, 2.0))
        waiting = kept(machine)
        machine.reboot()
    _check(machine, hub, device_id, waiting)


def _cut(machine: Cuttable, chance: random.Random) -> None:
    rest(chance.uniform(0.0, 3.0))
    machine.cut_power(_part(chance))
    machine.boot()


def _cut_and_check(
    machine: Cuttable, hub: HubSite, device_id: str, chance: random.Random, waiting: set[tuple[str, int]]
) -> None:
    _cut(machine, chance)
    _check(machine, hub, device_id, waiting)


def _check(machine: AnyBox, hub: HubSite, device_id: str, waiting: set[tuple[str, int]]) -> None:
    found = check_once(machine, hub, device_id, PATIENCE_S)
    boot_id = str(machine.live()["bootId"])
    # In a container the sandboxed agent sees the boot id of the machine around it, which stays the same.
    kernels = machine.read("/proc/sys/kernel/random/boot_id").strip().replace("-", "")
    assert not isinstance(machine, Machine) or boot_id == kernels
    assert boot_id in {beat.boot_id for beat in found}
    missing = waiting - {(beat.boot_id, beat.sequence) for beat in found}
    assert not missing, f"kept on the disk, but never delivered: {sorted(missing)}"


def _part(chance: random.Random) -> random.Random | None:
    """Every other cut loses the whole cache of the disk, the others a part of it."""
    return chance if chance.random() < 0.5 else None


class Machines:
    """Makes machines; takes them away at the end.

    Args:
        folder: an own, empty folder with a short name: a socket's has 107 bytes at most.
        build: name, folder and parent of a machine to the machine.
    """

    def __init__(self, folder: Path, build: Callable[[str, Path, Machine | None], Machine]) -> None:
        self._folder, self._build = folder, build
        self._made: list[Machine] = []

    def __call__(self, born_of: Machine | None = None) -> Machine:
        """A machine that is switched off."""
        name = f"machine{len(self._made) + 1}"
        folder = self._folder / name
        folder.mkdir()
        self._made.append(self._build(name, folder, born_of))
        return self._made[-1]

    def end(self) -> None:
        """Takes them all away."""
        for machine in self._made:
            machine.end()
