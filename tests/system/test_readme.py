"""The README's sections "Install on a box" and "Upgrade boxes", tried exactly as printed by an ordinary user with sudo.

The commands are taken out of the README itself; only its placeholders are filled in: the hub's address and pin, the
installId, and the later version, which lies on the hub's shelf. ``make bundle`` and ``make deb`` need the package
registry: what they make is made before the tests, by the same scripts.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import wait_until
from tests.system.box import Box
from tests.system.conftest import CHECKOUT, MakeBox, on_each_userland
from tests.system.hub_site import BIN, HubSite
from tests.system.namespaces import PLAIN_ENV, Network
from tests.system.releases import remade

pytestmark = pytest.mark.timeout(300)

TITLES = ("Install on a box", "Upgrade boxes")
HUB = "https://127.0.0.1:8443"  # of the README
WITH_SCRIPT = r"""printf '%s\n' "$s" | """
ENROLL = """printf '%s' "$INSTALL_ID" | """
HOME = "/home/ada"
FIRST_BOOT = "firstlight-firstboot.service"
SUDO = "ada ALL=(ALL:ALL) NOPASSWD: ALL\n"
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


class Page:
    """The commands of the two sections; each is found by how it starts, and counts as tried from then on."""

    def __init__(self) -> None:
        text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
        self.text = "".join(text.partition(f"\n## {title}\n")[2].partition("\n## ")[0] for title in TITLES)
        code = [line[4:] for line in self.text.splitlines() if line.startswith("    ")]
        self.commands = "\n".join(code).replace("\\\n", "").splitlines()
        self.tried: set[str] = set()

    def command(self, start: str, number: int = 0) -> str:
        """The command that starts like this, as printed but for this machine's architecture."""
        found = [line for line in self.commands if line.startswith(start)]
        assert len(found) > number, f"no command of the README starts with {start!r}"
        self.tried.add(found[number])
        return found[number].replace("x86_64", platform.machine()).replace("amd64", ARCH)


