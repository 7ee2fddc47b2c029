"""The Debian packages on booted Debian 12 and 13: install, enroll, reboot, upgrade, remove, purge; and the hub's."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import firstlight
from firstlight.platforms.hub.management import Created
from tests.detached.labels import Signer
from tests.hub.served import change
from tests.system.box import Box
from tests.system.conftest import CHECKOUT, Install, MakeBox, on_each_userland
from tests.system.hub_on_box import desk_of
from tests.system.hub_site import Desk
from tests.system.namespaces import PLAIN_ENV, Network

BUILD = CHECKOUT / "packaging/deb/build.sh"
DISTRIBUTIONS = {"bookworm": "deb12", "trixie": "deb13"}
STATE = "/var/lib/private/firstlight"
ROOTS_HALF = "/var/lib/firstlight-hooks"  # appears with the first event
NEWER = "9.9.9"
SIGNER = Signer()  # of an operator whose key the newer package brings
# What apt, dpkg, useradd and systemd keep for themselves.
NOT_OURS = re.compile(
    r"/var/(log|tmp/systemd-private-[^/]*|cache/(apt|debconf|ldconfig)|lib/(apt|dpkg))(/|$)"
    r"|/etc/(passwd|group|g?shadow|sub[ug]id)-$"
)

Deb = Callable[[str], Path]


@pytest.fixture(scope="session")
def deb(debs: Path) -> Deb:
    """Finds a package by what its name starts with."""

    def find(start: str) -> Path:
        (found,) = debs.glob(f"{start}*.deb")
        return found

    return find


@pytest.fixture(scope="session")
def newer_deb(debs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent's package from a copy of the sources with another version."""
    folder = tmp_path_factory.mktemp("newer")
    arch = os.uname().machine
    with tarfile.open(debs / f"bundles/firstlight-{firstlight.__version__}-{arch}.tar") as bundle:
        payload = bundle.extractfile("payload.tar.gz")
        assert payload is not None
        with (
            tarfile.open(fileobj=payload) as files,
            tarfile.open(folder / "payload.tar.gz", "w:gz", compresslevel=1) as changed,
        ):
            for member in (one for one in files if not one.name.startswith("scan/")):
                body = files.extractfile(member)
                assert body is not None
                data = body.read()
                if member.name == "lib/firstlight/__init__.py":
                    data = data.replace(firstlight.__version__.encode(), NEWER.encode())
                    member.size = len(data)
                changed.addfile(member, io.BytesIO(data))
    with tarfile.open(folder / f"firstlight-{NEWER}-{arch}.tar", "w") as bundle:
        bundle.add(folder / "payload.tar.gz", "payload.tar.gz")
    (folder / "hub.pub").write_bytes(SIGNER.pem)
    return build(folder, folder, "firstlight", TRUST=str(folder / "hub.pub"))


def build(bundles: Path, output: Path, name: str, **more: str) -> Path:
    """Builds one package; its file."""
    machine = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
    ).stdout.strip()
    line = [str(BUILD), sys.executable, str(bundles), str(output), f"{name}_{machine}"]
    env = {**os.environ, **more}
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.split()[-1])


def apt_install(box: Box, package: Path, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """As the README says, from the folder with the file."""
    box.path(f"/srv/{package.name}").write_bytes(package.read_bytes())
    return box.sh(f"cd /srv && apt install -y ./{package.name}", check=check)


def enroll(box: Box, device: Created) -> subprocess.CompletedProcess[str]:
    """As the README says; address and pin are those of the pasted command."""
    command = device.install_command
    pin, url = re.findall(r"--pinnedpubkey '([^']+)' '(https://[^/]+)/", command)[0]
    return box.run("firstlight", "enroll", "-", "--hub", url, "--pin", pin, stdin=device.install_id.reveal())


def wait_online(box: Box) -> None:
    """Until the agent that runs now has had a beat accepted."""
    done = box.run("firstlight", "status", "--wait-online", "30", check=False)
    assert done.returncode == 0, done.stdout + done.stderr + box.journal()


def ours(box: Box) -> set[str]:
    """Every file and folder on the box's disk that package managers do not keep for themselves."""
    return {name for name in box.files() if not NOT_OURS.search(name)}


def failed(box: Box) -> str:
    """The units that systemd calls failed."""
    return box.run("systemctl", "--failed", "--plain", "--no-legend").stdout


# ---- the files -----------------------------------------------------------------------------------------------------


def test_lintian_has_nothing_to_say(debs: Path) -> None:
    """No error and no warning that a line of the overrides does not explain, and no override that explains nothing."""
    judged = [
        str(path) for path in sorted(debs.glob("*.deb")) if "deb13" not in path.name
    ]  # the same but for its Python
    line = ["lintian", "--fail-on", "error,warning", "--info", *judged]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False, env=PLAIN_ENV)
    assert done.returncode == 0 and "unused-override" not in done.stdout, done.stdout


