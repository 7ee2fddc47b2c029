"""The pasted command on boxes that are set up in odd ways: it works all the same, or says what is wrong and leaves."""

from __future__ import annotations

import pytest

from tests.system.box import AGENT, Box
from tests.system.conftest import MakeBox
from tests.system.history import check_once
from tests.system.hub_site import HubSite

PLACES = ("/opt", "/etc", "/usr/local", "/root", "/var/lib/firstlight", "/var/lib/private", "/srv", "/tmp", "/var/tmp")
# Several oddities at once where they have nothing to do with each other.
ODD = {
    "careful root": "umask 077; export LC_ALL=C LANG=C TMPDIR=/does/not/exist CDPATH=/var:/etc; unset HOME; cd /",
    "careless root": "umask 0; export LC_ALL=xx_YY.UTF-9 HOME=/does/not/exist PYTHONHOME=/nowhere PYTHONPATH=/nowhere"
    " PYTHONDONTWRITEBYTECODE=1; mkdir -p '/tmp/with space'; export TMPDIR='/tmp/with space'",
    "noexec and other disks": "export LC_ALL=C.UTF-8 LANGUAGE=de; mount -t tmpfs -o noexec tmpfs /tmp;"
    " mount -t tmpfs -o noexec tmpfs /var/tmp; mount -t tmpfs -o size=300m tmpfs /opt",
    "curl's settings": "export HOME=~root; printf 'silent\\nlimit-rate = 20M\\n' >~root/.curlrc",
}


def ours(box: Box) -> set[str]:
    """What is where the script could have put something."""
    places = [place for place in PLACES if box.path(place).exists()]
    return {name for name in box.files(*places) if "systemd-private" not in name}


@pytest.fixture(scope="module")
def odd_box(make_box: MakeBox) -> Box:
    """A box that is set up anew for each test."""
    return make_box()


@pytest.mark.parametrize("odd", ODD)
def test_odd_surroundings(odd: str, odd_box: Box, hub: HubSite) -> None:
    """As root without sudo, in surroundings that are a little wrong, it works, is online, and goes without a rest."""
    box = odd_box
    before = ours(box)
    device = hub.desk.create(odd)
    pasted = f"{ODD[odd]}; {device.install_command.replace('sudo sh', 'sh')}"
    try:
        done = box.sh(pasted, check=False)
        assert done.returncode == 0, done.stdout + done.stderr + box.journal()
        box.wait_online()
        assert box.status()["deviceId"] == device.device_id
        modes = box.sh("stat -c %a /opt/firstlight /opt/firstlight/bin/firstlight /etc/firstlight/agent.toml").stdout
        assert modes.split() == ["755", "755", "600"]
        again = box.sh(device.install_command)
        assert again.stdout.startswith("firstlight: nothing to do"), again.stdout
        gone = box.sh(f"{device.install_command.replace('sudo sh', 'sh')} -s -- --uninstall --purge")
        assert gone.stderr == ""
    finally:
        box.sh("sh /opt/firstlight/lib/*/share/uninstall.sh yes", check=False)
        mounts = ("/opt", "/tmp", "/var/tmp") if "mount" in ODD[odd] else ()
        box.sh("".join(f"umount {place};" for place in mounts) + "rm -rf ~root/.curlrc '/tmp/with space'", check=False)
    assert ours(box) == before


@pytest.mark.parametrize("place", ["/etc", "/opt", "/var"])
def test_read_only(place: str, make_box: MakeBox, hub: HubSite) -> None:
    """A place that cannot be written is named before anything is fetched or spent; later the command works."""
    box = make_box()
    before = ours(box)
    device = hub.desk.create(box.name)
    box.sh(f"mount --bind {place} {place} && mount -o remount,bind,ro {place}")
    done = box.sh(device.install_command.replace("sudo sh", "sh"), check=False)
    assert done.returncode in (1, 74), done.stdout + done.stderr
    sentence, step = done.stderr.splitlines()
    assert sentence.startswith("firstlight: ") and "cannot be written" in sentence and "read-only" in step, done.stderr
    assert ours(box) == before
    assert hub.desk.install_id_state(device.device_id) == "open"
    box.sh(f"umount {place}")
    box.sh(device.install_command)
    check_once(box, hub, device.device_id)


def test_programs_are_forbidden_there(make_box: MakeBox, hub: HubSite) -> None:
    """On a disk that is mounted noexec nothing can run: said, nothing is left, nothing is spent."""
    box = make_box()
    before = ours(box)
    device = hub.desk.create(box.name)
    box.sh("mount -t tmpfs -o noexec,size=300m tmpfs /opt")
    done = box.sh(device.install_command, check=False)
    sentence, step = done.stderr.splitlines()
    assert done.returncode == 1 and "noexec" in sentence + step, done.stderr
    assert ours(box) == before
    assert hub.desk.install_id_state(device.device_id) == "open"


def test_read_only_usr(make_box: MakeBox, hub: HubSite) -> None:
    """Without the link in /usr/local/bin the rest works; the script says what to call."""
    box = make_box()
    device = hub.desk.create(box.name)
    box.sh("mount --bind /usr /usr && mount -o remount,bind,ro /usr")
    done = box.sh(device.install_command)
    assert done.stderr == f"firstlight: /usr/local/bin cannot be written: call {AGENT}\n"
    check_once(box, hub, device.device_id)


@pytest.mark.parametrize("shell", ["dash", "bash --posix", "bash"])
def test_other_shells(shell: str, odd_box: Box, hub: HubSite) -> None:
    """Whatever sh is on the box, the command works with it."""
    device = hub.desk.create(shell)
    odd_box.sh(device.install_command.replace("sudo sh", shell))
    odd_box.wait_online()
    odd_box.sh(f"{device.install_command} -s -- --uninstall --purge")


def test_sudo_is_missing(odd_box: Box, hub: HubSite) -> None:
    """Without sudo the pasted command ends with the shell's own words, and nothing is left or spent."""
    device = hub.desk.create("no sudo")
    before = ours(odd_box)
    odd_box.sh("mkdir /srv/bin && cp -s /usr/bin/curl /srv/bin")
    done = odd_box.sh(f"export PATH=/srv/bin; {device.install_command}", check=False)
    assert done.returncode == 127
    odd_box.run("rm", "-r", "/srv/bin")
    assert ours(odd_box) == before
    assert hub.desk.install_id_state(device.device_id) == "open"