class Site(HubSite):
    """A hub in the home of its operator, who types what the README says."""

    def __init__(self, network: Network, home: Path, bundles: list[Path]) -> None:
        super().__init__(network, home, bundles)
        self.home = home
        self.url, self.pin = self.endpoint()

    def endpoint(self) -> tuple[str, str]:
        """Address and pin, as ``init`` and ``serve`` told the operator."""
        words = re.findall(r'"(?:url|pin)": "([^"]+)"', (self.home / "hub/hub.json").read_text())
        return words[0], words[1]

    def fill(self, command: str, install_id: str = "") -> str:
        """The command without placeholders."""
        filled = command.replace(HUB, self.url).replace("https://…", self.url).replace("sha256//…", self.pin)
        filled = filled.replace("/devices/v2/…/", f"/devices/v2/{install_id}/")
        assert "…" not in filled, filled
        return filled

    def type(self, command: str) -> str:
        """Runs a command at the desk; what it printed."""
        env = {**PLAIN_ENV, "PATH": f"{BIN}:{PLAIN_ENV['PATH']}", "HOME": str(self.home)}
        line = self.network.holder.inside("sh", "-c", f"cd ~ && {command}")
        done = subprocess.run(line, capture_output=True, text=True, env=env, timeout=60, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def create(self, page: Page) -> tuple[str, str, str]:
        """A device by the README's command: its id, its installId and the command for the box."""
        said = self.type(self.fill(page.command("firstlight device create")))
        (device_id,) = re.findall(r"^device +(\S+)$", said, re.MULTILINE)
        (pasted,) = re.findall(r"^ *(s=\$\(curl .*)$", said, re.MULTILINE)
        (install_id,) = re.findall(r"/devices/v2/([^/]+)/install\.sh", pasted)
        assert pasted == self.fill(page.command("s=$(curl"), install_id), "the README prints another command"
        return device_id, install_id, pasted


@pytest.fixture(scope="module")
def page() -> Page:
    """The README, which remembers what was tried of it."""
    return Page()


@pytest.fixture(scope="module")
def site(network: Network, bundles: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A hub for this file."""
    one = Site(network, tmp_path_factory.mktemp("desk"), bundles)
    yield one
    one.stop()


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """A network for this file and its hub."""
    one = Network()
    yield one
    one.end()


def login(make_box: MakeBox, userland: str = "bookworm") -> Box:
    """A booted box with an ordinary user who may use sudo."""
    box = make_box(userland=userland)
    box.run("useradd", "--create-home", "--shell", "/bin/sh", "ada")
    box.run("sh", "-c", "umask 227 && cat >/etc/sudoers.d/ada", stdin=SUDO)
    return box


def typed(box: Box, script: str, stdin: str = "") -> str:
    """Runs what that user types; what it printed."""
    done = box.run("runuser", "--login", "ada", "--command", script, stdin=stdin, check=False)
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


def copy(box: Box, *files: Path) -> None:
    """Puts files into that user's home."""
    for file in files:
        shutil.copy(file, box.path(f"{HOME}/{file.name}"))


def check_online(box: Box, site: Site, device_id: str) -> None:
    """Online by the service, and in the list."""
    done = box.run("firstlight", "status", "--wait-online", "30", check=False)
    assert done.returncode == 0, done.stdout + box.journal()
    wait_until("the list says online", lambda: site.desk.status(device_id) == "online")


@on_each_userland
def test_the_pasted_command(userland: str, make_box: MakeBox, site: Site, page: Page) -> None:
    """Fetched, read and rehearsed; then pasted: online; again: nothing to do; uninstalled; and without root."""
    box = login(make_box, userland)
    device_id, install_id, pasted = site.create(page)
    script = site.fill(page.command("s=$(curl", 1), install_id)
    read = typed(box, f"{script}\n{page.command(WITH_SCRIPT + 'more')}")
    assert read.startswith("#!/bin/sh\n") and install_id in read
    before = box.files("/opt", "/etc", "/var/lib")
    rehearsed = typed(box, f"{script}\n{page.command(WITH_SCRIPT + 'sudo sh -s -- --dry-run')}")
    assert rehearsed.startswith("firstlight: would ")
    assert box.files("/opt", "/etc", "/var/lib") == before
    typed(box, pasted)
    check_online(box, site, device_id)
    assert "nothing to do" in typed(box, pasted)
    typed(box, f"{script}\n{page.command(WITH_SCRIPT + 'sudo sh -s -- --uninstall')}")
    assert not box.path("/opt/firstlight").exists()

    device_id, install_id, _ = site.create(page)
    script = site.fill(page.command("s=$(curl", 1), install_id)
    typed(box, f"{script}\n{page.command(WITH_SCRIPT + 'sh -s -- --prefix')}")
    assert box.path(f"{HOME}/firstlight/bin/firstlight").exists() and not box.path("/opt/firstlight").exists()
    assert site.desk.status(device_id) == "online"


def test_stick_first_boot_and_upgrade(
    make_box: MakeBox, site: Site, page: Page, bundles: list[Path], tmp_path: Path
) -> None:
    """Installed with no cable; firstlight.txt enrolls at the next start; then upgraded, as that box trusts the hub."""
    made = site.home / "dist/bundles"
    made.mkdir(parents=True)
    for bundle in bundles:
        shutil.copy(bundle, made)
    site.type(page.command("firstlight-hub sign"))
    site.type(page.command("firstlight-hub release-key"))

    box = login(make_box)
    copy(box, *made.iterdir())
    box.unplug()
    assert "takes upgrades" in typed(box, page.command("tar -xOf"))
    box.plug_in()

    device_id, _, pasted = site.create(page)
    boot = "/boot/firmware"
    box.run("mkdir", "-p", boot)
    assert "`firstlight.txt`" in page.text and "`firstlight-result.txt`" in page.text
    box.path(f"{boot}/firstlight.txt").write_text(pasted)
    box.reboot()
    wait_until("first boot is over", lambda: box.unit("ActiveState", FIRST_BOOT) == "inactive", 40)
    check_online(box, site, device_id)
    assert [path.name for path in box.path(boot).iterdir()] == ["firstlight-result.txt"]

    start = page.command("firstlight-hub rollout start")
    (version,) = re.findall(r"--version ([0-9.]+)", start)
    (own,) = [bundle for bundle in bundles if platform.machine() in bundle.name]
    remade(own, version, tmp_path)
    for file in tmp_path.iterdir():
        shutil.copy(file, site.home / "hub/bundles" / file.name)
    site.type(page.command("firstlight-hub sign", 1))
    assert f"Rolling out version {version} " in site.type(start)
    assert f"Version {version}, " in site.type(page.command("firstlight-hub rollout show"))
    typed(box, page.command("sudo firstlight upgrade"))
    check_online(box, site, device_id)
    assert box.live()["agentVersion"] == version


@on_each_userland
def test_debian_package(userland: str, make_box: MakeBox, site: Site, page: Page, debs: Path) -> None:
    """Installed with apt, enrolled from standard input: online; the script keeps away; purged: nothing is left."""
    box = login(make_box, userland)
    copy(box, *debs.glob("firstlight_*.deb"))
    typed(box, page.command("sudo apt install"))
    device_id, install_id, _ = site.create(page)
    typed(box, f"INSTALL_ID={install_id}\n{site.fill(page.command(ENROLL))}")
    check_online(box, site, device_id)
    refused = box.run("runuser", "--login", "ada", "--command", site.create(page)[2], check=False)
    assert refused.returncode == 1 and "This box has the Debian package firstlight." in refused.stderr
    assert not box.path("/opt/firstlight").exists()
    assert "`sudo apt purge firstlight`" in page.text
    typed(box, "sudo apt purge firstlight", stdin="y\n")
    left = box.sh("find / -xdev -name '*firstlight*' ! -path '/proc/*' ! -path '/sys/*' ! -path '/home/*'").stdout
    assert [line for line in left.splitlines() if not line.startswith(("/var/log/", "/var/cache/"))] == []


def test_no_command_was_left_out(page: Page) -> None:
    """The tests above, all of them run, have typed every command of the two sections but "make bundle"."""
    left = set(page.commands) - page.tried
    assert {line for line in left if line and not line.startswith("make bundle")} == set()