def test_two_builds_are_equal(debs: Path, deb: Deb, tmp_path: Path) -> None:
    """The same sources give the same bytes, whatever the clock says."""
    again = build(debs / "bundles", tmp_path, "firstlight")
    assert [hashlib.sha256(each.read_bytes()).hexdigest() for each in (again,)] == [
        hashlib.sha256(deb("firstlight_").read_bytes()).hexdigest()
    ]


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_package_runs_on_each_python(version: str, deb: Deb, tmp_path: Path) -> None:
    """The one tree of libraries imports and makes a key under every Python that the package allows."""
    python, env = shutil.which(f"python{version}"), {**os.environ, "PYENV_VERSION": version}
    if python is None or subprocess.run([python, "-c", ""], check=False, capture_output=True, env=env).returncode:
        pytest.skip(f"there is no Python {version} on this machine")
    subprocess.run(["dpkg-deb", "--extract", deb("firstlight_"), tmp_path], check=True, timeout=60)
    launcher = (tmp_path / "usr/bin/firstlight").read_text()
    for place in ("/usr/lib/", "/etc/"):
        launcher = launcher.replace(place, f"{tmp_path}{place}")
    imports = "import firstlight.cli.enroll, firstlight.transports.http_calls, firstlight.transports.mqtt_session"
    script = launcher.replace("from firstlight", f"sys.argv[1:] = ['facts']\n{imports}\nfrom firstlight")
    line = [python, "-I", "-S", "-c", script]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, env=env)
    assert done.returncode == 0 and "hostname" in done.stdout, done.stderr


# ---- docs/installed-files.md ---------------------------------------------------------------------------------------

Row = tuple[str, int | None]  # path as written, and its mode; None for a link


def drawn(heading: str) -> list[Row]:
    """The rows of the tables below a heading."""
    text = (CHECKOUT / "docs/installed-files.md").read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| `([^`]+)` \|(?: (\d{4} root|link) \|)?", text, re.MULTILINE)
    assert found, heading
    return [(path, int(mode.split()[0], 8) if mode and mode != "link" else None) for path, mode in found]


def pattern(path: str) -> re.Pattern[str]:
    """What a row stands for."""
    words = {"RELEASE": "[0-9.]+-[0-9a-f]{8}", "KEY": "[0-9a-f]{16}", "FINGERPRINT": "[0-9a-f]+", "…": ".*"}
    text = re.escape(path.rstrip("/").replace("/…", "…"))
    for word, meaning in words.items():
        text = text.replace(word, meaning)
    return re.compile(text)


def check_drawn(heading: str, found: dict[str, int | None], optional: str) -> None:
    """Every path found has a row with its mode, and every row a path unless it matches the optional pattern."""
    rows = [(pattern(path), path, mode) for path, mode in drawn(heading)]
    unknown = [path for path in found if not any(each.fullmatch(path) for each, _, _ in rows)]
    assert not unknown, unknown
    for each, path, mode in rows:
        matching = [name for name in found if each.fullmatch(name)]
        assert matching or re.search(optional, path), path
        if not path.endswith("…"):
            assert [found[name] for name in matching] == [mode] * len(matching), path


def modes(box: Box, names: set[str]) -> dict[str, int | None]:
    """The mode of each path; None for a link."""
    stats = {name: box.path("/").joinpath(name.lstrip("/")).lstat() for name in names}
    assert {each.st_uid for each in stats.values()} == {0}
    return {name: None if stat.S_ISLNK(each.st_mode) else stat.S_IMODE(each.st_mode) for name, each in stats.items()}


def shipped(package: Path, place: Path) -> dict[str, int | None]:
    """Every file of a package, and its folders that are no system's, with their modes."""
    subprocess.run(["dpkg-deb", "--extract", package, place], check=True, timeout=60)
    paths = {str(path)[len(str(place)) :]: path for path in place.rglob("*")}
    own = {name: path for name, path in paths.items() if path.is_file() or "firstlight" in name}
    return {name: stat.S_IMODE(path.stat().st_mode) for name, path in own.items()}


@pytest.mark.parametrize("name", ["firstlight", "firstlight-scanning", "firstlight-hub"])
def test_packages_are_drawn(name: str, deb: Deb, tmp_path: Path) -> None:
    """docs/installed-files.md has every file and folder of the packages with its mode, and no other."""
    start = f"{name}_{firstlight.__version__}~deb12" if name == "firstlight-hub" else f"{name}_"
    made = r"/etc/systemd|deb-systemd-helper|trust.d/KEY"  # by the scripts of the package, or only where it is wanted
    check_drawn(f"The Debian package `{name}`", shipped(deb(start), tmp_path), made)


@on_each_userland
def test_script_is_drawn(userland: str, make_box: MakeBox, install: Install) -> None:
    """docs/installed-files.md has all that the pasted command leaves on a box, and what is in the state directory."""
    box = make_box(userland=userland)
    before = ours(box)
    install(box)
    new = ours(box) - before
    new = {name for name in new if not name.startswith(ROOTS_HALF)}
    state = {name for name in new if name.startswith("/var/lib/")}
    check_drawn(
        "The install script and the bundle",
        modes(box, new - state),
        "firstlight.service.d|udev|wants/firstlight-provision",
    )
    rows = [pattern(path) for path, _ in drawn("What appears while it runs")]
    inside = {name[len(STATE) + 1 :] for name in state if name.startswith(f"{STATE}/")}
    assert inside and not [name for name in inside if not any(each.fullmatch(name.partition("/")[0]) for each in rows)]
    assert state - {f"{STATE}/{name}" for name in inside} <= {STATE, "/var/lib/firstlight", "/var/lib/private"}


# ---- the agent -----------------------------------------------------------------------------------------------------


@on_each_userland
def test_life_of_the_package(userland: str, make_box: MakeBox, desk: Desk, deb: Deb, newer_deb: Path) -> None:
    """Install, enroll, reboot, upgrade, remove, install again: one device, online each time; purge leaves nothing."""
    box = make_box(userland=userland)
    before = ours(box)

    apt_install(box, deb("firstlight_"))
    assert (box.unit("ActiveState"), box.unit("UnitFileState"), failed(box)) == ("inactive", "enabled", "")
    # Manuals are left out in these trees, byte code is made at install.
    made = {name for name in ours(box) - before if "firstlight" in name and "/__pycache__" not in name}
    own = {name for name in made if not name.startswith("/srv/")}
    check_drawn("The Debian package `firstlight`", modes(box, own), "/")

    device = desk.create(box.name)
    enroll(box, device)
    wait_online(box)
    user = box.run("id", "--user", "firstlight").stdout.strip()
    assert 0 < int(user) < 1000
    assert box.run("stat", "--format=%u", f"/proc/{box.agent_pid}").stdout.strip() == user
    assert {each.stat().st_uid for each in box.path(STATE).rglob("*")} == {int(user)}
    assert desk.status(device.device_id) == "online"

    box.reboot()
    wait_online(box)
    assert failed(box) == ""

    refused = box.run("firstlight", "upgrade", check=False)
    assert refused.returncode and "[upgrade_managed]" in refused.stderr
    pid = box.agent_pid
    box.sh("echo '# changed by the owner' >>/etc/firstlight/agent.toml")
    apt_install(box, newer_deb)
    assert box.read("/etc/firstlight/agent.toml").endswith("# changed by the owner\n")
    assert box.run("firstlight", "--version").stdout == f"firstlight {NEWER}\n"
    key = f"/etc/firstlight/trust.d/{SIGNER.id}.pub"
    assert box.path(key).read_bytes() == SIGNER.pem
    assert key in box.run("dpkg-query", "--showformat=${Conffiles}", "--show", "firstlight").stdout
    wait_online(box)
    assert box.agent_pid != pid
    assert box.live()["deviceId"] == device.device_id

    box.run("apt", "remove", "-y", "firstlight")
    assert box.path(f"{STATE}/registration.json").exists() and box.path("/etc/firstlight/agent.toml").exists()
    assert not box.path("/usr/lib/firstlight").exists()
    assert (box.unit("LoadState"), failed(box)) == ("not-found", "")
    apt_install(box, newer_deb)
    wait_online(box)
    assert box.live()["deviceId"] == device.device_id

    box.run("apt", "purge", "-y", "firstlight")
    box.sh("rm /srv/*.deb")
    assert ours(box) - before == set()
    assert (
        box.sh("find /run /tmp /dev/shm -name '*firstlight*'; grep firstlight /etc/passwd /etc/group || :").stdout == ""
    )
    assert "firstlight" not in box.run("systemctl", "list-units", "--all", "--no-pager").stdout


def test_package_that_reads_codes(make_box: MakeBox, deb: Deb) -> None:
    """With it a box waits for its code from then on, unless somebody switches that off; without it, it does not."""
    box, unit = make_box(), "firstlight-provision.service"

    def states() -> tuple[str, str]:
        return box.unit("UnitFileState", unit), box.unit("ActiveState", unit)

    for name in ("firstlight_", "firstlight-scanning_"):
        apt_install(box, deb(name))
        expected = ("enabled", "active") if "scanning" in name else ("disabled", "inactive")
        assert states() == expected, box.journal(unit)
    box.run("apt", "remove", "-y", "firstlight-scanning")
    assert (states(), failed(box)) == (("disabled", "inactive"), "")
    apt_install(box, deb("firstlight-scanning_"))
    assert states() == ("enabled", "active")
    box.run("systemctl", "disable", "--now", unit)
    box.run("dpkg-reconfigure", "firstlight-scanning")
    assert states()[0] == "disabled", "what somebody switched off stays so"
    box.run("apt", "purge", "-y", "firstlight-scanning", "firstlight")
    assert (box.unit("LoadState", unit), failed(box)) == ("not-found", "")


def test_box_of_the_script(make_box: MakeBox, install: Install, deb: Deb) -> None:
    """Refused where the script's agent runs, which goes on; after its uninstalling, the same device is online again."""
    box = make_box()
    device = install(box).device

    done = apt_install(box, deb("firstlight_"), check=False)
    assert done.returncode != 0
    said = done.stdout + done.stderr  # apt shows what dpkg says here or there
    assert "the agent of the install script, in /opt/firstlight; the package was not installed" in said
    assert box.unit("ActiveState") == "active" and not box.path("/usr/lib/firstlight").exists()
    (hint,) = re.findall(r"^  (sudo sh .*/uninstall\.sh)\s*$", said, re.MULTILINE)

    box.sh(hint)
    apt_install(box, deb("firstlight_"))
    wait_online(box)
    assert box.live()["deviceId"] == device.device_id


# ---- the hub -------------------------------------------------------------------------------------------------------


@on_each_userland
def test_hub_package(userland: str, make_box: MakeBox, network: Network, deb: Deb, debs: Path) -> None:
    """Install, init, start: it serves, a box gets its agent from the bundles in the package; purge leaves nothing."""
    box = make_box(userland=userland)
    before = ours(box)

    package = deb(f"firstlight-hub_{firstlight.__version__}~{DISTRIBUTIONS[userland]}")
    apt_install(box, package)
    unit = "firstlight-hub.service"
    assert (box.unit("ActiveState", unit), box.unit("UnitFileState", unit), failed(box)) == ("inactive", "enabled", "")

    folder = "/var/lib/firstlight-hub"
    box.run("firstlight-hub", "init", "--dir", folder, "--host", box.address, "--key-file", "/srv/operator.key")
    change(box.path(folder), heartbeat_interval_s=1, online_window_s=5)
    box.run("systemctl", "start", "firstlight-hub")
    user = box.run("id", "--user", "firstlight-hub").stdout.strip()
    assert box.run("stat", "--format=%u", f"/proc/{box.unit('MainPID', unit)}").stdout.strip() == user

    desk, client = desk_of(box, network), make_box()
    device = desk.create(client.name)
    client.sh(device.install_command)
    client.wait_online()
    assert desk.status(device.device_id) == "online"
    with tarfile.open(debs / f"bundles/firstlight-{firstlight.__version__}-{os.uname().machine}.tar") as bundle:
        manifest = bundle.extractfile("manifest.json")
        assert manifest is not None
        release = hashlib.sha256(manifest.read()).hexdigest()[:8]
    assert client.path(f"/opt/firstlight/lib/{firstlight.__version__}-{release}").exists()

    box.run("apt", "purge", "-y", "firstlight-hub")
    box.sh("rm /srv/*.deb /srv/operator.key")
    assert ours(box) - before == set()
    assert box.sh("grep firstlight /etc/passwd /etc/group || :").stdout == ""
